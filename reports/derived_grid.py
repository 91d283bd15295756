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

from processing.bubbles import FlowMaps
from processing.cine import Box, Spacing
from reports.equipment import MODEL_NAME
from reports.errors import InvalidFindingsError
from reports.result_object import ResultContext

ULTRASOUND_IMAGE = "1.2.840.10008.5.1.4.1.1.6.1"
SLICE_THICKNESS_MM = 1.0
"""Type 1C in the objects, unknown in ultrasound: the nominal value that the plane's display needs."""


@dataclass(frozen=True)
class Grid:
    """A grid of pixels laid over the source's full frame.

    pitch_px: (z, x) size of a grid pixel in source pixels. origin_px: (z, x) of the centre of its top-left pixel, where
    the centre of the full frame's top-left pixel is (0, 0). pixel_mm: the source's calibration, None without one.
    """

    rows: int
    columns: int
    pitch_px: tuple[float, float] = (1.0, 1.0)
    origin_px: tuple[float, float] = (0.0, 0.0)
    pixel_mm: Spacing | None = None

    @staticmethod
    def over_box(box: Box, shape: tuple[int, ...], pixel_mm: Spacing | None) -> Grid:
        """A grid of any resolution that covers `box` exactly."""
        pitch = (box.rows / shape[0], box.columns / shape[1])
        return Grid(shape[0], shape[1], pitch, (box.y0 + (pitch[0] - 1) / 2, box.x0 + (pitch[1] - 1) / 2), pixel_mm)

    @staticmethod
    def of_flow_maps(maps: FlowMaps, box: Box, pixel_mm: Spacing) -> Grid:
        """The grid of super-resolved maps of the panel in `box`."""
        pitch = (maps.pixel_mm.z_mm / pixel_mm.z_mm, maps.pixel_mm.x_mm / pixel_mm.x_mm)
        origin = (box.y0 + maps.origin_mm[0] / pixel_mm.z_mm, box.x0 + maps.origin_mm[1] / pixel_mm.x_mm)
        return Grid(maps.density.shape[0], maps.density.shape[1], pitch, origin, pixel_mm)

    @property
    def extent_px(self) -> tuple[float, float, float, float]:
        """left, right, bottom, top edges in the full frame."""
        (pitch_z, pitch_x), (z, x) = self.pitch_px, self.origin_px
        left, top = x - pitch_x / 2, z - pitch_z / 2
        return left, left + self.columns * pitch_x, top + self.rows * pitch_z, top

    @property
    def spacing_mm(self) -> list[float]:
        """Between rows and between columns. Raises InvalidFindingsError without calibration."""
        if self.pixel_mm is None:
            raise InvalidFindingsError("a source without calibration has no grid in mm")
        return [self.pitch_px[0] * self.pixel_mm.z_mm, self.pitch_px[1] * self.pixel_mm.x_mm]

    @property
    def position_mm(self) -> list[float]:
        """Image Position of the synthetic Frame of Reference: x, y, 0."""
        if self.pixel_mm is None:
            raise InvalidFindingsError("a source without calibration has no grid in mm")
        return [self.origin_px[1] * self.pixel_mm.x_mm, self.origin_px[0] * self.pixel_mm.z_mm, 0.0]

    def arguments(self) -> dict[str, Any]:
        """Pixel measures, plane orientation and position as highdicom takes them; none without calibration."""
        if self.pixel_mm is None:
            return {}
        return {
            "pixel_measures": hd.PixelMeasuresSequence(self.spacing_mm, SLICE_THICKNESS_MM),
            "plane_orientation": hd.PlaneOrientationSequence("PATIENT", [1, 0, 0, 0, 1, 0]),
            "plane_positions": [hd.PlanePositionSequence("PATIENT", self.position_mm)],
        }


def proxy_image(context: ResultContext, grid: Grid) -> Dataset:
    """A single-frame stand-in of the reference frame on `grid`: highdicom takes no multi-frame ultrasound source."""
    proxy = next(each for each in context.source.evidence() if each.SOPInstanceUID == context.frame.sop_instance_uid)
    proxy.SOPClassUID = ULTRASOUND_IMAGE
    proxy.Modality = "US"
    if "NumberOfFrames" in proxy:
        del proxy.NumberOfFrames
    proxy.Rows, proxy.Columns = grid.rows, grid.columns
    if grid.pixel_mm is None:  # nothing to lay a frame of reference in: the pixels of the source are the reference
        return proxy
    proxy.FrameOfReferenceUID = context.identity.frame_of_reference_uid
    proxy.PositionReferenceIndicator = ""
    proxy.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    proxy.ImagePositionPatient = grid.position_mm
    proxy.PixelSpacing = grid.spacing_mm
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
