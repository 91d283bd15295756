"""Crashes in the middle of traffic, another engine database, and an end that leaves nothing behind."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pydicom
import pytest

from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.simulation.scenes import TINY_BOLUS, bolus_scene
from tests.end_to_end.running_node import FINISH_LIMIT_S, RunningNode, until
from tests.peers import Orthanc, PostgreSql, storescu

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]

SIMULATED = (
    '[series]\nquiet_s = 1.0\n[profile.simulated]\nmanufacturer = "CEUS Node Simulation"\ndynamic_range_db = 50.0\n'
)
END_LIMIT_S = 20.0  # the supervisor's grace is 15 s; 1 to 2 s were seen


def cine(folder: Path, number: int) -> Path:
    folder.mkdir(exist_ok=True)
    identity = CineIdentity(datetime.now(UTC), study=f"chaos {number}", patient_id=f"SIM-{number}")
    return write_cine(bolus_scene(TINY_BOLUS, seed=number), folder, identity)


def pacs_of(orthanc: Orthanc) -> dict[str, tuple[str, int]]:
    return {"pacs": (orthanc.ae_title, orthanc.dicom_port)}


def results_in(orthanc: Orthanc, node: RunningNode, count: int) -> set[str]:
    """SOP Instance UIDs in the PACS once every object of `count` results is there."""
    node.wait_for_results(count)
    wanted = {
        str(pydicom.dcmread(file, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
        for result in node.results()
        for kind in ("sr*.dcm", "sc*.dcm")
        for file in result.glob(kind)
    }
    until(
        lambda: wanted <= {item["SOPInstanceUID"] for item in orthanc.instances()},
        FINISH_LIMIT_S,
        "the PACS has every object of every result",
    )
    return {item["SOPInstanceUID"] for item in orthanc.instances()} - wanted


@pytest.mark.parametrize("cines", [3, pytest.param(12, marks=pytest.mark.full)])
def test_receiver_and_worker_killed_at_every_cine_lose_nothing_and_double_nothing(tmp_path: Path, cines: int) -> None:
    with Orthanc(tmp_path) as orthanc, RunningNode(tmp_path / "node", pacs_of(orthanc), SIMULATED) as node:
        for number in range(1, cines + 1):
            scanner = threading.Thread(target=_scan_until_taken, args=(cine(tmp_path / str(number), number), node))
            scanner.start()
            node.kill("receiver")
            scanner.join()
            node.kill("worker")
        assert results_in(orthanc, node, cines) == set(), "one set of objects for each cine, whatever was killed"
        assert len(node.results()) == cines


def _scan_until_taken(file: Path, node: RunningNode) -> None:
    """As a scanner does: what was not acknowledged is sent again."""
    until(lambda: storescu([file], node.port, options=("-xy",)).returncode == 0, FINISH_LIMIT_S, "the cine is taken")


def test_an_acquisition_goes_through_with_postgresql_as_the_engines_database(tmp_path: Path) -> None:
    with PostgreSql() as database, Orthanc(tmp_path) as orthanc:
        settings = SIMULATED + f'[database]\nurl = "{database.url}"\n'
        with RunningNode(tmp_path / "node", pacs_of(orthanc), settings) as node:
            node.scan(cine(tmp_path, 1))
            assert results_in(orthanc, node, 1) == set()
            listed = node.command("jobs", "list")
            assert " delivered " in listed.stdout or " delivering " in listed.stdout, listed.stderr
        assert not list(node.data.glob("engine.sqlite*")), "the embedded database was not used beside it"
    down = node.command("jobs", "cancel", listed.stdout.split("\n")[1].split()[0])
    assert down.returncode == 1
    assert "the engine's database does not answer" in down.stderr


def test_sigterm_ends_everything_and_leaves_no_process_behind(tmp_path: Path) -> None:
    """While a job is being measured, with children of children."""
    with RunningNode(tmp_path, {}, SIMULATED, web=True) as node:
        node.scan(cine(tmp_path, 1))
        until(lambda: "job started" in node.log(), FINISH_LIMIT_S, "the job runs")
        family = node.processes()
        assert len(family) >= 6, "supervisor, four roles and a numeric child"
        node.stop()
        _, alive = psutil.wait_procs(family, END_LIMIT_S)
        assert alive == []
        assert node.exit_code == 0
        assert "did not stop in time" not in node.log()
