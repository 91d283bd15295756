"""The bolus parameters by their names in the field: symbol, where the value lives, unit, meaning.

One table for findings.json, the structured report, the pictures and the CSV files, so that they cannot disagree.
Definitions: docs/perfusion.md; Strouthos et al. 2010, IEEE TUFFC 57:1296 (log-normal model).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from processing.metrics import Estimate, PerfusionMetrics

Kind = Literal["amplitude", "time after time zero", "duration", "quality", "model"]


@dataclass(frozen=True)
class PerfusionParameter:
    """One bolus parameter. `attribute` is its field in `PerfusionMetrics`, `unit` is UCUM.

    `kind` decides what may be derived from it: only amplitudes and slopes make a lesion/reference ratio, only times
    make a difference, and a time after time zero means something absolute only where time zero is the injection.
    """

    symbol: str
    attribute: str
    unit: str
    meaning: str
    kind: Kind

    def of(self, metrics: PerfusionMetrics) -> Estimate | None:
        """The value in these metrics, None where it does not exist."""
        estimate: Estimate | None = getattr(metrics, self.attribute)
        return estimate


PERFUSION_PARAMETERS: tuple[PerfusionParameter, ...] = (
    PerfusionParameter("PE", "peak_enhancement_au", "[arb'U]", "Peak enhancement", "amplitude"),
    PerfusionParameter("AT", "arrival_time_s", "s", "Arrival time", "time after time zero"),
    PerfusionParameter("TTP", "time_to_peak_s", "s", "Time to peak", "time after time zero"),
    PerfusionParameter("RT", "rise_time_s", "s", "Rise time", "duration"),
    PerfusionParameter("FT", "fall_time_s", "s", "Fall time", "duration"),
    PerfusionParameter("WiR", "wash_in_rate_au_per_s", "[arb'U]/s", "Wash-in rate", "amplitude"),
    PerfusionParameter("WoR", "wash_out_rate_au_per_s", "[arb'U]/s", "Wash-out rate", "amplitude"),
    PerfusionParameter("WiAUC", "wash_in_auc_au_s", "[arb'U].s", "Wash-in area under the curve", "amplitude"),
    PerfusionParameter("WoAUC", "wash_out_auc_au_s", "[arb'U].s", "Wash-out area under the curve", "amplitude"),
    PerfusionParameter(
        "WiWoAUC", "wash_in_wash_out_auc_au_s", "[arb'U].s", "Wash-in and wash-out area under the curve", "amplitude"
    ),
    PerfusionParameter("WiPI", "wash_in_perfusion_index_au", "[arb'U]", "Wash-in perfusion index", "amplitude"),
    PerfusionParameter("AUC", "auc_au_s", "[arb'U].s", "Area under the curve", "amplitude"),
    PerfusionParameter("mTT", "mean_transit_time_s", "s", "Mean transit time", "duration"),
    PerfusionParameter("mTTl", "mean_transit_time_local_s", "s", "Mean transit time, local", "duration"),
    PerfusionParameter("QOF", "quality_of_fit_percent", "%", "Quality of fit", "quality"),
    PerfusionParameter("t0", "model_t0_s", "s", "Model time offset", "model"),
)

BY_SYMBOL: dict[str, PerfusionParameter] = {parameter.symbol: parameter for parameter in PERFUSION_PARAMETERS}

RATIO_SYMBOLS = ("PE", "WiR", "WoR", "WiAUC", "WoAUC", "WiWoAUC", "WiPI", "AUC")
"""Amplitudes and slopes: absolute a.u. are not comparable between settings, their lesion/reference ratios are."""

DIFFERENCE_SYMBOLS = ("AT", "TTP", "RT", "FT", "mTT")
"""Times: lesion minus reference, free of when somebody pressed store."""

HETEROGENEITY_UNITS = {"cov": "1", "entropy": "1", "quartile_coefficient": "1"}
