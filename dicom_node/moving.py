"""Objects of a PACS by C-MOVE (PS3.4 C.4.2), for one that offers no C-GET: it stores them to our own receiver.

The PACS must know this node's AE title with its host and port. What it holds is asked for by C-FIND
before, so that what comes is matched to it whatever the PACS says of their originator. Bounded in
time like a C-GET.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelMove

from dicom_node.errors import UnreachableError
from dicom_node.retrieve_desk import RetrieveDesk
from dicom_node.retrieving import PacsCall, WantedInstances, find_instances, leave, open_service
from dicom_node.status import Status

_LOOK_S = 0.05
_WORDS = {0xA701: "out of resources", 0xA702: "unable to store to this node", 0xA900: "it does not take the question"}


@dataclass(frozen=True)
class MoveOutcome:
    """How a C-MOVE ended: its status, and how many objects the PACS says it stored, None where it says no number."""

    code: int
    completed: int | None

    @property
    def refused(self) -> bool:
        return self.code != Status.SUCCESS and not 0xB000 <= self.code <= 0xBFFF

    @property
    def destination_unknown(self) -> bool:
        return self.code == 0xA801  # PS3.4 table C.4-2; not every PACS tells it from other refusals


def move_instances(call: PacsCall, wanted: WantedInstances, desk: RetrieveDesk, folder: Path) -> tuple[Path, ...]:
    """Have what the PACS holds of the wanted objects stored to this node's receiver, as DICOM files in the folder.

    Raises UnreachableError: no answer in time, a refusal, or objects that did not come, with the reason; what came
    before that lies in the folder.
    """
    deadline = time.monotonic() + call.limit_s
    uids = tuple(uid for uid in find_instances(call, wanted) if uid in (wanted.sop_instance_uids or (uid,)))
    if not uids:
        return ()
    left_s = max(deadline - time.monotonic(), _LOOK_S)
    with desk.waiting_for(uids, left_s) as arriving:
        try:
            outcome = move(replace(call, limit_s=left_s), replace(wanted, sop_instance_uids=uids))
            if outcome.refused:
                raise UnreachableError(f"{call.remote.ae_title} refuses a C-MOVE: {_reason(outcome, call)}")
            _await(arriving, len(uids) if outcome.completed is None else outcome.completed, deadline)
        finally:
            paths = tuple(Path(shutil.move(path, folder / path.name)) for path in sorted(arriving.glob("*.dcm")))
    if len(paths) < len(uids):
        raise UnreachableError(
            f"{call.remote.ae_title} was to store {len(uids)} objects to {call.calling_ae_title}, {len(paths)} came"
        )
    return paths


def move(call: PacsCall, wanted: WantedInstances) -> MoveOutcome:
    """The C-MOVE itself, to this node. Raises UnreachableError where no answer comes in time."""
    deadline = time.monotonic() + call.limit_s
    assoc = open_service(call, [build_context(StudyRootQueryRetrieveInformationModelMove)])
    last = Dataset()
    try:
        answers = assoc.send_c_move(
            wanted.identifier(), call.calling_ae_title, StudyRootQueryRetrieveInformationModelMove
        )
        for last, _ in answers:
            if last.get("Status") is None or time.monotonic() > deadline:
                raise UnreachableError(f"{call.remote.ae_title} did not answer a C-MOVE in time")
    finally:
        leave(assoc)
    completed = last.get("NumberOfCompletedSuboperations")
    warned = int(last.get("NumberOfWarningSuboperations") or 0)  # stored, with a warning
    return MoveOutcome(int(last.Status), None if completed is None else int(completed) + warned)


def _reason(outcome: MoveOutcome, call: PacsCall) -> str:
    words = "it does not know the move destination" if outcome.destination_unknown else _WORDS.get(outcome.code, "")
    entered = f"is {call.calling_ae_title} entered there as a move destination, with this node's host and port?"
    return f"{words or 'it cannot'} (0x{outcome.code:04X}); {entered}"


def _await(arriving: Path, expected: int, deadline: float) -> None:
    """Until all that the PACS counted is here: some answer before their last association has ended."""
    while len(list(arriving.glob("*.dcm"))) < expected and time.monotonic() < deadline:
        time.sleep(_LOOK_S)  # another process receives; nothing announces a file
