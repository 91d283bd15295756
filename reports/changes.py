"""Before and after: what changed between a chosen baseline and now, and whether that means anything.

Absolute arbitrary units change with every setting, so they are compared only where all of them are known and equal;
ratios to the reference and durations lead. A change is beyond variability only against a stated repeatability.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from reports.baseline_choice import Choice, ChoiceTerms, choose_baseline
from reports.comparable import AMPLITUDES, AREA, COMPARED_NAMES, DENSITY, SPEED, ComparableResult
from reports.conditions import DENSITY_TERMS, SETTINGS, ULM_SPEED
from reports.findings import Baseline, Change, Comparison, LesionMatch, Quantity, TrendPoint

UNKNOWN_VARIABILITY = "unknown: no repeatability was stated"
EQUAL_WITHIN = 0.01
"""Lengths and trackable speeds of two loops are equal within 1 %: a frame more or less is no other measurement."""


@dataclass(frozen=True)
class RepeatabilityLimit:
    """95 % of repeated measurements differ by less than `limit` ("%" of the earlier, or the parameter's unit)."""

    limit: float
    unit: str
    source: str


@dataclass(frozen=True)
class ComparisonTerms:
    """How studies are compared: the baseline's choice, the site's repeatability, and what the node was told.

    remeasured: the baseline was measured again by today's version, so its values are no longer those it reported.
    """

    choice: ChoiceTerms
    repeatability: Mapping[str, RepeatabilityLimit] = field(default_factory=dict)
    post_treatment: bool = False
    remeasured: ComparableResult | None = None


def compare(now: ComparableResult, others: Iterable[ComparableResult], terms: ComparisonTerms) -> Comparison:
    """The comparison with the baseline among others; where there is none: not performed, with the reason."""
    return compare_chosen(now, choose_baseline(now, others, terms.choice), terms)


def compare_chosen(now: ComparableResult, choice: Choice, terms: ComparisonTerms) -> Comparison:
    """The comparison with a baseline that was already chosen."""
    reported = choice.baseline
    if reported is None:
        return Comparison(performed=False, reason=choice.reason)
    before, hours = reported.acquired_at, now.hours_after(reported)
    if before is None or hours is None:
        return Comparison(performed=False, reason="when the baseline was acquired is not recorded")
    again = terms.remeasured
    baseline = reported if again is None else again
    differ = settings_differ(now, baseline)
    changes = {name: _with_verdict(change, name, terms) for name, change in _changes(now, baseline, differ)}
    return Comparison(
        performed=True,
        reason=None,
        baseline=Baseline(reported.study_instance_uid, reported.sr_sop_instance_uid, before, terms.choice.words),
        hours_since=hours,
        match=LesionMatch(None, choice.confirmed),
        remeasured=again is not None,
        settings_differ=differ,
        trend=tuple(_trend(now, choice.course)),
        changes=changes,
        post_treatment=terms.post_treatment,
    )


def settings_differ(now: ComparableResult, baseline: ComparableResult) -> tuple[str, ...]:
    """Every setting that is not known and equal in both, in words."""
    found = []
    for name in SETTINGS:
        then, today = baseline.conditions.get(name, ""), now.conditions.get(name, "")
        if not then and not today:
            found.append(f"{name} not recorded")
        elif then != today:
            found.append(f"{name}: {then or 'not recorded'} then, {today or 'not recorded'} now")
    return tuple(found)


def _changes(
    now: ComparableResult, baseline: ComparableResult, differ: tuple[str, ...]
) -> Iterator[tuple[str, Change]]:
    for name in COMPARED_NAMES:
        if name in baseline.values and name in now.values:
            before, after = baseline.values[name], now.values[name]
            reason = _not_comparable(name, now, baseline, differ)
            yield name, Change(before, after, reason=reason) if reason else _change(before, after)


def _not_comparable(
    name: str, now: ComparableResult, baseline: ComparableResult, differ: tuple[str, ...]
) -> str | None:
    """Why two values of this name say nothing about each other; None where they do."""
    if baseline.values[name].unit != now.values[name].unit:
        return "units differ"
    if name in AMPLITUDES and differ:
        return "absolute a.u. between settings that are not known to be equal"
    if name == AREA and any(words.startswith("region drawn by") for words in differ):
        return "outlined in different ways"
    if name == DENSITY and not all(_equal(now, baseline, term) for term in DENSITY_TERMS):
        return "super-resolution of different or unknown length"
    if name == SPEED and not _equal(now, baseline, ULM_SPEED):
        return "different or unknown trackable speed"
    return None


def _equal(now: ComparableResult, baseline: ComparableResult, name: str) -> bool:
    try:
        one, other = (float(r.conditions.get(name, "").split(" ")[0]) for r in (now, baseline))
    except ValueError:
        return False
    return abs(one - other) <= EQUAL_WITHIN * max(abs(one), abs(other))


def told_by_difference(unit: str) -> bool:
    """Times and shares change by so many seconds and points; everything else by percent of what it was."""
    return unit in ("s", "%")


def _change(before: Quantity, after: Quantity) -> Change:
    if before.value is None or after.value is None:
        return Change(before, after, reason="no value")
    if told_by_difference(after.unit):
        return Change(before, after, difference=Quantity(after.value - before.value, after.unit))
    if before.value <= 0.0:
        return Change(before, after, reason="the baseline's value is not positive")
    return Change(before, after, percent=100.0 * (after.value - before.value) / before.value)


def _with_verdict(change: Change, name: str, terms: ComparisonTerms) -> Change:
    """Against the site's repeatability; a fit's interval never stands in for it."""
    if change.reason is not None:
        return change
    limit = terms.repeatability.get(name)
    size = change.percent if change.difference is None else change.difference.value
    unit = "%" if change.difference is None else change.difference.unit
    if limit is None or limit.unit != unit or size is None:
        return Change(change.baseline, change.now, change.percent, change.difference, None, UNKNOWN_VARIABILITY)
    said = f"{limit.source}: ±{limit.limit:.3g} {limit.unit}"
    return Change(change.baseline, change.now, change.percent, change.difference, abs(size) > limit.limit, said)


def _trend(now: ComparableResult, course: tuple[ComparableResult, ...]) -> Iterator[TrendPoint]:
    """Each study of the lesion with what of it may be compared with today; today's own values last."""
    for result in (*course, now):
        at = result.acquired_at
        if at is None:
            continue
        values = {
            name: change.baseline
            for name, change in _changes(now, result, settings_differ(now, result))
            if change.reason is None
        }
        yield TrendPoint(result.study_instance_uid, at, values)
