"""The operations manual and the example configuration say what the software does."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dicom_node import metrics
from dicom_node.config import Settings, load_settings
from dicom_node.data_folder import DataFolder
from dicom_node.job_board import JOB_STATES, BoardReader
from dicom_node.readiness import Readiness
from dicom_node.web import words

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs/operations.md").read_text()
EXAMPLE = ROOT / "deploy/ceus-node.example.toml"


def section_of(annotation: Any) -> tuple[type[BaseModel], str]:
    """The section's type and the form of its heading: [x], [[x]] or [x.NAME]."""
    origin = get_origin(annotation)
    if origin is tuple:
        return get_args(annotation)[0], "[[{}]]"
    if origin is dict:
        return get_args(annotation)[1], "[{}.NAME]"
    return annotation, "[{}]"


def written(default: Any) -> str:
    if default is PydanticUndefined:
        return "required"
    if default is None or default == {}:
        return "none"
    if isinstance(default, tuple):
        return f"`{json.dumps(list(default))}`"
    if isinstance(default, (str, Path)):
        return f'`"{default}"`'
    return f"`{json.dumps(default)}`"


def keys_of_the_software() -> dict[str, str]:
    keys = {}
    for name, field in Settings.model_fields.items():
        section, heading = section_of(field.annotation)
        for key, inner in section.model_fields.items():
            keys[f"{heading.format(name)} {key}"] = written(inner.default)
    return keys


def test_the_reference_names_every_key_with_its_default() -> None:
    rows = re.findall(r"^\| `(\[+[^`]+)` \| (.+?) \| (.+?) \|$", MANUAL, re.MULTILINE)
    assert {key: default for key, default, _ in rows} == keys_of_the_software()
    assert all(meaning.strip() for *_, meaning in rows)


def test_the_reference_names_every_metric_and_no_other(tmp_path: Path) -> None:
    certificate = {"tls_certificate": tmp_path / "node.pem"}  # the last metric is of a node that has one
    settings = load_settings(None, node={"data_dir": tmp_path}, security=certificate)
    DataFolder(tmp_path).prepare()
    board = BoardReader(settings).read(datetime.now(UTC))
    scrape = metrics.Metrics(settings).render(board, Readiness((), 0)).decode()
    served = set(re.findall(r"^# HELP (\S+)", scrape, re.MULTILINE))
    served = {name for name in served if not name.endswith("_created")}
    told = set(re.findall(rf"^\| `({metrics.PREFIX}_\w+)` \|", MANUAL, re.MULTILINE))
    assert told == served


def test_every_state_is_explained() -> None:
    told = re.findall(r"^\| ([a-z, ]+) \| [a-z]", MANUAL.split("| state | means |")[1].split("\n\n")[0], re.MULTILINE)
    assert told == [words.state(state) for state in JOB_STATES]


def test_the_example_is_a_valid_configuration() -> None:
    settings = load_settings(EXAMPLE)
    assert [scanner.ae_title for scanner in settings.scanner] == ["LOGIQ_ROOM2", "EPIQ_ICU"]
    assert settings.profile[settings.scanner[0].profile].dynamic_range_db == 60
    assert settings.web.host == "127.0.0.1"
    assert not any(profile.commissioned_on for profile in settings.profile.values())


def test_the_example_shows_every_section_that_a_site_must_fill() -> None:
    table = tomllib.loads(EXAMPLE.read_text())
    assert {"node", "scanner", "destination", "profile", "retention", "web", "log", "report", "series"} <= set(table)


@pytest.mark.parametrize("document", ["docs/operations.md", "deploy/ceus-node.example.toml", "deploy/install.sh"])
def test_named_files_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    named = set(re.findall(r"\b((?:deploy|docs|tests|dicom_node)/[\w./-]+\.\w+)", text))
    assert named
    assert [name for name in named if not (ROOT / name).exists() and name != "docs/perfusion.md"] == []
