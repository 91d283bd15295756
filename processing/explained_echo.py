"""How much of the echo the localized bubbles explain: where bubbles crowd in a vessel, hardly any of it.

Coverage by the images that were found cannot tell a crowd: of a hundred bubbles that run into each other fifteen are
found, and fifteen look sparse. What they leave unexplained tells (tree of 10 s, seeds 52 and 54, 1 to 14 bubbles a
second: where .58 to .93 of them were found .84 to .99 was explained, where .14 to .45 were found .10 to .58).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.bubbles import Localizations
from processing.cine import Spacing
from processing.kernels.gauss_newton import AMPLITUDE, COLUMNS, PEAK_X, PEAK_Z, X, Z
from processing.localize import Calibration, without

SAMPLED = 64
"""Frames of a block that are looked at: three a second of the longest block at 20 Hz; between them it is a line."""
CLEAR = 4.0
"""Noise standard deviations from which an echo counts: 6 pixels in 100,000 of noise alone."""


def explained_share(
    block: NDArray[np.float32], found: Localizations, first_frame: int, spacing_mm: Spacing, calibration: Calibration
) -> NDArray[np.float64]:
    """Share of the clear echo power that the localized bubbles take out of each frame of a block, float64 (frame,).

    What lies below the level as clearly is left too, and counts: a clutter filter takes from bubbles that follow each
    other closely what it holds for standing still. It may then be negative.

    block: float32 (frame, z, x) amplitude as it was localized, `found` in its own coordinates. One where nothing
    stands out: there is nothing to explain. NaN where the noise is unknown.
    """
    looked_at = np.unique(np.linspace(0, len(block) - 1, min(SAMPLED, len(block))).round().astype(np.int64))
    sample = np.ascontiguousarray(block[looked_at])
    left = without(sample, calibration.spread, _table(found, first_frame + looked_at, spacing_mm))
    level, clear = np.median(sample), CLEAR * calibration.spread.noise_au
    shares = [_explained(frame - level, rest - level, clear) for frame, rest in zip(sample, left, strict=True)]
    return np.interp(np.arange(len(block)), looked_at, shares)


def _table(found: Localizations, frames: NDArray[np.int64], spacing_mm: Spacing) -> NDArray[np.float64]:
    """Spots of these frames as kernels take them, the place in `frames` behind."""
    place = np.searchsorted(frames, found.frame)
    inside = frames[np.minimum(place, len(frames) - 1)] == found.frame
    table = np.zeros((int(inside.sum()), COLUMNS + 1))
    table[:, Z], table[:, X] = found.z_mm[inside] / spacing_mm.z_mm, found.x_mm[inside] / spacing_mm.x_mm
    table[:, [PEAK_Z, PEAK_X]] = np.round(table[:, [Z, X]])
    table[:, AMPLITUDE], table[:, COLUMNS] = found.amplitude_au[inside], place[inside]
    return table


def _explained(echo: NDArray[np.float32], rest: NDArray[np.float32], clear: float) -> float:
    """1 - clear power of either sign that is left over the power of the clear echo."""
    if not np.isfinite(clear):
        return float("nan")
    there, left = (
        float(np.square(part).sum(dtype=np.float64)) for part in (echo[echo > clear], rest[abs(rest) > clear])
    )
    return 1.0 - left / there if there else 1.0
