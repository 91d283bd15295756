"""Site profiles find their scanner by its header, and say so when they cannot."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from dicom_node.cine_reader import read_facts
from dicom_node.config import ProfileSettings
from dicom_node.errors import ConfigurationError
from dicom_node.profiles import match, read_colour_map, read_grey_to_db
from tests.datasets import bundled

SONOSITE = ProfileSettings(manufacturer="SonoSite*", model="Turbo", dynamic_range_db=60.0)
FACTS = read_facts(bundled("examples_ybr_color"))


def codes(limitations: tuple[object, ...]) -> set[str]:
    return {limitation.code for limitation in limitations}  # type: ignore[attr-defined]


def test_a_profile_is_found_by_maker_and_model_whatever_their_case() -> None:
    profile, limitations = match({"ours": SONOSITE}, replace(FACTS, model="TURBO"))
    assert (profile.name, profile.dynamic_range_db) == ("ours", 60.0)
    assert codes(limitations) == {"not_commissioned"}


def test_the_profile_that_matches_on_more_attributes_wins() -> None:
    narrow = SONOSITE.model_copy(update={"software": "51.*", "dynamic_range_db": 40.0})
    profile, _ = match({"wide": SONOSITE, "narrow": narrow}, FACTS)
    assert profile.name == "narrow"


def test_two_equal_profiles_declare_nothing() -> None:
    profile, limitations = match({"a": SONOSITE, "b": SONOSITE}, FACTS)
    assert profile.dynamic_range_db is None
    assert "profile_ambiguous" in codes(limitations)


def test_another_makers_profile_declares_nothing() -> None:
    profile, limitations = match({"ours": SONOSITE}, replace(FACTS, manufacturer="Other"))
    assert profile.dynamic_range_db is None
    assert codes(limitations) == {"profile_none", "not_commissioned"}


def test_a_commissioned_profile_carries_no_warning() -> None:
    checked = SONOSITE.model_copy(update={"commissioned_by": "Physics", "commissioned_on": date(2026, 5, 4)})
    profile, limitations = match({"ours": checked}, FACTS)
    assert profile.commissioned_on == "2026-05-04"
    assert not limitations


def test_a_colour_map_is_a_name_or_a_table(tmp_path: Path) -> None:
    named, _ = match({"ours": SONOSITE.model_copy(update={"colour_map": "copper"})}, FACTS)
    assert named.colour_map is not None
    # MATLAB's copper: red reaches full scale at four fifths, green ends at 0.7812.
    assert [named.colour_map[level] for level in (0, 204, 255)] == [(0, 0, 0), (255, 159, 101), (255, 199, 127)]
    table = tmp_path / "amber.csv"
    table.write_text("level,red,green,blue\n0,0,0,0\n100,200,100,0\n255,255,250,100\n")
    assert read_colour_map(str(table))[50] == (100, 50, 0)
    assert match({"ours": SONOSITE}, FACTS)[0].colour_map is None


@pytest.mark.parametrize("text", ["", "0,0,0,0\n255,0,0,0\n", "0,255,255,255\n255,0,0,0\n", "0,1,2\n255,3,4\n"])
def test_a_colour_map_that_does_not_brighten_is_refused(tmp_path: Path, text: str) -> None:
    table = tmp_path / "map.csv"
    table.write_text(text)
    with pytest.raises(ConfigurationError, match="colour_map"):
        read_colour_map(str(table))
    with pytest.raises(ConfigurationError, match="colour_map"):
        read_colour_map("coper")


def test_a_grey_to_db_table_is_interpolated_to_full_scale(tmp_path: Path) -> None:
    table = tmp_path / "map.csv"
    table.write_text("grey,level_db\n0,-60\n128,-20\n255,0\n")
    levels = read_grey_to_db(table)
    assert (levels[0], levels[64], levels[255]) == (-60.0, -40.0, 0.0)


@pytest.mark.parametrize("content", ["", "0,-60\n", "0,-60\n128,-70\n255,0\n", "grey\n", "0,x\n1,y\n"])
def test_a_broken_table_is_a_configuration_error(tmp_path: Path, content: str) -> None:
    table = tmp_path / "map.csv"
    table.write_text(content)
    with pytest.raises(ConfigurationError, match="grey_to_db"):
        read_grey_to_db(table)


@pytest.mark.parametrize("example", sorted((Path(__file__).parents[2] / "deploy" / "profiles").glob("*.toml")))
def test_the_documented_examples_are_valid(example: Path) -> None:
    tables = tomllib.loads(example.read_text())["profile"]
    rules = {name: ProfileSettings(**table) for name, table in tables.items()}
    for rule in rules.values():
        if rule.grey_to_db is not None:
            assert read_grey_to_db(example.parent / rule.grey_to_db)[-1] == 0.0
        facts = replace(
            FACTS,
            manufacturer=rule.manufacturer.replace("*", "x"),
            model=rule.model.replace("*", "x"),
            software=rule.software.replace("*", "x"),
            transducer=rule.transducer.replace("*", "x"),
        )
        matched, _ = match({"example": rule.model_copy(update={"grey_to_db": None})}, facts)
        assert matched.name == "example"
