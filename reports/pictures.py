"""What pictures are made of: panel pixels of the reference frame, curves, and what is printed about the source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from processing.cine import Box, Spacing
from processing.frozen_arrays import frozen_array
from processing.roi import RoiLabel
from processing.tic import Tic
from reports.cine_capture import CineView
from reports.errors import InvalidFindingsError
from reports.findings import RoiFinding
from reports.quantity_maps import QuantityMap


@dataclass(frozen=True, eq=False)
class PanelView:
    """One panel of the source as it was displayed, cut out of its frame: nothing outside the panel is ever copied.

    pixels: uint8 (z, x) grey or (z, x, 3) RGB. box: where it lies in the full frame (contours are placed by it).
    """

    pixels: NDArray[np.uint8]
    box: Box

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", frozen_array("pixels", self.pixels, np.uint8, (2, 3)))
        if self.pixels.shape[:2] != (self.box.rows, self.box.columns):
            raise InvalidFindingsError(f"a view of {self.pixels.shape[:2]} pixels does not fill its box {self.box}")

    @property
    def rgb(self) -> NDArray[np.uint8]:
        return self.pixels if self.pixels.ndim == 3 else np.repeat(self.pixels[..., np.newaxis], 3, axis=2)


@dataclass(frozen=True, eq=False)
class Curve:
    """The curve that was read: a fitted model or the smoothed samples. time_s, power_au: float64, as in `Tic`."""

    label: RoiLabel
    time_s: NDArray[np.float64]
    power_au: NDArray[np.float64]
    legend: str

    def __post_init__(self) -> None:
        for name in ("time_s", "power_au"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), np.float64, 1))


@dataclass(frozen=True, eq=False)
class BaselineView:
    """The earlier study's panel with the outlines that were measured there (in its own full frame)."""

    view: PanelView
    rois: tuple[RoiFinding, ...]
    pixel_spacing_mm: Spacing | None


@dataclass(frozen=True, eq=False)
class EnhancementView:
    """What enhances in the lesion: classes uint8 (z, x) of the contrast panel, 0 outside, 1 enhances, 2 does not, 3 not
    assessable. The thresholds are those that made them."""

    title: str
    classes: NDArray[np.uint8]
    rise_db: float
    below_reference_db: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", frozen_array("classes", self.classes, np.uint8, 2))


@dataclass(frozen=True, eq=False)
class PictureInputs:
    """Everything the pages draw beside the findings.

    contrast: the contrast panel at the reference frame (the whole frame where no panel was found).
    tics, curves: by label. perfusion_maps: in the order they are shown (at most six). flow_maps: "density", "speed",
    "direction" of `quantity_maps.flow_quantity_maps`. baseline: of the earlier study compared with. cine: where the
    site wants the motion-corrected cine.
    frame_time_s: of the reference frame, after time zero; None without a time base. enhancement: where what does not
    enhance is a result of its own.
    """

    contrast: PanelView
    bmode: PanelView | None = None
    tics: tuple[Tic, ...] = ()
    curves: tuple[Curve, ...] = ()
    frame_time_s: float | None = None
    perfusion_maps: tuple[QuantityMap, ...] = ()
    flow_maps: Mapping[str, QuantityMap] = field(default_factory=dict)
    baseline: BaselineView | None = None
    cine: CineView | None = None
    enhancement: EnhancementView | None = None
