"""A baseline that comes late, is corrected, or turns out unsure: every comparison that it changes is made anew.

Looked at whenever a job of the patient has been measured, and when a second look at a PACS finds a report. The choice
is repeated from what lies on disk; where it now falls on other figures, the acquisition gets a new revision. Nothing
sent is overwritten.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import structlog

from dicom_node.baseline_rules import choice_terms
from dicom_node.config import Settings
from dicom_node.data_folder import DataFolder
from dicom_node.earlier_results import REPORT, EarlierResult, from_report, known_to, used_baseline
from dicom_node.jobs import Job, JobBook, newest_revisions
from dicom_node.results import ResultFolder
from reports.baseline_choice import choose_baseline
from reports.comparable import ComparableResult

log = structlog.get_logger()

LATE = "a late baseline arrived"
CORRECTED = "its baseline was corrected"
UNSURE = "its baseline is no longer sure"


def revise_comparisons(settings: Settings, measured: Job, now: datetime) -> list[Job]:
    """Order a new revision of every result of the patient whose baseline is another one since `measured`."""
    if not measured.patient_key:
        return []
    folder = DataFolder(settings.node.data_dir)
    book = JobBook(folder.jobs)
    theirs = [job for job in book.all() if job.patient_key == measured.patient_key]
    done = {job.acquisition for job in theirs if job.prompted_by == measured.name}
    ordered = []
    for job in newest_revisions(theirs):
        reason = "" if job.acquisition in done else _reason(settings, folder, job)
        if reason:
            ordered += _revised(book, replace(job, prompted_by=measured.name), reason, now)
    return ordered


def revise_after_news(settings: Settings, now: datetime) -> list[Job]:
    """The same for each job for which a second look found a report in a PACS (`dicom_node.second_looks`)."""
    folder = DataFolder(settings.node.data_dir)
    book, ordered = JobBook(folder.jobs), []
    for news in sorted(folder.priors.glob("*.news")):
        for job in newest_revisions(book.all()):
            if job.name == news.stem and (reason := _reason(settings, folder, job)):
                ordered += _revised(book, replace(job, prompted_by=f"news for {job.name}"), reason, now)
        news.unlink(missing_ok=True)
    return ordered


def _revised(book: JobBook, job: Job, reason: str, now: datetime) -> list[Job]:
    """The next revision; none where the cine has gone."""
    if not all(Path(file).is_file() for file in job.files):
        log.warning("comparison not made anew: its cine has gone", job=job.name, reason=reason)
        return []
    revised = book.revise(job, reason, now)
    log.info("comparison made anew", job=job.name, reason=reason, revision=revised.revision)
    return [revised]


def _reason(settings: Settings, folder: DataFolder, job: Job) -> str:
    """Why the job's comparison must be made anew; "" where it stands, or where there is none yet."""
    result = ResultFolder(folder.results, job.acquisition, job.name)
    report = result.path / REPORT
    if job.failure is not None or not result.complete or not report.is_file():
        return ""
    used, known = used_baseline(folder, job), known_to(folder, job)
    choice = choose_baseline(from_report(report).result, [each.result for each in known], choice_terms(settings))
    before = next((each for each in known if each.result.sr_sop_instance_uid == used), None)
    return _difference(used, before, choice.baseline)


def _difference(used: str, before: EarlierResult | None, baseline: ComparableResult | None) -> str:
    if baseline is None:
        return UNSURE if before is not None else ""
    if baseline.sr_sop_instance_uid == used:
        return ""
    if before is None:
        return LATE if not used else ""  # what was used is out of sight: it is not known to be worse
    if baseline.same_measurement(before.result):
        return ""
    corrected = (baseline.study_instance_uid, baseline.acquired_at) == (
        before.result.study_instance_uid,
        before.result.acquired_at,
    )
    return CORRECTED if corrected else LATE
