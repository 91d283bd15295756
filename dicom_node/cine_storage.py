"""Where each frame's bytes lie in the file: header parsed, pixels left on disk, every frame fetched by position.

Encapsulation: PS3.5 A.4. The basic and extended offset tables are hints that real files leave empty or wrong; the
fragments themselves are walked, so a fragmented frame with an empty table is found by its code stream's start marker.
"""

from __future__ import annotations

import os
import struct
import tempfile
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from dicom_node.errors import UnreadableCineError

PIXEL_DATA = 0x7FE00010
PIXEL_TAGS = (0x7FE00008, 0x7FE00009, PIXEL_DATA)  # float, double and integer pixel data: the header ends here
ITEM = 0xFFFEE000
SEQUENCE_DELIMITER = 0xFFFEE0DD
UNDEFINED_LENGTH = 0xFFFFFFFF
# Code streams begin with SOI (JPEG, JPEG-LS: FF D8) or SOC (JPEG 2000: FF 4F); a fragment that does not continues.
FRAME_STARTS = (b"\xff\xd8", b"\xff\x4f")
DEFER_BYTES = 1 << 20
"""Longer header elements (private cines) stay on disk; the longest one needed is a 128 kB palette."""
INFLATE_CHUNK_BYTES = 1 << 20
MAX_INFLATED_BYTES = 8 << 30
"""Ten minutes of uncompressed 800x600 RGB at 15 Hz are 13 GB, but nobody deflates those: beyond this it is a bomb."""


@dataclass(frozen=True)
class Span:
    """A run of bytes in the pixel file."""

    offset: int
    length: int


@dataclass(frozen=True, eq=False)
class StoredCine:
    """One instance on disk: its header, and for every frame the spans that hold it.

    `pixels_file` is the file the spans count in: the received one, or the inflated copy of a deflated one (unlinked,
    it disappears with this object). Frames of native pixel data share one
    span. `words`: the value representation is OW.
    """

    header: Dataset
    transfer_syntax: UID
    pixels_file: BinaryIO
    fragments: tuple[Span, ...]
    encapsulated: bool
    words: bool = False

    def read(self, spans: Sequence[Span]) -> bytes:
        """The bytes of the spans, joined; safe from several threads (pread keeps no position)."""
        return b"".join(os.pread(self.pixels_file.fileno(), span.length, span.offset) for span in spans)


def read_header(path: Path) -> Dataset:
    """The header alone, for whoever only assembles. Raises UnreadableCineError (not_dicom, truncated)."""
    header, stream = parse(path)
    stream.close()
    return header


def parse(path: Path) -> tuple[Dataset, BinaryIO]:
    """The header, and a stream that stands where the pixel data element should be.

    Raises UnreadableCineError: not_dicom, truncated, damaged_header.
    """
    try:
        stream: BinaryIO = path.open("rb")
    except OSError as error:
        raise UnreadableCineError("not_dicom", f"{path.name} cannot be opened: {error.strerror}") from error
    with damage_named(path), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of every odd value; what matters is checked by the caller
        return _parse_stream(path, stream)


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Whatever a parser says of broken bytes inside, the answer is one: UnreadableCineError (damaged_header)."""
    try:
        yield
    except UnreadableCineError:
        raise
    except InvalidDicomError as error:
        raise UnreadableCineError("not_dicom", f"{path.name} is no DICOM file (it has no DICM prefix)") from error
    except Exception as error:
        raise UnreadableCineError(
            "damaged_header", f"the header of {path.name} is damaged ({type(error).__name__}): send the object again"
        ) from error


def _parse_stream(path: Path, stream: BinaryIO) -> tuple[Dataset, BinaryIO]:
    read_preamble(stream, force=False)
    meta = FileMetaDataset(read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2))
    syntax = UID(str(meta.get("TransferSyntaxUID", "") or ""))
    if not syntax:
        raise UnreadableCineError("not_dicom", f"{path.name} names no transfer syntax in its file meta information")
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = _inflated(path, stream)
    header = read_dataset(
        stream,
        is_implicit_VR=syntax == ImplicitVRLittleEndian,
        is_little_endian=syntax != ExplicitVRBigEndian,
        stop_when=_is_pixel_data,
        defer_size=DEFER_BYTES,
    )
    header.file_meta = meta
    return header, stream


def _is_pixel_data(tag: BaseTag, *_: object) -> bool:
    return tag in PIXEL_TAGS or tag.group > PIXEL_DATA >> 16


def _inflated(path: Path, deflated: BinaryIO) -> BinaryIO:
    """An unlinked copy of the data set, inflated piece by piece (PS3.5 A.5: raw deflate after the file meta)."""
    copy: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the cine that reads it
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    while not inflater.eof and (piece := inflater.unconsumed_tail or deflated.read(INFLATE_CHUNK_BYTES)):
        copy.write(inflater.decompress(piece, INFLATE_CHUNK_BYTES))
        if copy.tell() > MAX_INFLATED_BYTES:
            raise UnreadableCineError("bad_geometry", f"{path.name} inflates to more than {MAX_INFLATED_BYTES} bytes")
    if not inflater.eof:
        raise UnreadableCineError("truncated", f"the deflated data of {path.name} ends early: send the object again")
    copy.seek(0)
    deflated.close()
    return copy


def locate_pixels(path: Path, header: Dataset, stream: BinaryIO) -> StoredCine:
    """Find the pixel data without reading it. Raises UnreadableCineError: no_pixel_data, truncated."""
    syntax = UID(str(header.file_meta.TransferSyntaxUID))
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    start = stream.read(8)
    if len(start) < 8 or _tag(start, order) != PIXEL_DATA:
        raise UnreadableCineError(
            "no_pixel_data", f"{path.name} holds no pixel data (it is no image, or it was cut off before the image)"
        )
    if syntax == ImplicitVRLittleEndian:
        (length,) = struct.unpack("<L", start[4:])
    else:
        rest = stream.read(4)
        if len(rest) < 4:
            raise _cut(path)
        (length,) = struct.unpack(order + "L", rest)
    if length == UNDEFINED_LENGTH:
        return StoredCine(header, syntax, stream, tuple(_fragments(path, stream)), True)
    here, size = stream.tell(), stream.seek(0, os.SEEK_END)
    if here + length > size:
        raise _cut(path)
    return StoredCine(header, syntax, stream, (Span(here, length),), False, start[4:6] == b"OW")


def _fragments(path: Path, stream: BinaryIO) -> list[Span]:
    """The fragments after the basic offset table; always little endian (PS3.5 A.4)."""
    found: list[Span] = []
    size = os.fstat(stream.fileno()).st_size
    while True:
        item = stream.read(8)
        if len(item) < 8:
            raise _cut(path)
        tag = _tag(item, "<")
        (length,) = struct.unpack("<L", item[4:])
        if tag == SEQUENCE_DELIMITER:
            return found[1:]  # the first item is the basic offset table, empty or not
        here = stream.tell()
        if tag != ITEM or length == UNDEFINED_LENGTH:
            raise UnreadableCineError("truncated", f"the fragments of {path.name} are damaged: send the object again")
        if here + length > size:
            raise _cut(path)
        found.append(Span(here, length))
        stream.seek(length, os.SEEK_CUR)


def frame_spans(stored: StoredCine, declared: int) -> list[tuple[Span, ...]]:
    """The fragments of each frame. `declared` is Number of Frames; what is really there decides.

    One fragment a frame where the numbers agree; else a frame begins where a code stream begins.
    """
    fragments = stored.fragments
    if len(fragments) == declared:
        return [(span,) for span in fragments]
    starts = [
        i for i, span in enumerate(fragments) if stored.read([Span(span.offset, min(2, span.length))]) in FRAME_STARTS
    ]
    if not starts or starts[0] != 0:
        # No code stream to tell frames apart: RLE is one fragment a frame by definition (PS3.5 A.4.2).
        return [fragments] if declared == 1 else [(span,) for span in fragments]
    return [fragments[a:b] for a, b in zip(starts, [*starts[1:], len(fragments)], strict=True)]


def _tag(raw: bytes, order: str) -> int:
    group, element = struct.unpack(order + "HH", raw[:4])
    return int(group) << 16 | int(element)


def _cut(path: Path) -> UnreadableCineError:
    return UnreadableCineError("truncated", f"{path.name} ends in the middle of its pixel data: send the object again")
