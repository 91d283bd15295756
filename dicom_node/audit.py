"""The audit trail (PS3.15 A.5): who sent, got, asked for or changed what, and about which patient.

    data_dir/audit/YYYY-MM-DD.log    one RFC 5424 line an event, appended by every process of the node

The file is the record; the sender passes it on to a syslog server where one is configured (`audit_forwarding`). It is
the only thing that this node writes patients' identifiers into beside the objects themselves. An event that cannot be
written is said in the log and holds up nothing.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

from dicom_node.audit_message import (
    MINOR_FAILURE,
    SUCCESS,
    AuditEvent,
    Code,
    Participant,
    Subject,
    syslog_line,
    to_xml,
)
from dicom_node.data_folder import DataFolder

if TYPE_CHECKING:  # the receiver's process starts faster and smaller without the settings' machinery
    from dicom_node.config import Settings

APPLICATION_ACTIVITY = Code("110100", "Application Activity")
BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
QUERY = Code("110112", "Query")
SECURITY_ALERT = Code("110113", "Security Alert")
APPLICATION_START, APPLICATION_STOP = Code("110120", "Application Start"), Code("110121", "Application Stop")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
SOFTWARE_CONFIGURATION = Code("110131", "Software Configuration")
RESTRICTED_FUNCTION = Code("110132", "Use of Restricted Function")
_APPLICATION, _DESTINATION, _SOURCE = (
    Code("110150", "Application"),
    Code("110152", "Destination Role ID"),
    Code("110153", "Source Role ID"),
)
_STUDY, _SOP_CLASS, _NODE = (
    Code("110180", "Study Instance UID"),
    Code("110181", "SOP Class UID"),
    Code("110182", "Node ID"),
)
_PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")
_REPORT_NUMBER = Code("9", "Report Number", "RFC-3881")
_PERSON, _SYSTEM = "1", "2"  # ParticipantObjectTypeCode
_PATIENT, _REPORT, _RESOURCE, _JOB = "1", "3", "13", "20"  # ParticipantObjectTypeCodeRole


_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
_KINDS = {
    "kept": ("stored", "retrieved", "quarantined"),
    "not kept": ("duplicate", "dropped"),
    "failed": ("refused", "failed"),
}
"""Outcomes of the receiver's summary: new here, held already or dropped on purpose, and not taken."""


@dataclass(frozen=True)
class Far:
    """The other end of an association."""

    ae_title: str
    address: str


@dataclass(frozen=True)
class Way:
    """Which way objects go, and whether the other end opened the association."""

    received: bool
    far_asked: bool


RECEIVED, FETCHED, SENT = Way(True, True), Way(True, False), Way(False, False)


@dataclass(frozen=True)
class Study:
    """What was transferred of one study; a message tells of one study, and so of one patient."""

    study_instance_uid: str
    patient_id: str
    sop_classes: Mapping[str, int] = field(default_factory=dict)

    @property
    def subjects(self) -> tuple[Subject, ...]:
        patient = Subject(self.patient_id, _PATIENT_NUMBER, _PERSON, _PATIENT)
        return (Subject(self.study_instance_uid, _STUDY, _SYSTEM, _REPORT, self.sop_classes), patient)


@dataclass(frozen=True)
class AuditTrail:
    """Writes this node's events. `folder` None: nothing is audited. `process`: the role that reports."""

    folder: Path | None = None
    ae_title: str = ""
    process: str = ""

    def started(self, ends: bool = False) -> None:
        """A role began, or ended in order."""
        me = self._me(is_requestor=False, role=_APPLICATION)
        kind = APPLICATION_STOP if ends else APPLICATION_START
        self.record(AuditEvent(APPLICATION_ACTIVITY, "E", (me,), types=(kind,)))

    def begins(self, far: Far, study: Study, way: Way) -> None:
        """Objects of a study begin to flow."""
        self.record(AuditEvent(BEGIN_TRANSFERRING, "E", self._ends(far, way), study.subjects))

    def transferred(self, far: Far, study: Study, way: Way, *, failure: str = "", new: bool = True) -> None:
        """Objects of a study went over, or failed to. `new`: the receiver did not hold them before (as far as known:
        else PS3.15 A.5.3.7 wants "read")."""
        self.record(
            AuditEvent(
                INSTANCES_TRANSFERRED,
                "C" if way.received and new else "R",
                self._ends(far, way),
                study.subjects,
                outcome=MINOR_FAILURE if failure else SUCCESS,
                description=failure,
            )
        )

    def received(self, far: Far, studies: Mapping[tuple[str, str], Mapping[tuple[str, str], int]]) -> None:
        """What an association brought, by (study, patient), then (outcome as the summary counts it, SOP class): one
        message a study and kind of outcome, for a message never mixes success and failure (PS3.15 A.5.2)."""
        for (study, patient), counts in studies.items():
            for kind, outcomes in _KINDS.items():
                found: dict[str, int] = {}
                for (outcome, sop_class), count in counts.items():
                    if outcome in outcomes:
                        found[sop_class] = found.get(sop_class, 0) + count
                if found:
                    failure = "refused, or not written" if kind == "failed" else ""
                    new = kind == "kept"
                    self.transferred(far, Study(study, patient, found), RECEIVED, failure=failure, new=new)

    def turned_away(self, far: Far, sentence: str) -> None:
        """A peer that may not talk to us."""
        who = Participant(far.ae_title or far.address, "", far.ae_title, is_requestor=True, address=far.address)
        self.alert(NODE_AUTHENTICATION, sentence, who, ("thing", self.ae_title), failed=True)

    def queried(self, far: Far, sop_class_uid: str, query: bytes, transfer_syntax_uid: str) -> None:
        """We asked a PACS for what it holds."""
        details = {"TransferSyntax": transfer_syntax_uid.encode()}
        asked = Subject(sop_class_uid, _SOP_CLASS, _SYSTEM, _REPORT, query=query, details=details)
        self.record(AuditEvent(QUERY, "E", self._ends(far, SENT), (asked,)))

    def alert(
        self, kind: Code, sentence: str, who: Participant, about: tuple[Literal["job", "thing"], str], *, failed: bool
    ) -> None:
        """A security alert: a peer that was turned away, a person's act. `about`: the kind of thing and its name."""
        details = {"Alert Description": sentence.encode()}
        identifier_type, role = (_REPORT_NUMBER, _JOB) if about[0] == "job" else (_NODE, _RESOURCE)
        subject = Subject(about[1], identifier_type, _SYSTEM, role, details=details)
        outcome = MINOR_FAILURE if failed else SUCCESS
        participants = (self._me(is_requestor=False), who)
        self.record(AuditEvent(SECURITY_ALERT, "E", participants, (subject,), (kind,), outcome, sentence))

    def record(self, event: AuditEvent) -> None:
        """Append an event to the day's file."""
        if self.folder is None:
            return
        now = datetime.now(UTC)
        host = socket.gethostname()
        line = syslog_line(to_xml(event, f"{self.ae_title}@{host}", now), host, os.getpid(), now) + b"\n"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = os.open(
                self.folder / f"{now:%Y-%m-%d}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
            try:
                os.write(file, line)  # one call: lines of several processes never mix (O_APPEND)
            finally:
                os.close(file)
        except OSError as error:
            structlog.get_logger().error("audit_not_written", event_code=event.code.value, error=error.strerror)

    def _me(self, *, is_requestor: bool, role: Code | None = None) -> Participant:
        roles = () if role is None else (role,)
        name = f"ceus-node {self.process}"
        return Participant(str(os.getpid()), name, self.ae_title, is_requestor, roles, socket.gethostname())

    def _ends(self, far: Far, way: Way) -> tuple[Participant, ...]:
        theirs, ours = (_SOURCE, _DESTINATION) if way.received else (_DESTINATION, _SOURCE)
        there = Participant(far.ae_title, "", far.ae_title, way.far_asked, (theirs,), far.address)
        here = self._me(is_requestor=not way.far_asked, role=ours)
        return (there, here) if way.received else (here, there)


def trail_of(settings: Settings, process: str) -> AuditTrail:
    """The trail of one role or command, as the configuration wants it."""
    folder = DataFolder(settings.node.data_dir).audit if settings.audit.enabled else None
    return AuditTrail(folder, settings.node.ae_title, process)


def person(address: str = "", name: str = "") -> Participant:
    """Who sits at this machine, or at that address: the page has no login and knows no more of its visitor than the
    name that he gives."""
    if address:
        return Participant(f"visitor@{address}", name, is_requestor=True, address=address)
    try:
        login = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        login = str(os.getuid())
    return Participant(f"{login}@{socket.gethostname()}", name, is_requestor=True, address=socket.gethostname())
