"""Before and after, as a stage of the flow: earlier results in, the findings with their comparison out.

The choice and the arithmetic are `reports.changes`, pure; this module brings them what lies on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pydicom

from dicom_node.analysis import Analysis
from dicom_node.baseline_picture import baseline_view
from dicom_node.baseline_rules import choice_terms
from dicom_node.config import Settings
from dicom_node.earlier_results import EarlierResult
from dicom_node.repeatability_table import read_table
from dicom_node.treatment import treatment_state
from processing.limitations import Limitation
from reports.baseline_choice import Choice, choose_baseline
from reports.changes import ComparisonTerms, compare_chosen
from reports.comparable import ComparableResult, PatientIdentity, comparable

Remeasure = Callable[[EarlierResult], ComparableResult | None]
"""Measures an earlier cine again with today's version; None where it is not at hand."""


@dataclass(frozen=True)
class Earlier:
    """Everything there is to compare with. given: the user named it, no rule chooses.

    limitations: a PACS that could not be asked. remeasure: see `Remeasure`. confirmed_lesion: tracking UID of the
    earlier lesion that a reader says is this one. occasion: what made this revision, so that it never has the UIDs of
    an earlier one.
    """

    results: Sequence[EarlierResult] = ()
    given: bool = False
    limitations: tuple[Limitation, ...] = ()
    remeasure: Remeasure = lambda _earlier: None
    confirmed_lesion: str = ""
    occasion: str = ""


NOTHING_EARLIER = Earlier()


def with_comparison(analysis: Analysis, earlier: Earlier, settings: Settings) -> Analysis:
    """The analysis with before and after in its findings, its pictures and its identity."""
    if not analysis.findings.quality.contrast_found:
        return analysis
    analysis = _confirmed(analysis, earlier.confirmed_lesion)
    now = comparable(analysis.findings, patient_of(analysis))
    terms = ComparisonTerms(
        choice_terms(settings, given=earlier.given),
        read_table(settings.comparison.repeatability),
        treatment_state(analysis.source.facts, settings.analysis) == "after",
    )
    choice = choose_baseline(now, [each.result for each in earlier.results], terms.choice)
    chosen = _chosen(choice, earlier.results)
    if chosen is not None and _of_another_version(now, chosen.result):
        terms = replace(terms, remeasured=earlier.remeasure(chosen))
    comparison = compare_chosen(now, choice, terms)
    quality = analysis.findings.quality
    quality = replace(quality, limitations=quality.limitations + earlier.limitations)
    findings = replace(analysis.findings, quality=quality, comparison=comparison)
    uid = "" if chosen is None else chosen.result.sr_sop_instance_uid
    identity = replace(analysis.identity, baseline_sr_uid=uid + earlier.occasion)
    view = None if chosen is None else baseline_view(chosen)
    return replace(analysis, findings=findings, identity=identity, baseline=view)


def _confirmed(analysis: Analysis, lesion: str) -> Analysis:
    """The lesion under the tracking UID of the earlier one, where a reader said that they are the same."""
    if not lesion:
        return analysis
    rois = tuple(replace(r, tracking_uid=lesion) if r.label == "lesion" else r for r in analysis.findings.rois)
    return replace(analysis, findings=replace(analysis.findings, rois=rois))


def patient_of(analysis: Analysis) -> PatientIdentity:
    """Whose cine it is, from its header."""
    return PatientIdentity.of(pydicom.dcmread(analysis.source.paths[0], stop_before_pixels=True))


def _chosen(choice: Choice, results: Sequence[EarlierResult]) -> EarlierResult | None:
    return next((each for each in results if each.result is choice.baseline), None)


def _of_another_version(now: ComparableResult, baseline: ComparableResult) -> bool:
    return any(now.conditions.get(name) != baseline.conditions.get(name) for name in ("software", "models", "protocol"))
