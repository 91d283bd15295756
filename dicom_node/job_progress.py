"""How far a running job is: told by the child that measures it, read by the board, gone when the job ends.

Two small files a job in the scratch folder, words and provisional maps; a crash leaves them until the next start, and
a job that is not being measured is never asked for them. The board imports this: nothing numeric may.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from dicom_node.results import write_json

log = structlog.get_logger()


def _file(scratch: Path, job: str) -> Path:
    return scratch / f"{job}.progress.json"


def provisional_file(scratch: Path, job: str) -> Path:
    """Where the maps of the bubbles found so far lie while a job's frames are decoded and measured."""
    return scratch / f"{job}.provisional.png"


class JobProgress:
    """Writes what is being done and which share of the whole is done (0 to 1)."""

    def __init__(self, scratch: Path, job: str) -> None:
        self._scratch, self._job = scratch, job

    def __call__(self, stage: str, share: float) -> None:
        log.info("progress", job=self._job, stage=stage, percent=round(100 * share))
        write_json(_file(self._scratch, self._job), {"stage": stage, "share": share})

    def provisional(self, picture: bytes) -> None:
        """Put a PNG of the maps where the job's page finds it: whole or not at all."""
        file = provisional_file(self._scratch, self._job)
        draft = file.with_name(f".{file.name}.draft")
        draft.write_bytes(picture)
        draft.replace(file)


@contextmanager
def told_progress(scratch: Path, job: str) -> Iterator[JobProgress]:
    """A progress of the job that is forgotten when the block ends, however it ends."""
    try:
        yield JobProgress(scratch, job)
    finally:
        for file in (_file(scratch, job), provisional_file(scratch, job)):
            file.unlink(missing_ok=True)


def progress_words(scratch: Path, job: str) -> str:
    """What the job does just now, "" where nothing is told (yet)."""
    try:
        told = json.loads(_file(scratch, job).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return ""
    return f"{told['stage']} ({100 * told['share']:.0f} %)"
