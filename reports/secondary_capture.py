"""Pages as Secondary Captures: what the radiologist sees, with the source it was made from.

SC Image (PS3.3 A.8.1), RGB, uncompressed; one instance a page, all in one new series of the source's study.
"""

from __future__ import annotations

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from reports import codes
from reports.findings import Findings
from reports.page import LAYOUT
from reports.result_object import ResultContext, finish, write_body_part

DERIVATION_LENGTH = 1024  # Derivation Description is ST


def secondary_capture(
    rgb: NDArray[np.uint8], title: str, findings: Findings, context: ResultContext, index: int = 0
) -> Dataset:
    """One page (rows, columns, 3) as an SC object; `index` is its place in the series of pages."""
    made = context.series_arguments("sc", "CEUS pictures (research)", index)
    patient = context.source.evidence()[0]
    image: Dataset = hd.sc.SCImage.from_ref_dataset(
        ref_dataset=patient,
        pixel_array=rgb,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),  # demanded by the constructor; emptied below
        **made,
    )
    image.PatientOrientation = ""  # the probe's orientation is not recorded: never invented (PS3.3 C.7.6.1.1.1)
    image.ImageType = ["DERIVED", "SECONDARY"]
    image.ConversionType = "WSD"
    image.BurnedInAnnotation = "YES" if _may_identify(findings, context) else "NO"
    image.ImageComments = f"{title}. {context.disclaimer}"[:10240]
    software = findings.software
    image.DerivationDescription = f"{title}, {LAYOUT}, computed by {software.name} {software.version}"[
        :DERIVATION_LENGTH
    ]
    image.SourceImageSequence = [source_image_item(context)]
    _copy_compression_history(image, context.source.first)
    write_body_part(image, context.source.first)
    finish(image, context, findings.models)
    image.DateOfSecondaryCapture, image.TimeOfSecondaryCapture = image.ContentDate, image.ContentTime
    return image


def source_image_item(context: ResultContext) -> Dataset:
    """Item of Source Image Sequence: the reference frame, and that the picture was computed from it."""
    frame = context.frame
    item = Dataset()
    item.ReferencedSOPClassUID = frame.sop_class_uid
    item.ReferencedSOPInstanceUID = frame.sop_instance_uid
    if frame.frame_number is not None:
        item.ReferencedFrameNumber = frame.frame_number
    item.PurposeOfReferenceCodeSequence = [codes.sequence_item(codes.SOURCE_IMAGE)]
    return item


def _may_identify(findings: Findings, context: ResultContext) -> bool:
    """Whether burned-in names may have come along: only when the whole frame was copied and nobody denies them."""
    source = context.source.first
    declared = str(source.get("BurnedInAnnotation") or "").upper()
    panel = findings.source.contrast_panel
    rows, columns = int(source.get("Rows") or 0), int(source.get("Columns") or 0)
    cut_out = panel is not None and (panel.contrast.rows < rows or panel.contrast.columns < columns)
    return not cut_out and declared != "NO"


def _copy_compression_history(image: Dataset, source: Dataset) -> None:
    """Once lossy, always lossy (PS3.3 C.7.6.1.1.5): the copied panel pixels keep their history."""
    image.LossyImageCompression = "01" if source.get("LossyImageCompression") == "01" else "00"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if image.LossyImageCompression == "01" and keyword in source:
            setattr(image, keyword, source[keyword].value)
