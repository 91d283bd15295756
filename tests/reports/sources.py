"""Ultrasound sources of every supported kind, small and valid by themselves, as headers for result objects."""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.reports.scenes import SERIES_UID, SOP_UID, STUDY_UID

MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"
SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.6.1"
Kind = Literal["rgb", "monochrome2", "palette", "no regions", "single frames"]
KINDS: tuple[Kind, ...] = ("rgb", "monochrome2", "palette", "no regions", "single frames")
ROWS, COLUMNS = 480, 800


def sources(kind: Kind = "rgb", frames: int = 3, **attributes: Any) -> list[Dataset]:
    """Instances of one acquisition, black: one cine, or single frames. `attributes` replace or (None) drop."""
    if kind == "single frames":
        made = [_instance("rgb", 1, index) for index in range(frames)]
    else:
        made = [_instance(kind, frames, None)]
    for instance in made:
        for keyword, value in attributes.items():
            if value is None:
                delattr(instance, keyword)
            else:
                setattr(instance, keyword, value)
    return made


def header(instance: Dataset) -> Dataset:
    """The instance as a reader that stops before the pixels hands it on."""
    buffer = io.BytesIO()
    instance.save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    from pydicom import dcmread

    return dcmread(buffer, stop_before_pixels=True)


def _instance(kind: str, frames: int, index: int | None) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "ABDOMINAL", "0001"]
    ds.SOPClassUID = MULTI_FRAME if index is None else SINGLE_FRAME
    ds.SOPInstanceUID = SOP_UID if index is None else f"{SOP_UID}.{index}"
    ds.StudyDate, ds.StudyTime, ds.ContentDate, ds.ContentTime = "20261120", "141500", "20261120", "141501"
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = "A4711", "US", "ACME"
    ds.ManufacturerModelName = "Scan 9"
    ds.ReferringPhysicianName = "Weiß^Ärztin"
    ds.StudyDescription = "CEUS Leber"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Müller^Jörg", "P-1", "19500101", "M"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY_UID, SERIES_UID
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", 3, 1 + (index or 0)
    ds.PatientOrientation = ""
    ds.Laterality = ""
    ds.BurnedInAnnotation = "YES"
    ds.LossyImageCompression = "00"
    if index is None:
        ds.NumberOfFrames = frames
        ds.FrameTime = 100.0
        ds.FrameIncrementPointer = 0x00181063
    if kind != "no regions":
        ds.SequenceOfUltrasoundRegions = [_region()]
    _pixels(ds, kind, frames)
    return ds


def _region() -> Dataset:
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = COLUMNS - 1, ROWS - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.015
    return region


def _pixels(ds: Dataset, kind: str, frames: int) -> None:
    ds.Rows, ds.Columns = ROWS, COLUMNS
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.SamplesPerPixel = 1 if kind in ("monochrome2", "palette") else 3
    ds.PhotometricInterpretation = {"monochrome2": "MONOCHROME2", "palette": "PALETTE COLOR"}.get(kind, "RGB")
    if ds.SamplesPerPixel == 3:
        ds.PlanarConfiguration = 0
    if kind == "palette":
        table = (np.arange(256, dtype="<u2") * 257).tobytes()
        for colour in ("Red", "Green", "Blue"):
            setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
            setattr(ds, f"{colour}PaletteColorLookupTableData", table)
    ds.PixelData = bytes(frames * ROWS * COLUMNS * ds.SamplesPerPixel)
