"""Where masks and maps lie: a pixel grid in the cine's synthetic Frame of Reference.

An ultrasound cine carries no Frame of Reference, and SEG and Parametric Map want one (highdicom 0.28 issue #284, PS3.3
A.75). So one is made for each cine: the image plane is x, y in mm from the centre of the full frame's top-left pixel,
z = 0. It says nothing about the patient, and the objects of one cine share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import highdicom as hd
from pydicom.dataset import Dataset

from processing.cine import Box, Spacing
from reports.equipment import MODEL_NAME
from reports.result_object import ResultContext

ULTRASOUND_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
SLICE_THICKNESS_MM = 1.0
"""Type 1C in the objects, unknown in ultrasound: the nominal value that the plane's display needs."""


@dataclass(frozen=True)
class Grid:
    """A grid of square or oblong pixels. origin_mm: (z, x) of the centre of its top-left pixel."""

    rows: int
    columns: int
    spacing_mm: Spacing
    origin_mm: tuple[float, float] = (0.0, 0.0)

    @staticmethod
    def of_box(box: Box, spacing_mm: Spacing) -> Grid:
        """The source's own pixels inside `box`."""
        origin = (box.y0 * spacing_mm.z_mm, box.x0 * spacing_mm.x_mm)
        return Grid(box.rows, box.columns, spacing_mm, origin)

    def arguments(self) -> dict[str, Any]:
        """Pixel measures, plane orientation and position as highdicom takes them."""
        z_mm, x_mm = self.origin_mm
        spacing = [float(self.spacing_mm.z_mm), float(self.spacing_mm.x_mm)]
        return {
            "pixel_measures": hd.PixelMeasuresSequence(pixel_spacing=spacing, slice_thickness=SLICE_THICKNESS_MM),
            "plane_orientation": hd.PlaneOrientationSequence("PATIENT", [1, 0, 0, 0, 1, 0]),
            "plane_positions": [hd.PlanePositionSequence("PATIENT", [x_mm, z_mm, 0.0])],
        }


def proxy_image(context: ResultContext, grid: Grid) -> Dataset:
    """A single-frame stand-in of the reference frame on `grid`: highdicom takes no multi-frame ultrasound source."""
    proxy = next(each for each in context.source.evidence() if each.SOPInstanceUID == context.frame.sop_instance_uid)
    proxy.SOPClassUID = ULTRASOUND_IMAGE
    proxy.Modality = "US"
    if "NumberOfFrames" in proxy:
        del proxy.NumberOfFrames
    proxy.Rows, proxy.Columns = grid.rows, grid.columns
    proxy.FrameOfReferenceUID = context.identity.frame_of_reference_uid
    proxy.PositionReferenceIndicator = ""
    proxy.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    proxy.ImagePositionPatient = [grid.origin_mm[1], grid.origin_mm[0], 0.0]
    proxy.PixelSpacing = [float(grid.spacing_mm.z_mm), float(grid.spacing_mm.x_mm)]
    proxy.SliceThickness = SLICE_THICKNESS_MM
    return proxy


def restore_source_references(dataset: Dataset, context: ResultContext) -> None:
    """Replace the stand-in in all references by the true class of the source and the frame that was meant."""
    frame = context.frame
    for series in dataset.get("ReferencedSeriesSequence", ()):  # shares its items with the derivation: part them
        series.ReferencedInstanceSequence = deepcopy(list(series.ReferencedInstanceSequence))
    for parent, item in referencing_items(dataset):
        if item.get("ReferencedSOPInstanceUID") == frame.sop_instance_uid:
            item.ReferencedSOPClassUID = frame.sop_class_uid
            if parent == "SourceImageSequence" and frame.frame_number is not None:
                item.ReferencedFrameNumber = frame.frame_number


def device_arguments(context: ResultContext) -> dict[str, Any]:
    """The device as the constructors of SEG, maps and presentation states want it."""
    return {
        "manufacturer_model_name": MODEL_NAME,
        "software_versions": context.equipment.software_version,
        "device_serial_number": context.equipment.serial_number,
        "content_creator_name": f"{MODEL_NAME}^",
    }


def referencing_items(dataset: Dataset) -> Iterator[tuple[str, Dataset]]:
    """Every item of every sequence, with the keyword of the sequence it lies in."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield element.keyword, item
                yield from referencing_items(item)
