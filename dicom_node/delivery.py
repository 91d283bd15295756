"""Delivery of one result folder to one destination: what it does not have yet, over one association.

The ledger is written after every answer. A crash between the PACS's answer and the ledger sends the same file again,
and the PACS's "duplicate" (0x0111) for that very UID is success. Where the destination is to commit to its objects, the
result is delivered only when it has (`commitment_keeper`).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pydicom

from dicom_node.audit import SENT, AuditTrail, Far, trail_of
from dicom_node.audited_files import study_of
from dicom_node.commitments import CommitmentDesk, Transaction
from dicom_node.config import DestinationSettings, Settings
from dicom_node.data_folder import DataFolder
from dicom_node.results import Commitment, DeliveryLedger, ObjectDelivery, ResultFolder
from dicom_node.sending import SendOutcome, Verdict, send_files
from dicom_node.tls import remote_node


def deliver(
    folder: ResultFolder, destination: DestinationSettings, settings: Settings, *, now: datetime
) -> DeliveryLedger:
    """Send what is missing and return the ledger as it stands on disk.

    The ledger's state is "delivered" when the destination has everything, "committing" when it has everything but is
    yet to be asked to keep it, "pending" when trying again may help, and "failed" with a sentence when the destination
    refused an object for good.
    """
    ledger = _with_all_objects(folder, destination)
    missing = [folder.path / item.file for item in ledger.objects if not item.sent]
    worth_retrying = False
    trail, far, study = trail_of(settings, "sender"), Far(destination.ae_title, destination.host), None
    if missing and trail.folder is not None and (study := study_of(missing)) is not None:
        trail.begins(far, study, SENT)
    outcomes: dict[Path, SendOutcome] = {}
    for path, outcome in send_files(remote_node(settings, destination), settings.node.ae_title, missing):
        outcomes[path] = outcome
        ledger = replace(ledger, objects=tuple(_noted(item, path.name, outcome) for item in ledger.objects))
        folder.write_ledger(ledger)
        worth_retrying |= outcome.worth_retrying and not _has_it(outcome)
    if study is not None:
        _audit(trail, far, outcomes)
    if all(item.sent for item in ledger.objects):
        if destination.storage_commitment and not all(item.committed for item in ledger.objects):
            return ask_to_keep(folder, ledger, settings)
        ledger = replace(ledger, finished_at=now.isoformat(), failure=None)
    elif not worth_retrying:
        ledger = replace(ledger, failure=_refusals(ledger))
    folder.write_ledger(ledger)
    return ledger


def _audit(trail: AuditTrail, far: Far, outcomes: Mapping[Path, SendOutcome]) -> None:
    """What went over, and what did not: a message each."""
    for over in (True, False):
        some = [path for path, outcome in outcomes.items() if _has_it(outcome) is over]
        study = study_of(some)
        if study is not None:
            failure = "" if over else "; ".join(sorted({outcomes[path].text for path in some}))
            trail.transferred(far, study, SENT, failure=failure)


def ask_to_keep(folder: ResultFolder, ledger: DeliveryLedger, settings: Settings) -> DeliveryLedger:
    """Open a transaction of Storage Commitment; the keeper makes the request. The ledger comes first: it is the truth,
    and the keeper mends the desk from it."""
    uid = f"2.25.{uuid.uuid4().int}"
    before = ledger.commitment or Commitment()
    ledger = replace(ledger, commitment=replace(before, transactions=(*before.transactions, uid)))
    folder.write_ledger(ledger)
    desk = CommitmentDesk(DataFolder(settings.node.data_dir).commitments)
    desk.open(Transaction(uid, ledger.destination, folder.acquisition, folder.job))
    return ledger


def _with_all_objects(folder: ResultFolder, destination: DestinationSettings) -> DeliveryLedger:
    ledger = folder.ledger(destination.name)
    known = {item.file for item in ledger.objects}
    new = [_new_object(path) for path in folder.objects(destination.objects) if path.name not in known]
    return replace(ledger, objects=ledger.objects + tuple(new), finished_at=None, failure=None)


def _new_object(path: Path) -> ObjectDelivery:
    header = pydicom.dcmread(path, specific_tags=["SOPClassUID", "SOPInstanceUID"])
    return ObjectDelivery(path.name, str(header.SOPInstanceUID), sop_class_uid=str(header.SOPClassUID))


def _noted(item: ObjectDelivery, file: str, outcome: SendOutcome) -> ObjectDelivery:
    if item.file != file:
        return item
    return replace(item, sent=_has_it(outcome), attempts=item.attempts + 1, status=outcome.text)


def _has_it(outcome: SendOutcome) -> bool:
    return outcome.delivered or outcome.verdict is Verdict.DUPLICATE


def _refusals(ledger: DeliveryLedger) -> str:
    refused = [f"{item.file}: {item.status}" for item in ledger.objects if not item.sent]
    return "; ".join(refused)
