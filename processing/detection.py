"""Detection thresholds: noise of the matched filter's answer, measured between the bubbles, and a false-alarm rate.

Local maxima of a smooth Gaussian field above k sigma have the density |L|^(1/2) (2 pi)^(-3/2) k exp(-k^2 / 2) with the
spectral moments L (Adler 1981; Worsley 1996); for white noise behind a Gaussian filter |L|^(1/2) = 1 / (2 sz sx).
Rician and clipped noise is skewed: k is corrected after Cornish and Fisher.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ive

from processing.frozen_arrays import frozen_array
from processing.kernels.jit import side_by_side
from processing.kernels.maxima import local_maxima, padded_width, pixel_share, tops_of
from processing.kernels.rician import TABLE_STEP
from processing.point_spread import PointSpread

RAYLEIGH_SKEWNESS = 0.6311
"""Of the magnitude of complex Gaussian noise."""
RAYLEIGH_STD = 0.6551
"""Standard deviation of that magnitude over the noise of one part."""
MOSTLY_CLIPPED = 0.3
"""Above this share of pixels at the floor the spread of the rest no longer tells the noise."""


@dataclass(frozen=True)
class DetectionParameters:
    """How spots are told from noise.

    false_alarms_per_megapixel: expected in noise alone; 5 are 0.06 in a benchmark frame of 12,012 px, k = 4.5.
    loosest_sigma: where the data show that many faint bubbles lie below that threshold it moves down to the level at
    which every second maximum is noise (local false discovery rate, Efron 2004), never below this.
    tile_px: the noise is measured in tiles of this size.
    """

    false_alarms_per_megapixel: float = 5.0
    loosest_sigma: float = 3.5
    tile_px: int = 32


@dataclass(frozen=True, eq=False)
class NoiseFloor:
    """Noise of the matched filter's answer, float32 (z, x), and its skewness.

    rician: whether the frames are magnitudes of a complex signal.
    """

    scale_au: NDArray[np.float32]
    skewness: float
    rician: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale_au", frozen_array("scale_au", self.scale_au, np.float32, 2))


def measure_noise(
    frames: NDArray[np.float32], filtered: NDArray[np.float32], spread: PointSpread, floor_au: float, tile_px: int
) -> NoiseFloor:
    """Noise of `filtered`, the matched filter's answer to `frames` (frame, z, x) without the bubbles already known.

    `floor_au` is the amplitude that the lowest displayed level stands for, 0 where nothing is clipped. What lies below
    it is unknown to floor / sqrt(12): the noise is never taken for less. Where most pixels stand at the floor the noise
    follows from their share p: floor^2 = -2 sigma^2 ln(1 - p) (Rayleigh).
    """
    weights = spread.filter_weights()
    gain = float(np.sqrt((weights**2).sum()))
    rows, columns = frames.shape[1:]
    tops, lefts = tile_starts(rows, tile_px), tile_starts(columns, tile_px)

    def measured(corner: tuple[int, int]) -> tuple[float, bool]:
        """Noise of a tile, and whether most of it is clipped."""
        window = (slice(None), *(slice(first, first + tile_px) for first in corner))
        noise = max(clipped_std(filtered[window]), gain * floor_au / float(np.sqrt(12)))
        at_floor = float(np.mean(frames[window] <= floor_au * 1.0001)) if floor_au > 0 else 0.0
        if at_floor <= MOSTLY_CLIPPED:
            return noise, False
        sigma = floor_au / float(np.sqrt(-2 * np.log(max(1 - at_floor, 1e-6))))
        return max(noise, RAYLEIGH_STD * gain * sigma), True

    noises, clipped = zip(*side_by_side(measured, product(tops, lefts)), strict=True)
    scale = np.reshape(noises, (len(tops), len(lefts)))
    rayleigh = any(clipped) or looks_rayleigh(frames)
    skewness = RAYLEIGH_SKEWNESS * float((weights**3).sum() / (weights**2).sum() ** 1.5) if rayleigh else 0.0
    return NoiseFloor(spread_tiles(scale, tops, lefts, tile_px, (rows, columns)), skewness, rayleigh)


def tile_starts(size: int, tile_px: int) -> list[int]:
    """First pixels of tiles that cover `size`; the last one is moved inside rather than cut."""
    return [*range(0, max(size - tile_px, 0), tile_px), max(size - tile_px, 0)]


def spread_tiles(
    values: NDArray[np.float64], tops: list[int], lefts: list[int], tile_px: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Tile values to every pixel, linear between the centres of the tiles."""
    middle = (tile_px - 1) / 2
    along = np.stack([np.interp(np.arange(shape[1]), np.array(lefts) + middle, row) for row in values])
    return np.stack(
        [np.interp(np.arange(shape[0]), np.array(tops) + middle, along[:, j]) for j in range(shape[1])], axis=1
    ).astype(np.float32)


def clipped_std(values: NDArray[np.float32]) -> float:
    """Standard deviation of the noise below a share of bubbles: iterated clipping at 3 sigma (0.9866 is its loss)."""
    # Sorted once, every clipping is a range, and its sums are differences of running sums.
    ordered = np.sort(values, axis=None)
    ordered = ordered[: np.searchsorted(ordered, np.inf)].astype(np.float64)
    if ordered.size < 2:
        return 0.0
    centre = float(ordered[ordered.size // 2])
    shifted = ordered - centre
    sums, squares = (np.concatenate([[0.0], np.cumsum(v)]) for v in (shifted, shifted**2))
    # Half of the values lie within 0.6745 sigma of the middle.
    quarter = ordered.size // 4
    mean, scale = 0.0, float(ordered[-1 - quarter] - ordered[quarter]) / 1.349
    for _ in range(6):
        low = int(np.searchsorted(shifted, mean - 3 * scale, side="left"))
        high = int(np.searchsorted(shifted, mean + 3 * scale, side="right"))
        count = high - low
        if count < 2:
            break
        mean = float(sums[high] - sums[low]) / count
        scale = float(np.sqrt(max((squares[high] - squares[low]) / count - mean**2, 0.0))) / 0.9866
    return scale


def looks_rayleigh(frames: NDArray[np.float32]) -> bool:
    """Whether the dark pixels have the lower tail of a Rayleigh distribution rather than of a Gaussian.

    (q50 - q25) / (q25 - q5) is 0.956 for Rayleigh and 0.695 for Gaussian noise; bubbles hardly touch these quantiles.
    """
    q5, q25, q50 = np.nanquantile(frames, [0.05, 0.25, 0.5])
    return bool(q50 > q25 and (q25 - q5) * 0.82 < (q50 - q25))


def rayleigh_noise(values: NDArray[np.float32], floor_au: float) -> float:
    """Noise of one part from magnitudes without bubbles: their median is 1.1774 of it, or their share at the floor."""
    median = float(np.median(values)) if values.size else 0.0
    if median > floor_au * 1.0001:
        return median / 1.1774
    at_floor = float(np.mean(values <= floor_au * 1.0001)) if values.size else 1.0
    return floor_au / float(np.sqrt(-2 * np.log(max(1 - at_floor, 1e-6))))


def with_skewness(k: float | NDArray[np.float64], skewness: float) -> float | NDArray[np.float64]:
    """The level that skewed noise exceeds as often as Gaussian noise exceeds k (Cornish and Fisher 1938)."""
    return k + (k**2 - 1) * skewness / 6 - (2 * k**3 - 5 * k) * skewness**2 / 36


def noise_maxima_per_pixel(k: float | NDArray[np.float64], spread: PointSpread) -> float | NDArray[np.float64]:
    """Expected local maxima of filtered white noise above k sigma."""
    sigma_z, sigma_x = np.median(spread.sigma_px, axis=0)
    density: float | NDArray[np.float64] = k * np.exp(-(k**2) / 2) / (2 * sigma_z * sigma_x) / (2 * np.pi) ** 1.5
    return density


def choose_sigma(
    filtered: NDArray[np.float32], noise: NoiseFloor, spread: PointSpread, parameters: DetectionParameters
) -> float:
    """The Gaussian-equivalent threshold k: at the set false-alarm rate, or lower where faint bubbles outnumber noise.

    Maximises (maxima above k) - 2 (noise expected above k) below the set rate's k: bubbles gained minus noise let in.
    """
    strictest = float(
        brentq(lambda k: noise_maxima_per_pixel(k, spread) * 1e6 - parameters.false_alarms_per_megapixel, 1.5, 12.0)
    )
    low = min(parameters.loosest_sigma, strictest)
    levels = np.linspace(low, strictest, 41)
    scores = np.sort(maxima_scores(filtered, noise, spread, float(with_skewness(low, noise.skewness))))
    above = scores.size - np.searchsorted(scores, with_skewness(levels, noise.skewness))
    gain = above - 2 * noise_maxima_per_pixel(levels, spread) * filtered.size
    # A gain within the counting noise of the maxima in between is none: the strict level stands in noise alone.
    better = gain > gain[-1] + 3 * np.sqrt(above - above[-1])
    return float(levels[int(np.argmax(gain))]) if better.any() else strictest


def maxima_scores(
    filtered: NDArray[np.float32], noise: NoiseFloor, spread: PointSpread, lowest: float
) -> NDArray[np.float64]:
    """Filter answer over noise at the top of every local maximum above `lowest`."""
    frames, rows, columns = filtered.shape
    share = pixel_share(spread.sigma_px.copy())
    level = frozen_array("level", np.full((rows, columns), share * lowest, dtype=np.float32), np.float32, 2)
    peaks = np.empty((((rows + 1) // 2) * ((columns + 1) // 2), 2), dtype=np.int32)
    safe = np.where(noise.scale_au > 0, noise.scale_au, np.inf).astype(np.float32)
    scores = []
    for frame in range(frames):
        score = filtered[frame] / safe
        scores.append(tops_of(score, peaks[: local_maxima(score, columns, level, share, peaks)]))
    return np.concatenate(scores) if scores else np.empty(0)


def thresholds(noise: NoiseFloor, k: float) -> NDArray[np.float32]:
    """Threshold on the filter's answer, (z, padded_width); infinite where there is no noise to compare with."""
    rows, columns = noise.scale_au.shape
    out = np.full((rows, int(padded_width(columns))), np.inf, dtype=np.float32)
    level = with_skewness(k, noise.skewness) * noise.scale_au
    out[:, :columns] = np.where(noise.scale_au > 0, level, np.inf)
    return out


@lru_cache(maxsize=1)
def rice_table() -> NDArray[np.float64]:
    """I1 / I0 at x = 0 to 12, and the Fisher information that a magnitude carries on signals of 0 to 12 noises.

    Information: E[(r I1(r s) / I0(r s) - s)^2] over the Rice distribution, summed on a grid of a fiftieth of the noise;
    s^2 near 0 (a square-law detector), 1 far above the noise.
    """
    s = np.arange(0, 12 + TABLE_STEP, TABLE_STEP)
    r = np.arange(0.01, 20, 0.02)
    product = s[:, None] * r
    probability = r * np.exp(-((r - s[:, None]) ** 2) / 2) * ive(0, product)
    slope = r * ive(1, product) / ive(0, product) - s[:, None]
    information = (probability * slope**2).sum(axis=1) / probability.sum(axis=1)
    return np.stack([ive(1, s) / ive(0, s), information], axis=1)
