"""What a person writes into the configuration, and what a wrong line answers."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from dicom_node.config import ProtocolName, load_settings, profile_digest, result_digest
from dicom_node.errors import ConfigurationError
from processing.protocols import PROTOCOLS


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "ceus-node.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_empty_file_is_a_whole_configuration(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, ""))
    assert (settings.node.ae_title, settings.node.port, settings.web.port) == ("CEUS_NODE", 11112, 8042)
    assert not settings.report.non_contrast


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[node]\nprot = 104", "node.prot"),
        ("[nodes]\nport = 104", "nodes"),
        ("[node]\nport = 'abc'", "node.port"),
        ("[node]\nport = 70000", "node.port"),
        ("[[scanner]]\nhost = '10.0.0.1'", "scanner.0.ae_title"),
        ("[[scanner]]\nae_title = 'A_TITLE_OF_MORE_THAN_16'", "scanner.0.ae_title"),
        ("[[scanner]]\nae_title = '   '", "scanner.0.ae_title"),
        ("[profile.x]\ndynamic_range_db = -3", "profile.x.dynamic_range_db"),
        ("[report]\ndisclaimer = ''", "report.disclaimer"),
        ("[report]\ndisclaimer = 'for diagnosis'", "report.disclaimer"),
        ("[[destination]]\nname='a'\nae_title='A'\nhost='h'\nport=1\n" * 2, "destination"),
        ("[node\nport = 1", "not valid TOML"),
    ],
)
def test_a_wrong_line_is_answered_with_its_key(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        load_settings(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml"):
        load_settings(tmp_path / "absent.toml")


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CEUS_NODE_NODE__PORT", "4000")
    monkeypatch.setenv("CEUS_NODE_SCANNER", '[{"ae_title": "US7"}]')
    settings = load_settings(write(tmp_path, "[node]\nport = 104\nae_title = 'KEPT'"))
    assert (settings.node.port, settings.node.ae_title) == (4000, "KEPT")
    assert settings.scanner[0].ae_title == "US7"


@pytest.mark.parametrize("variable", ["CEUS_NODE_NODE__PROT", "CEUS_NODE_NODES__PORT"])
def test_a_mistyped_variable_is_named(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigurationError, match=variable):
        load_settings()


def test_relative_paths_are_taken_from_the_file(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, "[node]\ndata_dir = 'state'"))
    assert settings.node.data_dir == tmp_path / "state"


def test_a_result_knows_when_its_profile_changed(tmp_path: Path) -> None:
    """A correction must never repeat an identity; what cannot change a number must not change it either."""
    first = load_settings(write(tmp_path, "[profile.a]\ndynamic_range_db = 50"))
    same_result = load_settings(write(tmp_path, "[node]\nport = 104\n[profile.a]\ndynamic_range_db = 50"))
    corrected = load_settings(write(tmp_path, "[profile.a]\ndynamic_range_db = 60"))
    assert result_digest(first, "a") == result_digest(same_result, "a")
    assert result_digest(first, "a") != result_digest(corrected, "a")
    assert result_digest(first, "") == result_digest(corrected, "")


def test_every_preset_can_be_chosen() -> None:
    assert set(get_args(ProtocolName)) == set(PROTOCOLS)


def test_a_new_grey_table_under_the_same_name_is_a_new_profile(tmp_path: Path) -> None:
    table = tmp_path / "grey.csv"
    settings = load_settings(write(tmp_path, "[profile.a]\ncompression = 'table'\ngrey_to_db = 'grey.csv'"))
    table.write_text("0,-50\n255,0\n")
    before = profile_digest(settings, "a")
    table.write_text("0,-60\n255,0\n")
    assert profile_digest(settings, "a") != before
