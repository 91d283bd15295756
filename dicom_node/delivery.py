"""Delivery of one result folder to one destination: what it does not have yet, over one association.

The ledger is written after every answer. A crash between the PACS's answer and the ledger sends the same file again,
and the PACS's "duplicate" (0x0111) for that very UID is success.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pydicom

from dicom_node.config import DestinationSettings, Settings
from dicom_node.results import DeliveryLedger, ObjectDelivery, ResultFolder
from dicom_node.sending import SendOutcome, Verdict, send_files
from dicom_node.tls import remote_node


def deliver(
    folder: ResultFolder, destination: DestinationSettings, settings: Settings, *, now: datetime
) -> DeliveryLedger:
    """Send what is missing and return the ledger as it stands on disk.

    The ledger's state is "delivered" when the destination has everything, "pending" when trying again may help, and
    "failed" with a sentence when the destination refused an object for good.
    """
    ledger = _with_all_objects(folder, destination)
    missing = [folder.path / item.file for item in ledger.objects if not item.sent]
    worth_retrying = False
    for path, outcome in send_files(remote_node(settings, destination), settings.node.ae_title, missing):
        ledger = replace(ledger, objects=tuple(_noted(item, path.name, outcome) for item in ledger.objects))
        folder.write_ledger(ledger)
        worth_retrying |= outcome.worth_retrying and not _has_it(outcome)
    if all(item.sent for item in ledger.objects):
        ledger = replace(ledger, finished_at=now.isoformat(), failure=None)
    elif not worth_retrying:
        ledger = replace(ledger, failure=_refusals(ledger))
    folder.write_ledger(ledger)
    return ledger


def _with_all_objects(folder: ResultFolder, destination: DestinationSettings) -> DeliveryLedger:
    ledger = folder.ledger(destination.name)
    known = {item.file for item in ledger.objects}
    new = [
        ObjectDelivery(path.name, str(pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID))
        for path in folder.objects(destination.objects)
        if path.name not in known
    ]
    return replace(ledger, objects=ledger.objects + tuple(new), finished_at=None, failure=None)


def _noted(item: ObjectDelivery, file: str, outcome: SendOutcome) -> ObjectDelivery:
    if item.file != file:
        return item
    return replace(item, sent=_has_it(outcome), attempts=item.attempts + 1, status=outcome.text)


def _has_it(outcome: SendOutcome) -> bool:
    return outcome.delivered or outcome.verdict is Verdict.DUPLICATE


def _refusals(ledger: DeliveryLedger) -> str:
    refused = [f"{item.file}: {item.status}" for item in ledger.objects if not item.sent]
    return "; ".join(refused)
