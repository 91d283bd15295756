"""The systemd units: closed, complete, and in agreement with the command."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.roles import ROLES

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
PR_SET_MDWE = 65
"""prctl(2), Linux 6.3: what MemoryDenyWriteExecute= does."""
MODULES = {
    "receiver": ("dicom_node.roles", "dicom_node.receiver"),
    "sender": ("dicom_node.roles", "dicom_node.workflow"),
    "web": ("dicom_node.roles", "dicom_node.web.server"),
}


def setting(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def test_every_role_has_a_unit_and_the_whole_node_has_one() -> None:
    assert {unit.stem for unit in UNITS} == {"ceus-node", *(f"ceus-node-{role}" for role in ROLES)}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_its_role_and_never_gives_up(unit: Path) -> None:
    role = unit.stem.removeprefix("ceus-node").removeprefix("-")
    command = f"/opt/ceus-node/current/bin/ceus-node run{' ' + role if role else ''} --config"
    assert setting(unit, "ExecStart")[0].startswith(command)
    assert setting(unit, "Type") == ["notify"]
    assert setting(unit, "Restart") == ["always"]
    assert setting(unit, "StartLimitIntervalSec") == ["0"]
    assert setting(unit, "KillMode") == ["mixed"]
    assert int(setting(unit, "WatchdogSec")[0]) > 120  # longer than the still time of a loop (service_notify)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_as_closed_as_it_says(unit: Path) -> None:
    """1.5 is the project's limit; its own comment must tell what the analysis says. The numbers are systemd 252's."""
    analysed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        check=False,
        capture_output=True,
        text=True,
    )
    exposure = float(re.findall(r"Overall exposure level for .*: (\d+\.\d)", analysed.stdout)[0])
    said = float(re.findall(r"security` says (\d\.\d)", unit.read_text())[0])
    assert exposure <= 1.5
    assert said == pytest.approx(exposure, abs=0.3)  # later systemd versions weigh a little differently


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd on this machine")
def test_systemd_understands_every_line() -> None:
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, UNITS), str(ROOT / "deploy/systemd/ceus-node.target")],
        check=False,
        capture_output=True,
        text=True,
    )
    # the command itself is not installed where tests run
    complaints = [line for line in verified.stderr.splitlines() if "is not executable" not in line]
    assert not [line for line in complaints if "ceus-node" in line]


@pytest.mark.parametrize("role", MODULES)
def test_a_role_without_numbers_runs_without_executable_memory(role: str) -> None:
    """numba needs it; a role that imported numba by accident would fail under its own unit."""
    unit = ROOT / f"deploy/systemd/ceus-node-{role}.service"
    assert setting(unit, "MemoryDenyWriteExecute") == ["yes"]
    program = (
        "import ctypes, importlib, sys\n"
        f"ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0)\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, *MODULES[role]], check=True, cwd=ROOT)
