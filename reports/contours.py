"""Outlines of masks, and masks of outlines, in the full frame's pixel-centre coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Contour = tuple[tuple[float, float], ...]
SIMPLIFY_PX = 0.2
"""Largest distance between the traced and the written outline: 0.2 px keeps the area of a 10-pixel disc within 1 %."""


def mask_outline_px(mask: NDArray[np.bool_], origin_px: tuple[int, int] = (0, 0)) -> Contour:
    """Outer outline of the largest component of `mask` (z, x) as ((x, y), ...) in the full frame, first not repeated.

    `origin_px`: (row, column) of the mask's top-left pixel. The centre of the full frame's top-left pixel is (0, 0).
    Empty where the mask is.
    """
    from skimage.measure import approximate_polygon, find_contours

    if not mask.any():
        return ()
    traced = find_contours(np.pad(mask, 1).astype(np.float32), 0.5)
    outer = max(traced, key=lambda points: abs(polygon_area_px2(points)))
    simple = approximate_polygon(outer, SIMPLIFY_PX)[:-1] - 1.0  # the padding of one pixel
    return tuple((float(column + origin_px[1]), float(row + origin_px[0])) for row, column in simple)


def polygon_area_px2(points: NDArray[np.float64] | Sequence[tuple[float, float]]) -> float:
    """Signed area of a polygon (shoelace formula); a repeated first point changes nothing."""
    first, second = np.asarray(points, dtype=np.float64).T
    return float(0.5 * np.sum(first * np.roll(second, -1) - second * np.roll(first, -1)))


def polygon_mask(contour_px: Contour, rows: int, columns: int) -> NDArray[np.bool_]:
    """Pixels of a full frame whose centres lie inside the outline."""
    from skimage.draw import polygon2mask

    points = np.array([(y, x) for x, y in contour_px], dtype=np.float64)
    mask: NDArray[np.bool_] = polygon2mask((rows, columns), points)
    return mask
