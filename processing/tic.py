"""Time-intensity curves: the mean linear echo power of a ROI in each frame.

Linearised per pixel first, averaged afterwards: averaging grey levels costs 45 % of the peak (docs/perfusion.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.cine import Cine
from processing.errors import InvalidValueError
from processing.frozen_arrays import frozen_array
from processing.roi import Roi


@dataclass(frozen=True, eq=False)
class Tic:
    """A time-intensity curve of one ROI.

    time_s, power_au: float64 (frame,), power linear, baseline not subtracted. rejected: bool (frame,), frames that no
    fit may use (motion, flash). effective_samples: number of independent speckles in the ROI where it is known.
    """

    time_s: NDArray[np.float64]
    power_au: NDArray[np.float64]
    rejected: NDArray[np.bool_]
    label: str
    effective_samples: float | None = None

    def __post_init__(self) -> None:
        for name, dtype in (("time_s", np.float64), ("power_au", np.float64), ("rejected", np.bool_)):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), dtype, 1))
        if not self.time_s.size == self.power_au.size == self.rejected.size:
            raise InvalidValueError("time_s, power_au and rejected must have one value a frame")


def time_intensity_curve(cine: Cine, roi: Roi, rejected: NDArray[np.bool_] | None = None) -> Tic:
    """Mean linear power of the valid pixels of `roi` in every frame of `cine`."""
    inside = roi.mask & cine.valid
    if roi.mask.shape != cine.valid.shape:
        raise InvalidValueError(f"the {roi.label} ROI is {roi.mask.shape}, the contrast panel {cine.valid.shape}")
    if not inside.any():
        raise InvalidValueError(f"no pixel of the {roi.label} ROI shows echo (all masked as burned-in or unscanned)")
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    share = (inside[box] / np.float32(inside.sum())).astype(np.float32).ravel()
    # One frame at a time: fancy indexing of the whole stack would copy the ROI of every frame at once.
    power = np.array([frame[box].ravel() @ share for frame in cine.contrast], np.float64)
    none = np.zeros(power.size, dtype=np.bool_)
    return Tic(cine.frame_times_s, power, none if rejected is None else rejected, roi.label)
