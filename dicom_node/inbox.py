"""The receiver's side of the spool: uploads that become durable, or leave nothing behind.

Success is answered only after fsync(file), a link under the final name, fsync(folder). Several receivers may share a
spool: who links a name first has it, and a lock that lives as long as its process tells whose remains may be swept.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Self

import structlog
from pynetdicom.dsutils import split_dataset

from dicom_node.acquisition import AssociationSummary, Origin, Peer, ReceivedInstance
from dicom_node.arrived_header import ArrivedHeader, FileStart, read_arrived_header
from dicom_node.errors import SpoolError, UnreadableHeaderError
from dicom_node.file_meta import file_meta
from dicom_node.ledger_record import arrival_of, record_of, to_json
from dicom_node.routing import Route, route, route_class
from dicom_node.spool import Spool, file_stem, fsync_folder, hashed, write_durably
from dicom_node.status import Status

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MOST_FRAGMENTS = 1000  # of one writev; IOV_MAX is 1024
_COMPARED_BYTES = 1 << 20
_WRITE_BACK_BYTES = 8 << 20


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@dataclass(frozen=True)
class SpoolLimits:
    """Below `reserve_bytes` of free space nothing more is taken (0xA700), so that results can still be written."""

    reserve_bytes: int = 512 << 20
    free_bytes: Callable[[Path], int] = _free_bytes


@dataclass(frozen=True)
class StoreRequest:
    """What the C-STORE request itself says of the object that follows. `answers`: the folders of the own retrieves
    that asked for it, none for what comes unasked."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    origin: Origin
    answers: tuple[Path, ...] = ()


class Upload:
    """One object being received. Writes never raise: `failure` says what went wrong, and nothing is left on disk."""

    def __init__(self, request: StoreRequest, path: Path, answer: Status | None = None) -> None:
        self.request = request
        self.path = path
        self.answer = answer  # known before the first byte: nothing is written
        self.failure: Status | None = None
        self.start: FileStart | None = None
        self.study: tuple[str, str] | None = None  # and patient, once its header was read
        self.bytes = 0
        self._on_its_way = 0
        self._fd = -1

    def open(self, meta: bytes, facts: Mapping[str, Any]) -> None:
        """Create the file with its meta header, which holds these facts."""
        self.start = FileStart(len(meta), self.request.transfer_syntax_uid, facts)
        try:
            self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        except OSError as error:
            self._fail(error)
        self.write([memoryview(meta)])
        self.bytes = 0

    def write(self, fragments: Sequence[memoryview]) -> None:
        """Append fragments of the data set."""
        self.bytes += sum(map(len, fragments))
        if self._fd < 0:
            return
        try:
            for start in range(0, len(fragments), _MOST_FRAGMENTS):
                self._write_all(list(fragments[start : start + _MOST_FRAGMENTS]))
            if self.bytes - self._on_its_way >= _WRITE_BACK_BYTES:
                # Starts writing to the disk now, so that the fsync at the end finds little left to do (x1.7 measured).
                os.posix_fadvise(self._fd, self._on_its_way, self.bytes - self._on_its_way, os.POSIX_FADV_DONTNEED)
                self._on_its_way = self.bytes
        except OSError as error:
            self._fail(error)

    def _write_all(self, views: list[memoryview]) -> None:
        written = os.writev(self._fd, views)
        while written < sum(map(len, views)):  # a disk about to be full, or a signal
            while written >= len(views[0]):
                written -= len(views.pop(0))
            views[0] = views[0][written:]
            written = os.writev(self._fd, views)

    def sync(self) -> None:
        """fsync(file). Raises OSError."""
        os.fsync(self._fd)

    def close(self) -> None:
        """Remove the temporary name and let go of the file; what was linked elsewhere stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self.path.unlink(missing_ok=True)

    def _fail(self, error: OSError) -> None:
        self.failure = Status.OUT_OF_RESOURCES
        structlog.get_logger().error("spool_write_failed", full=error.errno in _FULL, error=error.strerror)
        self.close()


class Inbox:
    """One receiver's hold on a spool. Enter it to lock a name for this process and to sweep what dead ones left."""

    def __init__(self, spool: Spool, limits: SpoolLimits | None = None) -> None:
        self.spool = spool
        self.limits = limits or SpoolLimits()
        self.owner = uuid.uuid4().hex[:12]
        self.totals: Counter[str] = Counter()
        self._numbers = count(1)
        self._lock = -1

    def __enter__(self) -> Self:
        path = self.spool.root / "owners" / f"{self.owner}.lock"
        try:
            self._lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._sweep()
        except OSError as error:
            raise SpoolError(f"the spool {self.spool.root} cannot be written: {error.strerror}") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock >= 0:
            (self.spool.root / "owners" / f"{self.owner}.lock").unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = -1

    def _sweep(self) -> None:
        """Remove partial files and open associations of receivers that are gone; their counts go on in ours."""
        root = self.spool.root
        remains = [*(root / "incoming").iterdir(), *(root / "associations").iterdir()]
        living: dict[str, bool] = {}
        for path in remains:
            owner = path.name.lstrip(".").split("-")[0]
            if not living.setdefault(owner, owner == self.owner or self.spool.owner_lives(owner)):
                path.unlink(missing_ok=True)
        for lock in (root / "owners").glob("*.lock"):
            if lock.stem != self.owner and not self.spool.owner_lives(lock.stem):
                lock.unlink(missing_ok=True)
        structlog.get_logger().info("spool_swept", remains=len(remains))

    def begin(self, peer: Peer, calling_ae_title: str, host: str) -> AssociationLedger:
        """Open the ledger of an association."""
        return AssociationLedger(self, f"{self.owner}-{next(self._numbers)}", peer, (calling_ae_title, host))

    def count_up(self, counts: Counter[str]) -> None:
        """Add an association's counts to this receiver's, which any process may read."""
        self.totals.update(counts)
        path = self.spool.root / "counters" / f"{self.owner}.json"
        temporary = path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk must not fail an association for its statistics
            temporary.write_text(json.dumps(self.totals))
            temporary.replace(path)


class AssociationLedger:
    """What one association brings: its open file, its uploads, its counts."""

    def __init__(self, inbox: Inbox, association_id: str, peer: Peer, caller: tuple[str, str]) -> None:
        self.association_id = association_id
        self.peer = peer
        self.caller = caller
        self.counts: Counter[str] = Counter()
        self.studies: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
        """What came of each (Study Instance UID, Patient ID): objects by outcome and SOP class, for the audit trail."""
        self._inbox = inbox
        self._spool = inbox.spool
        self._numbers = count(1)
        self._open_file = self._spool.root / "associations" / f"{association_id}.json"
        with contextlib.suppress(OSError):
            self._open_file.write_text(
                json.dumps(
                    {"peer_ae_title": caller[0], "peer_host": caller[1], "opened_at": datetime.now(UTC).isoformat()}
                )
            )

    def close(self) -> AssociationSummary:
        """The association is over: nothing more will come."""
        self._open_file.unlink(missing_ok=True)
        self._inbox.count_up(self.counts)
        self._spool.doorbell.ring()
        return AssociationSummary(self.association_id, self.caller[0], self.caller[1], **dict(self.counts))

    def upload(self, request: StoreRequest, refusal: Status | None = None) -> Upload:
        """Begin to receive an object: into a file, or into nothing where the caller, its class or the disk says so."""
        path = self._spool.root / "incoming" / f"{self.association_id}-{next(self._numbers)}.part"
        by_class = route_class(request.sop_class_uid, self.peer) if not request.answers else None
        answer = by_class.status if refusal is None and by_class is not None else refusal
        if answer is not None:
            return Upload(request, path, answer)
        limits = self._inbox.limits
        if limits.free_bytes(self._spool.root) < limits.reserve_bytes:
            structlog.get_logger().error("spool_full", reserve_bytes=limits.reserve_bytes)
            return Upload(request, path, Status.OUT_OF_RESOURCES)
        upload = Upload(request, path)
        facts = {
            "origin": request.origin,
            "peer_ae_title": self.caller[0],
            "peer_host": self.caller[1],
            "association_id": self.association_id,
            "received_at": datetime.now(UTC).isoformat(),
            "profile": self.peer.profile,
            "priority": self.peer.priority,
        }
        upload.open(
            file_meta(request.sop_class_uid, request.sop_instance_uid, request.transfer_syntax_uid, facts), facts
        )
        return upload

    def commit(self, upload: Upload) -> Status:
        """The object is complete: make it durable, or say why not. Nothing partial is left in either case."""
        outcome, status = "failed", Status.OUT_OF_RESOURCES
        try:
            outcome, status = self._settle(upload)
        except OSError as error:
            structlog.get_logger().error("spool_write_failed", full=error.errno in _FULL, error=error.strerror)
        except UnreadableHeaderError as error:
            status = Status.CANNOT_UNDERSTAND
            structlog.get_logger().warning("object_not_understood", reason=str(error))
        finally:
            upload.close()
        self.counts[outcome] += 1
        if upload.study is not None:
            self.studies[upload.study][outcome, upload.request.sop_class_uid] += 1
        self.counts["bytes"] += upload.bytes
        return status

    def _settle(self, upload: Upload) -> tuple[str, Status]:
        """The outcome's name as the summary counts it, and the status to answer."""
        if upload.failure is not None:
            return "failed", upload.failure
        if upload.answer is not None:
            names = {Status.SUCCESS: "dropped", Status.OUT_OF_RESOURCES: "failed"}
            return names.get(upload.answer, "refused"), upload.answer
        header = read_arrived_header(upload.path, upload.start)
        mismatch = _mismatch(header, upload.request)
        if mismatch is not None:
            return "refused", mismatch
        upload.study = header.text("StudyInstanceUID"), header.text("PatientID")
        self.studies.setdefault(upload.study, Counter())
        if upload.request.answers:
            return self._hand_over(upload, upload.request.answers)
        way = route(arrival_of(header), self.peer, upload.request.origin)
        if not way.keep:
            return self._not_kept(way)
        return self._place(upload, record_of(upload.path, header))

    @staticmethod
    def _hand_over(upload: Upload, folders: Sequence[Path]) -> tuple[str, Status]:
        """To everybody who asked a PACS for it; dropped where they have gone in the meantime."""
        upload.sync()
        outcome = "dropped"
        for folder in folders:
            with contextlib.suppress(FileNotFoundError):
                try:
                    os.link(upload.path, folder / f"{file_stem(upload.request.sop_instance_uid)}.dcm")
                    fsync_folder(folder)
                    outcome = "retrieved"
                except FileExistsError:
                    outcome = "duplicate" if outcome == "dropped" else outcome
        return outcome, Status.SUCCESS

    @staticmethod
    def _not_kept(way: Route) -> tuple[str, Status]:
        structlog.get_logger().info("object_not_kept", kind=way.kind, reason=way.reason, status=f"0x{way.status:04X}")
        return ("dropped" if way.status is Status.SUCCESS else "refused"), way.status

    def _place(self, upload: Upload, record: ReceivedInstance) -> tuple[str, Status]:
        """Link the file under its final name: the first that comes for a UID has it."""
        final = self._spool.instance_path(record.sop_instance_uid)
        if not final.parent.exists():
            final.parent.mkdir(exist_ok=True)
            fsync_folder(final.parent.parent)
        if final.exists():
            return self._second(upload, record, final)
        if not self._claim_series(record):
            write_durably(self._spool.contested_path(record.series_instance_uid), b"")
            return self._quarantine(upload, record, "its series also arrived under another patient or study")
        upload.sync()
        try:
            os.link(upload.path, final)
        except FileExistsError:  # another association was faster by a moment
            return self._second(upload, record, final)
        fsync_folder(final.parent)
        with contextlib.suppress(OSError):  # only a cache
            final.with_suffix(".json").write_bytes(to_json(record))
        return "stored", Status.SUCCESS

    def _second(self, upload: Upload, record: ReceivedInstance, final: Path) -> tuple[str, Status]:
        """A UID for the second time: the same bytes are success, another patient or study is quarantined, and other
        content of the same study is a duplicate (0x0111): the sender keeps it, the first one stands."""
        if _same_data_set(upload.path, final):
            fsync_folder(final.parent)  # the first one's answer may have been lost before this
            return "duplicate", Status.SUCCESS
        first = record_of(final)
        if (first.patient_key, first.study_instance_uid) == (record.patient_key, record.study_instance_uid):
            return "refused", Status.DUPLICATE_INSTANCE
        write_durably(final.with_suffix(".contested"), b"")
        return self._quarantine(upload, record, "its SOP Instance UID also arrived under another patient or study")

    def _quarantine(self, upload: Upload, record: ReceivedInstance, reason: str) -> tuple[str, Status]:
        stem = file_stem(record.sop_instance_uid)
        folder = self._spool.root / "quarantine"
        upload.sync()
        for number in count(1):
            path = folder / f"{stem}~{number}.dcm"
            try:
                os.link(upload.path, path)
                break
            except FileExistsError:
                if _same_data_set(upload.path, path):
                    return "duplicate", Status.SUCCESS
        write_durably(path.with_suffix(".json"), to_json(record, reason=reason))
        structlog.get_logger().error("object_quarantined", reason=reason, uid=hashed(record.sop_instance_uid)[:12])
        return "quarantined", Status.SUCCESS

    def _claim_series(self, record: ReceivedInstance) -> bool:
        """Whether the series belongs to this record's patient and study; the first that comes says so."""
        path = self._spool.series_path(record.series_instance_uid)
        claim = f"{record.patient_key} {record.study_instance_uid}"
        with contextlib.suppress(FileNotFoundError):
            held = path.read_text()
            if len(held.split()) == 2:  # else torn by a power failure: the claim is made anew
                return held == claim
        temporary = self._spool.root / "incoming" / f"{self.association_id}-{next(self._numbers)}.claim"
        temporary.write_text(claim)
        try:
            os.link(temporary, path)
        except FileExistsError:
            if len(path.read_text().split()) != 2:
                temporary.replace(path)
            return path.read_text() == claim
        finally:
            temporary.unlink(missing_ok=True)
        return True


def _mismatch(header: ArrivedHeader, request: StoreRequest) -> Status | None:
    """Where the data set is not what the request announced (PS3.7 9.1.1.1), or names no study or series."""
    if header.text("SOPClassUID") != request.sop_class_uid:
        return Status.DATASET_DOES_NOT_MATCH_SOP_CLASS if header.values else Status.CANNOT_UNDERSTAND
    if header.text("SOPInstanceUID") != request.sop_instance_uid:
        return Status.INSTANCE_UID_MISMATCH
    if not (header.text("StudyInstanceUID") and header.text("SeriesInstanceUID")):
        return Status.MISSING_IDENTITY
    return None


def _same_data_set(one: Path, other: Path) -> bool:
    """Whether two files hold the same data set in the same encoding; their meta headers may differ."""
    meta_one, start_one = split_dataset(one)
    meta_other, start_other = split_dataset(other)
    if meta_one.get("TransferSyntaxUID") != meta_other.get("TransferSyntaxUID"):
        return False
    if one.stat().st_size - start_one != other.stat().st_size - start_other:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        left.seek(start_one)
        right.seek(start_other)
        while block := left.read(_COMPARED_BYTES):
            if block != right.read(len(block)):
                return False
    return True
