"""What a scene was made from: the numbers that a measurement should find."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.cine import Box, Spacing
from processing.frozen_arrays import frozen_array
from processing.simulation.kinetics import BolusTruth, ReplenishmentTruth


@dataclass(frozen=True, eq=False)
class CurveTruth:
    """The expected mean linear power of some pixels of the contrast panel, full scale = 1.

    time_s, power_au: float64 (frame,), baseline included. `peak_enhancement_au` is baseline-subtracted, at
    `time_to_peak_s` after the time zero of the cine: both from the noise-free kinetics within the clip (in a
    replenishment they are those of the flash). `bolus` or `replenishment`: all parameters of the pixels' one tissue,
    at its vascular volume and on the cine's clock; None where the pixels show several tissues.
    """

    label: str
    time_s: NDArray[np.float64]
    power_au: NDArray[np.float64]
    baseline_au: float
    peak_enhancement_au: float
    time_to_peak_s: float
    bolus: BolusTruth | None = None
    replenishment: ReplenishmentTruth | None = None

    def __post_init__(self) -> None:
        for name in ("time_s", "power_au"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), np.float64, 1))


@dataclass(frozen=True, eq=False)
class FlowTruth:
    """Every bubble in every frame, ordered by frame and bubble; arrays of one length.

    frame, bubble: int64. z_mm, x_mm: float64, from the centre of the panel's top-left pixel, tissue at rest.
    speed_mm_per_s: float64. peak_au: float64, peak power of the bubble's spot.
    """

    frame: NDArray[np.int64]
    z_mm: NDArray[np.float64]
    x_mm: NDArray[np.float64]
    bubble: NDArray[np.int64]
    speed_mm_per_s: NDArray[np.float64]
    peak_au: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("frame", "bubble"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), np.int64, 1))
        for name in ("z_mm", "x_mm", "speed_mm_per_s", "peak_au"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), np.float64, 1))


@dataclass(frozen=True, eq=False)
class SceneTruth:
    """Where everything in a scene is. Masks are bool (z, x) on the contrast panel, None where there is none.

    valid: pixels that show echo. displacement_mm: float64 (frame, 2), z and x. out_of_plane: bool (frame,).
    """

    contrast: Box | None
    bmode: Box | None
    spacing_mm: Spacing
    valid: NDArray[np.bool_]
    displacement_mm: NDArray[np.float64]
    out_of_plane: NDArray[np.bool_]
    lesion_mask: NDArray[np.bool_] | None = None
    reference_mask: NDArray[np.bool_] | None = None
    panel: CurveTruth | None = None
    lesion: CurveTruth | None = None
    reference: CurveTruth | None = None
    flow: FlowTruth | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "valid", frozen_array("valid", self.valid, np.bool_, 2))
        shifts = frozen_array("displacement_mm", self.displacement_mm, np.float64, 2)
        object.__setattr__(self, "displacement_mm", shifts)
        object.__setattr__(self, "out_of_plane", frozen_array("out_of_plane", self.out_of_plane, np.bool_, 1))
