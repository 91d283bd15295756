"""Steering from outside: retry, cancel, send. Talks to the ledger and to the engine, never to a running process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import structlog

from dicom_node.audit import RESTRICTED_FUNCTION, SENT, Far, person, trail_of
from dicom_node.audited_files import study_of
from dicom_node.config import Settings, result_digest
from dicom_node.data_folder import DataFolder
from dicom_node.earlier_results import matched_lesion
from dicom_node.engine import EngineClient
from dicom_node.errors import ConfigurationError, NodeError
from dicom_node.jobs import JobBook
from dicom_node.results import ResultFolder
from dicom_node.sending import SendOutcome, send_files
from dicom_node.site_profiles import job_profile
from dicom_node.tls import remote_node
from dicom_node.wishes import Wish, WishBox

log = structlog.get_logger()


def retry(settings: Settings, name: str) -> str:
    """Order a job again. Raises UnknownJobError.

    Changed settings make it a new revision of its acquisition under new UIDs; unchanged ones, or ones that it was
    measured under before, a new try of that job, of its measurement where that failed and of every failed delivery.
    """
    folder = DataFolder(settings.node.data_dir)
    book = JobBook(folder.jobs)
    job = book.get(name)
    profile = job_profile(settings, job)
    digest = result_digest(settings, profile)
    if digest != job.settings_digest:
        changed = replace(job, profile=profile, settings_digest=digest)
        before = book.measured_before(changed)
        if before is None:
            new = book.revise(changed, "settings or profile changed", datetime.now(UTC))
            return f"ordered revision {new.revision} of acquisition {new.acquisition} as job {new.name}"
        job = before
    again = book.retry(job.name)
    result = ResultFolder(folder.results, job.acquisition, job.name)
    for ledger in result.ledgers() if result.complete else ():
        if ledger.state == "failed":
            result.write_ledger(ledger.reopened())
    return f"ordered try {again.attempt + 1} of job {job.name}"


def confirm(settings: Settings, name: str, by: str = "") -> str:
    """A reader's word that the lesion of a job is the one of its baseline: a new revision shares the tracking UID.

    by: who says so; "" = whoever runs this process. Raises UnknownJobError, and ConfigurationError where there is no
    unconfirmed comparison.
    """
    folder = DataFolder(settings.node.data_dir)
    book = JobBook(folder.jobs)
    job = book.get(name)
    lesion = matched_lesion(folder, job)
    if lesion is None:
        raise ConfigurationError(f"job {name} was not compared with an earlier lesion, so there is no match to confirm")
    if lesion == job.confirmed_lesion:
        raise ConfigurationError(f"the lesion of job {name} is confirmed already")
    told = replace(job, confirmed_lesion=lesion, confirmed_by=by or person().user_id)
    new = book.revise(told, "lesion match confirmed by a reader", datetime.now(UTC))
    return f"ordered revision {new.revision} of acquisition {new.acquisition} as job {new.name}"


def cancel(settings: Settings, name: str) -> str:
    """Stop a job at its next step; its ledger says that it was cancelled. Raises UnknownJobError."""
    book = JobBook(DataFolder(settings.node.data_dir).jobs)
    job = book.get(name)
    book.fail(name, "cancelled by hand")
    client = EngineClient(settings)
    try:
        for found in client.jobs(prefix=job.name):
            client.cancel(found.workflow_id)
    finally:
        client.close()
    return f"cancelled job {name}"


def by_hand(deed: Callable[[Settings, str], str], settings: Settings, name: str) -> str:
    """A deed that somebody at this machine asks for: done, and written into the audit trail."""
    outcome = deed(settings, name)
    trail = trail_of(settings, "jobs")
    trail.alert(RESTRICTED_FUNCTION, f"{deed.__name__} asked for by command", person(), ("job", name), failed=False)
    return outcome


def grant_wishes(settings: Settings) -> None:
    """Do what was asked for on the page. A wish that cannot be granted is dropped with its reason in the log."""
    box = WishBox(DataFolder(settings.node.data_dir).wishes)
    for wish in box.waiting():
        try:
            outcome = _grant(settings, wish)
            log.info("asked for on the page", deed=wish.deed, outcome=outcome)
        except NodeError as error:
            log.error("asked for on the page in vain", deed=wish.deed, job=wish.job, reason=str(error))
        box.done(wish)


def _grant(settings: Settings, wish: Wish) -> str:
    if wish.deed == "confirm":
        return confirm(settings, wish.job, wish.by)
    return retry(settings, wish.job) if wish.deed == "retry" else cancel(settings, wish.job)


def send_paths(settings: Settings, paths: Sequence[Path], destination: str) -> Iterator[tuple[Path, SendOutcome]]:
    """Send files to a configured destination. Raises ConfigurationError for an unknown name or an empty list."""
    target = next((d for d in settings.destination if d.name == destination), None)
    if target is None:
        names = ", ".join(d.name for d in settings.destination) or "none"
        raise ConfigurationError(f"there is no destination {destination}; configured: {names}")
    files = [
        file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()
    ]
    if not files:
        raise ConfigurationError("none of the paths names a file")
    trail, far = trail_of(settings, "send"), Far(target.ae_title, target.host)
    for path, outcome in send_files(remote_node(settings, target), settings.node.ae_title, files):
        sent = study_of([path])
        if sent is not None:
            trail.transferred(far, sent, SENT, failure="" if outcome.delivered else outcome.text)
        yield path, outcome
