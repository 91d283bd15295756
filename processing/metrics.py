"""Measured values: an estimate with its 95 % interval, and the set of bolus parameters.

Definitions: docs/perfusion.md; names follow the field (Strouthos et al. 2010, IEEE TUFFC 57:1296).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A measured value with its 95 % confidence interval; `low` and `high` are None where none can be stated."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class PerfusionMetrics:
    """Parameters of one bolus curve. None: no such value, and a limitation says why.

    Times are seconds after the cine's time zero (arrival, time to peak, model_t0) or durations; amplitudes are linear
    echo power in arbitrary units. `model` is "none" (read from the smoothed curve), "log-normal", "gamma variate",
    "LDRW" or "FPT". `quality_of_fit_percent` is 100 R^2.
    """

    model: str
    r2: float | None = None
    peak_enhancement_au: Estimate | None = None
    arrival_time_s: Estimate | None = None
    time_to_peak_s: Estimate | None = None
    rise_time_s: Estimate | None = None
    fall_time_s: Estimate | None = None
    wash_in_rate_au_per_s: Estimate | None = None
    wash_out_rate_au_per_s: Estimate | None = None
    wash_in_auc_au_s: Estimate | None = None
    wash_out_auc_au_s: Estimate | None = None
    wash_in_wash_out_auc_au_s: Estimate | None = None
    wash_in_perfusion_index_au: Estimate | None = None
    auc_au_s: Estimate | None = None
    mean_transit_time_s: Estimate | None = None
    mean_transit_time_local_s: Estimate | None = None
    quality_of_fit_percent: Estimate | None = None
    model_t0_s: Estimate | None = None


@dataclass(frozen=True)
class MapSampling:
    """What one value of a map averages: an area (depth by width, mm; None without calibration) and its independent
    speckles. fitted_percent: share of such samples inside the mask whose curve could be fitted."""

    depth_mm: float | None
    width_mm: float | None
    speckles: float
    fitted_percent: float

    @property
    def edges(self) -> str:
        """As printed beside a map; empty without calibration."""
        if self.depth_mm is None or self.width_mm is None:
            return ""
        return f"{self.depth_mm:.1f} x {self.width_mm:.1f} mm"
