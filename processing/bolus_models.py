"""Bolus curves in seconds and arbitrary units: the same-named physical layer over `processing.kernels.bolus`.

Every parameter is read off the model, never off the noisy samples; definitions in docs/perfusion.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from processing.errors import InvalidValueError
from processing.kernels import bolus as kernel

ModelName = Literal["log-normal", "gamma variate", "LDRW", "FPT"]
MODELS: tuple[ModelName, ...] = ("log-normal", "gamma variate", "LDRW", "FPT")

SHAPE_BOUNDS: dict[ModelName, tuple[float, float]] = {
    "log-normal": (0.05, 3.0),  # initialisation that never failed, docs/perfusion.md
    "gamma variate": (1.2, 400.0),  # a > 1: the curve starts flat; 400 is the width 0.05 of the log-normal
    "LDRW": (0.05, 400.0),
    "FPT": (0.05, 400.0),
}

FIELDS: tuple[str, ...] = (
    "peak_enhancement_au",
    "arrival_time_s",
    "time_to_peak_s",
    "rise_time_s",
    "fall_time_s",
    "wash_in_rate_au_per_s",
    "wash_out_rate_au_per_s",
    "wash_in_auc_au_s",
    "wash_out_auc_au_s",
    "wash_in_wash_out_auc_au_s",
    "wash_in_perfusion_index_au",
    "auc_au_s",
    "mean_transit_time_s",
    "mean_transit_time_local_s",
    "model_t0_s",
)
"""Fields of PerfusionMetrics in the order of `kernel.characteristics`."""

ABSOLUTE_TIMES = frozenset({"arrival_time_s", "time_to_peak_s", "model_t0_s"})
"""Instants: their intervals are additive, while durations and amplitudes are positive and get ratio intervals."""
AMPLITUDES = frozenset(field for field in FIELDS if "_au" in field)

SHORT_NAMES: dict[str, str] = {
    "PE": "peak_enhancement_au",
    "AT": "arrival_time_s",
    "TTP": "time_to_peak_s",
    "RT": "rise_time_s",
    "FT": "fall_time_s",
    "WiR": "wash_in_rate_au_per_s",
    "WoR": "wash_out_rate_au_per_s",
    "WiAUC": "wash_in_auc_au_s",
    "WoAUC": "wash_out_auc_au_s",
    "WiWoAUC": "wash_in_wash_out_auc_au_s",
    "WiPI": "wash_in_perfusion_index_au",
    "AUC": "auc_au_s",
    "mTT": "mean_transit_time_s",
    "mTTl": "mean_transit_time_local_s",
    "t0": "model_t0_s",
    "QOF": "quality_of_fit_percent",
}
"""The field's own abbreviations, as findings.json and the pictures print them."""


@dataclass(frozen=True)
class BolusCurve:
    """One member of a model's family: area A, location and shape as `processing.kernels.bolus` defines them."""

    model: ModelName
    area_au_s: float
    location: float
    shape: float
    t0_s: float
    offset_au: float = 0.0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InvalidValueError(f"no bolus model {self.model!r}")
        if not (self.area_au_s > 0 and self.shape > 0):
            raise InvalidValueError("area and shape of a bolus must be positive")

    @property
    def theta(self) -> NDArray[np.float64]:
        """float64 (5,) as the kernels take it."""
        return np.array(
            [math.log(self.area_au_s), self.location, math.log(self.shape), self.t0_s, self.offset_au], np.float64
        )

    def power_au(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Linear power with the offset at these times."""
        power = np.empty(time_s.size)
        # A copy is writable: read-only times would compile the kernel a second time.
        kernel.curve(MODELS.index(self.model), self.theta, np.array(time_s, np.float64), power)
        return power

    def characteristics(self) -> dict[str, float]:
        """Every parameter of `FIELDS`, without intervals."""
        return dict(zip(FIELDS, characteristics(self.model, self.theta), strict=True))


def characteristics(model: ModelName, theta: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 (len(FIELDS),): what is read off the curve with these parameters."""
    out = np.empty(kernel.CHARACTERISTICS)
    kernel.characteristics(MODELS.index(model), np.ascontiguousarray(theta, np.float64), out)
    return out[: len(FIELDS)]
