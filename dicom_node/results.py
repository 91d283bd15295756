"""Result folders: what was measured for one revision of an acquisition, and what became of each delivery.

    results/<acquisition>/<job>/          one revision, made in a temporary folder and renamed when complete
        findings.json sr.dcm sc_*.dcm sc_*.png tic.csv job.json
        delivery/<destination>.json       the ledger of one destination, rewritten atomically after every object

The folder is the truth: a complete folder is never measured again, an object marked as sent is never sent again, and
the engine's database can be lost without losing either.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

FILE_NAMES = {"pr": "csps"}
"""Kinds of objects whose files are called otherwise: the presentation state is a Color Softcopy one."""
SUMMARY = "sc_summary.dcm"
PageName = Literal["summary", "maps", "super_resolution"]
PAGES_TO_DRAW_ON: tuple[PageName, ...] = ("summary", "maps", "super_resolution")
"""Pages that show the reference frame: what a reader outlines on them is carried back to the source."""
DeliveryState = Literal["pending", "committing", "delivered", "failed"]
DELIVERY_STATES: tuple[DeliveryState, ...] = ("pending", "committing", "delivered", "failed")
"""`committing`: the destination has every object and has not yet said that it will keep them (Storage Commitment)."""


@dataclass(frozen=True)
class ObjectDelivery:
    """One object at one destination. `status` is the last DIMSE status or the network's sentence."""

    file: str
    sop_instance_uid: str
    sent: bool = False
    attempts: int = 0
    status: str = ""
    sop_class_uid: str = ""
    committed: bool = False


@dataclass(frozen=True)
class Commitment:
    """How far a destination was asked to take responsibility for its objects (Storage Commitment, PS3.4 annex J).

    `transactions`: Transaction UIDs of this round, the last one may still have to be asked; a late report under any of
    them counts. `asked`: how many of them it took, the last one at `asked_at`. `resends`: how often objects that it did
    not keep were sent again. `said`: why the last request was not taken.
    """

    transactions: tuple[str, ...] = ()
    asked: int = 0
    asked_at: str | None = None
    resends: int = 0
    said: str = ""


@dataclass(frozen=True)
class DeliveryLedger:
    """What one destination has of one result."""

    destination: str
    objects: tuple[ObjectDelivery, ...] = ()
    finished_at: str | None = None
    failure: str | None = None
    commitment: Commitment | None = None

    @property
    def state(self) -> DeliveryState:
        if self.failure is not None:
            return "failed"
        if self.finished_at is not None:
            return "delivered"
        asking = self.commitment is not None and bool(self.commitment.transactions)
        return "committing" if asking else "pending"

    def reopened(self) -> DeliveryLedger:
        """The ledger without its failure, so that what is missing is sent again, or commitment asked for again."""
        return replace(self, failure=None, commitment=None)


@dataclass(frozen=True)
class ResultFolder:
    """The folder of one revision; `exists` only when it is complete."""

    root: Path
    acquisition: str
    job: str

    @property
    def path(self) -> Path:
        return self.root / self.acquisition / self.job

    @property
    def complete(self) -> bool:
        return (self.path / "findings.json").is_file()

    @contextmanager
    def being_made(self) -> Iterator[Path]:
        """A temporary folder that takes the final name, durably, when the block ends without an error."""
        draft = self.root / self.acquisition / f".{self.job}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        yield draft
        for file in draft.rglob("*"):
            if file.is_file():
                _fsync(file)
        _fsync(draft)
        draft.replace(self.path)
        _fsync(self.path.parent)

    def findings(self) -> dict[str, Any]:
        """The findings as read from disk."""
        loaded: dict[str, Any] = json.loads((self.path / "findings.json").read_text(encoding="utf-8"))
        return loaded

    def objects(self, kinds: tuple[str, ...]) -> list[Path]:
        """The DICOM files of the wanted kinds, in a fixed order, SR first."""
        return [file for kind in kinds for file in sorted(self.path.glob(f"{FILE_NAMES.get(kind, kind)}*.dcm"))]

    def pages_to_draw_on(self) -> list[Path]:
        """The captures that a reader may outline something on."""
        return [file for page in PAGES_TO_DRAW_ON if (file := self.path / page_file(page)).is_file()]

    def ledger(self, destination: str) -> DeliveryLedger:
        """What the destination has; an empty ledger before the first attempt."""
        file = self._ledger_file(destination)
        if not file.is_file():
            return DeliveryLedger(destination)
        loaded = json.loads(file.read_text(encoding="utf-8"))
        objects = tuple(ObjectDelivery(**item) for item in loaded.pop("objects"))
        asked = loaded.pop("commitment", None)
        commitment = None if asked is None else Commitment(**{**asked, "transactions": tuple(asked["transactions"])})
        return DeliveryLedger(objects=objects, commitment=commitment, **loaded)

    def ledgers(self) -> list[DeliveryLedger]:
        """The ledgers of all destinations that were ever tried."""
        return [self.ledger(file.stem) for file in sorted((self.path / "delivery").glob("*.json"))]

    def write_ledger(self, ledger: DeliveryLedger) -> None:
        """Replace one destination's ledger atomically and durably."""
        file = self._ledger_file(ledger.destination)
        file.parent.mkdir(exist_ok=True)
        write_json(file, asdict(ledger))

    def _ledger_file(self, destination: str) -> Path:
        return self.path / "delivery" / f"{destination}.json"


def page_file(page: str) -> str:
    """The file of a page as a DICOM object."""
    return f"sc_{page}.dcm"


def all_results(root: Path) -> list[ResultFolder]:
    """Every complete result below `root`, in no particular order."""
    return [
        ResultFolder(root, file.parent.parent.name, file.parent.name)
        for file in root.glob("*/*/findings.json")
        if not file.parent.name.startswith(".")
    ]


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file so that after a crash it holds either the old or the new content, whole."""
    draft = file.with_name(f".{file.name}.draft")
    with draft.open("w", encoding="utf-8") as stream:
        json.dump(content, stream, ensure_ascii=False, indent=1, allow_nan=False)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)
    _fsync(file.parent)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
