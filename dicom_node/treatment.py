"""Before or after treatment: one answer for the comparison, the prediction of response and the page of an ablation."""

from __future__ import annotations

from datetime import timedelta, timezone

from dicom_node.cine_header import CineFacts
from dicom_node.config import AnalysisSettings
from onnx_models.classify import Treatment

BEFORE = frozenset({("UMLS", "C3539075"), ("UMLS", "C1442488"), ("SCT", "262068006")})
"""Pretreatment, baseline, pre-operative (PS3.16 CID 6146 "Time Point Type")."""
AFTER = frozenset(
    {
        *(("DCM", "126074"), ("SCT", "262502001"), ("SCT", "264908009"), ("SCT", "262061000")),
        *(("SCT", "314122007"), ("SCT", "25173007"), ("UMLS", "C1708760")),
    }
)
"""Posttreatment; post-chemotherapy, -radiation, -operative; maintenance, recurrence, nadir: all of them later."""


def treatment_state(facts: CineFacts, declared: AnalysisSettings) -> Treatment:
    """The header's Clinical Trial Time Point Type (0012,0054), else what the site declares.

    A treatment time before the cine's own, or "after" in the header, wins over everything: nothing that is declared
    turns a later study into an earlier one.
    """
    said = set(facts.time_point_types)
    if said & AFTER or hours_since_treatment(facts, declared) is not None:
        return "after"
    return "before" if said & BEFORE else declared.treatment


def hours_since_treatment(facts: CineFacts, declared: AnalysisSettings) -> float | None:
    """None where one time is unknown or the cine was taken before.

    Where only one of them tells its time zone, both are read off the scanner's clock.
    """
    treated_at, acquired_at = declared.treated_at, facts.acquired_at
    if treated_at is None or acquired_at is None:
        return None
    if acquired_at.tzinfo is None and facts.utc_offset_min is not None:
        acquired_at = acquired_at.replace(tzinfo=timezone(timedelta(minutes=facts.utc_offset_min)))
    if treated_at.tzinfo is None or acquired_at.tzinfo is None:
        treated_at, acquired_at = treated_at.replace(tzinfo=None), acquired_at.replace(tzinfo=None)
    hours = (acquired_at - treated_at).total_seconds() / 3600.0
    return hours if hours >= 0.0 else None
