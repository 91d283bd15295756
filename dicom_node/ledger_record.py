"""The ledger's record of an instance: from the file's own header, and to and from the small JSON that caches it."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicom_node.acquisition import ArrivalKind, Origin, ReceivedInstance, patient_key
from dicom_node.arrived_header import ArrivedHeader, duration_s, moment, read_arrived_header, view_word
from dicom_node.routing import Arrival, classify

_NOT_WRITTEN = {"path", "consumed_by"}
_MOMENTS = {"received_at", "acquired_at", "content_at", "injected_at"}


def arrival_of(header: ArrivedHeader) -> Arrival:
    """What routing wants to know of a header."""
    return Arrival(
        sop_class_uid=header.text("SOPClassUID"),
        frames=header.number("NumberOfFrames") or 1,
        manufacturer=header.text("Manufacturer"),
        model=header.text("ManufacturerModelName"),
        has_pixels=header.has_pixels,
        sop_instance_uid=header.text("SOPInstanceUID"),
    )


def record_of(path: Path, header: ArrivedHeader | None = None) -> ReceivedInstance:
    """The record of a spooled file, from the file alone: the JSON beside it may be lost at any time.

    Raises UnreadableHeaderError.
    """
    header = header or read_arrived_header(path)
    facts = header.node_facts
    arrival = arrival_of(header)
    return ReceivedInstance(
        sop_class_uid=arrival.sop_class_uid,
        sop_instance_uid=header.text("SOPInstanceUID"),
        study_instance_uid=header.text("StudyInstanceUID"),
        series_instance_uid=header.text("SeriesInstanceUID"),
        patient_key=patient_key(*(header.text(keyword) for keyword in _PATIENT)),
        kind=classify(arrival),
        origin=Origin(facts.get("origin", Origin.OTHER)),
        peer_ae_title=str(facts.get("peer_ae_title", "")),
        peer_host=str(facts.get("peer_host", "")),
        association_id=str(facts.get("association_id", "")),
        received_at=datetime.fromisoformat(facts["received_at"]) if facts else datetime.fromtimestamp(0, UTC),
        transfer_syntax_uid=header.transfer_syntax_uid,
        path=path,
        profile=facts.get("profile"),
        priority=int(facts.get("priority", 10)),
        frames=arrival.frames,
        rows=header.number("Rows") or 0,
        columns=header.number("Columns") or 0,
        acquired_at=moment(header, "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime"),
        content_at=moment(header, "", "ContentDate", "ContentTime"),
        injected_at=moment(header, "", "AcquisitionDate", "ContrastBolusStartTime")
        or moment(header, "", "ContentDate", "ContrastBolusStartTime"),
        duration_s=duration_s(header, arrival.frames),
        view=view_word(header),
        series_number=header.number("SeriesNumber"),
        instance_number=header.number("InstanceNumber"),
        manufacturer=arrival.manufacturer,
        model=arrival.model,
        station_name=header.text("StationName"),
        contrast_agent=header.text("ContrastBolusAgent") or None,
    )


_PATIENT = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate")


def to_json(record: ReceivedInstance, **more: str) -> bytes:
    """The record without its path, which is the file's own."""
    table: dict[str, Any] = dict(more)
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name not in _NOT_WRITTEN:
            table[field.name] = value.isoformat() if isinstance(value, datetime) else value
    return json.dumps(table).encode()


def from_json(text: bytes, path: Path) -> ReceivedInstance:
    """The record again. Raises ValueError, TypeError or KeyError where the cache is torn or of another version."""
    table = json.loads(text)
    known = {field.name for field in fields(ReceivedInstance)} - _NOT_WRITTEN
    values = {key: value for key, value in table.items() if key in known}
    for key in _MOMENTS:
        if values[key] is not None:
            values[key] = datetime.fromisoformat(values[key])
    values["kind"], values["origin"] = ArrivalKind(values["kind"]), Origin(values["origin"])
    return ReceivedInstance(path=path, **values)
