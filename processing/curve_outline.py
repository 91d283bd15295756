"""What a curve shows before any model: smoothed course, peak, baseline, arrival.

The initialisation of the bolus fit and the source of everything said about a curve that no model fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.fit_uncertainty import correlation_length
from processing.tic import Tic


@dataclass(frozen=True, eq=False)
class CurveOutline:
    """A curve without its rejected frames, smoothed over about a second.

    time_s, power_au, smooth_au: float64 (kept frame,). `scale_au` is peak minus baseline of the smoothed curve (never
    zero); `relative_noise` the standard deviation of one sample over its level while the contrast is bright;
    `noise_correlation` the number of frames that carry one independent sample.
    """

    time_s: NDArray[np.float64]
    power_au: NDArray[np.float64]
    smooth_au: NDArray[np.float64]
    peak: int
    baseline_au: float
    arrival_s: float
    scale_au: float
    relative_noise: float
    noise_correlation: float

    @property
    def flat(self) -> bool:
        """True where nothing rises, or only by rounding."""
        return self.peak == 0 or self.scale_au <= 1e-9 * float(np.abs(self.smooth_au).max())

    @property
    def peak_time_s(self) -> float:
        return float(self.time_s[self.peak])

    @property
    def relative_power(self) -> NDArray[np.float64]:
        """Power in units of the peak: what the kernels fit."""
        return np.asarray(self.power_au / self.scale_au, np.float64)

    @property
    def guess(self) -> NDArray[np.float64]:
        """Peak, time of peak, arrival, baseline as `kernels.bolus_fit.first_guess` takes them."""
        return np.array([1.0, self.peak_time_s, self.arrival_s, self.baseline_au / self.scale_au])

    def wash_out_index(self, fraction: float) -> int:
        """Index after the last frame before the wash-out falls below `fraction` of the peak (all for 0)."""
        if fraction <= 0.0:
            return self.time_s.size
        below = np.flatnonzero(self.smooth_au[self.peak :] < self.baseline_au + fraction * self.scale_au)
        return self.peak + int(below[0]) if below.size else self.time_s.size


def smoothed(time_s: NDArray[np.float64], power: NDArray[np.float64], width_s: float) -> NDArray[np.float64]:
    """Mean over the samples within half of `width_s` of each time: the clip may have gaps and uneven frames."""
    total = np.concatenate([[0.0], np.cumsum(power)])
    first = np.searchsorted(time_s, time_s - 0.5 * width_s, side="left")
    last = np.searchsorted(time_s, time_s + 0.5 * width_s, side="right")
    return np.asarray((total[last] - total[first]) / (last - first), np.float64)


def outline_curve(tic: Tic, smoothing_s: float) -> CurveOutline:
    """Outline of the kept frames of `tic`; at least 8 of them (the caller refuses shorter clips by name)."""
    kept = ~tic.rejected
    time_s, power = np.ascontiguousarray(tic.time_s[kept]), np.ascontiguousarray(tic.power_au[kept])
    smooth = smoothed(time_s, power, smoothing_s)
    peak = int(smooth.argmax())
    # The first sixth of the rise is still dark in every bolus that begins inside the clip (docs/perfusion.md).
    early = slice(0, max(peak // 6, 1))
    baseline = float(np.median(power[early]))
    # A flat curve rises by rounding only; its scale must stay a number.
    scale = max(float(smooth[peak]) - baseline, 1e-9 * abs(float(smooth[peak])), 1e-300)
    arrival = float(time_s[0])
    if peak >= 2:
        slope = np.gradient(smooth[: peak + 1], time_s[: peak + 1])
        steep = int(slope.argmax())
        if slope[steep] > 0.0:
            arrival = float(time_s[steep] - (smooth[steep] - baseline) / slope[steep])
    noise, correlation = _noise(time_s, power, baseline, scale)
    arrival = max(arrival, float(time_s[0]) - 4.0)
    return CurveOutline(time_s, power, smooth, peak, baseline, arrival, scale, noise, correlation)


def _noise(
    time_s: NDArray[np.float64], power: NDArray[np.float64], baseline: float, scale: float
) -> tuple[float, float]:
    """Relative noise of a bright sample and frames that carry one independent sample, both from what remains of the
    curve beside its mean over 3 s: slower than speckle, faster than a bolus."""
    level = smoothed(time_s, power, 3.0)
    rest = (power - level) / np.maximum(level + 0.03 * scale, 1e-300)
    bright = level > baseline + 0.5 * scale
    noise = 1.4826 * float(np.median(np.abs(rest[bright]))) if bright.any() else 0.0
    return noise, correlation_length(rest, 0)
