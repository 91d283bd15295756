"""Writes small ultrasound cines in every encoding that can be encoded here, by other code than the product's."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HEVCMP51,
    HTJ2K,
    JPEG2000,
    MPEG2MPHL,
    MPEG4HP41,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from tests.peers import find_peer

Frames = NDArray[np.uint8]

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
LOSSLESS = (RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)
LOSSY = (JPEGBaseline8Bit, JPEGLSNearLossless, JPEG2000)
HIGH_THROUGHPUT = (HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)
VIDEO = {MPEG2MPHL: "mpeg2video", MPEG4HP41: "libx264", HEVCMP51: "libx265"}


def write_cine(folder: Path, frames: Frames, syntax: UID, frame_time_ms: float = 100.0, **changed: object) -> Path:
    """A multi-frame file of `frames` (frame, row, column[, 3]); `changed` sets or (None) removes header elements."""
    ds = header(frames, frame_time_ms)
    written = ExplicitVRLittleEndian if syntax == JPEGLosslessSV1 else syntax
    ds.file_meta.TransferSyntaxUID = written
    add_pixels(ds, frames, written)
    for keyword, value in changed.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    path = folder / f"{syntax.keyword}.dcm"
    dcmwrite(path, ds, enforce_file_format=True)
    return _jpeg_lossless(path) if syntax == JPEGLosslessSV1 else path


def _jpeg_lossless(path: Path) -> Path:
    """GDCM's own converter codes an uncompressed file anew (in a process of its own: a dying encoder is no finding)."""
    coded = path.with_suffix(".coded.dcm")
    converter = Path(sys.executable).with_name("gdcmconv")
    subprocess.run([converter, "--jpeg", path, coded], check=True, capture_output=True, timeout=60)
    return coded


def header(frames: Frames, frame_time_ms: float) -> Dataset:
    """A calibrated ultrasound header: 0.2 mm a pixel over the whole image."""
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["test cine"])
    ds.SOPClassUID = UltrasoundMultiFrameImageStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID = generate_uid(entropy_srcs=["test study"])
    ds.SeriesInstanceUID = generate_uid(entropy_srcs=["test series"])
    ds.Modality = "US"
    ds.PatientID = "TEST"
    ds.AcquisitionDateTime = "20260102030405.250000"
    ds.NumberOfFrames, ds.Rows, ds.Columns = frames.shape[:3]
    ds.SamplesPerPixel = 3 if frames.ndim == 4 else 1
    if frames.ndim == 4:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = "RGB" if frames.ndim == 4 else "MONOCHROME2"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.FrameTime = frame_time_ms
    ds.FrameIncrementPointer = 0x00181063
    ds.SequenceOfUltrasoundRegions = [region((0, 0, frames.shape[2] - 1, frames.shape[1] - 1))]
    return ds


def region(corners: tuple[int, int, int, int], delta_cm: tuple[float, float] = (0.02, 0.02)) -> Dataset:
    """A 2D tissue region: (x0, y0, x1, y1) inclusive, delta (x, y) in cm."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = 1, 1, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0, item.RegionLocationMaxX1, item.RegionLocationMaxY1 = corners
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta_cm
    return item


def add_pixels(ds: Dataset, frames: Frames, syntax: UID) -> None:
    if syntax in NATIVE:
        raw = frames.tobytes()
        if syntax == ExplicitVRBigEndian:  # 8-bit samples in big-endian words
            raw = np.frombuffer(raw, np.uint8).reshape(-1, 2)[:, ::-1].tobytes()
        ds.PixelData = raw
        ds["PixelData"].VR = "OW" if syntax in (ExplicitVRBigEndian, ImplicitVRLittleEndian) else "OB"
        return
    if syntax in VIDEO:
        ds.PhotometricInterpretation = "YBR_PARTIAL_420"
        coded = [video(frames, VIDEO[syntax])]
    else:
        coded = [ENCODERS[syntax](frame) for frame in frames]
    if syntax == JPEGBaseline8Bit and frames.ndim == 4:
        ds.PhotometricInterpretation = "YBR_FULL_422"
    ds.PixelData = encapsulate(coded)
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True


def jpeg(frame: Frames, quality: int = 90) -> bytes:
    coded = io.BytesIO()
    Image.fromarray(frame).save(coded, "JPEG", quality=quality)
    return coded.getvalue()


def _rle(frame: Frames) -> bytes:
    from rle import encode_pixel_data

    shape = {"rows": frame.shape[0], "columns": frame.shape[1]}
    samples = 3 if frame.ndim == 3 else 1
    return encode_pixel_data(frame.tobytes(), **shape, samples_per_pixel=samples, bits_allocated=8, byteorder="<")


def _jpeg_ls(frame: Frames, lossy_error: int = 0) -> bytes:
    import jpeg_ls

    return bytes(jpeg_ls.encode_array(frame, lossy_error=lossy_error))


def _jpeg_2000(frame: Frames, ratios: Sequence[float] | None = None) -> bytes:
    import openjpeg

    options = {"compression_ratios": list(ratios)} if ratios else {}
    return bytes(openjpeg.encode(frame, photometric_interpretation=1 if frame.ndim == 3 else 2, **options))


def _high_throughput(frame: Frames, *options: str) -> bytes:
    """HTJ2K by OpenJPH, another coder than the OpenJPEG that decodes it."""
    coder = find_peer("ojph_compress")
    with tempfile.TemporaryDirectory() as folder:
        drawn, coded = Path(folder, "frame.ppm" if frame.ndim == 3 else "frame.pgm"), Path(folder, "frame.j2c")
        Image.fromarray(frame).save(drawn)
        subprocess.run([coder, "-i", drawn, "-o", coded, *options], check=True, capture_output=True, timeout=60)
        return coded.read_bytes()


ENCODERS: dict[UID, Callable[[Frames], bytes]] = {
    JPEGBaseline8Bit: jpeg,
    RLELossless: _rle,
    JPEGLSLossless: _jpeg_ls,
    JPEGLSNearLossless: lambda frame: _jpeg_ls(frame, 2),
    JPEG2000Lossless: _jpeg_2000,
    JPEG2000: lambda frame: _jpeg_2000(frame, (4,)),
    HTJ2KLossless: lambda frame: _high_throughput(frame, "-reversible", "true"),
    HTJ2KLosslessRPCL: lambda frame: _high_throughput(frame, "-reversible", "true", "-prog_order", "RPCL"),
    HTJ2K: lambda frame: _high_throughput(frame, "-qstep", "0.01"),
}


def video(frames: Frames, codec: str) -> bytes:
    """A visually lossless stream: H.264 and HEVC at CRF 10, MPEG-2 at quantiser 1."""
    import av

    container = io.BytesIO()
    with av.open(container, "w", format="mpegts") as output:
        stream = output.add_stream(codec, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        if codec == "mpeg2video":
            stream.codec_context.qmin = stream.codec_context.qmax = 1
            stream.bit_rate = 60_000_000
        else:
            stream.options = {"crf": "10", "x265-params": "log-level=none:crf=10"}
        for frame in frames:
            shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            for packet in stream.encode(shown):
                output.mux(packet)
        for packet in stream.encode():
            output.mux(packet)
    return container.getvalue()
