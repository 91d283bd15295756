"""Which roles of this node live: each holds a shared lock on a file of its name for as long as its process runs.

A lock ends with its process, however that ends; a file with a process number would outlive a kill -9.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def alive(folder: Path, role: str) -> Iterator[None]:
    """Be known as a living process of `role` for the block. Several processes of one role share the lock."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(folder / f"{role}.lock", os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)  # waits at most for the moment in which somebody asks `lives`
        yield
    finally:
        os.close(handle)


@contextmanager
def only_one(lock_file: Path) -> Iterator[bool]:
    """Hold a lock for the block; yields False when another process holds it."""
    with lock_file.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def lives(folder: Path, role: str) -> bool:
    """Whether any process of `role` lives."""
    try:
        handle = os.open(folder / f"{role}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
