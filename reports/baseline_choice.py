"""Which earlier result is the baseline: same patient, earlier, in time, the same lesion; otherwise none, and why.

A wrong baseline changes a treatment, so nothing is guessed: whatever is not sure ends without a comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from processing.baseline_rule import BaselineRule
from reports.comparable import ComparableResult
from reports.conditions import PLACE

Measured = tuple[ComparableResult, datetime]
"""A result and when it was acquired."""


@dataclass(frozen=True)
class ChoiceTerms:
    """rule: the protocol's or the site's. within_study: told that a study's acquisitions are before and after.

    given: a user named the report; no rule is then needed.
    """

    rule: BaselineRule
    within_study: bool = False
    given: bool = False

    @property
    def words(self) -> str:
        """The rule as printed."""
        if self.given:
            return "named by the user"
        return self.rule.words + (", within the study too" if self.within_study else "")


@dataclass(frozen=True)
class Choice:
    """baseline None: `reason` says why. course: all earlier results of this lesion, oldest first, baseline included."""

    baseline: ComparableResult | None
    reason: str = ""
    confirmed: bool = False
    course: tuple[ComparableResult, ...] = ()


def choose_baseline(now: ComparableResult, others: Iterable[ComparableResult], terms: ChoiceTerms) -> Choice:
    """The baseline of `now` among any results; a later one, another patient's or another place's is never taken."""
    if reason := _unfit(now):
        return Choice(None, reason)
    moment = now.acquired_at
    assert moment is not None  # noqa: S101  # `_unfit` has said so
    same, strangers = _of_patient(now, others)
    timed = _newest_revisions(same)
    if not terms.within_study and (siblings := _other_lesions(now, timed)):
        return Choice(None, _listed("more than one lesion was measured in this study: ", siblings))
    earlier = [(r, at) for r, at in timed if at < moment and (terms.within_study or _study(r) != _study(now))]
    reach = timedelta(hours=terms.rule.within_h)
    in_time = [(r, at) for r, at in earlier if terms.given or moment - at <= reach]
    if not in_time:
        return Choice(None, _nothing(strangers, len(earlier), len(timed) > len(earlier), terms))
    return _of_lesion(now, in_time, terms)


def _unfit(now: ComparableResult) -> str:
    if not now.patient.patient_id:
        return "this study carries no Patient ID, so no earlier study is surely the same patient's"
    if now.acquired_at is None:
        return "when this cine was acquired is not recorded, so nothing is known to be earlier"
    if not now.lesions:
        return "no lesion was measured in this study"
    if len(now.lesions) > 1:
        return f"{len(now.lesions)} lesions were measured in this acquisition: which is which is not known"
    return ""


def _of_patient(
    now: ComparableResult, others: Iterable[ComparableResult]
) -> tuple[list[ComparableResult], dict[str, int]]:
    """The patient's own results, each report once, and how many were left out, by reason."""
    same: dict[str, ComparableResult] = {}
    strangers: dict[str, int] = {}
    for other in others:
        if unlike := now.patient.unlike(other.patient):
            strangers[unlike] = strangers.get(unlike, 0) + 1
        else:
            same.setdefault(other.sr_sop_instance_uid, other)
    return list(same.values()), strangers


def _newest_revisions(results: Sequence[ComparableResult]) -> list[Measured]:
    """The last word on every acquisition, oldest acquisition first; what says no time is left out."""
    newest: dict[tuple[str, datetime], ComparableResult] = {}
    for result in sorted(results, key=lambda r: r.written_at.replace(tzinfo=None)):
        if (at := result.acquired_at) is not None:
            newest[_study(result), at] = result
    return sorted(((result, at) for (_, at), result in newest.items()), key=lambda pair: pair[1])


def _study(result: ComparableResult) -> str:
    return result.study_instance_uid


def _other_lesions(now: ComparableResult, timed: Sequence[Measured]) -> list[Measured]:
    return [
        (result, at)
        for result, at in timed
        if _study(result) == _study(now) and at != now.acquired_at and set(result.lesions) - set(now.lesions)
    ]


def _of_lesion(now: ComparableResult, in_time: Sequence[Measured], terms: ChoiceTerms) -> Choice:
    """Match the lesion study by study (told: acquisition by acquisition), then apply the rule.

    A shared tracking UID is a reader's word that it is the same lesion; without one, both must have but one.
    """
    course: list[tuple[ComparableResult, bool]] = []
    doubtful: dict[str, list[Measured]] = {}
    elsewhere: list[str] = []
    for group in _groups(in_time, terms):
        sure = [result for result, _ in group if now.lesions[0] in result.lesions]
        measured = [(result, at) for result, at in group if result.lesions]
        apart = sorted({name for result, _ in measured for name in PLACE if _apart(now, result, name)})
        if sure:
            course.append((sure[-1], True))
        elif len(measured) == 1 and len(measured[0][0].lesions) == 1 and not apart:
            course.append((measured[0][0], False))
        elif measured and not apart:
            doubtful[_study(group[0][0])] = measured
            course.append((measured[0][0], False))  # keeps its place in time: the rule may fall on it
        else:
            elsewhere.append(f"{' and '.join(apart)} differ" if apart else "no lesion was measured")
    if not course:
        return Choice(None, f"no earlier study shows this lesion: {'; '.join(dict.fromkeys(elsewhere))}")
    chosen, confirmed = course[0 if terms.rule.kind == "first" else -1]
    if not confirmed and _study(chosen) in doubtful:
        return Choice(None, _listed("several lesions could be the baseline: ", doubtful[_study(chosen)]))
    known = tuple(result for result, sure in course if sure or _study(result) not in doubtful)
    return Choice(chosen, confirmed=confirmed, course=known)


def _groups(in_time: Sequence[Measured], terms: ChoiceTerms) -> list[list[Measured]]:
    if terms.within_study:
        return [[pair] for pair in in_time]
    studies: dict[str, list[Measured]] = {}
    for result, at in in_time:
        studies.setdefault(_study(result), []).append((result, at))
    return list(studies.values())


def _apart(now: ComparableResult, other: ComparableResult, name: str) -> bool:
    return now.conditions.get(name, "").casefold() != other.conditions.get(name, "").casefold()


def _listed(words: str, candidates: Sequence[Measured]) -> str:
    """Acquisitions by their time, lesions by their number: a page that shows the reason names nobody."""
    said = [
        f"{at:%Y-%m-%d %H:%M:%S} lesion {n}" for result, at in candidates for n in range(1, len(result.lesions) + 1)
    ]
    return words + ", ".join(said)


def _nothing(strangers: dict[str, int], too_old: int, later: bool, terms: ChoiceTerms) -> str:
    reasons = [f"{count} with {words}" for words, count in strangers.items()]
    if too_old:
        reasons.append(f"{too_old} outside of the rule ({terms.words})")
    if later:
        reasons.append("others of this study or later")
    found = f": found {', '.join(reasons)}" if reasons else ""
    return f"no earlier result of this patient{found}"
