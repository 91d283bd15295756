"""Jobs: one order to measure one revision of an acquisition, kept on disk until its results are retired.

    jobs/<job>.json    what is to be measured, with which settings, and when it was accepted

Together with the spool and the result folders these files are the ledger from which the engine's database is rebuilt.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from dicom_node.errors import UnknownJobError
from dicom_node.results import write_json


@dataclass(frozen=True)
class Job:
    """One revision of one acquisition under one set of settings.

    `accepted_at` (ISO 8601 with offset) is the "now" of every object made from it, so a retry repeats them bit for
    bit. `scanner_profile` is the one that the sending scanner's configuration names ("" = matched by the header),
    `profile` the one used. `contours`: what readers sent back for it, as SOP Instance UIDs, oldest first, with their
    `contour_files`; they lie in the spool as long as the job does. `patient_key`: whose, as a hash; "" where nobody
    said. `prompted_by`: the job whose result gave this one another baseline. `confirmed_lesion`: tracking UID of the
    earlier lesion that a reader says is this one, and `confirmed_by` who that was. `failure` is the sentence that
    ended it. `attempt` counts manual retries.
    """

    name: str
    acquisition: str
    sop_instance_uids: tuple[str, ...]
    files: tuple[str, ...]
    accepted_at: str
    settings_digest: str
    scanner_profile: str = ""
    profile: str = "default"
    priority: int = 10
    revision: int = 1
    reason: str = ""
    contours: tuple[str, ...] = ()
    contour_files: tuple[str, ...] = ()
    attempt: int = 0
    failure: str | None = None
    patient_key: str = ""
    prompted_by: str = ""
    confirmed_lesion: str = ""
    confirmed_by: str = ""

    @property
    def workflow_id(self) -> str:
        """The engine's name for this try of the job."""
        return f"{self.name}.{self.attempt}"


def source_digest(sop_instance_uids: tuple[str, ...]) -> str:
    """Digest of what was measured: the SOP Instance UIDs, whatever their order."""
    return hashlib.sha256("\n".join(sorted(sop_instance_uids)).encode()).hexdigest()


def job_name(
    acquisition: str, sop_instance_uids: tuple[str, ...], settings_digest: str, further: tuple[str, ...] = ()
) -> str:
    """Same acquisition, sources, settings and whatever else it was told = same job: ordering it twice runs it once."""
    text = "\n".join((acquisition, source_digest(sop_instance_uids), settings_digest, *further))
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def newest(jobs: Iterable[Job], acquisition: str) -> Job | None:
    """The latest revision of an acquisition that did not fail, else the latest of all; None where there is none."""
    revisions = [job for job in jobs if job.acquisition == acquisition]
    return max(revisions, key=lambda job: (job.failure is None, job.revision), default=None)


def newest_revisions(jobs: Iterable[Job]) -> list[Job]:
    """The latest revision of every acquisition."""
    jobs = list(jobs)
    found = (newest(jobs, acquisition) for acquisition in dict.fromkeys(job.acquisition for job in jobs))
    return [job for job in found if job is not None]


class JobBook:
    """The folder of job files. Reading all of them again costs one stat each while nothing changed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[str, tuple[int, Job]] = {}
        root.mkdir(parents=True, exist_ok=True)

    def write(self, job: Job) -> None:
        """Keep the job durably; a second call replaces it."""
        write_json(self._root / f"{job.name}.json", asdict(job))

    def get(self, name: str) -> Job:
        """Read one job. Raises UnknownJobError."""
        file = self._root / f"{name}.json"
        try:
            return _job(json.loads(file.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise UnknownJobError(f"there is no job {name}; `ceus-node jobs list` names them") from error

    def all(self) -> list[Job]:
        """Every job, oldest first."""
        with os.scandir(self._root) as entries:
            changed = {
                e.name.removesuffix(".json"): e.stat().st_mtime_ns for e in entries if not e.name.startswith(".")
            }
        for name, changed_ns in changed.items():
            if self._read.get(name, (0, None))[0] != changed_ns:
                self._read[name] = (changed_ns, self.get(name))
        self._read = {name: self._read[name] for name in changed}
        return sorted((job for _, job in self._read.values()), key=lambda job: (job.accepted_at, job.name))

    def remove(self, name: str) -> None:
        """Forget a job (retention)."""
        (self._root / f"{name}.json").unlink(missing_ok=True)

    def fail(self, name: str, sentence: str) -> None:
        """Record why the job ended without a result."""
        self.write(replace(self.get(name), failure=sentence))

    def retry(self, name: str) -> Job:
        """A new try of the same job."""
        job = self.get(name)
        again = replace(job, attempt=job.attempt + 1, failure=None)
        self.write(again)
        return again

    def measured_before(self, changed: Job) -> Job | None:
        """The job that was told the very same, say after settings were changed and changed back."""
        return next((job for job in self.all() if job.name == _revision_name(changed)), None)

    def revise(self, changed: Job, reason: str, accepted_at: datetime) -> Job:
        """The next revision of an acquisition: `changed` under another name, so under other UIDs."""
        revision = max(other.revision for other in self.all() if other.acquisition == changed.acquisition) + 1
        new = replace(
            changed,
            name=_revision_name(changed),
            accepted_at=accepted_at.isoformat(),
            revision=revision,
            reason=reason,
            attempt=0,
            failure=None,
        )
        self.write(new)
        return new


def _revision_name(job: Job) -> str:
    told = tuple(word for word in (*job.contours, job.confirmed_lesion, job.prompted_by) if word)
    return job_name(job.acquisition, job.sop_instance_uids, job.settings_digest, told)


def _job(content: dict[str, Any]) -> Job:
    tuples: dict[str, Any] = {name: tuple(content.pop(name, ())) for name in _TUPLES}
    return Job(**tuples, **content)


_TUPLES = ("sop_instance_uids", "files", "contours", "contour_files")
