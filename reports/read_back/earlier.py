"""An earlier result from its structured report, as a comparison sees it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from pydicom.dataset import Dataset

from reports import codes
from reports.comparable import COMPARED_NAMES, SPEED, ComparableResult, PatientIdentity
from reports.conditions import ACQUIRED_AT
from reports.equipment import is_own_object
from reports.errors import UnreadableObjectError
from reports.findings import Quantity
from reports.read_back.report import ReadReport, key, read_report


def earlier_result(dataset: Dataset) -> ComparableResult:
    """The result that one of our own reports tells of.

    Raises UnreadableObjectError: another maker's report, or one that says no time at all.
    """
    if not is_own_object(dataset):
        raise UnreadableObjectError("the report is not one of this software's")
    report = read_report(dataset)
    if report.content_at is None:
        raise UnreadableObjectError("the report says no time")
    lesions = (g.tracking_uid for g in report.of_finding(codes.LESION))
    return ComparableResult(
        patient=PatientIdentity.of(dataset),
        study_instance_uid=report.study_instance_uid,
        sr_sop_instance_uid=report.sop_instance_uid,
        written_at=report.content_at,
        conditions=_study_time(dataset) | dict(_conditions(report)),
        lesions=tuple(dict.fromkeys(lesions)),
        values={name: found for name in COMPARED_NAMES if (found := _value(report, name)) is not None},
    )


def _conditions(report: ReadReport) -> Iterator[tuple[str, str]]:
    for concept, words in report.statements:
        if key(concept) == key(codes.own("CONDITION")):
            name, _, value = words.partition(": ")
            yield name, value


def _study_time(dataset: Dataset) -> dict[str, str]:
    """The study's own time stands in where a report does not say when the cine was acquired."""
    written = f"{dataset.get('StudyDate') or ''}{(str(dataset.get('StudyTime') or '') + '000000')[:6]}"
    with suppress(ValueError):
        return {ACQUIRED_AT: datetime.strptime(written, "%Y%m%d%H%M%S").isoformat()}  # noqa: DTZ007 (local, as DICOM says)
    return {}


def _value(report: ReadReport, name: str) -> Quantity | None:
    """That report's own value: its quoted baseline, its changes and what a replenishment gave are left out."""
    concept, derivation = key(codes.CHANGE_CODES[name]), key(codes.MEAN) if name == SPEED else None
    for finding in (codes.LESION, codes.BLOOD_VESSEL):
        for value in (value for group in report.of_finding(finding) for value in group.values):
            said = None if value.derivation is None else key(value.derivation)
            refilled = value.method is not None and key(value.method) == key(codes.own("M_REPLENISH"))
            if key(value.concept) == concept and said == derivation and not refilled:
                return value.quantity
    return None
