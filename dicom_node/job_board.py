"""The board: every job with its state in one word and the cause in words, joined from what lies on disk.

spool (what arrived) + job files (what was ordered) + result folders (what was measured) + delivery ledgers (what each
PACS has) + the engine's open workflows (what runs now) = one frozen `Board`. It only reads; the operations page,
/metrics and the command line all show this one answer, so that they cannot disagree. No patient data: a patient is the
first letters of the patient key.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from dicom_node.acquisition import ArrivalKind, OpenAssociation, Origin, ReceivedInstance
from dicom_node.config import Settings
from dicom_node.data_folder import DataFolder
from dicom_node.delivery_state import DestinationState, destination_states
from dicom_node.engine import FETCHING, EngineClient, EngineError, EngineJob, engine_file
from dicom_node.errors import UnknownJobError
from dicom_node.job_progress import progress_words
from dicom_node.jobs import Job, JobBook
from dicom_node.result_digest import ResultDigest, ResultDigests
from dicom_node.spool import Spool
from dicom_node.wishes import Deed, Wish, WishBox

JobState = Literal["waiting", "measuring", "delivering", "delivered", "measured", "failed"]
JOB_STATES: tuple[JobState, ...] = ("waiting", "measuring", "delivering", "delivered", "measured", "failed")
"""`measured`: finished, and there is nothing to send; `cause` says why."""

PATIENT_WORD = 8
"""Letters of the patient key shown: enough to tell the patients of a day apart (collision 1e-6 at 100 patients)."""

_GIVEN_UP = {
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "it ended the process that worked on it again and again and was set aside; "
    "the worker's log says how",
    "ERROR": "the workflow ended with an error of the node itself; the log says which",
    "CANCELLED": "cancelled",
}


@dataclass(frozen=True)
class JobTimes:
    """When each stage ended; None = not yet, or not known any more. All aware, UTC."""

    received_at: datetime | None
    accepted_at: datetime
    started_at: datetime | None
    measured_at: datetime | None
    delivered_at: datetime | None

    def stages_s(self) -> dict[str, float]:
        """Seconds of each finished stage: `arriving` (last image until the exam went quiet), `measuring` (with the
        wait for a free worker), `delivering` (until the last destination had everything)."""
        edges = (
            ("arriving", self.received_at, self.accepted_at),
            ("measuring", self.accepted_at, self.measured_at),
            ("delivering", self.measured_at, self.delivered_at),
        )
        return {
            name: max(0.0, (end - begin).total_seconds())
            for name, begin, end in edges
            if begin is not None and end is not None
        }


@dataclass(frozen=True)
class JobCard:
    """One job as people see it.

    `acquired_at` is the scanner's clock, without offset where the file gives none. `asked`: what was asked for on the
    page and is not done yet.
    """

    name: str
    acquisition: str
    revision: int
    latest: bool
    reason: str
    attempt: int
    state: JobState
    cause: str
    patient_word: str
    scanner: str
    device: str
    acquired_at: datetime | None
    clips: int
    frames: int
    duration_s: float | None
    profile: str
    times: JobTimes
    destinations: tuple[DestinationState, ...]
    result: ResultDigest | None
    asked: tuple[Deed, ...] = ()


@dataclass(frozen=True)
class Arrivals:
    """What stands before the jobs. `counters` run since the spool began.

    `contours`: what readers sent back; one without `consumed_by` waits for its cine, or for the revision before.
    """

    counters: Mapping[str, int]
    associations: tuple[OpenAssociation, ...]
    unassembled: tuple[ReceivedInstance, ...]
    quarantined: tuple[tuple[ReceivedInstance, str], ...]
    received_at: tuple[datetime, ...]
    contours: tuple[ReceivedInstance, ...] = ()

    @property
    def waiting_contours(self) -> tuple[ReceivedInstance, ...]:
        return tuple(contour for contour in self.contours if contour.consumed_by is None)

    @property
    def refused_contours(self) -> tuple[tuple[ReceivedInstance, str], ...]:
        """With the sentence that says why."""
        return tuple((contour, contour.refusal) for contour in self.contours if contour.refusal)


@dataclass(frozen=True)
class Board:
    """Everything at one moment; jobs newest first. `engine_fault` is empty while the engine's database answers."""

    made_at: datetime
    jobs: tuple[JobCard, ...]
    arrivals: Arrivals
    engine_fault: str = ""

    def job(self, name: str) -> JobCard:
        """The card of one job. Raises UnknownJobError."""
        for card in self.jobs:
            if card.name == name:
                return card
        raise UnknownJobError(f"there is no job {name}; `ceus-node jobs list` names them")

    def by_state(self) -> dict[JobState, int]:
        """How many jobs stand in each state; every state is named."""
        found = Counter(card.state for card in self.jobs)
        return {state: found[state] for state in JOB_STATES}

    def counts(self) -> dict[str, int]:
        """Arrivals, jobs and deliveries counted, under names for the terminal."""
        arrivals = {f"arrivals {outcome}": n for outcome, n in sorted(self.arrivals.counters.items())}
        jobs = {f"jobs {state}": n for state, n in self.by_state().items()}
        sent = Counter(f"deliveries to {d.name} {d.state}" for card in self.jobs for d in card.destinations)
        return {
            **arrivals,
            "cines not yet assembled": len(self.arrivals.unassembled),
            "contours waiting": len(self.arrivals.waiting_contours),
            "contours refused": len(self.arrivals.refused_contours),
            **jobs,
            **dict(sorted(sent.items())),
        }

    def describe(self, name: str) -> str:
        """One job in full as JSON, without a UID. Raises UnknownJobError."""
        table = asdict(self.job(name))
        if table["result"] is not None:
            del table["result"]["ledgers"]  # `destinations` says the same without the UIDs
        return json.dumps(table, default=lambda value: value.isoformat(), ensure_ascii=False, indent=2)


class BoardReader:
    """Reads the board again and again; what is settled on disk is read once."""

    def __init__(self, settings: Settings) -> None:
        folder = DataFolder(settings.node.data_dir)
        self._settings = settings
        self._scratch = folder.scratch
        self._spool = Spool(folder.spool)
        self._book = JobBook(folder.jobs)
        self._digests = ResultDigests(folder.results)
        self._wishes = WishBox(folder.wishes)
        self._client: EngineClient | None = None
        self._database_file: int | None = None

    def read(self, now: datetime) -> Board:
        """The board as it stands."""
        jobs = self._jobs()
        open_work, fault = self._engine()
        received = self._spool.instances()
        by_uid = {instance.sop_instance_uid: instance for instance in received}
        wishes = self._wishes.waiting()
        latest = {job.acquisition: job.name for job in sorted(jobs, key=lambda job: job.revision)}
        cards = [
            _card(
                job,
                [by_uid[uid] for uid in job.sop_instance_uids if uid in by_uid],
                _Standing(
                    self._digests.of(job),
                    open_work,
                    fault,
                    latest[job.acquisition] == job.name,
                    tuple(wish.deed for wish in wishes if wish.job == job.name),
                    progress_words(self._scratch, job.name),
                ),
                self._settings,
            )
            for job in jobs
        ]
        return Board(now, tuple(reversed(cards)), self._arrivals(received), fault)

    def ask(self, wish: Wish) -> None:
        """Write down what is to be done, and wake the worker."""
        self._wishes.put(wish)
        self._spool.doorbell.ring()

    def close(self) -> None:
        """Give the engine's connections back."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _jobs(self) -> list[Job]:
        try:
            return self._book.all()
        except UnknownJobError:  # retired between the listing and the reading
            return self._book.all()

    def _engine(self) -> tuple[dict[str, EngineJob], str]:
        """The engine's open workflows by name. A database file that was replaced is opened anew."""
        file = engine_file(self._settings)
        found = None if file is None or not file.exists() else file.stat().st_ino
        if found != self._database_file:
            self.close()
            self._database_file = found
        try:
            if self._client is None:
                self._client = EngineClient(self._settings)
            return {row.workflow_id: row for row in self._client.unfinished()}, ""
        except EngineError as error:
            return {}, str(error)

    def _arrivals(self, received: Sequence[ReceivedInstance]) -> Arrivals:
        cines = [i for i in received if i.starts_jobs and i.kind is ArrivalKind.CINE]
        return Arrivals(
            counters=self._spool.counters(),
            associations=self._spool.open_associations(),
            unassembled=tuple(i for i in cines if i.consumed_by is None),
            quarantined=tuple((q.instance, q.reason) for q in self._spool.quarantined()),
            received_at=tuple(i.received_at for i in cines),
            contours=tuple(i for i in received if i.kind is ArrivalKind.CONTOUR and i.origin is not Origin.RETRIEVE),
        )


def read_board(settings: Settings) -> Board:
    """The board, once."""
    reader = BoardReader(settings)
    try:
        return reader.read(datetime.now(UTC))
    finally:
        reader.close()


@dataclass(frozen=True)
class _Standing:
    """What disk and engine say of one job."""

    result: ResultDigest | None
    open_work: Mapping[str, EngineJob]
    engine_fault: str
    latest: bool
    asked: tuple[Deed, ...]
    progress: str


def _card(job: Job, sources: Sequence[ReceivedInstance], standing: _Standing, settings: Settings) -> JobCard:
    destinations = (
        () if standing.result is None else destination_states(job, standing.result, standing.open_work, settings)
    )
    if job.failure is not None:  # nobody tries on for a job that was cancelled or has failed
        destinations = tuple(
            replace(d, state="failed", cause=job.failure) if d.state in ("pending", "committing") else d
            for d in destinations
        )
    state, cause = _state(job, standing, destinations)
    first = sources[0] if sources else None
    durations = [source.duration_s for source in sources if source.duration_s is not None]
    return JobCard(
        name=job.name,
        acquisition=job.acquisition,
        revision=job.revision,
        latest=standing.latest,
        reason=job.reason,
        attempt=job.attempt,
        state=state,
        cause=cause,
        patient_word="" if first is None else first.patient_key[:PATIENT_WORD],
        scanner="" if first is None else first.peer_ae_title,
        device="" if first is None else " ".join(part for part in (first.manufacturer, first.model) if part),
        acquired_at=None if first is None else first.acquired_at or first.content_at,
        clips=len(job.sop_instance_uids),
        frames=sum(source.frames for source in sources),
        duration_s=sum(durations) if durations else None,
        profile=job.profile,
        times=_times(job, sources, standing, destinations),
        destinations=destinations,
        result=standing.result,
        asked=standing.asked,
    )


def _state(job: Job, standing: _Standing, destinations: Sequence[DestinationState]) -> tuple[JobState, str]:
    if job.failure is not None:
        return "failed", job.failure
    if standing.result is not None:
        return _finished(standing.result, destinations)
    row = standing.open_work.get(job.workflow_id)
    if row is None:
        fetching = f"{job.workflow_id}{FETCHING}" in standing.open_work
        return "waiting", "its images are fetched from the PACS again" if fetching else standing.engine_fault
    if row.state in _GIVEN_UP:
        return "failed", _GIVEN_UP[row.state]
    return ("measuring", standing.progress) if row.state == "PENDING" else ("waiting", "")


def _finished(result: ResultDigest, destinations: Sequence[DestinationState]) -> tuple[JobState, str]:
    """A job is as good as its worst delivery: "delivered" only when every destination has every object."""
    if result.fault:
        return "failed", result.fault
    if not destinations:
        return "measured", result.why_nothing_is_sent
    for wanted, state in (("failed", "failed"), ("pending", "delivering"), ("committing", "delivering")):
        found = [d for d in destinations if d.state == wanted]
        if found:
            causes = [f"{d.name}: {d.cause}" for d in found if d.cause]
            return ("failed" if state == "failed" else "delivering"), "; ".join(causes)
    return "delivered", ""


def _times(
    job: Job, sources: Sequence[ReceivedInstance], standing: _Standing, destinations: Sequence[DestinationState]
) -> JobTimes:
    row = standing.open_work.get(job.workflow_id)
    finished = [d.finished_at for d in destinations]
    return JobTimes(
        received_at=max((source.received_at for source in sources), default=None),
        accepted_at=datetime.fromisoformat(job.accepted_at),
        started_at=None if row is None else row.started_at,
        measured_at=None if standing.result is None else standing.result.measured_at,
        delivered_at=max((t for t in finished if t is not None), default=None) if None not in finished else None,
    )
