"""Readiness: can this node take cines, measure them and pass results on, part by part, with the reason where not."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from dicom_node import role_locks
from dicom_node.config import Settings
from dicom_node.data_folder import DataFolder
from dicom_node.engine import EngineError, database_url, engine_file

PROBE_TIMEOUT_S = 1.0
_ANY_ADDRESS = {"", "0.0.0.0", "::"}  # noqa: S104  # not bound here: recognised


@dataclass(frozen=True)
class Part:
    """One part of the node. `text` is a phrase that stands after the part's name: what it does, or why it does not."""

    name: str
    ready: bool
    text: str


@dataclass(frozen=True)
class Readiness:
    """All parts at one moment."""

    parts: tuple[Part, ...]
    free_bytes: int

    @property
    def ready(self) -> bool:
        return all(part.ready for part in self.parts)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What keeps the node from being ready, a sentence each."""
        return tuple(f"{part.name}: {part.text}" for part in self.parts if not part.ready)


def probe(settings: Settings) -> Readiness:
    """Ask every part. Takes at most a few PROBE_TIMEOUT_S; writes one small file into the spool and removes it."""
    folder = DataFolder(settings.node.data_dir)
    disk, free_bytes = _disk(settings)
    parts = [_receiver(settings), _role(folder, "worker", "assembles and measures"), _database(settings)]
    parts += [_spool(folder.spool), disk]
    if settings.destination:
        parts.append(_role(folder, "sender", f"delivers to {', '.join(d.name for d in settings.destination)}"))
    return Readiness(tuple(parts), free_bytes)


def role_fault(settings: Settings, role: str) -> str:
    """What keeps one role from working that a restart may cure; empty when nothing does.

    A full disk is no such thing: the receiver must stay to answer 0xA700 and C-ECHO, and recovers alone.
    """
    spool = DataFolder(settings.node.data_dir).spool
    asked: dict[str, tuple[Callable[[], Part], ...]] = {
        "receiver": (lambda: _receiver(settings), lambda: _spool(spool, full_is_fine=True)),
        "worker": (lambda: _database(settings), lambda: _spool(spool, full_is_fine=True)),
        "sender": (lambda: _database(settings),),
        "web": (lambda: _listens("web", settings.web.host, settings.web.port),),
    }
    parts = (ask() for ask in asked[role])
    return next((f"{part.name}: {part.text}" for part in parts if not part.ready), "")


def _receiver(settings: Settings) -> Part:
    return _listens("receiver", settings.node.host, settings.node.port)


def _listens(name: str, host: str, port: int) -> Part:
    try:
        with socket.create_connection((_reachable(host), port), timeout=PROBE_TIMEOUT_S):
            return Part(name, True, f"listens on port {port}")
    except OSError as error:
        return Part(name, False, f"nothing listens on {host}:{port} ({error.strerror or error})")


def _reachable(host: str) -> str:
    return "localhost" if host in _ANY_ADDRESS else host


def _role(folder: DataFolder, role: str, does: str) -> Part:
    living = role_locks.lives(folder.roles, role)
    return Part(role, living, does if living else f"no {role} runs on this data folder")


def _database(settings: Settings) -> Part:
    file = engine_file(settings)
    ask: Callable[[], None] = (lambda: _ask_server(settings)) if file is None else (lambda: _ask_file(file))
    try:
        ask()
    except (sqlite3.Error, SQLAlchemyError, EngineError) as error:
        return Part("database", False, str(getattr(error, "orig", None) or error).splitlines()[0])
    except FileNotFoundError:
        return Part("database", False, "not created yet: the worker does that when it starts")
    return Part("database", True, "takes writes")


def _ask_file(file: Path) -> None:
    """Take SQLite's write lock and give it back: fails on a read-only or a full disk, or when somebody keeps it."""
    if not file.is_file():
        raise FileNotFoundError(file)
    with closing(sqlite3.connect(file, timeout=PROBE_TIMEOUT_S, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _ask_server(settings: Settings) -> None:
    timeout = {"connect_timeout": max(1, round(PROBE_TIMEOUT_S))}
    server = create_engine(_driver_url(database_url(settings)), connect_args=timeout)
    try:
        with server.connect() as connection:
            if connection.execute(text("SELECT pg_is_in_recovery()")).scalar():
                raise EngineError("the PostgreSQL server is a standby and takes no writes")
    finally:
        server.dispose()


def _driver_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1).replace("postgres://", "postgresql+psycopg://", 1)


def _spool(folder: Path, *, full_is_fine: bool = False) -> Part:
    trial = folder / f".probe.{os.getpid()}"
    try:
        try:
            trial.write_bytes(b"written by the readiness probe")
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        if full_is_fine and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return Part("spool", True, "full")
        return Part("spool", False, f"{folder} takes no files ({error.strerror})")
    return Part("spool", True, "takes files")


def _disk(settings: Settings) -> tuple[Part, int]:
    folder, limit_mb = settings.node.data_dir, settings.retention.min_free_mb
    try:
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        return Part("disk", False, f"{folder}: {error.strerror}"), 0
    free = f"{free_bytes / 2**30:.1f} GiB free"
    if free_bytes < limit_mb * 2**20:
        return Part("disk", False, f"{free}, below [retention] min_free_mb = {limit_mb}: cines are refused"), free_bytes
    return Part("disk", True, free), free_bytes
