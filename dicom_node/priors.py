"""What the PACS knows of a job's patient: our earlier reports, and the picture of the one that will be the baseline.

Fetched by the role that talks DICOM, kept in one folder a job, read by the child that measures it:

    priors/<job>/answer.json        which destinations were asked, and the sentence of each that could not be
    priors/<job>/<n>/sr.dcm         an earlier report; sc_summary.dcm beside the one that the rule falls on

A PACS that does not answer costs its `wait_s` and a limitation, never the report. The folder appears whole, so that a
retry compares with the same; only a second look (`second_looks`) adds to it, when the job has been measured.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import pydicom
import structlog
from pydicom.errors import InvalidDicomError

from dicom_node.asking import Asking
from dicom_node.baseline_rules import choice_terms
from dicom_node.cine_header import read_facts
from dicom_node.config import DestinationSettings, Settings
from dicom_node.data_folder import DataFolder
from dicom_node.earlier_results import REPORT, EarlierResult, from_folders, from_history, from_report
from dicom_node.errors import ConfigurationError, UnreachableError
from dicom_node.jobs import Job, JobBook
from dicom_node.results import SUMMARY, ResultFolder, write_json
from dicom_node.retrieving import FoundSeries, SeriesQuery, WantedInstances
from dicom_node.spool import file_stem
from processing.limitations import Limitation
from reports.baseline_choice import choose_baseline
from reports.comparable import ComparableResult, PatientIdentity
from reports.conditions import ACQUIRED_AT, PLACE, SUMMARY_PAGE, SUMMARY_SERIES
from reports.errors import ReportsError
from reports.read_back.report import STRUCTURED_REPORTS

log = structlog.get_logger()

ANSWER = "answer.json"
OUR_SERIES = "CEUS measurements"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
MOST_REPORTS = 40
"""A course of 40 studies; the newest ones, and the oldest one, are fetched where a PACS has more."""
GRACE_S = 10.0
"""How much longer than the PACS the child waits for what came: the sender's own work, on a busy machine."""
LOOK_S = 0.1


def sources_of(settings: Settings) -> tuple[DestinationSettings, ...]:
    """The destinations that are asked for earlier results."""
    return tuple(destination for destination in settings.destination if destination.priors)


def retrieve(settings: Settings, job: Job) -> None:
    """Ask every PACS for the job's patient, into the job's folder of priors; done before, it is not done again."""
    final = DataFolder(settings.node.data_dir).priors / job.name
    if (final / ANSWER).is_file():
        return
    with _draft(final) as draft:
        failures = _ask_all(settings, job, draft)
        write_json(draft / ANSWER, {"asked": [d.name for d in sources_of(settings)], "failures": failures})
        shutil.rmtree(final, ignore_errors=True)
        draft.replace(final)
    log.info("earlier results", job=job.name, reports=len(list(final.glob(f"*/{REPORT}"))), failures=len(failures))


def look_again(settings: Settings, job: Job) -> bool:
    """Ask once more, after the job was measured; whether a report came that it did not know, and now does."""
    final = DataFolder(settings.node.data_dir).priors / job.name
    with _draft(final) as draft:
        _ask_all(settings, job, draft, pictures=False)
        fresh = list(from_folders(_report_folders(draft)))
        for each in fresh:
            each.report.parent.replace(final / f"later-{file_stem(each.result.sr_sop_instance_uid)}")
    log.info("looked again for earlier results", job=job.name, fresh=len(fresh))
    return bool(fresh)


@contextmanager
def _draft(final: Path) -> Iterator[Path]:
    """An empty folder beside the final one; what a crash left in it, and what is left at the end, goes."""
    draft = final.with_name(f".{final.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _report_folders(folder: Path) -> list[Path]:
    return sorted(report.parent for report in folder.glob(f"*/{REPORT}"))


def _ask_all(settings: Settings, job: Job, draft: Path, *, pictures: bool = True) -> dict[str, str]:
    """Ask every source; the sentence of each that could not be asked."""
    failures: dict[str, str] = {}
    header = _header(job)
    if header is None:
        return failures
    here = _series_here(DataFolder(settings.node.data_dir), job)
    for destination in sources_of(settings):
        asking = Asking(settings, destination, time.monotonic() + settings.comparison.wait_s)
        try:
            _ask(asking, header, draft, here)
            if pictures:
                _fetch_picture(asking, job, header, draft)
        except (UnreachableError, ConfigurationError, OSError) as error:
            failures[destination.name] = str(error)
            log.warning("earlier results not had", job=job.name, destination=destination.name, reason=str(error))
    return failures


def retrieved(settings: Settings, job: Job) -> tuple[list[EarlierResult], tuple[Limitation, ...]]:
    """What came of `retrieve`, awaited for as long as the PACS may take; a limitation for each that did not answer."""
    sources = sources_of(settings)
    folder = DataFolder(settings.node.data_dir).priors / job.name
    answer = folder / ANSWER
    limit_s = time.monotonic() + len(sources) * settings.comparison.wait_s + GRACE_S
    while sources and not answer.is_file() and time.monotonic() < limit_s:
        time.sleep(LOOK_S)  # another process fetches; nothing announces a file
    if not sources:
        return [], ()
    if not answer.is_file():
        return [], (_not_asked("the sender", "it did not look in time"),)
    failures = json.loads(answer.read_text(encoding="utf-8"))["failures"]
    found = list(from_folders(_report_folders(folder)))
    return found, tuple(_not_asked(name, sentence) for name, sentence in failures.items())


def forget_pictures(settings: Settings, job: Job) -> None:
    """Drop the pages that the comparison page was drawn from; the reports stay, a later choice may need them."""
    for page in (DataFolder(settings.node.data_dir).priors / job.name).glob(f"*/{SUMMARY}"):
        page.unlink()


def _not_asked(name: str, sentence: str) -> Limitation:
    text = f"{name} could not be asked for earlier results ({sentence}): a nearer baseline may lie there"
    return Limitation("priors_not_asked", text, "degraded", ("comparison",))


@dataclass(frozen=True)
class _Header:
    """Who and when: what a PACS can be asked by, and as much of the result as is known before it is measured."""

    patient: PatientIdentity
    acquired_at: datetime
    expected: ComparableResult


def _header(job: Job) -> _Header | None:
    """None where nobody could be asked for: no Patient ID, no time, or a file that cannot be read."""
    try:
        dataset = pydicom.dcmread(job.files[0], stop_before_pixels=True)
    except (OSError, InvalidDicomError):
        return None
    facts, patient = read_facts(dataset)[0], PatientIdentity.of(dataset)
    if not patient.patient_id or facts.acquired_at is None:
        return None
    place = dict(zip(PLACE, (facts.body_part, facts.laterality, facts.view), strict=True))
    conditions = {ACQUIRED_AT: facts.acquired_at.isoformat(), **{k: v for k, v in place.items() if v}}
    expected = ComparableResult(
        patient, facts.study_instance_uid, "", datetime.fromisoformat(job.accepted_at), conditions, ("expected",), {}
    )
    return _Header(patient, facts.acquired_at, expected)


def _series_here(data: DataFolder, job: Job) -> frozenset[str]:
    """Series of the reports that need not be fetched: this node's own of the patient, and what came before."""
    theirs = [other for other in JobBook(data.jobs).all() if job.patient_key and other.patient_key == job.patient_key]
    reports = [ResultFolder(data.results, other.acquisition, other.name).path / REPORT for other in theirs]
    reports += [folder / REPORT for folder in _report_folders(data.priors / job.name)]
    tags = ["SeriesInstanceUID"]
    return frozenset(str(pydicom.dcmread(r, specific_tags=tags).SeriesInstanceUID) for r in reports if r.is_file())


def _ask(asking: Asking, header: _Header, folder: Path, here: frozenset[str]) -> None:
    settings = asking.settings
    rule = choice_terms(settings).rule
    first_day = (header.acquired_at - timedelta(hours=rule.within_h)).date() - timedelta(days=1)  # study before cine
    query = SeriesQuery(header.patient.patient_id, "SR", first_day, _last_day(header))
    ours = [s for s in asking.find(query) if not s.description or s.description.startswith(OUR_SERIES)]
    for series in _most_telling([each for each in ours if each.series_instance_uid not in here]):
        wanted = WantedInstances(series.study_instance_uid, series.series_instance_uid, tuple(STRUCTURED_REPORTS))
        for path in asking.get(wanted, folder):
            _keep_report(path, folder)


def _last_day(header: _Header) -> date:
    """A study may be dated the day after the cine by a scanner that crossed midnight; a later one is never compared."""
    return header.acquired_at.date() + timedelta(days=1)


def _most_telling(found: list[FoundSeries]) -> Iterator[FoundSeries]:
    ordered = sorted(found, key=lambda series: (series.study_date, series.study_time), reverse=True)
    yield from ordered[:MOST_REPORTS]
    if len(ordered) > MOST_REPORTS:
        yield ordered[-1]


def _keep_report(path: Path, folder: Path) -> None:
    """One of our own reports moves into a folder of its own; anything else goes."""
    try:
        from_report(path)
    except (OSError, InvalidDicomError, ReportsError) as error:
        log.info("a report of the PACS is none of ours", reason=str(error))
        path.unlink(missing_ok=True)
        return
    place = folder / path.stem
    place.mkdir(exist_ok=True)
    path.replace(place / REPORT)


def _fetch_picture(asking: Asking, job: Job, header: _Header, folder: Path) -> None:
    """The summary page of the report that the rule will fall on, unless the node has that report itself."""
    data = DataFolder(asking.settings.node.data_dir)
    fetched = list(from_folders(_report_folders(folder)))
    known = [*from_history(data, job), *fetched]
    choice = choose_baseline(header.expected, [e.result for e in known], choice_terms(asking.settings))
    chosen = next((each for each in fetched if each.result is choice.baseline), None)
    if chosen is None or SUMMARY_PAGE not in chosen.result.conditions:
        return
    conditions = chosen.result.conditions
    wanted = WantedInstances(
        chosen.result.study_instance_uid, conditions[SUMMARY_SERIES], (SECONDARY_CAPTURE,), (conditions[SUMMARY_PAGE],)
    )
    try:
        for path in asking.get(wanted, chosen.report.parent):
            path.replace(chosen.summary)
    except UnreachableError as error:  # the page then says that the picture could not be had; every figure is here
        log.info("the baseline's picture was not had", job=job.name, reason=str(error))
