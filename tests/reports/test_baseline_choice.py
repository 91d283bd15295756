"""Which earlier study is the baseline: never another patient's, a later one, or one whose lesion is not sure."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from processing.baseline_rule import COURSE, WARD
from processing.protocols import PROTOCOLS, protocol_named
from reports.baseline_choice import Choice, ChoiceTerms, choose_baseline
from reports.comparable import ComparableResult
from tests.reports.comparison_scenes import PATIENT, result

NOW = result(0)


def choose(*others: ComparableResult, rule: str = "nearest", now: ComparableResult = NOW, told: bool = False) -> Choice:
    return choose_baseline(now, others, ChoiceTerms(WARD if rule == "nearest" else COURSE, within_study=told))


def test_the_ward_takes_the_nearest_and_a_course_the_first() -> None:
    course = [result(-200), result(-60), result(-20)]
    assert choose(*course).baseline == course[2]
    assert choose(*course, rule="first").baseline == course[0]
    assert choose(*course, rule="first").course == tuple(course)
    assert protocol_named("bedside_bolus").baseline.words == "nearest earlier within 72 h"
    assert protocol_named("liver_bolus").baseline.words == "first in course, within 365 days"
    assert all(protocol.baseline.within_h > 0 for protocol in PROTOCOLS.values())


def test_what_lies_outside_of_the_rule_is_said_and_not_taken() -> None:
    found = choose(result(-73))
    assert found.baseline is None
    assert "1 outside of the rule (nearest earlier within 72 h)" in found.reason
    assert choose(result(-72)).baseline is not None
    assert choose(result(-366 * 24), rule="first").baseline is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"patient_id": "P-2"}, "another Patient ID"),
        ({"patient_id": "P-1*"}, "another Patient ID"),
        ({"issuer": "ELSEWHERE"}, "another issuer"),
        ({"issuer": ""}, "another issuer"),
        ({"birth_date": "19500102"}, "contradicting birth date"),
        ({"sex": "F"}, "contradicting sex"),
    ],
)
def test_another_or_a_contradicting_patient_is_never_taken(changed: dict[str, str], words: str) -> None:
    stranger = result(-24, patient=replace(PATIENT, **changed))
    found = choose(stranger)
    assert found.baseline is None
    assert words in found.reason
    assert not any(value in found.reason for value in changed.values() if value), "the reason names nobody"
    assert choose(stranger, result(-48)).baseline == result(-48)


def test_a_birth_date_or_sex_that_one_of_them_lacks_contradicts_nothing() -> None:
    assert choose(result(-24, patient=replace(PATIENT, birth_date="", sex=""))).baseline is not None


def test_without_a_patient_id_nobody_is_the_same_patient() -> None:
    nobody = replace(PATIENT, patient_id="")
    found = choose(result(-24, patient=nobody), now=result(0, patient=nobody))
    assert found.baseline is None
    assert "no Patient ID" in found.reason


def test_a_later_study_and_the_study_itself_are_never_taken() -> None:
    itself = result(0, written_at=NOW.written_at - timedelta(days=1))
    found = choose(result(1), result(100), itself)
    assert found.baseline is None
    assert "later" in found.reason


def test_a_study_without_its_time_is_never_earlier() -> None:
    assert choose(result(-24, conditions={"acquired at": ""})).baseline is None
    assert "not recorded" in choose(result(-24), now=result(0, conditions={"acquired at": ""})).reason


@pytest.mark.parametrize("name", ["body part", "laterality", "view"])
def test_another_place_on_the_patient_is_no_match(name: str) -> None:
    found = choose(result(-24, conditions={name: "other"}))
    assert found.baseline is None
    assert f"{name} differ" in found.reason


def test_a_place_recorded_on_one_side_only_is_no_agreement() -> None:
    assert choose(result(-24, conditions={"body part": ""})).baseline is None
    unknown = {"body part": "", "view": ""}
    assert choose(result(-24, conditions=unknown), now=result(0, conditions=unknown)).baseline is not None


def test_two_lesions_end_without_a_comparison_and_are_listed() -> None:
    in_one = choose(result(-24, lesions=("a", "b")))
    in_two = choose(result(-24, "s", ("a",)), result(-23.9, "s", ("b",)))
    for found in (in_one, in_two):
        assert found.baseline is None
        assert "several lesions could be the baseline: 2026-11-19 12:00:00 lesion 1, " in found.reason
    assert in_one.reason.endswith("2026-11-19 12:00:00 lesion 2")
    assert in_two.reason.endswith("2026-11-19 12:06:00 lesion 1")
    assert "2 lesions" in choose(result(-24), now=result(0, lesions=("a", "b"))).reason
    assert "more than one lesion" in choose(result(-24), result(-0.1, "study 0 h")).reason
    assert choose(result(-24), now=result(0, lesions=())).reason == "no lesion was measured in this study"


def test_a_tracking_uid_that_a_reader_gave_both_settles_which_lesion_it_is() -> None:
    known = result(-24, lesions=("mine", "other"), conditions={"view": "axial"})
    found = choose(known, now=result(0, lesions=("mine",)))
    assert found.baseline == known
    assert found.confirmed
    assert not choose(result(-24)).confirmed


def test_a_nearer_study_of_two_lesions_is_not_passed_over_for_an_older_one() -> None:
    """Silently taking the older study would compare with another state than the rule says."""
    assert choose(result(-48), result(-24, lesions=("a", "b"))).baseline is None


def test_the_newest_revision_of_an_acquisition_is_the_baseline() -> None:
    first = result(-24)
    corrected = replace(first, sr_sop_instance_uid="corrected", written_at=first.written_at + timedelta(hours=3))
    for order in ((first, corrected), (corrected, first)):
        assert choose(*order).baseline == corrected


def test_acquisitions_of_one_study_are_before_and_after_only_when_told() -> None:
    before, now = result(-0.5, "one study", ("a",)), result(0, "one study", ("b",))
    assert choose(before, now=now).baseline is None
    assert choose(before, now=now, told=True).baseline == before
    assert choose(now, now=before, told=True).baseline is None, "ordered by time"


def test_the_same_report_from_history_and_pacs_counts_once() -> None:
    assert choose(result(-24), result(-24)).course == (result(-24),)


def test_a_report_that_the_user_names_needs_no_rule_but_the_same_patient_and_time() -> None:
    named = ChoiceTerms(WARD, within_study=True, given=True)
    old = result(-4000)
    assert choose_baseline(NOW, [old], named).baseline == old
    assert named.words == "named by the user"
    assert choose_baseline(NOW, [result(1)], named).baseline is None
    assert choose_baseline(NOW, [result(-1, patient=replace(PATIENT, patient_id="P-2"))], named).baseline is None
