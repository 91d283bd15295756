"""Earlier objects of a patient from a PACS: C-FIND for series, C-GET for their objects (PS3.4 annex C). Network only.

Everything is bounded in time: a PACS that does not answer costs its deadline, never the report. C-GET comes over our
own association, so that nothing of it ever reaches the receiver or starts a job. For a PACS without it: `moving`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import build_context, build_role, evt
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from dicom_node.audit import FETCHED, AuditTrail, Far
from dicom_node.audited_files import study_of
from dicom_node.errors import UnreachableError
from dicom_node.spool import file_stem
from dicom_node.status import Status, describe
from dicom_node.transport.association import NodeAssociation
from dicom_node.transport.requestor import RemoteNode, Timeouts, associate

_PENDING = (0xFF00, 0xFF01)  # PS3.4 C.4.1.1.4
_WILDCARDS = set("*?\\")  # PS3.4 C.2.2.2.4


@dataclass(frozen=True)
class SeriesQuery:
    """Series of one modality of one patient, in studies of these days (both included)."""

    patient_id: str
    modality: str
    first_day: date
    last_day: date


@dataclass(frozen=True)
class FoundSeries:
    """A series that a PACS says it has. `study_date`, `study_time` as written, empty where missing."""

    patient_id: str
    study_instance_uid: str
    series_instance_uid: str
    modality: str
    study_date: str
    study_time: str
    description: str


@dataclass(frozen=True)
class PacsCall:
    """Whom to ask, as whom, and how long all of it may take in s."""

    remote: RemoteNode
    calling_ae_title: str
    limit_s: float = 30.0
    audit: AuditTrail = field(default_factory=AuditTrail)

    @property
    def far(self) -> Far:
        return Far(self.remote.ae_title, self.remote.host)


def find_series(call: PacsCall, query: SeriesQuery) -> tuple[FoundSeries, ...]:
    """The series that match; the patient's identifier is compared here once more, exactly.

    Raises UnreachableError: no association, no answer in time, or a refusal, with the reason.
    """
    if not may_be_asked_for(query.patient_id):
        return ()
    deadline = time.monotonic() + call.limit_s
    assoc = open_service(call, [build_context(StudyRootQueryRetrieveInformationModelFind)])
    asked = encode(_study_level(query), is_implicit_vr=False, is_little_endian=True) or b""
    call.audit.queried(call.far, StudyRootQueryRetrieveInformationModelFind, asked, ExplicitVRLittleEndian)
    try:
        found = []
        for study in list(_answers(assoc, _study_level(query), deadline)):
            if str(study.get("PatientID", "")).strip() != query.patient_id.strip():
                continue
            for series in _answers(assoc, _series_level(query, study), deadline):
                if str(series.get("Modality", "")) == query.modality:
                    found.append(_found(study, series))
        return tuple(found)
    finally:
        leave(assoc)


def find_instances(call: PacsCall, wanted: WantedInstances) -> tuple[str, ...]:
    """SOP Instance UIDs of the series' objects of the wanted classes (a PACS may leave the class out).

    Raises UnreachableError as `find_series`.
    """
    deadline = time.monotonic() + call.limit_s
    assoc = open_service(call, [build_context(StudyRootQueryRetrieveInformationModelFind)])
    identifier = wanted.identifier()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.SOPInstanceUID = identifier.SOPClassUID = ""
    try:
        found = list(_answers(assoc, identifier, deadline))
    finally:
        leave(assoc)
    return tuple(
        str(each.SOPInstanceUID)
        for each in found
        if str(each.get("SOPInstanceUID") or "") and str(each.get("SOPClassUID") or "") in ("", *wanted.sop_classes)
    )


def may_be_asked_for(patient_id: str) -> bool:
    """Whether a PACS can be asked for this patient alone: an identifier that matches others is none."""
    return bool(patient_id.strip()) and not _WILDCARDS & set(patient_id)


@dataclass(frozen=True)
class WantedInstances:
    """Objects of one series to be fetched: all of them, or those that are named. Only of these classes.

    transfer_syntaxes: each is offered by itself, so that a PACS sends an image as it stores it; none: uncompressed.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_classes: tuple[str, ...]
    sop_instance_uids: tuple[str, ...] = ()
    transfer_syntaxes: tuple[str, ...] = ()

    def identifier(self) -> Dataset:
        """The identifier of a C-GET or C-MOVE (PS3.4 C.4.3.1.3, C.4.2.1.4)."""
        identifier = Dataset()
        identifier.QueryRetrieveLevel = "IMAGE" if self.sop_instance_uids else "SERIES"
        identifier.StudyInstanceUID = self.study_instance_uid
        identifier.SeriesInstanceUID = self.series_instance_uid
        if self.sop_instance_uids:
            identifier.SOPInstanceUID = list(self.sop_instance_uids)
        return identifier

    def contexts(self) -> list[PresentationContext]:
        """The C-GET itself, and how its objects may come."""
        offered: list[list[str] | None] = [[syntax] for syntax in self.transfer_syntaxes] or [None]
        objects = [build_context(uid, syntaxes) for uid in self.sop_classes for syntaxes in offered]
        return [build_context(StudyRootQueryRetrieveInformationModelGet), *objects]


def get_instances(call: PacsCall, wanted: WantedInstances, folder: Path) -> tuple[Path, ...]:
    """Fetch objects as DICOM files into a folder.

    Raises UnreachableError as `find_series`; what came before that stays in the folder.
    """
    deadline = time.monotonic() + call.limit_s
    assoc = open_service(call, wanted.contexts(), [build_role(uid, scp_role=True) for uid in wanted.sop_classes])
    paths: list[Path] = []
    assoc.bind(evt.EVT_C_STORE, _keeper(folder, paths))
    try:
        for status, _ in assoc.send_c_get(wanted.identifier(), StudyRootQueryRetrieveInformationModelGet):
            _check(call.remote, status, deadline)
    finally:
        leave(assoc)
        fetched = study_of(paths) if call.audit.folder is not None else None
        if fetched is not None:
            call.audit.transferred(call.far, fetched, FETCHED)
    return tuple(paths)


def _keeper(folder: Path, paths: list[Path]) -> Callable[[Any], int]:
    def keep(event: Any) -> int:
        path = folder / f"{file_stem(str(event.request.AffectedSOPInstanceUID))}.dcm"
        try:
            path.write_bytes(event.encoded_dataset())
        except OSError:
            return int(Status.OUT_OF_RESOURCES)
        paths.append(path)
        return int(Status.SUCCESS)

    return keep


def open_service(call: PacsCall, contexts: Sequence[PresentationContext], roles: Sequence[Any] = ()) -> NodeAssociation:
    """An association whose first context, the service, was accepted; every wait on it is the call's. Raises
    UnreachableError."""
    wait_s = call.limit_s
    timeouts = Timeouts(connect_s=min(10.0, wait_s), acse_s=wait_s, dimse_s=wait_s, network_s=wait_s)
    where = f"{call.remote.ae_title} at {call.remote.host}:{call.remote.port}"
    try:
        assoc = associate(call.remote, call.calling_ae_title, contexts, timeouts, roles)
    except OSError as error:
        raise UnreachableError(f"{where} has no address: {error}") from error
    service = contexts[0].abstract_syntax
    if any(context.abstract_syntax == service for context in assoc.accepted_contexts) and assoc.is_established:
        return assoc
    leave(assoc)
    raise UnreachableError(f"{where} cannot be asked: it gives us no association for query or retrieve")


def leave(assoc: NodeAssociation) -> None:
    """End the association, whatever state it is in."""
    if assoc.is_established:
        assoc.release()
    assoc.abort()  # does nothing after a release


def _answers(assoc: NodeAssociation, identifier: Dataset, deadline: float) -> Iterator[Dataset]:
    remote = RemoteNode(str(assoc.acceptor.ae_title), "", 0)
    for status, answer in assoc.send_c_find(identifier, StudyRootQueryRetrieveInformationModelFind):
        _check(remote, status, deadline)
        if answer is not None:
            yield answer


def _check(remote: RemoteNode, status: Dataset, deadline: float) -> None:
    code = status.get("Status")
    if code is None or time.monotonic() > deadline:
        raise UnreachableError(f"{remote.ae_title} did not answer in time")
    if code not in _PENDING and code != Status.SUCCESS and not 0xB000 <= code <= 0xBFFF:
        raise UnreachableError(f"{remote.ae_title} refuses: {describe(code)}")


def _study_level(query: SeriesQuery) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    identifier.PatientID = query.patient_id.strip()
    identifier.StudyDate = f"{query.first_day:%Y%m%d}-{query.last_day:%Y%m%d}"
    identifier.StudyInstanceUID = identifier.StudyTime = ""
    return identifier


def _series_level(query: SeriesQuery, study: Dataset) -> Dataset:
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "SERIES"
    identifier.StudyInstanceUID = study.StudyInstanceUID
    identifier.Modality = query.modality
    identifier.SeriesInstanceUID = identifier.SeriesDescription = ""
    return identifier


def _found(study: Dataset, series: Dataset) -> FoundSeries:
    return FoundSeries(
        patient_id=str(study.PatientID).strip(),
        study_instance_uid=str(study.StudyInstanceUID),
        series_instance_uid=str(series.SeriesInstanceUID),
        modality=str(series.Modality),
        study_date=str(study.get("StudyDate", "")),
        study_time=str(study.get("StudyTime", "")),
        description=str(series.get("SeriesDescription", "")),
    )
