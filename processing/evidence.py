"""Is this CEUS? Decided from the data: new scatterers enhance the panel, and nothing simpler explains the rise.

A gain step lifts the same speckle, so the pattern before and after agrees; motion moves the pattern and lifts few
places; a flash lasts a moment; colour overlays are not drawn with one map. What is left after those is enhancement.
The agent's name in a header is never enough, and is often absent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Power = NDArray[np.float64]


@dataclass(frozen=True)
class EvidenceCriteria:
    """What enhancement must show. Figures: simulated bolus loops against B-mode, Doppler, elastography and microflow
    clips (tests/accuracy/test_contrast_evidence.py); a bolus lifts the panel by 10 to 25 dB in practice (dom).
    """

    rise_db: float = 5.0
    """Breathing and probe motion swing the smoothed mean of simulated B-mode loops by up to 3 dB."""
    smoothing_s: float = 4.0
    """Longer than a heart beat, a flash and half a breath; shorter than any wash-in through a panel."""
    block_rise_db: float = 4.0
    risen_fraction: float = 0.25
    """Share of the panel's blocks that rise, net of those that fall: motion lifts as many as it lowers."""
    same_pattern: float = 0.5
    """Correlation of speckle before and after: 1 for gain, below 0.3 for new scatterers."""
    overlay_fraction: float = 0.004
    """A Doppler box that shows any flow colours more than this share of the panel's pixels."""


@dataclass(frozen=True)
class ContrastEvidence:
    """Whether contrast was found, why in one measured sentence, and the figures behind it."""

    found: bool
    reason: str
    rise_db: float
    risen_fraction: float
    pattern_correlation: float
    overlay_fraction: float
    baseline_level: float


def contrast_evidence(
    levels: NDArray[np.uint8],
    times_s: NDArray[np.float64],
    power_of_level: NDArray[np.float64],
    valid: NDArray[np.bool_],
    overlay_fraction: float,
    criteria: EvidenceCriteria = EvidenceCriteria(),
) -> ContrastEvidence:
    """Judge sampled levels (frame, z, x) of the contrast panel. `power_of_level`: 256 linear powers."""
    blocks = _block_power(levels, power_of_level, valid)
    window = _window(times_s, criteria.smoothing_s)
    panel_db = _decibel(_smooth(blocks.mean(axis=1)[:, None], window)[:, 0])
    low, high = _rise(panel_db)
    rise_db = float(panel_db[high] - panel_db[low])
    blocks_db = _decibel(_smooth(blocks, window))
    change = blocks_db[high] - blocks_db[low]
    risen = float((change >= criteria.block_rise_db).mean() - (change <= -criteria.block_rise_db).mean())
    correlation = _pattern_correlation(levels, valid, low, high) if rise_db >= criteria.rise_db else 0.0
    baseline = float(np.median(levels[low][valid])) if valid.any() else 0.0
    found, reason = _verdict(criteria, rise_db, risen, correlation, overlay_fraction, float(np.ptp(times_s)))
    return ContrastEvidence(found, reason, rise_db, risen, correlation, overlay_fraction, baseline)


def _verdict(
    criteria: EvidenceCriteria, rise_db: float, risen: float, correlation: float, overlay: float, duration_s: float
) -> tuple[bool, str]:
    measured = f"the mean level of the candidate panel rose by {rise_db:.1f} dB within {duration_s:.1f} s"
    if overlay > criteria.overlay_fraction:
        return False, (
            f"{100 * overlay:.1f} % of the panel's pixels are a colour overlay (Doppler, elastography); {measured}"
        )
    if rise_db < criteria.rise_db:
        return False, f"{measured}; enhancement needs {criteria.rise_db:.0f} dB, motion explains less"
    if correlation > criteria.same_pattern:
        return (
            False,
            f"{measured}, but the speckle stayed the same (correlation {correlation:.2f}): a gain change",
        )
    if risen < criteria.risen_fraction:
        return False, (
            f"{measured}, but only {100 * max(risen, 0.0):.0f} % more of the panel rose than fell: motion explains it"
        )
    return True, f"{measured}, over {100 * risen:.0f} % of its area, with new speckle (correlation {correlation:.2f})"


def _block_power(levels: NDArray[np.uint8], power_of_level: Power, valid: NDArray[np.bool_]) -> Power:
    """Mean linear power of each block of about 1/16 of the panel's side: (frame, block)."""
    rows, columns = valid.shape
    step = max(min(rows, columns) // 16, 4)
    z, x = np.arange(rows) // step, np.arange(columns) // step
    label = (z[:, None] * (x[-1] + 1) + x[None, :])[valid]
    count = np.bincount(label)
    full = count >= step * step // 2
    out = np.empty((len(levels), int(full.sum())))
    for frame, place in zip(levels, out, strict=True):
        sums = np.bincount(label, weights=power_of_level[frame[valid]], minlength=count.size)
        place[:] = sums[full] / count[full]
    return out


def _window(times_s: NDArray[np.float64], smoothing_s: float) -> int:
    step_s = float(np.median(np.diff(times_s))) if times_s.size > 1 else smoothing_s
    # An odd number of samples, at least three against a single flash frame, at most a third of the loop.
    width = max(3, 2 * round(smoothing_s / max(step_s, 1e-9) / 2) + 1)
    return int(min(width, max(times_s.size // 3, 1) | 1))


def _smooth(curves: Power, window: int) -> Power:
    return np.asarray(ndimage.median_filter(curves, size=(window, 1), mode="nearest"), np.float64)


def _decibel(power: Power) -> Power:
    return np.asarray(10.0 * np.log10(np.maximum(power, 1e-12)), np.float64)


def _rise(curve_db: Power) -> tuple[int, int]:
    """The earlier low and the later high sample between which the curve rises most."""
    lowest = np.minimum.accumulate(curve_db)
    high = int((curve_db - lowest).argmax())
    return int(curve_db[: high + 1].argmin()), high


def _pattern_correlation(levels: NDArray[np.uint8], valid: NDArray[np.bool_], low: int, high: int) -> float:
    """Highest correlation of the fine pattern between frames around the low and the high sample, over all shifts."""
    before = [_pattern(levels[i], valid) for i in range(max(low - 1, 0), min(low + 2, len(levels)))]
    after = [_pattern(levels[i], valid) for i in range(max(high - 1, 0), min(high + 2, len(levels)))]
    return max(_best_correlation(a, b) for a in before for b in after)


def _pattern(level: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The level image without its slow part, zero outside of the scanned area, unit energy."""
    image = level.astype(np.float32)
    weight = ndimage.uniform_filter(valid.astype(np.float32), 15)
    local = ndimage.uniform_filter(np.where(valid, image, 0), 15) / np.maximum(weight, 1e-3)
    fine = np.where(valid, image - local, 0).astype(np.float32)
    energy = float(np.sqrt((fine.astype(np.float64) ** 2).sum()))
    return fine / np.float32(energy) if energy > 0 else fine


def _best_correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    spectrum = np.fft.rfft2(a) * np.conj(np.fft.rfft2(b))
    return float(np.fft.irfft2(spectrum, s=a.shape).max())
