"""What is burned into the image: clocks, bars, text, marks; and which pixels show echo at all.

Echo changes from frame to frame (speckle, noise, motion), furniture does not; a clock changes but lies outside of the
scanned area. Everything here is decided from a few dozen sampled frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

CHANGE_LEVELS = 10
"""A pixel that moves by this much over the samples shows echo: JPEG at q90 moves static text by up to 6."""
STILL_LEVELS = 6
BRIGHT_LEVELS = 60
"""Burned-in signs are drawn to be read: darker static pixels are unlit tissue, which is echo."""
TEXT_MARGIN_PX = 2
"""Compression smears a letter's edge over its neighbours."""

Mask = NDArray[np.bool_]


def change(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Range of each pixel over the sampled frames (frame, row, column)."""
    changes: NDArray[np.uint8] = grey.max(axis=0) - grey.min(axis=0)
    return changes


def echo_area(changes: NDArray[np.uint8]) -> Mask:
    """Where echo is drawn: changing pixels, closed over dark gaps and freed of thin or lonely changes (a clock)."""
    moving = changes >= CHANGE_LEVELS
    rows, columns = moving.shape
    reach = max(min(rows, columns) // 80, 2)
    # A letter is thinner than the window and fills less than half of it; echo fills it.
    dense = ndimage.uniform_filter(moving.astype(np.float32), 2 * reach + 1) > 0.5
    inner = (slice(2 * reach, -2 * reach),) * 2
    closed: Mask = ndimage.binary_closing(np.pad(dense, 2 * reach), iterations=reach)[inner]
    labels, count = ndimage.label(closed)
    if count == 0:
        return closed
    sizes = ndimage.sum_labels(closed, labels, np.arange(1, count + 1))
    # A panel fills at least 3 % of the screen; clocks and traces do not.
    large = np.flatnonzero(sizes >= 0.03 * moving.size) + 1
    return np.asarray(ndimage.binary_fill_holes(np.isin(labels, large)), np.bool_)


def scanned(changes: NDArray[np.uint8], typical: NDArray[np.uint8]) -> Mask:
    """Pixels of one panel that show echo: inside the fan or rectangle that is scanned, and not under burned-in signs.

    changes: range over the samples (z, x); typical: median over the samples (z, x).
    """
    area = _span(echo_area(changes))
    signs = (changes <= STILL_LEVELS) & (typical >= BRIGHT_LEVELS)
    # Static tissue near a still probe is bright too, but lies among changing pixels; letters lie on static ground.
    ground = ndimage.uniform_filter((changes >= CHANGE_LEVELS).astype(np.float32), 9) < 0.5
    covered = ndimage.binary_dilation(signs & ground, iterations=TEXT_MARGIN_PX)
    return np.asarray(area & ~covered, np.bool_)


def _span(area: Mask) -> Mask:
    """Fill each row and each column from its first to its last scanned pixel: fans and rectangles have no bays there.

    A panel that is nearly full and has echo in its upper corners is a rectangle, all of it scanned: what is dark below
    is too weak to be drawn, which is a finding, not a gap.
    """
    filled = [
        np.maximum.accumulate(area, axis)
        & np.maximum.accumulate(area[::-1] if axis == 0 else area[:, ::-1], axis)[
            (slice(None, None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, None, -1))
        ]
        for axis in (0, 1)
    ]
    spanned: Mask = filled[0] & filled[1]
    rows, columns = max(len(spanned) // 12, 1), max(spanned.shape[1] // 12, 1)
    corners = min(spanned[:rows, :columns].mean(), spanned[:rows, -columns:].mean())
    return np.ones_like(spanned) if corners >= 0.8 and spanned.mean() >= 0.5 else spanned
