"""How large a speckle is: what decides how many independent echoes a sample of a map averages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def speckle_cell_px(frames: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[float, float]:
    """Extent (z, x) in px of the area that one independent speckle covers, at least 1 px each.

    frames: linear power (frame, z, x) while the contrast is bright, in order, at least two. The correlation cell of
    Goodman (Speckle Phenomena in Optics, 2007, ch. 4): the normalised autocovariance of intensity summed over lags, one
    axis at a time, here of differences of successive frames: anatomy and the bolus itself drop out of them.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return 1.0, 1.0
    around = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    seen = frames[:, *around]
    mean = seen.mean(axis=0)
    inside = mask[around] & (mean > 0.0)
    deviation = np.diff(seen, axis=0) * np.where(inside, 1.0 / np.where(inside, mean, 1.0), 0.0).astype(np.float32)
    # Lags run along the last axis.
    return _extent(deviation.swapaxes(1, 2), inside.T), _extent(deviation, inside)


def _extent(deviation: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """1 + 2 sum of the autocorrelation along the last axis, up to where it first falls below 5 %."""
    power = float((deviation**2).sum(dtype=np.float64)) / max(int(inside.sum()), 1)
    if power <= 0.0:
        return 1.0
    length = deviation.shape[-1]
    total = 1.0
    for lag in range(1, min(length // 2, 60)):
        pairs = inside[:, : length - lag] & inside[:, lag:]
        product = np.einsum("kij,kij->", deviation[..., : length - lag], deviation[..., lag:])
        rho = float(product) / max(int(pairs.sum()), 1) / power
        if rho < 0.05:
            break
        total += 2.0 * rho
    return total
