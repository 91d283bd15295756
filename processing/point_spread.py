"""The bubble's image: a Gaussian whose axial and lateral width may change with depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.errors import InvalidValueError
from processing.frozen_arrays import frozen_array

SMALLEST_SIGMA_PX = 0.6
"""Below, a spot is a single pixel and its sub-pixel position is not in the data (Nyquist of the Gaussian)."""
LARGEST_SIGMA_PX = 8.0


def gaussian_taps(sigma_px: NDArray[np.float64], half: int) -> NDArray[np.float32]:
    """exp(-k^2 / 2 sigma^2) for |k| <= half, float32 (sigma, 2 half + 1)."""
    k = np.arange(-half, half + 1)
    return np.exp(-(k**2) / (2.0 * sigma_px[:, None] ** 2)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class PointSpread:
    """Gaussian PSF of each row. sigma_px: float64 (z, 2), axial and lateral width in pixels.

    noise_au: pixel noise under a spot, pooled over the `spots` it was all measured on (0 spots: only a guess, NaN).
    """

    sigma_px: NDArray[np.float64]
    noise_au: float = float("nan")
    spots: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma_px", frozen_array("sigma_px", self.sigma_px, np.float64, 2))
        if not ((self.sigma_px >= SMALLEST_SIGMA_PX) & (self.sigma_px <= LARGEST_SIGMA_PX)).all():
            raise InvalidValueError(f"PSF widths must lie in {SMALLEST_SIGMA_PX} to {LARGEST_SIGMA_PX} px")

    @property
    def half_px(self) -> tuple[int, int]:
        """Half the window of a fit: three PSF widths (7 x 7 px for sigma 1 px, the window of the bound quoted)."""
        z, x = np.median(self.sigma_px, axis=0)
        return max(round(3 * float(z)), 2), max(round(3 * float(x)), 2)

    def taps(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Taps of each row's matched filter in z and in x, (z, 2 half + 1) each."""
        half_z, half_x = self.half_px
        return gaussian_taps(self.sigma_px[:, 0], half_z), gaussian_taps(self.sigma_px[:, 1], half_x)

    def filter_weights(self) -> NDArray[np.float64]:
        """Weights of the matched filter at the median width, on the support of its box; they answer amplitude 1."""
        half_z, half_x = self.half_px
        z, x = np.arange(-2 * half_z, 2 * half_z + 1), np.arange(-2 * half_x, 2 * half_x + 1)
        sigma_z, sigma_x = np.median(self.sigma_px, axis=0)
        g = np.exp(-(z[:, None] ** 2) / (2 * sigma_z**2) - x**2 / (2 * sigma_x**2))
        g[np.abs(z) > half_z, :] = 0.0
        g[:, np.abs(x) > half_x] = 0.0
        return np.asarray((g - g.mean()) / ((g**2).sum() - g.sum() ** 2 / g.size))

    def residual_share(self) -> float:
        """Share of the noise power that a fit leaves in its residual where position is measured.

        E[sum w r^2] / (sigma^2 sum w) = sum w (1 - h) / sum w with the weights of `judge_spot` and the leverage h of
        the four fitted parameters, for a spot centred on a pixel.
        """
        half_z, half_x = self.half_px
        sigma_z, sigma_x = np.median(self.sigma_px, axis=0)
        u, v = np.arange(-half_z, half_z + 1)[:, None] / sigma_z, np.arange(-half_x, half_x + 1)[None, :] / sigma_x
        g = np.exp(-(u**2 + v**2) / 2)
        jacobian = np.stack([g * u, g * v, g, np.ones_like(g)], axis=-1).reshape(-1, 4)
        leverage = np.einsum("ij,jk,ik->i", jacobian, np.linalg.inv(jacobian.T @ jacobian), jacobian)
        weight = (g**2 * (u**2 + v**2)).ravel()
        return float((weight * (1 - leverage)).sum() / weight.sum())


def uniform_spread(rows: int, sigma_z_px: float, sigma_x_px: float) -> PointSpread:
    """The same width in every row."""
    clipped = np.clip([sigma_z_px, sigma_x_px], SMALLEST_SIGMA_PX, LARGEST_SIGMA_PX)
    return PointSpread(np.tile(clipped, (rows, 1)))


def guessed_spread(frames: NDArray[np.float32]) -> PointSpread:
    """A first width from the autocorrelation of frames minus their temporal mean, (frame, z, x)."""
    signal = frames - frames.mean(axis=0) if len(frames) > 4 else frames - np.median(frames)
    return uniform_spread(frames.shape[1], *(correlation_width(short_correlation(signal, axis)) for axis in (1, 2)))


def short_correlation(signal: NDArray[np.float32], axis: int) -> NDArray[np.float64]:
    """Autocorrelation at lags 1, 2, ... up to 2.5 times the one at which a third is left: there a Gaussian has 2 %.

    Lag 0 also holds the noise and is left out. Empty where hardly anything is left at lag 2.
    """
    moved = np.moveaxis(signal, axis, 2)
    furthest = min(3 * int(LARGEST_SIGMA_PX), moved.shape[2] // 2)
    found: list[float] = []
    last = furthest
    for lag in range(1, furthest):
        if lag > last:
            break
        found.append(float(np.mean(moved[..., lag:] * moved[..., :-lag])))
        if last == furthest and not found[-1] > found[0] / 3:
            if lag < 3:
                return np.empty(0)
            third = lag - 1 + (found[-2] - found[0] / 3) / (found[-2] - found[-1])
            last = min(round(2.5 * third), furthest - 1)
    return np.array(found)


def correlation_width(correlation: NDArray[np.float64]) -> float:
    """The width s of the a exp(-lag^2 / 4 s^2) + c, a sum of Gaussians, nearest to a correlation at lags 1, 2, ...

    c is what all these lags share: slow light, or the gap around bubbles that keep apart (7 px apart they would
    otherwise look 4 % narrower). The best a and c are those of a straight line, so the best s correlates best. 1 where
    there are too few lags to tell.
    """
    if len(correlation) < 4:
        return 1.0
    widths = np.geomspace(SMALLEST_SIGMA_PX, LARGEST_SIGMA_PX, 512)
    shapes = np.exp(-(np.arange(1, len(correlation) + 1) ** 2) / (4 * widths[:, None] ** 2))
    shapes -= shapes.mean(axis=1, keepdims=True)
    match = shapes @ correlation / np.sqrt((shapes**2).sum(axis=1))
    return float(widths[int(np.argmax(match))])
