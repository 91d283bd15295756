"""Masks out of Segmentation objects, ours or a reader's, on the pixels of the source they were drawn on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from processing.cine import Spacing
from processing.frozen_arrays import frozen_array
from processing.roi import RoiLabel
from reports import codes
from reports.errors import UnreadableObjectError
from reports.read_back.labels import label_of
from reports.read_back.report import code_of, key

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
SEGMENTATIONS = {SEGMENTATION: ("BINARY", "FRACTIONAL"), "1.2.840.10008.5.1.4.1.1.66.7": ("LABELMAP",)}
"""SOP classes with the segmentation types (PS3.3 C.8.20.2) that are read."""
HALF = 0.5
"""A fractional mask holds the pixels of at least this probability or occupancy."""


@dataclass(frozen=True, eq=False)
class SegmentMask:
    """One segment in one frame. mask: bool (rows, columns) of the SEG's own grid.

    sop_instance_uid, frame_number: of the image it was drawn on ("" and None where the SEG names none). spacing_mm,
    position_mm: the grid in its Frame of Reference; None where the SEG has none and lies on the image's own pixels.
    fractional: cut at one half.
    """

    mask: NDArray[np.bool_]
    label: RoiLabel | None
    segment_label: str
    tracking_uid: str
    sop_instance_uid: str
    frame_number: int | None
    frame_of_reference_uid: str
    spacing_mm: Spacing | None
    position_mm: tuple[float, float, float] | None
    fractional: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "mask", frozen_array("mask", self.mask, np.bool_, 2))

    def on_frame(self, rows: int, columns: int, pixel_mm: Spacing | None) -> NDArray[np.bool_]:
        """The mask on the full frame of its image: nearest grid pixel to each source pixel's centre.

        Raises UnreadableObjectError where the grids cannot belong together: other size without a Frame of Reference,
        another calibration, or a grid that lies outside of the frame.
        """
        if self.spacing_mm is None or self.position_mm is None:
            if self.mask.shape != (rows, columns):
                raise UnreadableObjectError(f"the mask is {self.mask.shape} pixels, its image {(rows, columns)}")
            return self.mask
        if pixel_mm is None:
            raise UnreadableObjectError("the mask is in mm, its image has no calibration")
        z = (np.arange(rows) * pixel_mm.z_mm - self.position_mm[1]) / self.spacing_mm.z_mm
        x = (np.arange(columns) * pixel_mm.x_mm - self.position_mm[0]) / self.spacing_mm.x_mm
        row, column = np.round(z).astype(int), np.round(x).astype(int)
        inside_z, inside_x = (row >= 0) & (row < self.mask.shape[0]), (column >= 0) & (column < self.mask.shape[1])
        whole = np.zeros((rows, columns), dtype=np.bool_)
        whole[np.ix_(inside_z, inside_x)] = self.mask[np.ix_(row[inside_z], column[inside_x])]
        if self.mask.any() and not whole.any():
            raise UnreadableObjectError("the mask lies outside of its image")
        return whole


def read_masks(dataset: Dataset) -> tuple[SegmentMask, ...]:
    """Every non-empty segment and frame of a segmentation: BINARY, FRACTIONAL (cut at one half) or LABELMAP.

    Raises UnreadableObjectError for another class or type, and where every segment is empty.
    """
    types = SEGMENTATIONS.get(str(dataset.get("SOPClassUID")))
    if types is None:
        raise UnreadableObjectError(f"SOP class {dataset.get('SOPClassUID')} is no segmentation")
    if dataset.get("SegmentationType") not in types:
        raise UnreadableObjectError(
            f"segmentation type {dataset.get('SegmentationType')} is not read in this class, only {' and '.join(types)}"
        )
    found = tuple(mask for mask in _frames(dataset) if mask.mask.any())
    if not found:
        raise UnreadableObjectError("every segment is empty")
    return found


def _frames(dataset: Dataset) -> Iterator[SegmentMask]:
    pixels = np.asarray(dataset.pixel_array)
    pixels = pixels[np.newaxis] if pixels.ndim == 2 else pixels
    segments = {int(segment.SegmentNumber): segment for segment in dataset.SegmentSequence}
    shared = dataset.get("SharedFunctionalGroupsSequence", [Dataset()])[0]
    for frame, groups in zip(pixels, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        uid, number = _source(groups, shared)
        spacing, position = _geometry(groups, shared)
        for segment_number, mask in _masks(dataset, frame, groups, shared):
            segment = segments[segment_number]
            yield SegmentMask(
                mask=mask,
                label=_label(segment),
                segment_label=str(segment.SegmentLabel),
                tracking_uid=str(segment.get("TrackingUID") or ""),
                sop_instance_uid=uid,
                frame_number=number,
                frame_of_reference_uid=str(dataset.get("FrameOfReferenceUID") or ""),
                spacing_mm=spacing,
                position_mm=position,
                fractional=dataset.SegmentationType == "FRACTIONAL",
            )


def _masks(
    dataset: Dataset, frame: NDArray[Any], groups: Dataset, shared: Dataset
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """The segments in a frame by their number: one, or in a label map each whose number stands in it."""
    if dataset.SegmentationType == "LABELMAP":  # 0, or Pixel Padding Value, is where no segment is (PS3.3 C.8.20.2)
        for number in np.unique(frame):
            if number not in (0, dataset.get("PixelPaddingValue", 0)):
                yield int(number), frame == number
        return
    identified = groups.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
    number = int(identified[0].ReferencedSegmentNumber)
    if dataset.SegmentationType == "FRACTIONAL":
        yield number, frame >= HALF * int(dataset.MaximumFractionalValue)
    else:
        yield number, frame.astype(np.bool_)


def _label(segment: Dataset) -> RoiLabel | None:
    kind = code_of(segment.get("SegmentedPropertyTypeCodeSequence"))
    named = label_of(str(segment.SegmentLabel))
    lesions = {key(codes.LESION), ("108369006", "SCT")}
    return "lesion" if named is None and kind is not None and key(kind) in lesions else named


def _source(groups: Dataset, shared: Dataset) -> tuple[str, int | None]:
    derived = groups.get("DerivationImageSequence") or shared.get("DerivationImageSequence")
    images = derived[0].get("SourceImageSequence") if derived else None
    if not images:
        return "", None
    frames = images[0].get("ReferencedFrameNumber")
    number = frames if isinstance(frames, (int, type(None))) else frames[0]
    return str(images[0].ReferencedSOPInstanceUID), None if number is None else int(number)


def _geometry(groups: Dataset, shared: Dataset) -> tuple[Spacing | None, tuple[float, float, float] | None]:
    measures = groups.get("PixelMeasuresSequence") or shared.get("PixelMeasuresSequence")
    planes = groups.get("PlanePositionSequence") or shared.get("PlanePositionSequence")
    if not measures or not planes:
        return None, None
    z_mm, x_mm = map(float, measures[0].PixelSpacing)
    x, y, z = map(float, planes[0].ImagePositionPatient)
    return Spacing(z_mm, x_mm), (x, y, z)
