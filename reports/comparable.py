"""One result as a comparison sees it: whose, of when, under which conditions, and the figures that may be compared.

Made of today's findings, or of a report read back: an earlier result counts by what it told the PACS.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from reports.conditions import ACQUIRED_AT, SUMMARY_PAGE, SUMMARY_SERIES, UTC_OFFSET, Conditions, conditions_of
from reports.findings import Findings, Quantity
from reports.parameters import BY_SYMBOL, RATIO_SYMBOLS

LEADING_TIMES = ("RT", "mTT")
OTHER_TIMES = ("FT", "mTTl")
COMPARED_DIFFERENCES = ("RT", "FT", "mTT")
AMPLITUDES = ("PE", "WiR", "WoR", "WiAUC", "WoAUC", "WiWoAUC", "WiPI", "AUC")
AREA, PERFUSED_AREA = "area_mm2", "perfused_area_percent"
DENSITY, SPEED = "perfusion_density_rarefied_percent", "speed_mean_mm_s"

COMPARED_NAMES = (
    *(f"{symbol}_ratio" for symbol in RATIO_SYMBOLS),
    *LEADING_TIMES,
    *OTHER_TIMES,
    *(f"{symbol}_difference_s" for symbol in COMPARED_DIFFERENCES),
    *(AREA, PERFUSED_AREA, DENSITY, SPEED),
    *AMPLITUDES,
)
"""Names of `comparison.changes` in the order in which they are said: ratios, rise and transit time lead; absolute
arbitrary units come last. AT and TTP are not among them: they tell when somebody pressed store."""


@dataclass(frozen=True)
class PatientIdentity:
    """What decides whether two results are one patient's. Compared here, never printed."""

    patient_id: str
    issuer: str = ""
    birth_date: str = ""
    sex: str = ""

    @staticmethod
    def of(dataset: Dataset) -> PatientIdentity:
        """The identity in a header, without blanks around it (PS3.5 6.2: they mean nothing in LO)."""
        keywords = ("PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex")
        return PatientIdentity(*(str(dataset.get(keyword) or "").strip() for keyword in keywords))

    def unlike(self, other: PatientIdentity) -> str:
        """Why the other is not surely the same patient, without naming anybody; "" where it is."""
        if not self.patient_id or not other.patient_id:
            return "no Patient ID"
        if self.patient_id != other.patient_id:
            return "another Patient ID"
        if self.issuer != other.issuer:
            return "the same Patient ID of another issuer"
        for words, one, two in (("birth date", self.birth_date, other.birth_date), ("sex", self.sex, other.sex)):
            if one and two and one != two:
                return f"the same Patient ID with a contradicting {words}"
        return ""


@dataclass(frozen=True)
class ComparableResult:
    """A result, reduced to what a comparison needs.

    written_at: orders the revisions of one acquisition. lesions: tracking UIDs of the measured ones. values: by
    `COMPARED_NAMES`.
    """

    patient: PatientIdentity
    study_instance_uid: str
    sr_sop_instance_uid: str
    written_at: datetime
    conditions: Conditions
    lesions: tuple[str, ...]
    values: Mapping[str, Quantity]

    @property
    def acquired_at(self) -> datetime | None:
        """First frame on the scanner's own clock, without zone; None where nobody recorded it."""
        text = self.conditions.get(ACQUIRED_AT, "")
        try:
            return datetime.fromisoformat(text).replace(tzinfo=None) if text else None
        except ValueError:
            return None

    def hours_after(self, earlier: ComparableResult) -> float | None:
        """Hours between the first frames, across a change of clocks where both tell their offset from UTC; None where
        a time is not recorded."""
        if self.acquired_at is None or earlier.acquired_at is None:
            return None
        minutes = [_minutes(result.conditions.get(UTC_OFFSET, "")) for result in (self, earlier)]
        turned_h = 0.0 if minutes[0] is None or minutes[1] is None else (minutes[0] - minutes[1]) / 60.0
        return (self.acquired_at - earlier.acquired_at).total_seconds() / 3600.0 - turned_h

    def same_measurement(self, other: ComparableResult) -> bool:
        """Whether a comparison with either says the same: conditions, lesions and figures are equal."""
        mine, theirs = (
            {name: value for name, value in result.conditions.items() if name not in (SUMMARY_SERIES, SUMMARY_PAGE)}
            for result in (self, other)
        )
        return (mine, self.lesions, self.values) == (theirs, other.lesions, other.values)


def _minutes(condition: str) -> int | None:
    found = re.fullmatch(r"(-?\d+) min", condition)
    return None if found is None else int(found[1])


def comparable(findings: Findings, patient: PatientIdentity) -> ComparableResult:
    """Today's findings, ready to be compared."""
    return ComparableResult(
        patient=patient,
        study_instance_uid=findings.source.study_instance_uid,
        sr_sop_instance_uid="",
        written_at=findings.created,
        conditions=conditions_of(findings),
        lesions=tuple(roi.tracking_uid for roi in findings.rois if roi.label == "lesion"),
        values={name: quantity for name, quantity in _values(findings) if quantity.value is not None},
    )


def _values(findings: Findings) -> Iterator[tuple[str, Quantity]]:
    perfusion = findings.perfusion
    for symbol, ratio in perfusion.ratio.items():
        yield f"{symbol}_ratio", ratio
    for symbol in COMPARED_DIFFERENCES:
        if symbol in perfusion.difference_s:
            yield f"{symbol}_difference_s", perfusion.difference_s[symbol]
    lesion = perfusion.by_label.get("lesion")
    if lesion is not None:
        for symbol in (*LEADING_TIMES, *OTHER_TIMES, *AMPLITUDES):
            yield symbol, Quantity.of(BY_SYMBOL[symbol].of(lesion.metrics), BY_SYMBOL[symbol].unit)
    outlined = findings.roi("lesion")
    if outlined is not None:
        yield AREA, Quantity(outlined.area_mm2, "mm2")
    if perfusion.enhancement is not None:
        yield PERFUSED_AREA, Quantity(perfusion.enhancement.perfused_area_percent, "%")
    density, speed = findings.super_resolution.perfusion_density, findings.super_resolution.speed_mm_s
    if density is not None and density.by_threshold is not None:
        yield DENSITY, density.by_threshold.area_percent_rarefied
    if speed is not None:
        yield SPEED, speed.mean
