"""The spool: the ledger, on disk, of what was acknowledged. What a reader of it (assembler, page, retention) sees.

    incoming/<association>-<n>.part    being received; never visible, swept when its receiver is gone
    instances/<hh>/<UID>.dcm           acknowledged: fsync(file), link under the final name, fsync(folder) came before
    instances/<hh>/<UID>.json          cache of its header; rebuilt from the .dcm where missing or torn
    instances/<hh>/<UID>.consumed      mark of the assembler: the acquisition's name
    instances/<hh>/<UID>.contested     the UID also came for another patient or study: never measured
    quarantine/<UID>~<n>.dcm, .json    what came second for a contested UID, with the reason
    series/<hash>                      which patient and study a series belongs to
    contested/<hash>                   a series that also came for another patient or study: never measured
    associations/<association>.json    one an open association
    owners/<receiver>.lock             locked as long as the receiver lives
    counters/<receiver>.json           what it accepted, dropped, refused
    doorbell                           a FIFO: rung at each association's end

The hash hh is of the SOP Instance UID, so that a UID has one place whatever study it claims to be of. The only truth
is the .dcm: its file meta carries who sent it and when.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import select
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from dicom_node.acquisition import OpenAssociation, QuarantinedInstance, ReceivedInstance
from dicom_node.errors import SpoolError, UnreadableHeaderError
from dicom_node.ledger_record import from_json, record_of

_FOLDERS = ("incoming", "instances", "quarantine", "series", "contested", "associations", "owners", "counters")
_SETTLED_S = 2.0
"""A folder's time stamp tells of changes only once it is older than the file system's clock tick (<= 2 s, FAT)."""

_YOUNG_S = 86_400.0


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a small file in one step; on return it is on disk under its name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    fsync_folder(path.parent)


def file_stem(uid: str) -> str:
    """A UID as a file name; one with other characters than PS3.5 9.1 allows becomes its hash."""
    return uid if uid and set(uid) <= set("0123456789.") and uid.strip(".") else f"x{hashed(uid)}"


def hashed(uid: str) -> str:
    """A short stable hash of a UID."""
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


class Doorbell:
    """A FIFO that wakes the assembler, across processes."""

    def __init__(self, path: Path) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def ring(self) -> None:
        """Wake who waits, now or at its next wait."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._fd, b"!")

    def wait(self, timeout_s: float) -> bool:
        """Whether it rang within the time; takes all rings so far."""
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        if not poller.poll(timeout_s * 1000):
            return False
        with contextlib.suppress(BlockingIOError):
            os.read(self._fd, 1 << 16)
        return True


@dataclass(frozen=True)
class _Shard:
    changed_ns: int
    entries: tuple[tuple[ReceivedInstance, bool], ...]  # record, contested


class Spool:
    """The ledger under `root`, as any process may read it.

    Raises SpoolError where the folder cannot be used.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            for name in _FOLDERS:
                (root / name).mkdir(parents=True, exist_ok=True)
            self.doorbell = Doorbell(root / "doorbell")
        except OSError as error:
            raise SpoolError(f"the spool {root} cannot be used: {error.strerror}") from error
        self._shards: dict[str, _Shard] = {}
        self._records: dict[Path, ReceivedInstance] = {}

    def instance_path(self, sop_instance_uid: str) -> Path:
        """Where the acknowledged object of that UID lies, or would lie."""
        return self.root / "instances" / hashed(sop_instance_uid)[:2] / f"{file_stem(sop_instance_uid)}.dcm"

    def series_path(self, series_instance_uid: str) -> Path:
        """The claim of a series: the patient and the study that it belongs to."""
        return self.root / "series" / hashed(series_instance_uid)

    def contested_path(self, series_instance_uid: str) -> Path:
        """Exists where a series came for two patients or studies."""
        return self.root / "contested" / hashed(series_instance_uid)

    def instances(self) -> tuple[ReceivedInstance, ...]:
        """Every acknowledged instance that may be measured, oldest first; contested ones are left out."""
        return tuple(record for record, contested in self._entries() if not contested)

    def quarantined(self) -> tuple[QuarantinedInstance, ...]:
        """What is kept but never measured: second comers for a UID or series, and the first ones they contest."""
        first = [
            QuarantinedInstance(record, "the same UID also arrived under another patient or study")
            for record, contested in self._entries()
            if contested
        ]
        return (*first, *self._second_comers())

    def open_associations(self) -> tuple[OpenAssociation, ...]:
        """Associations over which objects may still arrive; those of a killed receiver are over."""
        living: dict[str, bool] = {}
        found = []
        for path in sorted((self.root / "associations").glob("*.json")):
            owner = path.stem.rpartition("-")[0]
            living.setdefault(owner, self.owner_lives(owner))
            with contextlib.suppress(OSError, ValueError, KeyError):
                table = json.loads(path.read_bytes())
                opened_at = datetime.fromisoformat(table["opened_at"])
                if living[owner]:
                    found.append(OpenAssociation(path.stem, table["peer_ae_title"], table["peer_host"], opened_at))
        return tuple(found)

    def mark_consumed(self, sop_instance_uid: str, by: str) -> None:
        """Write down durably that an acquisition took the instance; the last one that says so holds."""
        write_durably(self.instance_path(sop_instance_uid).with_suffix(".consumed"), by.encode())

    def remove(self, sop_instance_uid: str) -> None:
        """Forget an instance (retention): the file first, so that a crash leaves no record without it."""
        path = self.instance_path(sop_instance_uid)
        for suffix in (".dcm", ".json", ".consumed", ".contested"):
            path.with_suffix(suffix).unlink(missing_ok=True)
        self._records.pop(path, None)

    def tidy(self) -> None:
        """Forget which patient a series belongs to once nothing of it is left (retention); young claims may be of an
        object on its way in."""
        series = {hashed(record.series_instance_uid) for record, _ in self._entries()}
        for claim in (self.root / "series").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if claim.name not in series and time.time() - claim.stat().st_mtime > _YOUNG_S:
                    claim.unlink()

    def counters(self) -> dict[str, int]:
        """What all receivers accepted, dropped and refused since the spool began."""
        total: Counter[str] = Counter()
        for path in (self.root / "counters").glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                total.update(json.loads(path.read_bytes()))
        return dict(total)

    def owner_lives(self, owner: str) -> bool:
        """Whether the receiver of that name still runs: it holds a lock as long as it does."""
        try:
            handle = os.open(self.root / "owners" / f"{owner}.lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
        return False

    def _entries(self) -> Iterator[tuple[ReceivedInstance, bool]]:
        contested_series = {path.name for path in (self.root / "contested").iterdir()}
        entries: list[tuple[ReceivedInstance, bool]] = []
        for folder in sorted((self.root / "instances").iterdir()):
            entries.extend(self._shard(folder).entries)
        entries.sort(key=lambda entry: (entry[0].received_at, entry[0].sop_instance_uid))
        for record, contested in entries:
            yield record, contested or hashed(record.series_instance_uid) in contested_series

    def _shard(self, folder: Path) -> _Shard:
        known = self._shards.get(folder.name)
        changed_ns = folder.stat().st_mtime_ns
        if known and known.changed_ns == changed_ns and time.time_ns() - changed_ns > _SETTLED_S * 1e9:
            return known
        names = {entry.name for entry in os.scandir(folder)}
        entries = []
        for name in names:
            path = folder / name
            record = self._record(path) if path.suffix == ".dcm" else None
            if record is None:
                continue
            mark = path.with_suffix(".consumed")
            if mark.name in names:
                with contextlib.suppress(FileNotFoundError):  # removed since the folder was listed
                    record = replace(record, consumed_by=mark.read_text())
            entries.append((record, path.with_suffix(".contested").name in names))
        shard = self._shards[folder.name] = _Shard(changed_ns, tuple(entries))
        return shard

    def _record(self, path: Path) -> ReceivedInstance | None:
        known = self._records.get(path)
        if known is not None:
            return known
        try:
            record = from_json(path.with_suffix(".json").read_bytes(), path)
        except (OSError, ValueError, TypeError, KeyError):
            try:
                record = record_of(path)
            except UnreadableHeaderError:
                return None  # removed between the two reads
        self._records[path] = record
        return record

    def _second_comers(self) -> Iterator[QuarantinedInstance]:
        for path in sorted((self.root / "quarantine").glob("*.dcm")):
            reason = "the same UID also arrived under another patient or study"
            with contextlib.suppress(OSError, ValueError, KeyError):
                reason = json.loads(path.with_suffix(".json").read_bytes())["reason"]
            record = self._record(path)
            if record is not None:
                yield QuarantinedInstance(record, reason)
