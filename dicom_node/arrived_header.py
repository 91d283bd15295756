"""The header of an arrived object: what the ledger writes down of it, read without touching pixels."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timezone
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.valuerep import DA, DT, TM
from pynetdicom.dsutils import split_dataset

from dicom_node.errors import UnreadableHeaderError

NODE_FACTS_CREATOR = "2.25.141632893406461873208526441736150712377"
"""Private Information Creator UID (0002,0100) of the JSON that this node adds to a received file's meta header."""

_BROKEN = (
    *(OSError, EOFError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, AssertionError),
    *(zlib.error, struct.error, NotImplementedError, RecursionError, MemoryError),
    *(BytesLengthException, InvalidDicomError),
)
"""What pydicom raises on bytes that are no data set, as fuzzing shows: it has no error of its own for all of them."""
_FLOAT_PIXEL_DATA, _PIXEL_DATA = 0x7FE00008, 0x7FE00010
_FRAME_TIME_VECTOR = 0x00181065
_DEFLATED_BYTES = 4 << 20  # only so much of a deflated data set is inflated here: headers of cines are < 1 MB
_SEQUENCE_DELIMITER = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"
_TAIL_BYTES = 1 << 16  # what may follow the pixels: padding, digital signatures
_REGION_KEYWORDS = (
    "RegionSpatialFormat",
    "RegionDataType",
    "RegionLocationMinX0",
    "RegionLocationMinY0",
    "RegionLocationMaxX1",
    "RegionLocationMaxY1",
    "PhysicalDeltaX",
    "PhysicalDeltaY",
)
_KEYWORDS = (
    *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate"),
    *("AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime"),
    *("TimezoneOffsetFromUTC", "NumberOfFrames", "Rows", "Columns", "SeriesNumber", "InstanceNumber"),
    *("FrameIncrementPointer", "FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate"),
    *("Manufacturer", "ManufacturerModelName", "StationName", "ContrastBolusAgent", "ContrastBolusStartTime"),
    *("TransducerData", "TransducerType", "SequenceOfUltrasoundRegions"),
)
_TAGS: list[BaseTag | int] = [Tag(keyword) for keyword in _KEYWORDS]
_ASCII_VRS = frozenset({"UI", "DA", "TM", "DT"})
_KEYWORD_OF = dict(zip(_TAGS, _KEYWORDS, strict=True))


@dataclass(frozen=True)
class FileStart:
    """What stands before a file's data set: its length in bytes, the data set's encoding, this node's own facts."""

    offset: int
    transfer_syntax_uid: str
    node_facts: Mapping[str, Any]


@dataclass(frozen=True)
class ArrivedHeader:
    """The attributes of one object that decide its way, and those that the ledger keeps: values by keyword.

    A plain table: each look into a pydicom data set costs 20 us, and the ledger takes fifty.
    """

    values: Mapping[str, Any]
    transfer_syntax_uid: str
    node_facts: Mapping[str, Any]
    has_pixels: bool

    def text(self, keyword: str) -> str:
        """The value as stripped text, empty where missing."""
        value = self.values.get(keyword)
        return "" if value is None else str(value).strip()

    def number(self, keyword: str) -> int | None:
        """The value as an integer, None where missing or not one."""
        try:
            return int(self.text(keyword))
        except ValueError:
            return None


def read_arrived_header(path: Path, start: FileStart | None = None) -> ArrivedHeader:
    """Read what is before the pixels of a file, and check that the data set does not end too early. `start`: of a file
    that this process has just written.

    Raises UnreadableHeaderError: no DICOM, broken elements, or truncated.
    """
    try:
        start = start or _read_start(path)
        with path.open("rb") as stream:
            stream.seek(start.offset)
            size = os.fstat(stream.fileno()).st_size
            dataset, has_pixels = _read_before_pixels(stream, start.transfer_syntax_uid, size)
        values = _readable_values(dataset)
    except UnreadableHeaderError:
        raise
    except _BROKEN as error:
        # Its name only: the text may quote a value of the patient's, and this one is logged.
        raise UnreadableHeaderError(f"not a readable DICOM data set: {type(error).__name__}") from error
    return ArrivedHeader(values, start.transfer_syntax_uid, start.node_facts, has_pixels)


def _read_start(path: Path) -> FileStart:
    meta, offset = split_dataset(path)
    facts: dict[str, Any] = {}
    if str(meta.get("PrivateInformationCreatorUID", "")) == NODE_FACTS_CREATOR:
        facts = json.loads(bytes(meta.PrivateInformation).rstrip(b"\0 "))
    return FileStart(offset, str(meta.get("TransferSyntaxUID", "")), facts)


def _readable_values(dataset: Dataset) -> dict[str, Any]:
    """Every value, converted now: one element that cannot be read is as good as missing, not a reason to refuse all."""
    values: dict[str, Any] = {}
    for tag in list(dataset.keys()):
        keyword = _KEYWORD_OF.get(tag)
        if keyword is not None:
            with contextlib.suppress(*_BROKEN):
                values[keyword] = _value(dataset, tag)
    return values


def _value(dataset: Dataset, tag: BaseTag) -> Any:
    """The value of an element; single ASCII ones (PS3.5 6.2) without pydicom's conversion, which takes 0.1 ms each."""
    raw: Any = dataset.get_item(tag)
    if isinstance(raw, RawDataElement) and raw.VR in _ASCII_VRS and raw.value and b"\\" not in raw.value:
        return raw.value.decode("ascii").rstrip("\0 ")
    return dataset[tag].value


def _read_before_pixels(stream: BinaryIO, syntax: str, size: int) -> tuple[Dataset, bool]:
    """Elements up to the top-level pixel data, and whether there is any. Deflated ones are inflated in part."""
    uid = UID(syntax)
    if uid == DeflatedExplicitVRLittleEndian:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stream.read(_DEFLATED_BYTES), _DEFLATED_BYTES)
        stream, size = BytesIO(inflated), 0
    implicit = uid == ImplicitVRLittleEndian
    pixels: list[int] = []

    def at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
        del vr
        if _FLOAT_PIXEL_DATA <= tag <= _PIXEL_DATA:
            pixels.append(length)
        return bool(pixels)

    dataset = read_dataset(stream, implicit, uid != ExplicitVRBigEndian, stop_when=at_pixels, specific_tags=_TAGS)
    if size:
        _check_end(stream, size, pixels[0] if pixels else None, 8 if implicit else 12)
    return dataset, bool(pixels)


def _check_end(stream: BinaryIO, size: int, pixel_length: int | None, element_header: int) -> None:
    """Truncation: a value that reaches past the end, or encapsulated pixels without their delimiter (PS3.5 A.4)."""
    here = stream.tell()
    if pixel_length is None:
        if here > size:
            raise UnreadableHeaderError(f"truncated: a value ends {here - size} bytes after the last byte received")
    elif pixel_length != 0xFFFFFFFF:
        missing = here + element_header + pixel_length - size
        if missing > 0:
            raise UnreadableHeaderError(f"truncated: {missing} bytes of the pixel data are missing")
    else:
        stream.seek(max(here, size - _TAIL_BYTES))
        if _SEQUENCE_DELIMITER not in stream.read():
            raise UnreadableHeaderError("truncated: the encapsulated pixel data have no end")


def moment(header: ArrivedHeader, combined: str, date_keyword: str, time_keyword: str) -> datetime | None:
    """A date-time attribute, or a pair of date and time, as written; aware only where an offset is written."""
    zone = _zone(header.text("TimezoneOffsetFromUTC"))
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        if combined and header.text(combined):
            value = DT(header.text(combined))
            if value is not None:
                plain = datetime(*value.timetuple()[:6], value.microsecond, value.tzinfo)  # noqa: DTZ001 - as written
                return plain if plain.tzinfo else plain.replace(tzinfo=zone)
        day, clock = DA(header.text(date_keyword)), TM(header.text(time_keyword))
        if day and clock is not None:
            at = time(clock.hour, clock.minute, clock.second, clock.microsecond)
            return datetime.combine(date(day.year, day.month, day.day), at, zone)
    return None


def _zone(text: str) -> timezone | None:
    with contextlib.suppress(ValueError):
        return datetime.strptime(text, "%z").tzinfo if text else None  # type: ignore[return-value]
    return None


def duration_s(header: ArrivedHeader, frames: int) -> float | None:
    """First to last frame in s, as Frame Increment Pointer says (PS3.3 C.7.6.5.1.1); None where no time base is."""
    pointer = {int(tag) for tag in _values(header.values.get("FrameIncrementPointer"))}
    with contextlib.suppress(ValueError, TypeError):
        vector = [float(value) for value in _values(header.values.get("FrameTimeVector"))]
        frame_time_ms = float(header.values.get("FrameTime") or 0)
        if vector and (_FRAME_TIME_VECTOR in pointer or not frame_time_ms):
            return sum(vector[1:]) / 1000.0
        if frame_time_ms > 0:
            return frame_time_ms * (frames - 1) / 1000.0
    return None


def view_word(header: ArrivedHeader) -> str:
    """Image size, transducer and calibrated regions as one short word: equal words mean the same view."""
    parts = [header.text(keyword) for keyword in ("Rows", "Columns", "TransducerData", "TransducerType")]
    for region in _values(header.values.get("SequenceOfUltrasoundRegions")):
        for keyword in _REGION_KEYWORDS:
            parts.append(str(region.get(keyword, "")))
    digest = hashlib.sha256("|".join(parts).encode()).hexdigest()[:8]
    return f"{header.text('Columns')}x{header.text('Rows')}-{digest}"


def _values(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (MultiValue, Sequence, list)) else [value]
