"""Results of one patient over several studies, made by hand, for the scenes of before and after."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from processing.baseline_rule import COURSE, WARD
from reports.baseline_choice import ChoiceTerms
from reports.changes import ComparisonTerms
from reports.comparable import ComparableResult, PatientIdentity
from reports.conditions import ACQUIRED_AT, SETTINGS
from reports.findings import Quantity

NOON = datetime(2026, 11, 20, 12)  # noqa: DTZ001  # a scanner's own clock
PATIENT = PatientIdentity("P-1", "WARD", "19500101", "M")
NEAREST, FIRST = ComparisonTerms(ChoiceTerms(WARD)), ComparisonTerms(ChoiceTerms(COURSE))
KNOWN = {name: f"some {name}" for name in SETTINGS}
LIVER = {"body part": "LIVER", "laterality": "", "view": "sagittal"}
ULM = {"rarefied to": "5000", "super-resolution length": "58.200 s", "trackable speed": "12.500 mm/s"}
VALUES = {
    "PE_ratio": Quantity(2.0, "{ratio}"),
    "RT": Quantity(6.0, "s"),
    "mTT": Quantity(15.0, "s"),
    "area_mm2": Quantity(300.0, "mm2"),
    "perfused_area_percent": Quantity(80.0, "%"),
    "perfusion_density_rarefied_percent": Quantity(28.0, "%"),
    "speed_mean_mm_s": Quantity(5.0, "mm/s"),
    "PE": Quantity(0.02, "[arb'U]"),
    "AUC": Quantity(0.3, "[arb'U].s"),
}


def result(hours: float = 0.0, study: str = "", lesions: tuple[str, ...] = ("",), **changed: Any) -> ComparableResult:
    """One measured study `hours` after noon. A lesion "" gets a tracking UID of its own."""
    name = study or f"study {hours:g} h"
    at = NOON + timedelta(hours=hours)
    conditions = {ACQUIRED_AT: at.isoformat(), **LIVER, **KNOWN, **ULM, **changed.pop("conditions", {})}
    made = ComparableResult(
        patient=PATIENT,
        study_instance_uid=name,
        sr_sop_instance_uid=f"report of {name} at {hours:g} h",
        written_at=at.replace(tzinfo=UTC) + timedelta(minutes=5),
        conditions={key: value for key, value in conditions.items() if value},
        lesions=tuple(lesion or f"lesion of {name} at {hours:g} h" for lesion in lesions),
        values=VALUES,
    )
    return replace(made, **changed)


def values(**changed: float) -> dict[str, Quantity]:
    """The figures of every study here, some of them changed."""
    return {name: replace(q, value=changed.get(name, q.value)) for name, q in VALUES.items()}
