"""The dashboard asks for metrics that exist; the installer lays out what the units start."""

from __future__ import annotations

import json
import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from dicom_node import metrics
from dicom_node.config import load_settings
from dicom_node.data_folder import DataFolder
from dicom_node.job_board import BoardReader
from dicom_node.readiness import Part, Readiness
from tests.dicom_node.web.ward_day import DESTINATIONS

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy/dashboards/ceus-node.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def scrape(folder: Path) -> str:
    settings = load_settings(None, node={"data_dir": folder}, destination=DESTINATIONS)
    DataFolder(folder).prepare()
    (DataFolder(folder).spool / "counters").mkdir()
    (DataFolder(folder).spool / "counters/a.json").write_text('{"stored": 1, "bytes": 1}')
    board = BoardReader(settings).read(datetime.now(UTC))
    return metrics.Metrics(settings).render(board, Readiness((Part("disk", True, ""),), 1)).decode()


def test_every_query_asks_for_a_metric_and_labels_that_exist(tmp_path: Path) -> None:
    served = scrape(tmp_path)
    for query in QUERIES:
        names = re.findall(r"ceus_node_\w+", query)
        assert names, query
        for name in names:
            lines = re.findall(rf"^{name}(?:\{{.*\}})? ", served, re.MULTILINE)
            assert lines, f"{name} is not served"
            for label in re.findall(r"by \(([\w, ]+)\)", query):
                for wanted in label.split(", "):
                    assert f'{wanted}="' in lines[0], f"{name} has no label {wanted}"


def test_panels_stand_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_installer_lays_out_what_the_units_start_and_keeps_the_configuration(tmp_path: Path) -> None:
    environment = {**os.environ, "PREFIX": str(tmp_path), "SKIP_ENVIRONMENT": "yes"}
    subprocess.run([ROOT / "deploy/install.sh"], env=environment, check=True, capture_output=True)
    configuration = tmp_path / "etc/ceus-node/ceus-node.toml"
    configuration.write_text('[node]\nae_title = "MINE"\n')
    subprocess.run([ROOT / "deploy/install.sh"], env=environment, check=True, capture_output=True)
    assert load_settings(configuration).node.ae_title == "MINE"
    assert (tmp_path / "opt/ceus-node/current/share/operations.md").is_file()
    assert (tmp_path / "etc/ceus-node/keys").stat().st_mode & 0o777 == 0o700
    units = {unit.name for unit in (tmp_path / "etc/systemd/system").iterdir()}
    assert {"ceus-node.service", "ceus-node.target", "ceus-node-worker.service"} <= units
    assert sorted(p.name for p in (tmp_path / "opt/ceus-node").iterdir() if p.name != "current") == [
        (tmp_path / "opt/ceus-node/current").readlink().name
    ]


def test_the_installer_and_the_other_scripts_are_sound_shell() -> None:
    scripts = sorted((ROOT / "deploy").glob("*.sh"))
    assert "install.sh" in {script.name for script in scripts}
    for script in scripts:
        read = subprocess.run(["sh", "-n", script], capture_output=True, text=True, check=False)
        assert (read.returncode, read.stderr) == (0, ""), script.name


def test_the_container_copies_every_package_that_is_built() -> None:
    built = re.findall(r"^packages = \[(.*)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    wanted = set(re.findall(r'"(\w+)"', built[0]))
    copied = set(re.findall(r"^COPY (\w+) \1$", (ROOT / "deploy/Containerfile").read_text(), re.MULTILINE))
    assert copied == wanted


def pinned(lock: Path) -> dict[str, set[str]]:
    """Each pin of a lock with its hashes."""
    pins: dict[str, set[str]] = {}
    name = ""
    for line in lock.read_text().splitlines():
        if match := re.match(r"^([\w.-]+==[\w.+]+)", line):
            name = match[1]
            pins[name] = set()
        elif match := re.match(r"^\s+--hash=(\S+)", line):
            pins[name].add(match[1])
    return pins


def test_the_service_gets_the_tested_versions_and_no_developers_tools() -> None:
    service, tested = pinned(ROOT / "deploy/service.lock"), pinned(ROOT / "requirements.lock")
    assert service.items() <= tested.items()
    names = {pin.partition("==")[0] for pin in service}
    assert {"pydicom", "dbos", "numba", "uvicorn"} <= names
    # av bundles GPL encoders: an extra that a site chooses
    assert not names & {"pytest", "ruff", "mypy", "playwright", "av"}
