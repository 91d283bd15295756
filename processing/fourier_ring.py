"""Resolution of a super-resolved density map by Fourier ring correlation of two halves of its tracks.

Nieuwenhuizen et al. 2013 (Nature Methods 10:557); for ULM Hingot et al. 2021 (IEEE TMI 40:3812), who note that
halves of the localizations of one track are not independent: whole tracks are split here. Threshold 1/7.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FRC_THRESHOLD = 1 / 7


def ring_correlation(
    first: NDArray[np.float64], second: NDArray[np.float64], pixel_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Spatial frequency (1/mm) and correlation of each ring of two images of one shape."""
    size = max(first.shape)
    a, b = (np.fft.rfft2(image - image.mean(), s=(size, size)) for image in (first, second))
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]) * size
    ring = np.minimum(np.round(radius).astype(np.int64), size // 2 + 1).reshape(-1)
    cross, power_a, power_b = (
        np.bincount(ring, weights=w.reshape(-1), minlength=size // 2 + 2)
        for w in ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = cross / np.sqrt(power_a * power_b)
    rings = np.arange(1, size // 2 + 1)
    return rings / (size * pixel_mm), correlation[rings]


def resolution_um(first: NDArray[np.float64], second: NDArray[np.float64], pixel_mm: float) -> float | None:
    """Where the correlation, smoothed over five rings, first falls below 1/7; None where it never does or stood."""
    if not first.any() or not second.any() or min(first.shape) < 16:
        return None
    frequency, correlation = ring_correlation(first, second, pixel_mm)
    padded = np.pad(np.nan_to_num(correlation), 2, mode="edge")
    smooth = np.convolve(padded, np.ones(5) / 5, mode="valid")
    below = np.flatnonzero(smooth < FRC_THRESHOLD)
    if not len(below) or below[0] == 0:
        return None
    k = int(below[0])
    share = (smooth[k - 1] - FRC_THRESHOLD) / (smooth[k - 1] - smooth[k])
    crossing = frequency[k - 1] + share * (frequency[k] - frequency[k - 1])
    return float(1000.0 / crossing)
