"""Parameter images as Parametric Map objects: one quantity an object, float, in its UCUM unit."""

from __future__ import annotations

from typing import Any

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from reports import codes
from reports.derived_grid import device_arguments, proxy_image, restore_source_references
from reports.errors import InvalidFindingsError
from reports.quantity_maps import QuantityMap
from reports.result_object import ResultContext, finish

PADDING = -9999.0
"""Float Pixel Padding Value: "no value here". NaN would be lost in viewers that fit a window to the pixels."""


def parametric_map(quantity: QuantityMap, context: ResultContext, index: int = 0) -> Dataset:
    """The map as a PM object; `index` is its place in the series of maps.

    Raises InvalidFindingsError when no pixel has a value: an empty map says nothing that the report does not.
    """
    if quantity.range is None:
        raise InvalidFindingsError(f"map {quantity.name} holds no value")
    low, high = quantity.range
    known = np.isfinite(quantity.values)
    # LINEAR needs a width of at least 1 (PS3.3 C.11.2.1.2.1), and amplitudes are small numbers.
    width = high - low or max(abs(low), 1.0) * 1e-3
    window = hd.VOILUTTransformation((low + high) / 2, width, voi_lut_function="LINEAR_EXACT")
    made: Dataset = hd.pm.ParametricMap(
        source_images=[proxy_image(context, quantity.grid)],
        pixel_array=np.where(known, quantity.values, np.float32(PADDING))[np.newaxis],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_mapping(quantity, low, high)],
        voi_lut_transformations=[window],
        content_label="CEUS_MAP",
        content_description=_description(quantity),
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


def _description(quantity: QuantityMap) -> str:
    """Content Description (LO): what is shown, and how fine it truly is. The pixels alone would promise more."""
    resolution = f", {quantity.resolution}" if quantity.resolution else ""
    return f"{quantity.name}: {quantity.meaning}{resolution}"[:64]


def _mapping(quantity: QuantityMap, low: float, high: float) -> Any:
    return hd.pm.RealWorldValueMapping(
        lut_label=quantity.name[:16],
        lut_explanation=quantity.meaning,
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
    anatomy.AnatomicRegionSequence = [codes.sequence_item(codes.BODY)]
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
