"""Storage Commitment on disk: what a destination was asked to take responsibility for, and what it answered.

    spool/commitments/<transaction>.open      whose ledger the transaction belongs to; an index of the ledgers
    spool/commitments/<transaction>.report    the destination's N-EVENT-REPORT, on disk before it was answered

The receiver writes reports, the sender reads them: a report finds its ledger whoever of the two was restarted between.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pydicom.dataset import Dataset

from dicom_node.spool import file_stem, write_durably

PUSH_MODEL = "1.2.840.10008.1.20.1"  # Storage Commitment Push Model SOP Class
PUSH_MODEL_INSTANCE = "1.2.840.10008.1.20.1.1"  # its well-known SOP Instance (PS3.4 J.3.5)


@dataclass(frozen=True)
class Transaction:
    """One request for commitment, by the Transaction UID that its report will name."""

    uid: str
    destination: str
    acquisition: str
    job: str


@dataclass(frozen=True)
class Report:
    """What a destination answered: `failed` holds SOP Instance UID and Failure Reason (PS3.3 C.14.1.1)."""

    transaction_uid: str
    committed: tuple[str, ...]
    failed: Mapping[str, int]
    received_at: str

    @classmethod
    def of(cls, information: Dataset, now: datetime) -> Self:
        """From the Event Information of an N-EVENT-REPORT (PS3.4 table J.3-2).

        An instance that stands in both sequences has failed: nobody deletes on the strength of a contradiction.
        """
        failed = {
            str(item.get("ReferencedSOPInstanceUID", "")): int(item.get("FailureReason") or 0x0110)
            for item in information.get("FailedSOPSequence") or ()
        }
        named = [
            str(item.get("ReferencedSOPInstanceUID", "")) for item in information.get("ReferencedSOPSequence") or ()
        ]
        committed = tuple(uid for uid in named if uid not in failed)
        return cls(str(information.get("TransactionUID") or ""), committed, failed, now.isoformat())


class CommitmentDesk:
    """The folder of open transactions and of their reports."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, transaction: Transaction) -> None:
        """Note durably whom a report will concern. Before the request goes out: the report may be faster than its
        answer."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(self._file(transaction.uid, "open"), json.dumps(asdict(transaction)).encode())

    def take(self, report: Report) -> bool:
        """Keep a report durably; False where nobody asked for it."""
        if not report.transaction_uid or not self._file(report.transaction_uid, "open").exists():
            return False
        write_durably(self._file(report.transaction_uid, "report"), json.dumps(asdict(report)).encode())
        return True

    def transactions(self, destination: str) -> list[Transaction]:
        """What was asked of one destination and is not settled, in no particular order."""
        found = []
        for file in self._root.glob("*.open"):
            with contextlib.suppress(FileNotFoundError):  # closed since the folder was listed
                transaction = Transaction(**json.loads(file.read_bytes()))
                if transaction.destination == destination:
                    found.append(transaction)
        return found

    def report(self, uid: str) -> Report | None:
        """The answer to a transaction, None while there is none."""
        try:
            table = json.loads(self._file(uid, "report").read_bytes())
        except FileNotFoundError:
            return None
        return Report(**{**table, "committed": tuple(table["committed"])})

    def close(self, uid: str) -> None:
        """Forget a transaction: what it said stands in the ledger."""
        for kind in ("open", "report"):
            self._file(uid, kind).unlink(missing_ok=True)

    def _file(self, uid: str, kind: str) -> Path:
        return self._root / f"{file_stem(uid)}.{kind}"


def take_report(desk: CommitmentDesk, information: Dataset) -> bool:
    """Keep what an N-EVENT-REPORT said; False where nobody asked for it."""
    return desk.take(Report.of(information, datetime.now(UTC)))
