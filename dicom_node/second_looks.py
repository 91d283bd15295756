"""Second looks: a PACS is asked again for a patient's earlier results after a job has been measured.

Another node's report may reach the PACS after ours was made, or the PACS may not have answered then. So each measured
acquisition is looked after a few times more, at `[comparison] look_again_min` after its job was accepted; then no
more. What comes is put beside what the job knew, and the worker is told: it decides whether the comparison changes.

    priors/<job>/answer.json    "looks": how many of these looks are over
    priors/<job>.news           a report came that the job did not know
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from dicom_node import priors
from dicom_node.config import Settings
from dicom_node.data_folder import DataFolder
from dicom_node.jobs import Job, JobBook, newest_revisions
from dicom_node.results import ResultFolder, write_json

log = structlog.get_logger()

PAUSE_S = 20.0
FORGOTTEN_AFTER = timedelta(days=7)
"""A node that was down longer than this beyond the last look does not make up for it."""


@dataclass
class SecondLooks:
    """Asks for what may have come since, in the role that talks DICOM."""

    settings: Settings

    def __post_init__(self) -> None:
        self._folder = DataFolder(self.settings.node.data_dir)
        self._book = JobBook(self._folder.jobs)

    @property
    def wanted(self) -> bool:
        """Whether there is anybody to ask, and any time to do it."""
        return bool(priors.sources_of(self.settings) and self.settings.comparison.look_again_min)

    def watch(self, stop: threading.Event) -> None:
        """Look until `stop` is set."""
        while self.wanted and not stop.wait(self._pause_s()):
            self.look(datetime.now(UTC), stop)

    def look(self, now: datetime, stop: threading.Event | None = None) -> list[str]:
        """Do the looks that are due; names of the jobs for which a report came that they did not know."""
        told = []
        for job, looks in self._due(now):
            if stop is not None and stop.is_set():
                break
            if priors.look_again(self.settings, job):
                (self._folder.priors / f"{job.name}.news").touch()
                told.append(job.name)
            self._note(job, looks)
        return told

    def _due(self, now: datetime) -> Iterator[tuple[Job, int]]:
        """Measured jobs with the number of looks whose time has come, where that is more than were done."""
        times = sorted(self.settings.comparison.look_again_min)
        last = timedelta(minutes=times[-1]) + FORGOTTEN_AFTER
        for job in newest_revisions(self._book.all()):
            age = now - datetime.fromisoformat(job.accepted_at)
            due = sum(age >= timedelta(minutes=minutes) for minutes in times)
            if not due or age > last or job.failure is not None or not self._complete(job):
                continue
            if due > self._looks(job):
                yield job, due

    def _looks(self, job: Job) -> float:
        """How many are over; infinitely many where nobody was asked in the first place."""
        try:
            return float(json.loads(self._file(job).read_bytes()).get("looks", 0))
        except FileNotFoundError:
            return math.inf

    def _note(self, job: Job, looks: int) -> None:
        answer = json.loads(self._file(job).read_bytes())
        write_json(self._file(job), {**answer, "looks": looks})

    def _file(self, job: Job) -> Path:
        return self._folder.priors / job.name / priors.ANSWER

    def _complete(self, job: Job) -> bool:
        return ResultFolder(self._folder.results, job.acquisition, job.name).complete

    def _pause_s(self) -> float:
        """Often enough for the shortest of the times."""
        return min(PAUSE_S, 60.0 * min(self.settings.comparison.look_again_min))
