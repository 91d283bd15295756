"""Opens what a scanner sent as one cine: described from the header, decoded frame by frame on all cores.

The only door to received pixels. A cine is one multi-frame instance, many single frames of one series, or a clip that
was split over instances. No cine is ever in memory as a whole: blocks of at most 4 MB pass through a bounded window.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_node.cine_colour import GREY
from dicom_node.cine_decoders import (
    JPEG_8_BIT,
    LOSSY_SYNTAXES,
    VIDEO_SYNTAXES,
    SampleFormat,
    decoder_for,
    native,
)
from dicom_node.cine_file import CineFile, Clip
from dicom_node.cine_header import CineFacts, integer
from dicom_node.cine_header import read_facts as facts_of
from dicom_node.cine_palette import read_palette
from dicom_node.cine_storage import Span, StoredCine, damage_named, frame_spans, locate_pixels, parse, read_header
from dicom_node.cine_times import frame_times, time_zero
from dicom_node.cine_video import VideoClip, open_video
from dicom_node.errors import UnreadableCineError
from processing.cine import CineDescription, FrameTimesSource, TimeZero
from processing.limitations import Limitation

__all__ = ["CineFile", "open_cine", "read_facts"]  # the door to received pixels

MAX_SIDE_PX = 4096
"""Scanner screens end at 1920x1080; a side beyond 4096 is a broken header, and 4096^2 RGB is 50 MB a frame."""
PHOTOMETRIC = (*GREY, "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_RCT", "YBR_ICT",
               "YBR_PARTIAL_420")  # fmt: skip
ULTRASOUND_MODALITIES = ("US", "IVUS")


def read_facts(path: Path) -> CineFacts:
    """The header of one instance, for whoever assembles. Raises UnreadableCineError (not_dicom, truncated)."""
    with damage_named(path):
        return facts_of(read_header(path))[0]


def open_cine(paths: Path | Sequence[Path]) -> CineFile:
    """Describe the cine that these instances hold; no pixel is decoded.

    Raises UnreadableCineError: not_dicom, truncated, no_pixel_data, not_ultrasound, unsupported_transfer_syntax,
    missing_decoder, bad_geometry, pixel_format, mixed_instances.
    """
    files = [paths] if isinstance(paths, Path) else list(paths)
    if not files:
        raise UnreadableCineError("no_pixel_data", "no file was given")
    parts = [_open_part(path) for path in files]
    return parts[0] if len(parts) == 1 else _joined(parts)


def _open_part(path: Path) -> CineFile:
    with damage_named(path):
        return _describe(path)


def _describe(path: Path) -> CineFile:
    ds, stream = parse(path)
    facts, doubts = facts_of(ds)
    if facts.modality not in ULTRASOUND_MODALITIES:
        raise UnreadableCineError("not_ultrasound", f"{path.name} has modality {facts.modality or 'unknown'}, not US")
    if facts.transfer_syntax_uid not in VIDEO_SYNTAXES:
        decoder_for(UID(facts.transfer_syntax_uid))  # refuses by name before anything is made of the pixels
    stored = locate_pixels(path, ds, stream)
    layout = _sample_format(path, ds, facts, stored)
    lossy = facts.lossy or str(stored.transfer_syntax) in LOSSY_SYNTAXES
    clip = _clip(path, facts, stored, layout)
    frames = clip.frames
    times = frame_times(ds, frames)
    zero, zero_doubts = time_zero(ds)
    description = CineDescription(
        frames=frames,
        rows=facts.rows,
        columns=facts.columns,
        colour=facts.photometric not in GREY,
        frame_times_s=times.times_s + zero.offset_s,
        frame_times_source=times.source,
        time_zero=zero,
        regions=facts.regions,
        lossy=lossy,
    )
    limitations = (*doubts, *times.limitations, *zero_doubts, *_lies(facts, frames), *_uncalibrated(facts))
    return CineFile(description, replace(facts, frames=frames), limitations, (clip,))


def _clip(path: Path, facts: CineFacts, stored: StoredCine, layout: SampleFormat) -> Clip | VideoClip:
    if str(stored.transfer_syntax) in VIDEO_SYNTAXES:
        return open_video(path, stored, facts.rows, facts.columns)
    decoder = decoder_for(stored.transfer_syntax)
    palette = read_palette(stored.header, layout.big_endian) if facts.photometric == "PALETTE COLOR" else None
    return Clip(path, facts, stored, layout, decoder, palette, _spans(path, stored, facts, layout))


def _sample_format(path: Path, ds: Dataset, facts: CineFacts, stored: StoredCine) -> SampleFormat:
    if not (1 < facts.rows <= MAX_SIDE_PX and 1 < facts.columns <= MAX_SIDE_PX):
        raise UnreadableCineError(
            "bad_geometry",
            f"{path.name} states {facts.columns}x{facts.rows} pixels; up to {MAX_SIDE_PX} a side are read",
        )
    samples = integer(ds, "SamplesPerPixel") or 1
    allocated = integer(ds, "BitsAllocated") or 8
    bits = integer(ds, "BitsStored") or allocated
    expected = 1 if facts.photometric in (*GREY, "PALETTE COLOR") else 3
    big_endian = not stored.transfer_syntax.is_little_endian
    odd_pairs = facts.photometric.endswith("_422") and not stored.encapsulated and facts.columns % 2
    if (
        facts.photometric not in PHOTOMETRIC
        or samples != expected
        or allocated not in (8, 16)
        or not 0 < bits <= allocated
        or (allocated != 8 and (samples == 3 or facts.transfer_syntax_uid in JPEG_8_BIT))
        or integer(ds, "PixelRepresentation") == 1
        or odd_pairs
    ):
        raise UnreadableCineError(
            "pixel_format",
            f"{path.name} holds {facts.photometric or 'unnamed'} pixels with {samples} x {bits}/{allocated} bits, "
            "which no ultrasound class allows: let the scanner send RGB or MONOCHROME2 of 8 bits",
        )
    return SampleFormat(
        facts.rows,
        facts.columns,
        samples,
        allocated,
        bits,
        planar=integer(ds, "PlanarConfiguration") == 1,
        photometric=facts.photometric,
        big_endian=big_endian,
        byte_swapped=big_endian and stored.words and allocated == 8,
    )


def _spans(path: Path, stored: StoredCine, facts: CineFacts, layout: SampleFormat) -> tuple[tuple[Span, ...], ...]:
    """Where each frame lies; their number is what is there, not what Number of Frames says."""
    if stored.encapsulated != (decoder_for(stored.transfer_syntax) is not native):
        raise UnreadableCineError(
            "pixel_format", f"{path.name} is not stored as its transfer syntax says: send it again"
        )
    if stored.encapsulated:
        spans = frame_spans(stored, facts.frames)
    else:
        samples = 2 if layout.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") else layout.samples
        size = layout.pixels * samples * layout.dtype.itemsize
        (whole,) = stored.fragments
        spans = [(Span(whole.offset + i * size, size),) for i in range(whole.length // size)]
    if not spans:
        raise UnreadableCineError("truncated", f"{path.name} holds less than one frame: send the object again")
    return tuple(spans)


def _lies(facts: CineFacts, frames: int) -> tuple[Limitation, ...]:
    if facts.frames == frames:
        return ()
    return (
        Limitation(
            "frames_lie",
            f"Number of Frames says {facts.frames}, but {frames} frames are stored; the stored ones were used",
            "degraded",
            ("perfusion", "super_resolution"),
        ),
    )


def _uncalibrated(facts: CineFacts) -> tuple[Limitation, ...]:
    if any(region.spacing_mm for region in facts.regions):
        return ()
    return (
        Limitation(
            "no_calibration",
            "no calibrated 2D tissue region (0018,6011) is stored: areas, speeds and super-resolution are refused",
            "refused",
            ("area_mm2", "super_resolution", "pixel_spacing_mm"),
        ),
    )


def _joined(parts: Sequence[CineFile]) -> CineFile:
    """Instances of one view in absolute time as one cine.

    Raises UnreadableCineError (mixed_instances): different series, size or colour, or no absolute times.
    """
    first = parts[0]
    for part in parts:
        _check_same_view(first, part)
    placed = sorted(parts, key=_started)
    origin = _started(placed[0])
    offset_s = placed[0].description.time_zero.offset_s
    times = np.concatenate([_seconds_since(part, origin) + offset_s + _own_times(part) for part in placed])
    if (np.diff(times) <= 0).any():
        raise UnreadableCineError(
            "mixed_instances", "the instances overlap in time or carry the same time stamp, so their order is unknown"
        )
    stills = all(part.description.frames == 1 for part in placed)
    source: FrameTimesSource = "acquisition times" if stills else placed[0].description.frame_times_source
    description = replace(
        placed[0].description,
        frames=sum(part.description.frames for part in placed),
        frame_times_s=times,
        frame_times_source=source,
        time_zero=TimeZero(placed[0].description.time_zero.kind, offset_s),
        lossy=any(part.description.lossy for part in placed),
    )
    unique = dict.fromkeys(itertools.chain.from_iterable(part.limitations for part in placed))
    return CineFile(
        description,
        replace(placed[0].facts, frames=description.frames),
        tuple(unique),
        tuple(itertools.chain.from_iterable(part.clips for part in placed)),
    )


def _started(part: CineFile) -> np.datetime64:
    if part.facts.acquired_at is None:
        raise UnreadableCineError(
            "mixed_instances",
            f"{part.paths[0].name} has no acquisition time, so it cannot be joined to the other instances",
        )
    return np.datetime64(part.facts.acquired_at, "us")


def _seconds_since(part: CineFile, origin: np.datetime64) -> float:
    return float((_started(part) - origin) / np.timedelta64(1, "us")) * 1e-6


def _own_times(part: CineFile) -> NDArray[np.float64]:
    if part.description.frames == 1:
        return np.zeros(1)
    if part.description.frame_times_source == "none":
        raise UnreadableCineError("mixed_instances", f"{part.paths[0].name} has no frame times to join by")
    times_s = part.description.frame_times_s
    after_first: NDArray[np.float64] = times_s - times_s[0]
    return after_first


def _check_same_view(first: CineFile, part: CineFile) -> None:
    def view(cine: CineFile) -> tuple[object, ...]:
        return (
            cine.facts.series_instance_uid,
            cine.description.rows,
            cine.description.columns,
            cine.description.colour,
            cine.description.regions,
        )

    if view(first) != view(part):
        raise UnreadableCineError(
            "mixed_instances",
            f"{first.paths[0].name} and {part.paths[0].name} differ in series, size or calibration",
        )
