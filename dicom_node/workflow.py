"""The durable workflow: measure an acquisition once, then deliver its results to every destination.

    retrieve_priors(job)          beside it, on the sender's side: the measuring child waits for it, for a bounded time
    fetch_sources(job)            before it, where retention has taken its images: they come back from the PACS
    measure_acquisition(job)  ->  deliver_results(job, destination), one for each, each on the destination's own queue

Steps are at-least-once: a measured job finds its folder complete, a sent object is marked in the ledger, and what was
sent but not yet marked is sent again as the same file under the same UID, which a PACS keeps once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import structlog
from dbos import DBOS, SetEnqueueOptions, SetWorkflowID

from dicom_node import delivery, engine, late_baselines, priors
from dicom_node.config import Settings
from dicom_node.data_folder import DataFolder
from dicom_node.errors import ChildDiedError, NodeError, SourceGoneError
from dicom_node.jobs import Job, JobBook
from dicom_node.numeric_children import MemoryBudget, NumericChildren
from dicom_node.results import ResultFolder
from dicom_node.source_fetching import fetch_sources, missing_sources

log = structlog.get_logger()

Outcome = Literal["measured", "failed"]
CHILD_ATTEMPTS = 2
"""A child can die of somebody else's memory once; a job that kills two children is itself the reason."""
LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True)
class Workplace:
    """What the workflows of this process work with. `children` exists in the analysis role only."""

    settings: Settings
    folder: DataFolder
    jobs: JobBook
    children: NumericChildren | None = None
    memory: MemoryBudget | None = None

    def result(self, job: Job) -> ResultFolder:
        """The result folder of a job."""
        return ResultFolder(self.folder.results, job.acquisition, job.name)


_workplace: Workplace | None = None


def open_workplace(workplace: Workplace) -> None:
    """Give the workflows of this process their surroundings; called once, before the engine is launched."""
    global _workplace  # noqa: PLW0603  # the engine calls module-level functions: this is their only way to reach them
    _workplace = workplace


def workplace() -> Workplace:
    """What `open_workplace` set."""
    if _workplace is None:
        raise NodeError("the workflows were started before their workplace was opened: a fault of the node itself")
    return _workplace


def order_measurement(job: Job) -> None:
    """Put a job on the analysis queue, and its earlier results on the sender's; ordering it twice runs it once."""
    if priors.sources_of(workplace().settings):
        with SetWorkflowID(f"{job.workflow_id}<priors"):
            DBOS.enqueue_workflow(engine.PRIORS_QUEUE, retrieve_priors, job.name)
    with SetWorkflowID(job.workflow_id), SetEnqueueOptions(priority=job.priority):
        DBOS.enqueue_workflow(engine.ANALYSIS_QUEUE, measure_acquisition, job.name)


def order_sources(job: Job) -> None:
    """Have the job's retired images fetched by the role that talks DICOM; ordering it twice runs it once."""
    with SetWorkflowID(f"{job.workflow_id}{engine.FETCHING}"):
        DBOS.enqueue_workflow(engine.PRIORS_QUEUE, fetch_retired, job.name)


@DBOS.workflow(name="fetch_retired", max_recovery_attempts=3)
def fetch_retired(job_name: str) -> None:
    """Have the images of a job back; its measurement is ordered by who sees them lie there."""
    fetch_once(job_name)


@DBOS.step(name="fetch")
def fetch_once(job_name: str) -> None:
    """Fetch what is missing; a job whose images are gone for good fails with what each PACS said."""
    here = workplace()
    try:
        fetch_sources(here.settings, here.jobs.get(job_name))
    except SourceGoneError as error:
        here.jobs.fail(job_name, str(error))
        log.error("job failed", job=job_name, reason=str(error))


@DBOS.workflow(name="retrieve_priors", max_recovery_attempts=3)
def retrieve_priors(job_name: str) -> None:
    """Ask the PACS for what the job may be compared with."""
    retrieve_once(job_name)


@DBOS.step(name="retrieve")
def retrieve_once(job_name: str) -> None:
    """Fetch into the job's folder of priors; a PACS that does not answer is written down there."""
    here = workplace()
    priors.retrieve(here.settings, here.jobs.get(job_name))


def order_delivery(job_name: str, destination: str, resends: int) -> None:
    """Have what a destination did not keep delivered once more; ordering it twice runs it once."""
    job = workplace().jobs.get(job_name)
    with SetWorkflowID(f"{job.workflow_id}>{destination}~{resends}"):
        DBOS.enqueue_workflow(engine.delivery_queue(destination), deliver_results, job_name, destination)


@DBOS.workflow(name="measure_acquisition", max_recovery_attempts=3)
def measure_acquisition(job_name: str) -> str:
    """Measure one job and order the delivery of what came out."""
    outcome = measure(job_name)
    if outcome == "measured":
        for destination, workflow_id in deliveries_of(job_name):
            with SetWorkflowID(workflow_id):
                DBOS.enqueue_workflow(engine.delivery_queue(destination), deliver_results, job_name, destination)
        revise_comparisons(job_name)
    return outcome


@DBOS.step(name="measure")
def measure(job_name: str) -> Outcome:
    """Run the analysis in a numeric child; the result folder appears whole or not at all."""
    here = workplace()
    job = here.jobs.get(job_name)
    if here.result(job).complete:
        return "measured"
    if here.children is None or here.memory is None:
        raise NodeError("this role has no numeric children: a fault of the node itself")
    # Brings numba, which makes memory executable: the sender, which shares this module, is not allowed that.
    from dicom_node import measuring_order

    order = measuring_order.MeasuringOrder(here.settings, here.folder, job)
    wanted_mb = measuring_order.stated_memory_mb([Path(file) for file in job.files])
    log.info("job started", job=job_name, acquisition=job.acquisition, memory_mb=wanted_mb)
    for attempt in range(1, CHILD_ATTEMPTS + 1):
        try:
            with here.memory.share(wanted_mb):
                here.children.run(measuring_order.measure, order)
        except ChildDiedError as error:
            log.error("job lost its process", job=job_name, attempt=attempt, reason=str(error))
            failure = str(error)
        except NodeError as error:
            failure = str(error)
            break
        except Exception as error:
            # A fault of our own: the job says so wherever it is shown, and the engine keeps the traceback.
            here.jobs.fail(job_name, f"a fault of the node itself ({type(error).__name__}); its log says more")
            raise
        else:
            log.info("job measured", job=job_name, acquisition=job.acquisition)
            return "measured"
    here.jobs.fail(job_name, failure)
    log.error("job failed", job=job_name, reason=failure)
    return "failed"


@DBOS.step(name="deliveries")
def deliveries_of(job_name: str) -> list[tuple[str, str]]:
    """Destination and workflow of each delivery that is due; a step, so that a recovery repeats the same list."""
    here = workplace()
    job = here.jobs.get(job_name)
    return [(name, f"{job.workflow_id}>{name}") for name in _undelivered(here, job)]


@DBOS.step(name="revise_comparisons")
def revise_comparisons(job_name: str) -> None:
    """Write down the revisions that this result makes necessary; they are ordered like any other job."""
    here = workplace()
    late_baselines.revise_comparisons(here.settings, here.jobs.get(job_name), datetime.now(UTC))


@DBOS.workflow(name="deliver_results", max_recovery_attempts=None)
def deliver_results(job_name: str, destination: str) -> str:
    """Send until the destination has everything or says that it never will."""
    attempt = 0
    while (state := deliver_once(job_name, destination)) == "pending":
        DBOS.sleep(pause_s(attempt))
        attempt += 1
    return state


@DBOS.step(name="deliver")
def deliver_once(job_name: str, destination: str) -> str:
    """One association with the destination for all that it does not have yet."""
    here = workplace()
    target = next((d for d in here.settings.destination if d.name == destination), None)
    folder = here.result(here.jobs.get(job_name))
    if target is None:
        ledger = replace(folder.ledger(destination), failure="this destination is no longer configured")
        folder.write_ledger(ledger)
        return ledger.state
    ledger = delivery.deliver(folder, target, here.settings, now=datetime.now(UTC))
    log.info("delivery", job=job_name, destination=destination, state=ledger.state, reason=ledger.failure or "")
    return ledger.state


def pause_s(attempt: int) -> float:
    """1, 2, 4 ... 60 s: a PACS that restarts has its results within a minute of coming back."""
    return float(min(2.0**attempt, LONGEST_PAUSE_S))


class Orders:
    """Orders what the ledger knows as unfinished: new jobs, tries by hand, and everything after a lost database."""

    def __init__(self, here: Workplace) -> None:
        self._here = here
        self._placed: set[str] = set()
        self._fetching: set[str] = set()

    def place_unfinished(self) -> None:
        """Order every job that is not measured or not delivered and that this process has not ordered yet."""
        for job in self._here.jobs.all():
            if job.workflow_id in self._placed:
                continue
            unfinished = job.failure is None and not _settled(self._here, job)
            if unfinished and self._lacks_sources(job):
                self._fetch(job)
                continue
            self._placed.add(job.workflow_id)
            if unfinished:
                order_measurement(job)

    def _lacks_sources(self, job: Job) -> bool:
        """Whether images of it were retired before it was measured, and there is somebody to fetch them from."""
        measured = self._here.result(job).complete
        return not measured and bool(self._here.settings.destination) and bool(missing_sources(job))

    def _fetch(self, job: Job) -> None:
        if job.workflow_id not in self._fetching:
            self._fetching.add(job.workflow_id)
            order_sources(job)


def _settled(here: Workplace, job: Job) -> bool:
    return here.result(job).complete and not _undelivered(here, job)


def _undelivered(here: Workplace, job: Job) -> list[str]:
    """Destinations that are to get something of the job's result and neither have it nor refused it."""
    folder = here.result(job)
    wanted = [d.name for d in here.settings.destination if folder.objects(d.objects)]
    return [name for name in wanted if folder.ledger(name).state == "pending"]
