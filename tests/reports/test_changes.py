"""What changed and what may be said of it: ratios and durations always, arbitrary units only under equal settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reports.changes import RepeatabilityLimit, compare
from reports.conditions import SETTINGS, UTC_OFFSET
from reports.findings import Comparison
from tests.reports.comparison_scenes import NEAREST, result, values

NOW = result(0, values=values(PE_ratio=1.4, RT=7.5, mTT=18.0, area_mm2=240.0, PE=0.01, AUC=0.15))
BEFORE = result(-24)


def compared(before: object = BEFORE, **terms: object) -> Comparison:
    return compare(NOW, [before], replace(NEAREST, **terms))  # type: ignore[arg-type, list-item]


def test_changes_are_what_a_pocket_calculator_says_and_ratios_lead() -> None:
    found = compared()
    assert found.performed
    assert found.hours_since == 24.0
    assert list(found.changes)[:3] == ["PE_ratio", "RT", "mTT"]
    assert found.changes["PE_ratio"].percent == pytest.approx(-30.0)  # 2.0 -> 1.4
    assert found.changes["RT"].difference is not None
    assert found.changes["RT"].difference.value == pytest.approx(1.5)  # 6.0 -> 7.5 s
    assert found.changes["RT"].percent is None
    assert found.changes["area_mm2"].percent == pytest.approx(-20.0)  # 300 -> 240 mm2
    assert found.changes["PE"].percent == pytest.approx(-50.0)  # every setting known and equal
    assert found.settings_differ == ()


def test_clocks_that_were_put_back_in_between_do_not_take_an_hour() -> None:
    """The night of a change: 24 h on the clock are 25 where summer time ended, told by both headers."""
    summer, winter = {UTC_OFFSET: "120 min"}, {UTC_OFFSET: "60 min"}
    now = replace(NOW, conditions={**NOW.conditions, **winter})
    assert compare(now, [result(-24, conditions=summer)], NEAREST).hours_since == 25.0
    assert compare(now, [result(-24, conditions=winter)], NEAREST).hours_since == 24.0
    assert compare(now, [BEFORE], NEAREST).hours_since == 24.0  # one of them does not tell


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("then", ["", "another"])
def test_one_setting_that_differs_or_is_unknown_takes_the_arbitrary_units_and_nothing_else(
    name: str, then: str
) -> None:
    found = compared(result(-24, conditions={name: then}))
    assert [words for words in found.settings_differ if words.startswith(name)]
    assert len(found.settings_differ) == 1
    for symbol in ("PE", "AUC"):
        assert found.changes[symbol].percent is None
        assert found.changes[symbol].reason
    assert found.changes["PE_ratio"].percent == pytest.approx(-30.0)
    assert found.changes["mTT"].difference is not None
    assert (found.changes["area_mm2"].percent is None) == (name == "region drawn by")


def test_density_needs_equal_length_and_speed_equal_reach() -> None:
    longer = compared(result(-24, conditions={"super-resolution length": "40.000 s"}))
    assert longer.changes["perfusion_density_rarefied_percent"].difference is None
    assert longer.changes["speed_mean_mm_s"].percent is not None
    slower = compared(result(-24, conditions={"trackable speed": "10.000 mm/s"}))
    assert slower.changes["speed_mean_mm_s"].percent is None
    assert slower.changes["perfusion_density_rarefied_percent"].difference is not None
    assert compared(result(-24, conditions={"rarefied to": ""})).changes["speed_mean_mm_s"].percent is not None


def test_variability_is_unknown_until_somebody_stated_it_and_its_source_is_said() -> None:
    assert {change.beyond_variability for change in compared().changes.values()} == {None}
    table = {
        "PE_ratio": RepeatabilityLimit(25.0, "%", "site table of 2026-09-12"),
        "mTT": RepeatabilityLimit(4.0, "s", "site table of 2026-09-12"),
        "RT": RepeatabilityLimit(10.0, "%", "in another unit: says nothing of a difference in s"),
    }
    found = compared(repeatability=table).changes
    assert found["PE_ratio"].beyond_variability is True  # 30 % against 25 %
    assert found["mTT"].beyond_variability is False  # 3 s against 4 s
    assert found["RT"].beyond_variability is None
    assert "site table of 2026-09-12" in str(found["PE_ratio"].variability_source)
    assert "unknown" in str(found["RT"].variability_source)


def test_fit_intervals_never_stand_in_for_repeatability() -> None:
    narrow = {name: replace(q, low=q.value, high=q.value) for name, q in NOW.values.items()}
    found = compare(replace(NOW, values=narrow), [BEFORE], NEAREST)
    assert {change.beyond_variability for change in found.changes.values()} == {None}


def test_the_trend_holds_every_study_of_the_lesion_with_what_may_be_compared() -> None:
    louder = result(-48, conditions={"gain": "another"})
    found = compare(NOW, [louder, BEFORE, result(-30, conditions={"body part": "KIDNEY"})], NEAREST)
    assert [point.study_instance_uid for point in found.trend] == ["study -48 h", "study -24 h", "study 0 h"]
    assert [("PE" in point.values, "PE_ratio" in point.values) for point in found.trend] == [
        (False, True),
        (True, True),
        (True, True),
    ]


def test_a_measured_again_baseline_gives_its_new_values_under_its_old_name() -> None:
    old = result(-24, conditions={"software": "CEUS Node 0.0.9"})
    again = replace(BEFORE, values=values(PE=0.04))
    reported = compare(NOW, [old], NEAREST)
    assert reported.remeasured is False
    assert any(words.startswith("software: CEUS Node 0.0.9 then") for words in reported.settings_differ)
    found = compare(NOW, [old], replace(NEAREST, remeasured=again))
    assert found.remeasured is True
    assert found.baseline is not None
    assert found.baseline.sr_sop_instance_uid == old.sr_sop_instance_uid
    assert found.changes["PE"].percent == pytest.approx(-75.0)  # 0.04 -> 0.01
