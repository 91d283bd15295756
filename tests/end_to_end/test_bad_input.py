"""What goes wrong around a running node gets a clear answer, and nothing that was good is lost by it."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.simulated_scanner import CineIdentity, write_cine
from dicom_node.status import Status
from processing.simulation.scenes import TINY_BOLUS, bolus_scene
from tests.dicom_node.network_scenes import Scene, store_status
from tests.end_to_end.running_node import FINISH_LIMIT_S, RunningNode, until
from tests.peers import LOOPBACK, echoscu, free_ports, storescu

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]

USAGE = 2  # contract.md, Commands
SIMULATED = (
    '[series]\nquiet_s = 1.0\n[profile.simulated]\nmanufacturer = "CEUS Node Simulation"\ndynamic_range_db = 50.0\n'
)


@pytest.mark.parametrize("role", ["receiver", "web"])
def test_a_port_in_use_is_named_and_is_a_matter_of_configuration(tmp_path: Path, role: str) -> None:
    node = RunningNode(tmp_path)
    port = node.port if role == "receiver" else node.web_port
    with socket.create_server((LOOPBACK, port)):
        ended = node.command("run", role)
    assert ended.returncode == USAGE
    sentence = ended.stderr.splitlines()[-1]
    assert f"{LOOPBACK}:{port}" in sentence
    assert "in use" in sentence


def test_a_node_whose_port_is_taken_ends_with_a_sentence_and_does_not_try_for_ever(tmp_path: Path) -> None:
    node = RunningNode(tmp_path)
    with socket.create_server((LOOPBACK, node.port)):
        ended = node.command("run")
    assert ended.returncode == USAGE
    assert ended.stderr.count(f"cannot listen on {LOOPBACK}:{node.port}") == 1, "tried once"
    assert "the receiver cannot run as configured" in ended.stderr.splitlines()[-1]


def test_a_full_disk_is_answered_out_of_resources_while_the_node_goes_on_answering(tmp_path: Path) -> None:
    cine = Scene().file(tmp_path)
    with RunningNode(tmp_path, extra="[retention]\nmin_free_mb = 1000000000\n", role_alone="receiver") as node:  # 1 PB
        refused = storescu([cine], node.port, options=("-v",))
        assert refused.returncode != 0
        assert "Refused: OutOfResources" in refused.stdout + refused.stderr  # DCMTK's name of 0xA700
        assert echoscu(node.port, calling="SCANNER").returncode == 0
        assert not list((node.data / "spool").rglob("*.dcm"))


def test_an_unknown_class_is_taken_and_dropped_or_refused_as_the_site_says(tmp_path: Path) -> None:
    foreign = Scene(sop_class="1.2.826.0.1.3680043.10.1000.77")
    with RunningNode(tmp_path / "drops", role_alone="receiver") as node:
        assert store_status(node.port, foreign) == Status.SUCCESS, "its queue is not blocked"
        assert not list((node.data / "spool").rglob("*.dcm"))
    with RunningNode(tmp_path / "refuses", scanner='unwanted = "refuse"', role_alone="receiver") as node:
        assert store_status(node.port, foreign) is None, "nothing of it is negotiated"
        assert echoscu(node.port, calling="SCANNER").returncode == 0


def test_unfit_cines_are_named_and_the_good_one_beside_them_is_measured(tmp_path: Path) -> None:
    """One node whose PACS is down, and every command that looks at jobs and steers them."""
    (closed,) = free_ports(1)
    bare = Scene(1, study=1, series=1).dataset()
    del bare.PixelData
    bare.save_as(tmp_path / "bare.dcm", enforce_file_format=True)
    noise = Scene(2, study=2, series=2, patient="P2", frames=12).file(tmp_path)
    good = write_cine(bolus_scene(TINY_BOLUS, seed=2), tmp_path, CineIdentity(datetime.now(UTC), study="good"))
    with RunningNode(tmp_path / "node", {"pacs": ("PACS", closed)}, SIMULATED) as node:
        for file in (tmp_path / "bare.dcm", noise, good):
            storescu([file], node.port, options=("-xy",) if file is good else ())
        node.wait_for_results(2)
        until(lambda: "pending" in node.log(), FINISH_LIMIT_S, "the delivery was tried")
        listed = node.command("jobs", "list").stdout
        by_contrast = {findings["quality"]["contrast_found"] for findings in node.findings()}
        assert by_contrast == {True, False}
        (delivering,) = [line.split()[0] for line in listed.splitlines() if " delivering " in line]
        (measured,) = [line for line in listed.splitlines() if " measured " in line]
        assert "contrast" in measured, "why nothing is sent"
        described = json.loads(node.command("jobs", "show", delivering).stdout)
        assert "PACS" in json.dumps(described) or "pacs" in json.dumps(described)
        status = node.command("status").stdout.splitlines()
        counted = dict(line.strip().rsplit(None, 1) for line in status if line.strip())
        assert counted["jobs delivering"] == "1"
        assert counted["jobs measured"] == "1"
        assert "try 2" in node.command("jobs", "retry", delivering).stdout
        cancelled = node.command("jobs", "cancel", delivering)
        assert cancelled.returncode == 0, cancelled.stderr
        until(lambda: "cancelled by hand" in node.command("jobs", "list").stdout, FINISH_LIMIT_S, "the job says so")
