"""A node with one result that a PACS is to commit to: a real one, and one that answers as the test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from dicom_node.commitment_keeper import CommitmentKeeper
from dicom_node.config import Settings, load_settings
from dicom_node.data_folder import DataFolder
from dicom_node.delivery import deliver
from dicom_node.receiver import receiver_settings
from dicom_node.results import DeliveryLedger, ResultFolder
from tests.dicom_node.network_scenes import Node, Scene
from tests.peers import LOOPBACK, Orthanc

ROOT = Path(__file__).parents[2]
START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
LATE = timedelta(days=1)
SC = "1.2.840.10008.5.1.4.1.1.7"


@dataclass
class Ward:
    """A node with one measured result of two objects for one PACS that is to commit; deliveries are run by hand."""

    folder: Path
    ae_title: str
    port: int
    settings: Settings = field(init=False)
    result: ResultFolder = field(init=False)
    ordered: list[tuple[str, str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        pacs = {"name": "pacs", "ae_title": self.ae_title, "host": LOOPBACK, "port": self.port}
        pacs |= {"storage_commitment": True, "objects": ("sr", "sc"), "commitment_wait_s": 60.0}
        self.settings = load_settings(None, node={"data_dir": self.folder / "data"}, destination=(pacs,))
        DataFolder(self.folder / "data").prepare()
        self.result = ResultFolder(self.folder / "data" / "results", "acquisition", "job")
        with self.result.being_made() as made:
            for number, name in enumerate(("sr.dcm", "sc_1.dcm"), 1):
                Scene(number, frames=1, sop_class=SC).file(made).rename(made / name)
            (made / "findings.json").write_text("{}")

    @property
    def ledger(self) -> DeliveryLedger:
        return self.result.ledger("pacs")

    def deliver(self) -> DeliveryLedger:
        return deliver(self.result, self.settings.destination[0], self.settings, now=START)

    def keeper(self) -> CommitmentKeeper:
        """A new one each time: nothing may live in the old one's memory."""
        keeper = CommitmentKeeper(self.settings, self.settings.destination[0], self._order)
        keeper.take_up([self.result])
        return keeper

    def _order(self, job: str, destination: str, resends: int) -> None:
        self.ordered.append((job, destination, resends))

    def look_until(self, done: Callable[[], bool]) -> None:
        keeper = self.keeper()
        for _ in range(100):  # of 50 ms: 5 s, where Orthanc needs 13 ms
            keeper.look(START)
            if done():
                return
            threading.Event().wait(0.05)
        raise AssertionError(f"not settled: {self.ledger}")


class Pacs:
    """A PACS whose commitment follows a script: `answer(request)` gives the event type and information, or nothing."""

    def __init__(self, answer: Callable[[Dataset], tuple[int, Dataset] | None], status: int = 0) -> None:
        self.asked: list[Dataset] = []
        self._answer, self._status = answer, status
        self.answers: list[int | None] = []

    def act(self, event: evt.Event) -> tuple[int, None]:
        request = event.action_information
        self.asked.append(request)
        report = self._answer(request)
        if report is not None:
            threading.Thread(target=self._report, args=(event.assoc, *report)).start()
        return self._status, None

    def _report(self, assoc: Any, kind: int, information: Dataset) -> None:
        """On the same association, as soon as the answer is out."""
        answer, _ = assoc.send_n_event_report(
            information, kind, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1", msg_id=9
        )
        self.answers.append(answer.get("Status"))

    @contextmanager
    def serving(self, commits: bool = True) -> Iterator[int]:
        ae = AE(ae_title="PACS")
        ae.add_supported_context(SC)
        if commits:
            ae.add_supported_context(StorageCommitmentPushModel)
        handlers = [(evt.EVT_C_STORE, lambda _: 0), (evt.EVT_N_ACTION, self.act)]
        server = ae.start_server((LOOPBACK, 0), block=False, evt_handlers=handlers)
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def report_on(request: Dataset, failed: dict[str, int]) -> tuple[int, Dataset]:
    """The Event Information for a request in which these instances fail (PS3.4 table J.3-2)."""
    information = Dataset()
    information.TransactionUID = request.TransactionUID
    information.ReferencedSOPSequence = [
        item for item in request.ReferencedSOPSequence if item.ReferencedSOPInstanceUID not in failed
    ]
    if not failed:
        return 1, information
    information.FailedSOPSequence = []
    for item in request.ReferencedSOPSequence:
        if item.ReferencedSOPInstanceUID in failed:
            item.FailureReason = failed[item.ReferencedSOPInstanceUID]
            information.FailedSOPSequence.append(item)
    return 2, information


@contextmanager
def orthanc_and_receiver(folder: Path) -> Iterator[tuple[Orthanc, Ward]]:
    """Orthanc reports on a new association to the node's receiver, over the spool that the sender reads."""
    pacs = Orthanc(folder)
    ward = Ward(folder, pacs.ae_title, pacs.dicom_port)
    peers = receiver_settings(ward.settings).peers
    with Node(folder / "data", peers=peers) as node:
        pacs.node_port = node.port
        with pacs:
            yield pacs, ward
