"""Parameter images as Parametric Map objects: one quantity an object, float, in its UCUM unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from processing.frozen_arrays import frozen_array
from reports import codes
from reports.derived_grid import Grid, device_arguments, proxy_image, restore_source_references
from reports.errors import InvalidFindingsError
from reports.result_object import ResultContext, finish
from reports.secondary_capture import code_sequence_item

PADDING = -9999.0
"""Float Pixel Padding Value: "no value here". NaN would be lost in viewers that fit a window to the pixels."""


@dataclass(frozen=True, eq=False)
class QuantityMap:
    """One quantity over a grid. values: float32 (rows, columns), NaN where there is none. unit: UCUM.

    name: short, as printed ("PE"); concept: its code.
    """

    name: str
    concept: Code
    unit: str
    values: NDArray[np.float32]
    grid: Grid

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", frozen_array("values", self.values, np.float32, 2))
        if self.values.shape != (self.grid.rows, self.grid.columns):
            raise InvalidFindingsError(f"map {self.name} is {self.values.shape}, its grid {self.grid}")

    @property
    def range(self) -> tuple[float, float] | None:
        """Smallest and largest value, None where no pixel has one."""
        known = self.values[np.isfinite(self.values)]
        return (float(known.min()), float(known.max())) if known.size else None


def parametric_map(quantity: QuantityMap, context: ResultContext, index: int = 0) -> Dataset:
    """The map as a PM object; `index` is its place in the series of maps.

    Raises InvalidFindingsError when no pixel has a value: an empty map says nothing that the report does not.
    """
    if quantity.range is None:
        raise InvalidFindingsError(f"map {quantity.name} holds no value")
    low, high = quantity.range
    known = np.isfinite(quantity.values)
    window = hd.VOILUTTransformation(window_center=(low + high) / 2, window_width=max(high - low, 1e-6))
    made: Dataset = hd.pm.ParametricMap(
        source_images=[proxy_image(context, quantity.grid)],
        pixel_array=np.where(known, quantity.values, np.float32(PADDING))[np.newaxis],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_mapping(quantity, low, high)],
        voi_lut_transformations=[window],
        content_label="CEUS_MAP",
        content_description=f"{quantity.name}: {quantity.concept.meaning}"[:64],
        content_qualification="RESEARCH",
        **quantity.grid.arguments(),
        **context.series_arguments("pm", "CEUS parametric maps (research)", index),
        **device_arguments(context),
    )
    made.FloatPixelPaddingValue = made.FloatPixelPaddingRangeLimit = PADDING
    restore_source_references(made, context)
    _write_anatomy(made, context)
    finish(made, context)
    return made


def _mapping(quantity: QuantityMap, low: float, high: float) -> Any:
    return hd.pm.RealWorldValueMapping(
        lut_label=quantity.name[:16],
        lut_explanation=quantity.concept.meaning,
        unit=codes.ucum(quantity.unit),
        value_range=(low, high if high > low else low + 1e-6),
        slope=1.0,
        intercept=0.0,
        quantity_definition=quantity.concept,
    )


def _write_anatomy(made: Dataset, context: ResultContext) -> None:
    """Frame Anatomy is mandatory (PS3.3 A.75): the body as a whole, since no scanner says more in codes."""
    anatomy = Dataset()
    anatomy.FrameLaterality = {"L": "L", "R": "R", "B": "B"}.get(str(context.source.first.get("Laterality") or ""), "U")
    anatomy.AnatomicRegionSequence = [code_sequence_item(codes.BODY)]
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
