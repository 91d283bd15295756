"""What this node has asked a PACS to store to it (C-MOVE), on disk: the receiver hands it over, whoever asked takes it.

    spool/retrieves/<request>/wanted.json    SOP Instance UIDs that were asked for, and until when
    spool/retrieves/<request>/<UID>.dcm      what came, durable before it was acknowledged

An answer is known by its UID, for Move Originator (PS3.7 9.1.1.1) is optional and PACS leave it out. It never enters
the ledger of received instances: it is measured by nobody, outlines nothing, and goes with its request.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dicom_node.spool import write_durably

_WANTED = "wanted.json"
_BEING_OPENED_S = 60.0


class RetrieveDesk:
    """The folder of open requests, of the spool that lies at `spool_root`."""

    def __init__(self, spool_root: Path) -> None:
        self._root = spool_root / "retrieves"
        self._known: dict[Path, tuple[float, frozenset[str]]] = {}

    @contextmanager
    def waiting_for(self, sop_instance_uids: Sequence[str], limit_s: float) -> Iterator[Path]:
        """A folder in which these objects appear while the block lasts. Raises OSError."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._sweep()
        folder = self._root / uuid.uuid4().hex
        folder.mkdir(mode=0o700)
        try:
            wanted = {"uids": list(sop_instance_uids), "until": time.time() + limit_s}
            write_durably(folder / _WANTED, json.dumps(wanted).encode())
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def folders_for(self, sop_instance_uid: str) -> tuple[Path, ...]:
        """Where an arriving object goes: to everybody who waits for it; nobody waits for any other."""
        try:
            open_now = set(self._root.iterdir())
        except FileNotFoundError:
            return ()
        for gone in [folder for folder in list(self._known) if folder not in open_now]:
            self._known.pop(gone, None)  # associations ask from threads of their own
        return tuple(folder for folder in open_now if self._waits(folder, sop_instance_uid))

    def _waits(self, folder: Path, sop_instance_uid: str) -> bool:
        until, uids = self._wanted(folder)
        return sop_instance_uid in uids and time.time() < until

    def _wanted(self, folder: Path) -> tuple[float, frozenset[str]]:
        if folder not in self._known:
            try:
                table = json.loads((folder / _WANTED).read_bytes())
            except (OSError, ValueError):  # opened or closed at this moment
                return 0.0, frozenset()
            self._known[folder] = float(table["until"]), frozenset(table["uids"])
        return self._known[folder]

    def _sweep(self) -> None:
        """Requests whose time is over: whoever asked was killed."""
        for folder in self._root.iterdir():
            until, uids = self._wanted(folder)
            with suppress(OSError):
                if time.time() > (until if uids else folder.stat().st_mtime + _BEING_OPENED_S):
                    shutil.rmtree(folder, ignore_errors=True)
