"""Storage Commitment, from the request to its end (PS3.4 annex J): one keeper a destination, in the sender's process.

    delivered, not asked -> asked -> report: all committed                 -> delivered
                                     report: some are not there, or failed -> sent again, asked again, three times
                                     report: never will be                 -> failed, with the reason
                            no report within the wait -> asked again, after twice as long, six times -> failed

Everything stands in the ledgers; the desk's open transactions are their index, mended at the start. A keeper can be
killed at any point: what was asked is heard by the receiver meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog

from dicom_node.commitments import CommitmentDesk, Report, Transaction
from dicom_node.committing import ask_for_commitment, commitment_request
from dicom_node.config import DestinationSettings, Settings
from dicom_node.data_folder import DataFolder
from dicom_node.delivery import ask_to_keep
from dicom_node.results import DeliveryLedger, ObjectDelivery, ResultFolder, all_results
from dicom_node.status import Status, describe
from dicom_node.tls import remote_node

log = structlog.get_logger()

MOST_ASKED = 6
"""With the default wait of 10 min: 10 min, 20 min, ... 10.5 h in all, which an archive's nightly run fits into."""
MOST_RESENDS = 3
RESENT = frozenset({Status.PROCESSING_FAILURE, Status.NO_SUCH_INSTANCE, Status.RESOURCE_LIMITATION})
"""Failure Reasons (PS3.3 C.14.1.1) that the same object, sent once more, may cure."""
BRISK_S, CALM_S = 0.2, 2.0
"""Looks at the desk: while a report may come at any moment, and else."""
_BRISK_FOR = timedelta(seconds=60)
_LONGEST_PAUSE_S = 60.0


@dataclass
class CommitmentKeeper:
    """Asks one destination, hears its reports, and writes both into the ledgers.

    `order_delivery(acquisition, job, destination, resends)` has what must be sent again delivered; ordering twice is
    ordering once.
    """

    settings: Settings
    destination: DestinationSettings
    order_delivery: Callable[[str, str, int], None]
    _silent_until_s: float = field(default=0.0, init=False)
    _pause_s: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._folder = DataFolder(self.settings.node.data_dir)
        self._desk = CommitmentDesk(self._folder.commitments)

    def watch(self, stop: threading.Event) -> None:
        """Keep until `stop` is set."""
        self.take_up(all_results(self._folder.results))
        if not self.destination.storage_commitment:
            stop.wait()
        while not stop.wait(self.look(datetime.now(UTC))):
            pass

    def take_up(self, results: Iterable[ResultFolder]) -> None:
        """After a start: what the ledgers say must stand on the desk, and be on its way."""
        for folder in results:
            ledger = folder.ledger(self.destination.name)
            if ledger.commitment is None:
                continue
            if ledger.state == "pending" and ledger.commitment.resends:
                self.order_delivery(folder.job, self.destination.name, ledger.commitment.resends)
            elif ledger.state == "committing":
                if not self.destination.storage_commitment:  # the configuration has changed since
                    folder.write_ledger(_finished(ledger, datetime.now(UTC)))
                    continue
                for uid in ledger.commitment.transactions:
                    self._desk.open(Transaction(uid, self.destination.name, folder.acquisition, folder.job))

    def look(self, now: datetime) -> float:
        """Do what can be done now; the seconds until the next look."""
        pause_s = CALM_S
        for (acquisition, job), uids in self._open().items():
            folder = ResultFolder(self._folder.results, acquisition, job)
            ledger = folder.ledger(self.destination.name)
            asked = ledger.commitment
            if ledger.state != "committing" or asked is None:
                self._close(uids)
                continue
            report = next((r for uid in reversed(asked.transactions) if (r := self._desk.report(uid))), None)
            if report is not None:
                self._settle(folder, ledger, report, now)
            else:
                self._go_on(folder, ledger, now)
            if asked.asked_at is None or now - datetime.fromisoformat(asked.asked_at) < _BRISK_FOR:
                pause_s = BRISK_S
        return pause_s

    def _open(self) -> dict[tuple[str, str], list[str]]:
        found: dict[tuple[str, str], list[str]] = {}
        for transaction in self._desk.transactions(self.destination.name):
            found.setdefault((transaction.acquisition, transaction.job), []).append(transaction.uid)
        return found

    def _go_on(self, folder: ResultFolder, ledger: DeliveryLedger, now: datetime) -> None:
        """No report yet: ask, wait, ask again, or give up."""
        asked = ledger.commitment
        assert asked is not None  # noqa: S101 - the caller looked
        if asked.asked < len(asked.transactions):
            if time.monotonic() >= self._silent_until_s:
                self._ask(folder, ledger, now)
            return
        wait = timedelta(seconds=self.destination.commitment_wait_s * 2 ** (asked.asked - 1))
        if now - datetime.fromisoformat(asked.asked_at or now.isoformat()) < wait:
            return
        if asked.asked < MOST_ASKED:
            ask_to_keep(folder, ledger, self.settings)
        else:
            self._fail(folder, ledger, f"no answer to {asked.asked} requests for storage commitment")

    def _ask(self, folder: ResultFolder, ledger: DeliveryLedger, now: datetime) -> None:
        asked = ledger.commitment
        assert asked is not None  # noqa: S101 - the caller looked
        objects = [(item.sop_class_uid, item.sop_instance_uid) for item in ledger.objects if not item.committed]
        request = commitment_request(asked.transactions[-1], objects)
        remote = remote_node(self.settings, self.destination)
        outcome = ask_for_commitment(remote, self.settings.node.ae_title, request, self._desk)
        if outcome.delivered:
            self._pause_s = 0.0
            asked = replace(asked, asked=asked.asked + 1, asked_at=now.isoformat(), said="")
            folder.write_ledger(replace(ledger, commitment=asked))
            log.info("commitment asked", job=folder.job, destination=self.destination.name, times=asked.asked)
        elif outcome.worth_retrying:
            # A peer that is down is asked once, not once a result; 1, 2, 4 ... 60 s as for deliveries.
            self._pause_s = min(max(1.0, 2 * self._pause_s), _LONGEST_PAUSE_S)
            self._silent_until_s = time.monotonic() + self._pause_s
            if asked.said != outcome.text:
                folder.write_ledger(replace(ledger, commitment=replace(asked, said=outcome.text)))
        else:
            self._fail(folder, ledger, outcome.text)

    def _settle(self, folder: ResultFolder, ledger: DeliveryLedger, report: Report, now: datetime) -> None:
        """Write a report into the ledger. What it does not name, or names as asked twice, is asked for again."""
        asked = ledger.commitment
        assert asked is not None  # noqa: S101 - the caller looked
        objects = tuple(_noted(item, report) for item in ledger.objects)
        ledger = replace(ledger, objects=objects)
        reasons = {i.file: report.failed[i.sop_instance_uid] for i in objects if i.sop_instance_uid in report.failed}
        reasons = {file: reason for file, reason in reasons.items() if reason != Status.DUPLICATE_TRANSACTION}
        unkept = "; ".join(f"{file}: {describe(reason)}" for file, reason in reasons.items())
        if all(item.committed for item in objects):
            folder.write_ledger(_finished(ledger, now))
            log.info("committed", job=folder.job, destination=self.destination.name)
        elif not reasons:
            self._desk.close(report.transaction_uid)
            if asked.asked < MOST_ASKED:
                ask_to_keep(folder, ledger, self.settings)
            else:
                self._fail(folder, ledger, f"{asked.asked} reports that do not name every object")
        elif set(reasons.values()) <= RESENT and asked.resends < MOST_RESENDS:
            log.warning("not committed, sent again", job=folder.job, destination=self.destination.name, reason=unkept)
            anew = replace(asked, transactions=(), asked=0, asked_at=None, resends=asked.resends + 1, said=unkept)
            folder.write_ledger(replace(ledger, commitment=anew))
            self.order_delivery(folder.job, self.destination.name, anew.resends)
        else:
            self._fail(folder, ledger, f"holds the objects but does not commit to keep them: {unkept}")

    def _fail(self, folder: ResultFolder, ledger: DeliveryLedger, sentence: str) -> None:
        folder.write_ledger(replace(ledger, failure=f"{self.destination.name}: {sentence}"))
        log.error("not committed", job=folder.job, destination=self.destination.name, reason=sentence)

    def _close(self, uids: Iterable[str]) -> None:
        for uid in uids:
            self._desk.close(uid)


def _noted(item: ObjectDelivery, report: Report) -> ObjectDelivery:
    if item.sop_instance_uid in report.committed:
        return replace(item, committed=True, status=f"{item.status}, committed")
    reason = report.failed.get(item.sop_instance_uid)
    if reason is None or item.committed:
        return item
    return replace(item, sent=reason not in RESENT, status=f"not committed: {describe(reason)}")


def _finished(ledger: DeliveryLedger, now: datetime) -> DeliveryLedger:
    return replace(ledger, finished_at=now.isoformat(), failure=None)
