"""Masks as Segmentation objects (BINARY): lesion, reference parenchyma, vessels.

Linked to the report by tracking UIDs (highdicom's frame reference writes two exclusive attributes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from processing.frozen_arrays import frozen_array
from processing.roi import DrawnBy
from reports import codes
from reports.derived_grid import Grid, device_arguments, proxy_image, restore_source_references
from reports.errors import InvalidFindingsError
from reports.findings import Findings
from reports.model_use import ModelUse
from reports.result_object import ResultContext, finish

Structure = Literal["lesion", "reference", "vessels"]
STRUCTURES = {
    "lesion": ("Lesion", codes.ABNORMAL_STRUCTURE, codes.LESION, [230, 159, 0]),
    "reference": ("Reference parenchyma", codes.ANATOMICAL_STRUCTURE, codes.TISSUE, [86, 180, 233]),
    "vessels": ("Vessels", codes.ANATOMICAL_STRUCTURE, codes.BLOOD_VESSEL, [213, 94, 0]),
}
"""Label, property category, property type, and colour on dark ground (Okabe and Ito 2008)."""


@dataclass(frozen=True, eq=False)
class Segment:
    """One structure to store. mask: bool (rows, columns) of the grid. model: what drew it, where a model did."""

    structure: Structure
    mask: NDArray[np.bool_]
    tracking_uid: str
    drawn_by: DrawnBy
    number: int = 1
    model: ModelUse | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", frozen_array("mask", self.mask, np.bool_, 2))

    @property
    def label(self) -> str:
        name = STRUCTURES[self.structure][0]
        return f"{name} {self.number}" if self.structure == "lesion" else name


def segmentation(
    segments: Sequence[Segment], grid: Grid, findings: Findings, context: ResultContext, index: int = 0
) -> Dataset:
    """All segments of one grid as a SEG object on the reference frame; they may overlap.

    Without calibration there is no Frame of Reference: the masks are then laid on the source's own pixels, which only a
    grid of these pixels can be. Raises InvalidFindingsError for a mask that does not fit its grid, or such a grid.
    """
    for segment in segments:
        if segment.mask.shape != (grid.rows, grid.columns):
            raise InvalidFindingsError(f"{segment.label} is {segment.mask.shape}, its grid {grid.rows, grid.columns}")
    stacked = np.stack([segment.mask for segment in segments], axis=-1)
    if grid.pixel_mm is None:
        stacked, grid = _on_full_frame(stacked, grid, context)
    made: Dataset = hd.seg.Segmentation(
        source_images=[proxy_image(context, grid)],
        pixel_array=stacked[np.newaxis].astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[
            _description(segment, number, findings) for number, segment in enumerate(segments, start=1)
        ],
        content_label="CEUS_SEG",
        content_description="Regions of contrast-enhanced ultrasound",
        omit_empty_frames=False,
        **grid.arguments(),
        **context.series_arguments("seg", "CEUS segmentation (research)", index),
        **device_arguments(context),
    )
    if grid.pixel_mm is None:
        made.PatientOrientation = ""  # type 2C without a plane orientation; unknown, never invented
    restore_source_references(made, context)
    finish(made, context, {s.model.id: s.model for s in segments if s.model is not None}.values())
    return made


def _on_full_frame(stacked: NDArray[np.bool_], grid: Grid, context: ResultContext) -> tuple[NDArray[np.bool_], Grid]:
    top, left = grid.origin_px
    if grid.pitch_px != (1.0, 1.0) or top % 1 or left % 1:
        raise InvalidFindingsError("without calibration only a grid of the source's own pixels can be stored")
    rows, columns = int(context.source.first.Rows), int(context.source.first.Columns)
    whole = np.zeros((rows, columns, stacked.shape[2]), dtype=np.bool_)
    whole[int(top) : int(top) + grid.rows, int(left) : int(left) + grid.columns] = stacked
    return whole, Grid(rows, columns)


def _description(segment: Segment, number: int, findings: Findings) -> hd.seg.SegmentDescription:
    _, category, kind, colour = STRUCTURES[segment.structure]
    by_hand = segment.drawn_by == "reader"
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type="MANUAL" if by_hand else "AUTOMATIC",
        algorithm_identification=None if by_hand else _algorithm(segment, findings),
        tracking_uid=segment.tracking_uid,
        tracking_id=segment.label,
        display_color=hd.color.CIELabColor.from_rgb(*colour),
    )


def _algorithm(segment: Segment, findings: Findings) -> hd.AlgorithmIdentificationSequence:
    model, software = segment.model, findings.software
    if model is None:
        family = codes.own("BY_FILE" if segment.drawn_by == "file" else "BY_RULE")
        return hd.AlgorithmIdentificationSequence(
            name=f"{software.name} region", version=software.version, family=family
        )
    return hd.AlgorithmIdentificationSequence(
        name=model.id,
        version=model.version,
        family=codes.ARTIFICIAL_INTELLIGENCE,
        parameters={"onnx_sha256": model.sha256, "state": model.state},
    )
