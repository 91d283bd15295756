"""What a reader's viewer sends back, written by hand as viewers write it: none of our own writers is involved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import pack_bits
from pydicom.uid import ExplicitVRLittleEndian

from tests.dicom_node.network_scenes import uid_of

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
GSPS, CSPS = "1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.5.1.4.1.1.11.2"
PSEUDO_COLOUR, BLENDING = "1.2.840.10008.5.1.4.1.1.11.3", "1.2.840.10008.5.1.4.1.1.11.4"
SR = "1.2.840.10008.5.1.4.1.1.88.33"
COPIED = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime")
LESION, REFERENCE = ("52988006", "SCT", "Lesion"), ("121071", "99VIEWER", "Reference tissue")
Graphic = Literal["POLYLINE", "ELLIPSE", "CIRCLE"]


@dataclass(frozen=True)
class Drawn:
    """One object drawn on an image. image: any dataset of the patient and study that it belongs to, with its UIDs.

    target: SOP class and instance that it is drawn on, the image itself by default. frame from 1, None: not said.
    """

    image: Dataset
    number: int = 1
    frame: int | None = None
    target: tuple[str, str] | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def sop_instance_uid(self) -> str:
        return uid_of(77, self.number)

    def presentation_state(self, graphic: Graphic, data: Sequence[float], words: str = "", kind: str = GSPS) -> Dataset:
        """A graphic in PIXEL units, with a text object where there are words."""
        made = self._object(kind, "PR")
        shape = Dataset()
        shape.GraphicAnnotationUnits, shape.GraphicDimensions, shape.GraphicType = "PIXEL", 2, graphic
        shape.NumberOfGraphicPoints, shape.GraphicData, shape.GraphicFilled = len(data) // 2, list(data), "N"
        annotation = Dataset()
        annotation.GraphicLayer = "LAYER1"
        annotation.ReferencedImageSequence = [self._reference()]
        annotation.GraphicObjectSequence = [shape]
        if words:
            text = Dataset()
            text.UnformattedTextValue = words
            annotation.TextObjectSequence = [text]
        made.GraphicAnnotationSequence = [annotation]
        return made

    def report(self, outlines: Sequence[tuple[tuple[str, str, str], Sequence[float]]]) -> Dataset:
        """A measurement group for each (finding, closed polyline)."""
        made = self._object(SR, "SR")
        made.ValueType = "CONTAINER"
        made.ContentSequence = []
        for finding, data in outlines:
            found = _item("CODE", ("121071", "DCM", "Finding"))
            found.ConceptCodeSequence = [_code(*finding)]
            drawn = _item("SCOORD", ("111030", "DCM", "Image Region"))
            drawn.GraphicType, drawn.GraphicData = "POLYLINE", list(data)
            image = _item("IMAGE", None)
            image.ReferencedSOPSequence = [self._reference()]
            drawn.ContentSequence = [image]
            group = _item("CONTAINER", ("125007", "DCM", "Measurement Group"))
            group.ContentSequence = [found, drawn]
            made.ContentSequence.append(group)
        return made

    def report_in_space(
        self, finding: tuple[str, str, str], points_mm: Sequence[tuple[float, ...]], place: str
    ) -> Dataset:
        """A measurement group with a planar polygon in a Frame of Reference: it names no image."""
        made = self.report([(finding, [])])
        (group,) = made.ContentSequence
        drawn = _item("SCOORD3D", ("111030", "DCM", "Image Region"))
        drawn.GraphicType, drawn.ReferencedFrameOfReferenceUID = "POLYGON", place
        drawn.GraphicData = [value for point in (*points_mm, points_mm[0]) for value in point]
        group.ContentSequence[1] = drawn
        made.SOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"  # Comprehensive 3D SR: the others hold none
        return made

    def label_map(self, masks: dict[str, NDArray[np.bool_]]) -> Dataset:
        """One frame, in which each pixel holds the number of its segment; 0 is named as the background."""
        made = self.segmentation(masks)
        made.SOPClassUID, made.SegmentationType, made.NumberOfFrames = LABEL_MAP, "LABELMAP", 1
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelPaddingValue = 8, 8, 7, 0
        background = Dataset()
        background.SegmentNumber, background.SegmentLabel = 0, "Background"
        made.SegmentSequence.append(background)
        (groups, *_) = made.PerFrameFunctionalGroupsSequence
        del groups.SegmentIdentificationSequence
        made.PerFrameFunctionalGroupsSequence = [groups]
        pixels = sum(number * mask.astype(np.uint8) for number, mask in enumerate(masks.values(), start=1))
        made.PixelData = pixels.astype(np.uint8).tobytes()
        return made

    def fractional(self, label: str, probability: NDArray[np.float64]) -> Dataset:
        """One segment of probabilities, of 200 at most."""
        made = self.segmentation({label: probability > 0})
        made.SegmentationType, made.SegmentationFractionalType = "FRACTIONAL", "PROBABILITY"
        made.MaximumFractionalValue = 200
        made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
        made.PixelData = np.rint(200 * probability).astype(np.uint8).tobytes()
        return made

    def segmentation(self, masks: dict[str, NDArray[np.bool_]]) -> Dataset:
        """One segment for each label, on the image's own pixels."""
        made = self._object(SEG, "SEG")
        (rows, columns), *_ = {mask.shape for mask in masks.values()}
        made.Rows, made.Columns, made.NumberOfFrames = rows, columns, len(masks)
        made.SegmentationType = "BINARY"
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
        made.BitsAllocated = made.BitsStored = 1
        made.HighBit = made.PixelRepresentation = 0
        made.SegmentSequence, made.PerFrameFunctionalGroupsSequence = [], []
        shared = Dataset()
        made.SharedFunctionalGroupsSequence = [shared]
        for number, label in enumerate(masks, start=1):
            segment = Dataset()
            segment.SegmentNumber, segment.SegmentLabel = number, label
            segment.SegmentedPropertyTypeCodeSequence = [_code("85756007", "SCT", "Tissue")]
            made.SegmentSequence.append(segment)
            identified, derived, groups = Dataset(), Dataset(), Dataset()
            identified.ReferencedSegmentNumber = number
            derived.SourceImageSequence = [self._reference()]
            groups.SegmentIdentificationSequence, groups.DerivationImageSequence = [identified], [derived]
            made.PerFrameFunctionalGroupsSequence.append(groups)
        made.PixelData = pack_bits(np.stack(list(masks.values())).astype(np.uint8).ravel())
        return made

    def _object(self, sop_class: str, modality: str) -> Dataset:
        made = Dataset()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.SOPClassUID, made.SOPInstanceUID, made.Modality = sop_class, self.sop_instance_uid, modality
        made.SeriesInstanceUID = uid_of(78, self.number)
        made.SpecificCharacterSet = self.image.get("SpecificCharacterSet", "ISO_IR 192")
        made.Manufacturer, made.ManufacturerModelName = "Viewer Works", "V1"
        for keyword in COPIED:
            if keyword in self.image:
                setattr(made, keyword, self.image[keyword].value)
        for keyword, value in self.attributes.items():
            setattr(made, keyword, value)
        return made

    def _reference(self) -> Dataset:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = self.target or (
            self.image.SOPClassUID,
            self.image.SOPInstanceUID,
        )
        if self.frame is not None:
            item.ReferencedFrameNumber = self.frame
        return item


def saved(dataset: Dataset, path: Path) -> Path:
    """As a DICOM file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def closed(points: Sequence[tuple[float, float]]) -> list[float]:
    """A polyline in DICOM's corner-based coordinates out of pixel-centre ones, its first point repeated."""
    return [value + 0.5 for point in (*points, points[0]) for value in point]


def _item(kind: str, name: tuple[str, str, str] | None) -> Dataset:
    item = Dataset()
    item.ValueType, item.RelationshipType = kind, "CONTAINS"
    if name is not None:
        item.ConceptNameCodeSequence = [_code(*name)]
    return item


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
