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
    mean = frames.mean(axis=0)
    inside = mask & (mean > 0.0)
    change = np.diff(frames.astype(np.float64), axis=0)
    deviation = np.where(inside, change / np.where(inside, mean, 1.0), 0.0)
    return _extent(deviation, inside, 1), _extent(deviation, inside, 2)


def _extent(deviation: NDArray[np.float64], inside: NDArray[np.bool_], axis: int) -> float:
    """1 + 2 sum of the autocorrelation along one axis, up to where it first falls below 5 %."""
    power = float((deviation**2).sum()) / max(int(inside.sum()), 1)
    if power <= 0.0:
        return 1.0
    length = deviation.shape[axis]
    total = 1.0
    for lag in range(1, min(length // 2, 60)):
        one = np.take(deviation, range(length - lag), axis=axis)
        other = np.take(deviation, range(lag, length), axis=axis)
        pairs = np.take(inside, range(length - lag), axis=axis - 1) & np.take(inside, range(lag, length), axis=axis - 1)
        rho = float((one * other).sum()) / max(int(pairs.sum()), 1) / power
        if rho < 0.05:
            break
        total += 2.0 * rho
    return total
