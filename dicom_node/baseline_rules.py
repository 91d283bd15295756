"""The baseline rule that holds at this site: the protocol's, or what `[comparison]` puts in its place."""

from __future__ import annotations

from dataclasses import replace

from dicom_node.config import ComparisonSettings, Settings
from processing.baseline_rule import BASELINE_RULES, COURSE, WARD, BaselineRule
from reports.baseline_choice import ChoiceTerms


def choice_terms(settings: Settings, *, given: bool = False) -> ChoiceTerms:
    """How a baseline is chosen; `given`: a user named it, so it may lie in the same study."""
    rule = rule_of(settings.analysis.protocol, settings.comparison)
    return ChoiceTerms(rule, settings.comparison.within_study or given, given)


def rule_of(protocol: str, wanted: ComparisonSettings) -> BaselineRule:
    """The protocol's rule, unless the site says otherwise."""
    rules = {"protocol": BASELINE_RULES[protocol], "nearest": WARD, "first": COURSE}
    rule = rules[wanted.baseline]
    return rule if wanted.within_h is None else replace(rule, within_h=wanted.within_h)
