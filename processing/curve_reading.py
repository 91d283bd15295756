"""Peak enhancement and time to peak read from a smoothed curve, without a bolus model (`model` "none").

Used where no model may be fitted: the mean of a whole panel mixes tissues of different kinetics, so a model's
parameters would describe none of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from processing.errors import UnfitCineError
from processing.limitations import Limitation
from processing.metrics import Estimate, PerfusionMetrics
from processing.tic import Tic


@dataclass(frozen=True)
class CurveReading:
    """How the curve is read.

    `smoothing_s`: 1 s, as the initialisation that never failed in 1,000 curves (docs/perfusion.md). `summit_fraction`:
    the polynomial is fitted where the smoothed curve exceeds this share of its peak; at 0.75 and degree 4 the bias on
    log-normal curves of rise time 3 to 20 s stays under 0.3 % in PE and 0.05 s in TTP (tests/processing).
    """

    smoothing_s: float = 1.0
    summit_fraction: float = 0.75
    degree: int = 4
    min_baseline_s: float = 1.0


@dataclass(frozen=True, eq=False)
class ReadCurve:
    """What was read. smoothed_au: float64 (frame,), power after the moving average, baseline not subtracted."""

    metrics: PerfusionMetrics
    baseline_au: float
    smoothed_au: NDArray[np.float64]
    limitations: tuple[Limitation, ...]


def read_curve(tic: Tic, reading: CurveReading | None = None) -> ReadCurve:
    """Read PE (over the level before contrast) and TTP from the summit of the smoothed curve.

    Raises UnfitCineError when fewer than 8 frames can be used.
    """
    reading = reading or CurveReading()
    used = ~tic.rejected
    if used.sum() < 2 * reading.degree:
        raise UnfitCineError(
            Limitation("too_few_frames", f"only {used.sum()} frames can be used for a curve", "refused", ("perfusion",))
        )
    time_s, power = tic.time_s[used], tic.power_au[used]
    width = max(1, round(reading.smoothing_s / float(np.median(np.diff(time_s)))))
    smoothed = uniform_filter1d(power, width, mode="nearest")
    peak = int(np.argmax(smoothed))
    baseline, limitations = _baseline(time_s, power, smoothed, peak, reading)
    summit = _summit(smoothed - baseline, peak, reading.summit_fraction)
    time_to_peak_s, peak_au = _maximum(time_s[summit], power[summit] - baseline, reading.degree)
    metrics = PerfusionMetrics(
        model="none", peak_enhancement_au=Estimate(peak_au), time_to_peak_s=Estimate(time_to_peak_s)
    )
    if peak in (0, time_s.size - 1):
        limitations += (
            Limitation("peak_at_the_edge", "the curve is highest at the edge of the clip", "degraded", ("PE", "TTP")),
        )
    whole = np.interp(tic.time_s, time_s, smoothed)
    return ReadCurve(metrics, baseline, whole, limitations)


def _baseline(
    time_s: NDArray[np.float64],
    power: NDArray[np.float64],
    smoothed: NDArray[np.float64],
    peak: int,
    reading: CurveReading,
) -> tuple[float, tuple[Limitation, ...]]:
    """Mean power before the tangent of the steepest rise leaves the level of the first frames."""
    lowest = float(smoothed[: peak + 1].min())
    if peak > 1:
        slope = np.gradient(smoothed[: peak + 1], time_s[: peak + 1])
        steepest = int(np.argmax(slope))
        early = float(np.median(power[: max(1, peak // 6)]))
        arrival_s = time_s[steepest] - (smoothed[steepest] - early) / slope[steepest]
        before = time_s < arrival_s - reading.smoothing_s
        if before.any() and time_s[before][-1] - time_s[0] >= reading.min_baseline_s:
            return float(power[before].mean()), ()
    return lowest, (
        Limitation(
            "no_pre_contrast",
            "the clip holds no frames before contrast: the lowest level before the peak stands for the baseline",
            "degraded",
            ("PE",),
        ),
    )


def _summit(enhancement: NDArray[np.float64], peak: int, fraction: float) -> slice:
    """The stretch around the peak in which the curve stays above its share of the peak."""
    below = np.flatnonzero(enhancement < fraction * enhancement[peak])
    first = int(below[below < peak].max(initial=-1)) + 1
    last = int(below[below > peak].min(initial=enhancement.size))
    return slice(first, last)


def _maximum(time_s: NDArray[np.float64], power: NDArray[np.float64], degree: int) -> tuple[float, float]:
    """Position and height of the maximum of the least-squares polynomial, inside the stretch."""
    polynomial = np.polynomial.Polynomial.fit(time_s, power, min(degree, time_s.size - 1))
    fine = np.linspace(time_s[0], time_s[-1], 2001)
    values = polynomial(fine)
    best = int(np.argmax(values))
    return float(fine[best]), float(values[best])
