"""Regions of interest: masks on the contrast panel with a name and an author.

Say Roi, not region: in DICOM ultrasound a region is a calibrated image area.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from processing.cine import Spacing
from processing.errors import InvalidValueError
from processing.frozen_arrays import frozen_array

RoiLabel = Literal["lesion", "reference", "panel"]
DrawnBy = Literal["model", "reader", "file", "rule"]


@dataclass(frozen=True, eq=False)
class Roi:
    """A region of interest. mask: bool (z, x) on the contrast panel, at least one pixel.

    `drawn_by` "rule" is a mask that follows from a stated rule (the whole panel, the reference beside a lesion).
    """

    mask: NDArray[np.bool_]
    label: RoiLabel
    drawn_by: DrawnBy
    confirmed: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", frozen_array("mask", self.mask, np.bool_, 2))
        if not self.mask.any():
            raise InvalidValueError(f"the {self.label} ROI is empty")

    def area_mm2(self, spacing_mm: Spacing | None) -> float | None:
        """Area of the mask, None without calibration."""
        return None if spacing_mm is None else float(self.mask.sum() * spacing_mm.z_mm * spacing_mm.x_mm)


def panel_roi(valid: NDArray[np.bool_]) -> Roi:
    """The whole valid contrast panel: label `panel`, so no lesion code, no ratio and no comparison follow."""
    return Roi(mask=valid.copy(), label="panel", drawn_by="rule")
