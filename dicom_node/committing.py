"""Asking a destination to take responsibility for objects: N-ACTION of Storage Commitment (PS3.4 J.3.2). Network only.

The report comes when the destination likes: on this association while it is open, or on one of its own to our receiver.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context, evt

from dicom_node.commitments import PUSH_MODEL, PUSH_MODEL_INSTANCE, CommitmentDesk, take_report
from dicom_node.sending import NoAssociationError, SendOutcome, Verdict, open_association, outcome_of_status
from dicom_node.status import Status, describe
from dicom_node.transport.association import NodeAssociation
from dicom_node.transport.requestor import RemoteNode, Timeouts

LISTENING_S = 2.0
"""How long the association stays open for the report: a peer that does it at once needs 13 ms (Orthanc, node.md 5)."""
_LOOK_S = 0.05
_REQUEST = 1  # Action Type ID (PS3.4 table J.3-1)
_ASK_AGAIN = {Status.PROCESSING_FAILURE, Status.RESOURCE_LIMITATION}


def ask_for_commitment(
    remote: RemoteNode, calling_ae_title: str, request: Dataset, desk: CommitmentDesk, timeouts: Timeouts | None = None
) -> SendOutcome:
    """Ask, and listen a moment for the report; "stored" means that the destination took the request, no more."""
    contexts = [build_context(PUSH_MODEL, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])]
    try:
        assoc = open_association(remote, calling_ae_title, contexts, timeouts or Timeouts())
    except NoAssociationError as error:
        if error.outcome.verdict is not Verdict.NOT_NEGOTIATED:
            return error.outcome
        text = f"{remote.ae_title} does not offer Storage Commitment"
        return SendOutcome(Verdict.NOT_NEGOTIATED, int(Status.SOP_CLASS_NOT_SUPPORTED), text)
    assoc.bind(evt.EVT_N_EVENT_REPORT, _hear(desk))
    try:
        status = assoc.send_n_action(request, _REQUEST, PUSH_MODEL, PUSH_MODEL_INSTANCE)[0].get("Status")
        if status == Status.SUCCESS:
            _listen(assoc, lambda: desk.report(str(request.TransactionUID)) is not None)
    except (OSError, RuntimeError, ValueError) as error:
        return SendOutcome(Verdict.LOST, None, f"{remote.ae_title}: {error}")
    finally:
        if assoc.is_established:
            assoc.release()
        assoc.abort()  # does nothing after a release
    return _outcome(status)


def commitment_request(transaction_uid: str, objects: Sequence[tuple[str, str]]) -> Dataset:
    """The Action Information: SOP Class and Instance UID of each object (PS3.4 table J.3-1)."""
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = []
    for sop_class, sop_instance in objects:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
        request.ReferencedSOPSequence.append(item)
    return request


def _outcome(status: int | None) -> SendOutcome:
    if status is not None and status in _ASK_AGAIN:
        return SendOutcome(Verdict.OUT_OF_RESOURCES, status, describe(status))
    return outcome_of_status(status)


def _hear(desk: CommitmentDesk) -> Callable[[evt.Event], tuple[int, None]]:
    def hear(event: evt.Event) -> tuple[int, None]:
        taken = take_report(desk, event.event_information)
        return int(Status.SUCCESS if taken else Status.INVALID_ARGUMENT), None

    return hear


def _listen(assoc: NodeAssociation, has_come: Callable[[], bool]) -> None:
    """Until the report is there, by whatever way (pynetdicom serves the one on this association in a thread), or the
    moment is over."""
    deadline = time.monotonic() + LISTENING_S
    while assoc.is_established and time.monotonic() < deadline and not has_come():
        time.sleep(_LOOK_S)
