"""Retention: what may leave this node, and in which order it leaves. The node is a second destination, no archive.

An acquisition is kept or goes as a whole. Its cines go `sources_days` after the last of them came, its jobs, results,
engine rows and readers' contours `results_days` after the last job was accepted, and never while a job is unmeasured or
a destination does not have its results: age alone loses nothing. The choice is a pure function; `Keeper` carries it
out.

Order of deletion: cines, job file, result folder. A cine never outlives its job file (it would be measured again), and
a crash in between is finished at the next start, before anything is assembled.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from dicom_node.acquisition import ArrivalKind, QuarantinedInstance, ReceivedInstance
from dicom_node.config import RetentionSettings, Settings
from dicom_node.data_folder import DataFolder
from dicom_node.delivery_state import destination_states
from dicom_node.engine import EngineClient, EngineError
from dicom_node.jobs import Job, JobBook
from dicom_node.result_digest import ResultDigests
from dicom_node.results import ResultFolder
from dicom_node.spool import Spool

log = structlog.get_logger()

INTERVAL = timedelta(hours=1)


@dataclass(frozen=True)
class Holding:
    """A job with what matters here: `settled` = it failed, or it is measured and no delivery is pending."""

    job: Job
    settled: bool


@dataclass(frozen=True)
class Stock:
    """What lies on the node. `orphans`: (result folder, when it was made) without a job file."""

    instances: Sequence[ReceivedInstance] = ()
    holdings: Sequence[Holding] = ()
    quarantined: Sequence[QuarantinedInstance] = ()
    orphans: Sequence[tuple[Path, datetime]] = ()


@dataclass(frozen=True)
class Retirement:
    """What may go, in the order in which it goes."""

    instances: tuple[str, ...] = ()
    quarantined: tuple[Path, ...] = ()
    jobs: tuple[Job, ...] = ()
    orphans: tuple[Path, ...] = ()


def choose(stock: Stock, settings: RetentionSettings, now: datetime, *, loose: bool = True) -> Retirement:
    """What may go now.

    With `loose`, old objects without a job go as well (stills, a reader's contours); a cine without a job never does:
    it waits to be measured. Leave them while the assembler has not looked yet: single frames may still form a cine.
    """
    sources_before = now - timedelta(days=settings.sources_days)
    results_before = now - timedelta(days=settings.results_days)
    by_uid = {instance.sop_instance_uid: instance for instance in stock.instances}
    gone: list[str] = []
    jobs: list[Job] = []
    for acquisition in _by_acquisition(stock.holdings):
        if not all(holding.settled for holding in acquisition):
            continue
        uids = dict.fromkeys(uid for holding in acquisition for uid in holding.job.sop_instance_uids)
        left = [by_uid[uid] for uid in uids if uid in by_uid]
        if any(instance.received_at >= sources_before for instance in left):
            continue
        gone += [instance.sop_instance_uid for instance in left]
        if all(datetime.fromisoformat(holding.job.accepted_at) < results_before for holding in acquisition):
            jobs += [holding.job for holding in acquisition]
            contours = dict.fromkeys(uid for holding in acquisition for uid in holding.job.contours)
            gone += [uid for uid in contours if uid in by_uid]
    if loose:
        gone += _jobless(stock, sources_before)
    quarantined = [q.instance.path for q in stock.quarantined if q.instance.received_at < sources_before]
    orphans = [folder for folder, made_at in stock.orphans if made_at < results_before]
    return Retirement(tuple(gone), tuple(quarantined), tuple(jobs), tuple(orphans))


def _by_acquisition(holdings: Iterable[Holding]) -> list[list[Holding]]:
    groups: dict[str, list[Holding]] = {}
    for holding in holdings:
        groups.setdefault(holding.job.acquisition, []).append(holding)
    return list(groups.values())


def _jobless(stock: Stock, before: datetime) -> list[str]:
    jobs = [holding.job for holding in stock.holdings]
    ordered = {uid for job in jobs for uid in (*job.sop_instance_uids, *job.contours)}
    return [
        instance.sop_instance_uid
        for instance in stock.instances
        if instance.received_at < before
        and instance.sop_instance_uid not in ordered
        and not (instance.kind is ArrivalKind.CINE and instance.starts_jobs)
    ]


@dataclass
class Keeper:
    """Carries the choice out, once an hour. Belongs to the one process that assembles: nobody else removes anything."""

    settings: Settings
    spool: Spool
    _due_at: datetime | None = field(default=None, init=False)

    def tidy_when_due(self, now: datetime) -> None:
        """Remove what may go, if the last look is an hour old. The first one only ends what a crash interrupted."""
        if self._due_at is not None and now < self._due_at:
            return
        first = self._due_at is None
        self._due_at = now if first else now + INTERVAL
        self.tidy(now, loose=not first)

    def tidy(self, now: datetime, *, loose: bool = True) -> Retirement:
        """Remove what may go now, and say what it was."""
        retirement = choose(self._stock(), self.settings.retention, now, loose=loose)
        self._remove(retirement)
        counts = {
            "cines_and_others": len(retirement.instances) + len(retirement.quarantined),
            "jobs": len(retirement.jobs),
            "orphans": len(retirement.orphans),
        }
        if any(counts.values()):
            log.info("retired", **counts)
        return retirement

    def _stock(self) -> Stock:
        folder = DataFolder(self.settings.node.data_dir)
        digests = ResultDigests(folder.results)
        jobs = JobBook(folder.jobs).all()
        known = {(job.acquisition, job.name) for job in jobs}
        return Stock(
            instances=self.spool.instances(),
            holdings=[Holding(job, _settled(job, digests, self.settings)) for job in jobs],
            quarantined=self.spool.quarantined(),
            orphans=[
                (path, datetime.fromtimestamp(path.stat().st_mtime).astimezone())
                for path in folder.results.glob("*/*")
                if (path.parent.name, path.name) not in known
            ],
        )

    def _remove(self, retirement: Retirement) -> None:
        folder = DataFolder(self.settings.node.data_dir)
        book = JobBook(folder.jobs)
        for uid in retirement.instances:
            self.spool.remove(uid)
        for path in retirement.quarantined:
            for suffix in (".dcm", ".json", ".consumed", ".contested"):
                path.with_suffix(suffix).unlink(missing_ok=True)
        for job in retirement.jobs:
            book.remove(job.name)
            remove_folder(ResultFolder(folder.results, job.acquisition, job.name).path)
            shutil.rmtree(folder.priors / job.name, ignore_errors=True)
        for path in retirement.orphans:
            remove_folder(path)
        if retirement.jobs:
            self._forget([job.name for job in retirement.jobs])

    def _forget(self, names: list[str]) -> None:
        """Take the jobs out of the engine's list. Where that fails the rows stay: they name nobody, start nothing."""
        try:
            with closing(EngineClient(self.settings)) as client:
                client.forget(names)
        except EngineError as error:
            log.warning("engine rows of retired jobs stay", reason=str(error))


def remove_folder(path: Path) -> None:
    """Delete a result folder, and the acquisition's folder with its last result."""
    shutil.rmtree(path, ignore_errors=True)
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()


def _settled(job: Job, digests: ResultDigests, settings: Settings) -> bool:
    if job.failure is not None:
        return True
    result = digests.of(job)
    if result is None:
        return False
    return all(d.state not in ("pending", "committing") for d in destination_states(job, result, {}, settings))
