"""Writes simulated scenes as the DICOM files of a scanner, and plays that scanner over an association.

A cine becomes an Ultrasound Multi-frame Image (PS3.3 A.7), a still an Ultrasound Image (PS3.3 A.6). Frames go through
a temporary file, one block at a time: a long cine never stands in memory. Everything says that it is simulated.
"""

from __future__ import annotations

import io
import shutil
import struct
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)
from pynetdicom import AE

from processing.cine import TissueRegion
from processing.simulation.scene import Scene

Encoding = Literal["jpeg", "rle", "jpeg-ls", "explicit", "implicit"]

MANUFACTURER = "CEUS Node Simulation"
MODEL = "Phantom One"
SOFTWARE = "simulated 1"

PROFILE: dict[str, Any] = {
    "manufacturer": MANUFACTURER,
    "model": MODEL,
    "contrast_panel": "auto",
    "compression": "log",
    "dynamic_range_db": 50.0,
}
"""The configuration table `[profile.simulated]` that fits scenes drawn with the default `Display`."""

JPEG_QUALITY = 95
"""Mean linear power changes by less than 0.8 % at this quality (docs/perfusion.md, section 3)."""

_TRANSFER_SYNTAX: dict[Encoding, UID] = {
    "jpeg": JPEGBaseline8Bit,
    "rle": RLELossless,
    "jpeg-ls": JPEGLSLossless,
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
}


@dataclass(frozen=True)
class CineIdentity:
    """Who was scanned and when; UIDs follow from it, so the same identity always gives the same object.

    `acquired_at` is the time of the first frame, without time zone as most scanners write it. The injection's time
    follows from it and the scene's time zero.
    """

    acquired_at: datetime
    patient_id: str = "SIM-0001"
    patient_name: str = "Simulated^Patient"
    study: str = "exam 1"
    series_number: int = 1
    instance_number: int = 1
    study_started_at: datetime | None = None

    @property
    def study_instance_uid(self) -> UID:
        return generate_uid(entropy_srcs=["simulated study", self.patient_id, self.study])

    @property
    def series_instance_uid(self) -> UID:
        return generate_uid(entropy_srcs=[self.study_instance_uid, f"series {self.series_number}"])

    @property
    def sop_instance_uid(self) -> UID:
        return generate_uid(entropy_srcs=[self.series_instance_uid, f"instance {self.instance_number}"])


@dataclass(frozen=True)
class ScannerAssociation:
    """Where the simulated scanner sends to, and as whom."""

    host: str
    port: int
    called_ae: str = "CEUS_NODE"
    calling_ae: str = "SIMSCANNER"


def write_cine(
    scene: Scene, folder: Path, identity: CineIdentity, encoding: Encoding = "jpeg", part: range | None = None
) -> Path:
    """Write the scene as one multi-frame file, named after its SOP Instance UID, and return its path.

    `part` writes these frames only (a clip that the scanner stored in two instances); `identity.acquired_at` is then
    the time of its first one.
    """
    shown = range(scene.description.frames) if part is None else part
    times_s = scene.description.frame_times_s[shown.start : shown.stop]
    ds = _header(scene, identity, encoding, float(times_s[0]))
    ds.SOPClassUID = UltrasoundMultiFrameImageStorage
    ds.NumberOfFrames = len(shown)
    _add_cine_module(ds, scene, times_s)
    return _write(ds, (scene.frame(index) for index in shown), folder, encoding)


def write_single_frames(
    scene: Scene, folder: Path, identity: CineIdentity, encoding: Encoding = "jpeg"
) -> tuple[Path, ...]:
    """Write the scene as a series of single-frame images, each with its own acquisition time and instance number."""
    times_s = scene.description.frame_times_s
    return tuple(
        write_still(
            scene,
            index,
            folder,
            replace(
                identity,
                acquired_at=identity.acquired_at + timedelta(seconds=float(times_s[index] - times_s[0])),
                instance_number=identity.instance_number + index,
            ),
            encoding,
        )
        for index in range(scene.description.frames)
    )


def write_still(scene: Scene, frame: int, folder: Path, identity: CineIdentity, encoding: Encoding = "jpeg") -> Path:
    """Write one frame of the scene as a single-frame image; `identity.acquired_at` is the time of that frame."""
    ds = _header(scene, identity, encoding, float(scene.description.frame_times_s[frame]))
    ds.SOPClassUID = UltrasoundImageStorage
    return _write(ds, [scene.frame(frame)], folder, encoding)


def play_scanner(paths: Sequence[Path], association: ScannerAssociation) -> list[int]:
    """Send the files in this order over one association; the C-STORE status of each (0x0000 is success).

    Raises ConnectionError when the peer does not take the association or drops it.
    """
    ae = AE(ae_title=association.calling_ae)
    for path in paths:
        ds = dcmread(path, stop_before_pixels=True)
        ae.add_requested_context(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID)
    assoc = ae.associate(association.host, association.port, ae_title=association.called_ae)
    if not assoc.is_established:
        raise ConnectionError(f"{association.called_ae} at port {association.port} takes no association")
    statuses = []
    try:
        for path in paths:
            answer = assoc.send_c_store(path)
            if "Status" not in answer:
                raise ConnectionError(f"{association.called_ae} gave no answer to {path.name}")
            statuses.append(int(answer.Status))
    finally:
        assoc.release()
    return statuses


def _header(scene: Scene, identity: CineIdentity, encoding: Encoding, first_s: float) -> Dataset:
    """Every attribute but the frames themselves; `first_s` is the first one's time after the cine's time zero."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = _TRANSFER_SYNTAX[encoding]
    _add_identity(ds, identity)
    ds.Manufacturer = MANUFACTURER
    ds.ManufacturerModelName = MODEL
    ds.DeviceSerialNumber = "0"
    ds.SoftwareVersions = SOFTWARE
    ds.StationName = "SIMULATED"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "ABDOMINAL"]
    ds.SeriesDescription = f"Simulated {scene.name}"
    ds.BurnedInAnnotation = "NO"
    ds.MechanicalIndex = _ds(scene.screen.mechanical_index)
    ds.TransducerData = ["SIMULATED C5-1", "", ""]
    if scene.contrast is not None:
        _add_contrast(ds, scene, identity, first_s)
    ds.SequenceOfUltrasoundRegions = [_region(region) for region in scene.description.regions]
    _add_pixel_module(ds, scene, encoding)
    return ds


def _add_identity(ds: Dataset, identity: CineIdentity) -> None:
    at = identity.acquired_at
    ds.SOPInstanceUID = identity.sop_instance_uid
    ds.StudyInstanceUID = identity.study_instance_uid
    ds.SeriesInstanceUID = identity.series_instance_uid
    ds.PatientID = identity.patient_id
    ds.PatientName = identity.patient_name
    ds.PatientBirthDate = ""
    ds.PatientSex = "O"
    ds.StudyID = "SIM"
    ds.AccessionNumber = ""
    ds.ReferringPhysicianName = ""
    ds.StudyDescription = "Simulated contrast ultrasound"
    started = identity.study_started_at or at
    ds.StudyDate, ds.StudyTime = started.strftime("%Y%m%d"), started.strftime("%H%M%S")
    ds.ContentDate = ds.AcquisitionDate = at.strftime("%Y%m%d")
    ds.ContentTime = ds.AcquisitionTime = at.strftime("%H%M%S.%f")
    ds.AcquisitionDateTime = at.strftime("%Y%m%d%H%M%S.%f")
    ds.Modality = "US"
    ds.SeriesNumber = identity.series_number
    ds.InstanceNumber = identity.instance_number
    ds.BodyPartExamined = "LIVER"
    ds.PatientOrientation = ""


def _add_contrast(ds: Dataset, scene: Scene, identity: CineIdentity, first_s: float) -> None:
    """PS3.3 C.7.6.4. The start time is the only standard place of the injection's time in this object."""
    ds.ContrastBolusAgent = "Simulated microbubbles"
    ds.ContrastBolusRoute = "IV"
    ds.ContrastBolusVolume = "2.4"
    if scene.description.time_zero.kind == "bolus start":
        injected_at = identity.acquired_at - timedelta(seconds=first_s)
        ds.ContrastBolusStartTime = injected_at.strftime("%H%M%S.%f")


def _region(region: TissueRegion) -> Dataset:
    """PS3.3 C.8.5.5: a 2D tissue region in centimetres; its maxima are inclusive."""
    item = Dataset()
    item.RegionSpatialFormat = 1  # 2D
    item.RegionDataType = 1  # tissue
    item.RegionFlags = 0
    item.RegionLocationMinX0, item.RegionLocationMinY0 = region.box.x0, region.box.y0
    item.RegionLocationMaxX1, item.RegionLocationMaxY1 = region.box.x1 - 1, region.box.y1 - 1
    item.ReferencePixelX0 = (region.box.x1 - region.box.x0) // 2
    item.ReferencePixelY0 = 0
    item.ReferencePixelPhysicalValueX = 0.0
    item.ReferencePixelPhysicalValueY = 0.0
    if region.spacing_mm is not None:
        item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3  # cm
        item.PhysicalDeltaX = region.spacing_mm.x_mm / 10
        item.PhysicalDeltaY = region.spacing_mm.z_mm / 10
    else:
        item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 0  # none
        item.PhysicalDeltaX = item.PhysicalDeltaY = 1.0
    if region.grey_to_db is not None:
        item.PixelComponentOrganization = 2  # table look up
        item.PixelComponentPhysicalUnits = 2  # dB
        item.PixelComponentDataType = 1  # tissue characterization: 2D
        item.NumberOfTableEntries = len(region.grey_to_db)
        item.TableOfPixelValues = list(range(len(region.grey_to_db)))
        item.TableOfParameterValues = list(region.grey_to_db)
    return item


def _add_pixel_module(ds: Dataset, scene: Scene, encoding: Encoding) -> None:
    colour = scene.description.colour
    ds.Rows, ds.Columns = scene.description.rows, scene.description.columns
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    if colour:
        ds.PhotometricInterpretation = "YBR_FULL_422" if encoding == "jpeg" else "RGB"
        # PS3.5 8.2.2: RLE stores colour by plane, and says so.
        ds.PlanarConfiguration = 1 if encoding == "rle" else 0
    ds.LossyImageCompression = "00"


def _add_cine_module(ds: Dataset, scene: Scene, times_s: NDArray[np.float64]) -> None:
    """PS3.3 C.7.6.5 and C.7.6.6: the increment pointer says which of the two time attributes counts."""
    if scene.description.frame_times_source == "frame time vector":
        ds.FrameIncrementPointer = 0x00181065
        ds.FrameTimeVector = [_ds(1000 * step) for step in np.diff(times_s, prepend=times_s[0])]
    else:
        ds.FrameIncrementPointer = 0x00181063
        step_s = (times_s[-1] - times_s[0]) / (times_s.size - 1) if times_s.size > 1 else 0.0
        ds.FrameTime = _ds(1000 * step_s)
    if times_s.size > 1:
        rate_hz = (times_s.size - 1) / (times_s[-1] - times_s[0])
        ds.CineRate = ds.RecommendedDisplayFrameRate = max(round(rate_hz), 1)
        ds.EffectiveDuration = _ds(float(times_s.size / rate_hz))


def _ds(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5 6.2)."""
    return f"{value:.9g}"


def _encoded(frame: NDArray[np.uint8], ds: Dataset, encoding: Encoding) -> bytes:
    if encoding == "jpeg":
        buffer = io.BytesIO()
        # 4:2:2 is what YBR_FULL_422 announces; Pillow calls it subsampling 1.
        Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=1)
        return buffer.getvalue()
    if encoding in ("rle", "jpeg-ls"):
        return bytes(
            get_encoder(_TRANSFER_SYNTAX[encoding]).encode(
                frame,
                rows=ds.Rows,
                columns=ds.Columns,
                samples_per_pixel=ds.SamplesPerPixel,
                photometric_interpretation=ds.PhotometricInterpretation,
                bits_allocated=8,
                bits_stored=8,
                pixel_representation=0,
                planar_configuration=0,
                number_of_frames=1,
            )
        )
    return frame.tobytes()


def _write(ds: Dataset, frames: Iterable[NDArray[np.uint8]], folder: Path, encoding: Encoding) -> Path:
    """Encode the frames into a temporary file, then write header and frames in order."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    with tempfile.TemporaryFile(dir=folder) as spooled:
        lengths = []
        for frame in frames:
            data = _encoded(frame, ds, encoding)
            lengths.append(spooled.write(data))
        if encoding == "jpeg":
            ds.LossyImageCompression = "01"
            raw = ds.Rows * ds.Columns * ds.SamplesPerPixel * len(lengths)
            ds.LossyImageCompressionRatio = _ds(round(raw / sum(lengths), 2))
            ds.LossyImageCompressionMethod = "ISO_10918_1"
        dcmwrite(path, ds, enforce_file_format=True)
        spooled.seek(0)
        with path.open("ab") as out:
            if encoding in ("explicit", "implicit"):
                _append_native(out, spooled, sum(lengths), encoding)
            else:
                _append_encapsulated(out, spooled, lengths)
    return path


def _append_native(out: IO[bytes], frames: IO[bytes], length: int, encoding: Encoding) -> None:
    """Pixel Data (7FE0,0010) as one value: OB with explicit, OW by definition with implicit VR (PS3.5 A.1, A.2)."""
    padded = length + length % 2
    tag = struct.pack("<HH", 0x7FE0, 0x0010)
    out.write(tag + (b"OB\0\0" if encoding == "explicit" else b"") + struct.pack("<I", padded))
    shutil.copyfileobj(frames, out, 1 << 20)
    out.write(b"\0" * (length % 2))


def _append_encapsulated(out: IO[bytes], frames: IO[bytes], lengths: list[int]) -> None:
    """Pixel Data as fragments, one a frame, behind a Basic Offset Table (PS3.5 A.4)."""
    padded = [length + length % 2 for length in lengths]
    offsets = np.concatenate([[0], np.cumsum(np.array(padded[:-1], dtype=np.int64) + 8)]).astype("<u4")
    out.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF))
    out.write(struct.pack("<HHI", 0xFFFE, 0xE000, offsets.nbytes) + offsets.tobytes())
    for length, even in zip(lengths, padded, strict=True):
        out.write(struct.pack("<HHI", 0xFFFE, 0xE000, even))
        out.write(frames.read(length) + b"\0" * (even - length))
    out.write(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
