"""The patient's earlier results at hand: folders with `sr.dcm`, and with `sc_summary.dcm` where its picture is known.

They come from the node's own history, from the answer of a PACS (`dicom_node.priors`), or from the user. An earlier
result counts by what its report says, wherever it lay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
import structlog
from pydicom.errors import InvalidDicomError

from dicom_node.data_folder import DataFolder
from dicom_node.jobs import Job, JobBook
from dicom_node.results import SUMMARY, ResultFolder
from reports.comparable import ComparableResult
from reports.errors import ReportsError
from reports.read_back.earlier import earlier_result

log = structlog.get_logger()

REPORT = "sr.dcm"


@dataclass(frozen=True)
class EarlierResult:
    """An earlier result with the report's file. job: the job of this node that measured it, None where it came."""

    result: ComparableResult
    report: Path
    job: Job | None = None

    @property
    def summary(self) -> Path:
        """Its summary page; need not exist."""
        return self.report.with_name(SUMMARY)


def from_history(folder: DataFolder, job: Job) -> Iterator[EarlierResult]:
    """What this node itself measured of the job's patient, every revision, the job's own acquisition left out."""
    if not job.patient_key:
        return
    for other in JobBook(folder.jobs).all():
        if other.patient_key == job.patient_key and other.acquisition != job.acquisition:
            report = ResultFolder(folder.results, other.acquisition, other.name).path / REPORT
            yield from _readable([report], other)


def from_folders(folders: Iterable[Path]) -> Iterator[EarlierResult]:
    """What lies in the folders that a PACS's answer or the user filled."""
    for folder in folders:
        yield from _readable([folder / REPORT])


def from_report(report: Path) -> EarlierResult:
    """The result of a report that a user names. Raises OSError, InvalidDicomError, ReportsError."""
    return EarlierResult(earlier_result(pydicom.dcmread(report)), report)


def known_to(folder: DataFolder, job: Job) -> list[EarlierResult]:
    """Everything that the job can be compared with: the node's own results, and what the PACS answered."""
    fetched = from_folders(sorted(report.parent for report in (folder.priors / job.name).glob(f"*/{REPORT}")))
    return [*from_history(folder, job), *fetched]


def used_baseline(folder: DataFolder, job: Job) -> str:
    """SOP Instance UID of the report that the job's result was compared with; "" where it was not."""
    told = ResultFolder(folder.results, job.acquisition, job.name).findings().get("comparison") or {}
    return str((told.get("baseline") or {}).get("sr_sop_instance_uid") or "")


def matched_lesion(folder: DataFolder, job: Job) -> str | None:
    """Tracking UID of the earlier lesion that the job's result was compared with; None where there is none."""
    result = ResultFolder(folder.results, job.acquisition, job.name)
    used = used_baseline(folder, job) if result.complete else ""
    found = next((e.result for e in known_to(folder, job) if used and e.result.sr_sop_instance_uid == used), None)
    return found.lesions[0] if found is not None and len(found.lesions) == 1 else None


def _readable(reports: Iterable[Path], job: Job | None = None) -> Iterator[EarlierResult]:
    for report in reports:
        try:
            yield EarlierResult(earlier_result(pydicom.dcmread(report)), report, job)
        except FileNotFoundError:
            continue  # not measured yet, without contrast, or retired
        except (OSError, InvalidDicomError, ReportsError) as error:
            log.warning("an earlier report cannot be read", reason=str(error))
