"""Audit messages of PS3.15 A.5 as XML, and as the syslog lines that carry them (RFC 5424). Pure: nothing is written.

The element and attribute names are those of the schema in PS3.15 A.5.1, which grew out of RFC 3881.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from xml.etree import ElementTree

SUCCESS, MINOR_FAILURE, SERIOUS_FAILURE = 0, 4, 8
"""EventOutcomeIndicator (PS3.15 A.5.1)."""
MESSAGE_ID = "IHE+RFC-3881"
"""MSGID that audit repositories sort by (IHE ITI TF-2 3.20)."""
_PRIORITY = 10 * 8 + 5  # facility "security/authorization", severity "notice" (PS3.15 A.6)
_HOST_NAME, _IP_ADDRESS = "1", "2"  # NetworkAccessPointTypeCode


@dataclass(frozen=True)
class Code:
    """A coded value."""

    value: str
    meaning: str
    system: str = "DCM"


@dataclass(frozen=True)
class Participant:
    """Who took part: a process of this node, a peer, a person. `address`: of the machine, IP or name."""

    user_id: str
    name: str = ""
    ae_title: str = ""
    is_requestor: bool = False
    roles: tuple[Code, ...] = ()
    address: str = ""


@dataclass(frozen=True)
class Subject:
    """What it was about. `kind` and `role`: ParticipantObjectTypeCode and -Role.

    `sop_classes`: instances of each SOP class of a study. `query`: of a query, its data set.
    """

    identifier: str
    identifier_type: Code
    kind: str
    role: str
    sop_classes: Mapping[str, int] = field(default_factory=dict)
    query: bytes | None = None
    details: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class AuditEvent:
    """One event. `action`: Create, Read, Update, Delete, Execute."""

    code: Code
    action: Literal["C", "R", "U", "D", "E"]
    participants: tuple[Participant, ...]
    subjects: tuple[Subject, ...] = ()
    types: tuple[Code, ...] = ()
    outcome: int = SUCCESS
    description: str = ""


def to_xml(event: AuditEvent, source: str, at: datetime) -> str:
    """The message, on one line. `source`: which node reports."""
    root = ElementTree.Element("AuditMessage")
    identification = ElementTree.SubElement(
        root,
        "EventIdentification",
        EventActionCode=event.action,
        EventDateTime=at.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=str(event.outcome),
    )
    _coded(identification, "EventID", event.code)
    for code in event.types:
        _coded(identification, "EventTypeCode", code)
    if event.description:
        ElementTree.SubElement(identification, "EventOutcomeDescription").text = event.description
    for participant in event.participants:
        _participant(root, participant)
    reporter = ElementTree.SubElement(root, "AuditSourceIdentification", AuditSourceID=source)
    ElementTree.SubElement(reporter, "AuditSourceTypeCode", {"csd-code": "4"})  # application server process
    for subject in event.subjects:
        _subject(root, subject)
    return ElementTree.tostring(root, encoding="unicode")


def syslog_line(message: str, host: str, process_id: int, at: datetime) -> bytes:
    """RFC 5424 6: header and message, without a trailing newline; the byte order mark says UTF-8."""
    stamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    name = "".join(c for c in host if "!" <= c <= "~")[:255] or "-"
    header = f"<{_PRIORITY}>1 {stamp} {name} ceus-node {process_id} {MESSAGE_ID} - "
    return header.encode() + b"\xef\xbb\xbf" + message.replace("\n", "&#10;").encode()


def _coded(parent: ElementTree.Element, name: str, code: Code) -> None:
    attributes = {"csd-code": code.value, "codeSystemName": code.system, "originalText": code.meaning}
    ElementTree.SubElement(parent, name, attributes)


def _participant(root: ElementTree.Element, who: Participant) -> None:
    attributes = {"UserID": who.user_id, "UserIsRequestor": str(who.is_requestor).lower()}
    if who.ae_title:
        attributes["AlternativeUserID"] = f"AETITLES={who.ae_title}"
    if who.name:
        attributes["UserName"] = who.name
    if who.address:
        is_ip = ":" in who.address or who.address.replace(".", "").isdigit()
        attributes["NetworkAccessPointID"] = who.address
        attributes["NetworkAccessPointTypeCode"] = _IP_ADDRESS if is_ip else _HOST_NAME
    element = ElementTree.SubElement(root, "ActiveParticipant", attributes)
    for role in who.roles:
        _coded(element, "RoleIDCode", role)


def _subject(root: ElementTree.Element, what: Subject) -> None:
    element = ElementTree.SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=what.identifier,
        ParticipantObjectTypeCode=what.kind,
        ParticipantObjectTypeCodeRole=what.role,
    )
    _coded(element, "ParticipantObjectIDTypeCode", what.identifier_type)
    if what.query is None:
        ElementTree.SubElement(element, "ParticipantObjectName")  # the schema wants one; a name tells nothing more
    else:
        ElementTree.SubElement(element, "ParticipantObjectQuery").text = b64encode(what.query).decode()
    for name, value in what.details.items():
        ElementTree.SubElement(element, "ParticipantObjectDetail", type=name, value=b64encode(value).decode())
    if what.sop_classes:
        described = ElementTree.SubElement(element, "ParticipantObjectDescription")
        for uid, count in what.sop_classes.items():
            ElementTree.SubElement(described, "SOPClass", UID=uid, NumberOfInstances=str(count))
