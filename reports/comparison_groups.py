"""Before and after in the structured report: baseline values with their time point, and changes with their verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from highdicom.sr import (
    MeasurementsAndQualitativeEvaluations,
    SourceImageForMeasurementGroup,
    TimePointContext,
    TrackingIdentifier,
)

from reports import codes
from reports.errors import InvalidFindingsError
from reports.findings import Change, Comparison, Quantity
from reports.measurements import Figure, evaluation, values

VERDICTS = {True: "BEYOND", False: "WITHIN", None: "UNKNOWN_VAR"}


def comparison_groups(
    comparison: Comparison, tracking: TrackingIdentifier, source: SourceImageForMeasurementGroup
) -> Iterator[Any]:
    """Two TID 1501 groups of the lesion; none where no comparison was performed or nothing could be compared.

    "Post-treatment" is coded only where the node was told so.
    """
    if unknown := set(comparison.changes) - set(codes.CHANGE_CODES):
        raise InvalidFindingsError(f"changes of {sorted(unknown)} have no concept")
    if not comparison.performed or not comparison.changes:
        return
    before = [
        Figure(codes.CHANGE_CODES[name], change.baseline)
        for name, change in comparison.changes.items()
        if change.baseline.value is not None
    ]
    if before:
        yield MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking,
            time_point_context=TimePointContext(
                time_point="Baseline", time_point_type=codes.BASELINE, time_point_order=1
            ),
            finding_type=codes.LESION,
            measurements=values(before),
        )
    changed = [figure for name, change in comparison.changes.items() for figure in _change(name, change)]
    match = comparison.match is not None and comparison.match.confirmed
    treated = TimePointContext(time_point="After treatment", time_point_type=codes.POST_TREATMENT, time_point_order=2)
    yield MeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        time_point_context=treated if comparison.post_treatment else None,
        finding_type=codes.LESION,
        source_images=[source],
        measurements=values(changed) or None,
        qualitative_evaluations=[
            evaluation(codes.own("MATCH"), codes.own("MATCH_CONFIRMED" if match else "MATCH_OPEN"))
        ],
    )


def comparison_statements(comparison: Comparison) -> Iterator[tuple[str, str]]:
    """(own code value, words) about the baseline, for the report's qualitative evaluations."""
    base = comparison.baseline
    if not comparison.performed or base is None:
        return
    yield "BASELINE_STUDY", f"{base.datetime.isoformat()} study {base.study_instance_uid}, rule: {base.rule}"
    if comparison.settings_differ:
        yield "SETTINGS_DIFFER", "; ".join(comparison.settings_differ)
    for source in sorted({c.variability_source for c in comparison.changes.values() if c.variability_source}):
        yield "VARIABILITY", source


def _change(name: str, change: Change) -> Iterator[Figure]:
    concept = codes.CHANGE_CODES[name]
    verdict = ((codes.own("VARIABILITY"), codes.own(VERDICTS[change.beyond_variability])),)
    if change.percent is not None:
        yield Figure(concept, Quantity(change.percent, "%"), None, codes.own("CHANGE_PCT"), verdict)
    if change.difference is not None and change.difference.value is not None:
        yield Figure(concept, change.difference, None, codes.own("CHANGE_DIFF"), verdict)
