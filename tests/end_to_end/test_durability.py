"""What a crash, a sleeping PACS, a returning object and a late clip do: nothing is lost, nothing is sent twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from dicom_node.simulated_exam import ExamPlan, icu_exam
from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.simulation.scenes import TINY_BOLUS, bolus_scene
from tests.end_to_end.running_node import FINISH_LIMIT_S, RunningNode, until
from tests.peers import Orthanc

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]

PROFILE = """
[series]
quiet_s = 1.0

[profile.simulated]
manufacturer = "CEUS Node Simulation"
dynamic_range_db = {dynamic_range_db}
time_tag = "loop start"
"""


def profile(dynamic_range_db: float = 50.0) -> str:
    return PROFILE.format(dynamic_range_db=dynamic_range_db)


def tiny_cine(folder: Path, study: str) -> Path:
    return write_cine(bolus_scene(TINY_BOLUS, seed=2), folder, CineIdentity(datetime.now(UTC), study=study))


def pacs_of(orthanc: Orthanc) -> dict[str, tuple[str, int]]:
    return {"pacs": (orthanc.ae_title, orthanc.dicom_port)}


def attempts(node: RunningNode) -> dict[str, int]:
    """How often each object was sent, by the ledgers."""
    ledgers = [json.loads(file.read_text()) for file in node.data.glob("results/*/*/delivery/*.json")]
    return {item["sop_instance_uid"]: item["attempts"] for ledger in ledgers for item in ledger["objects"]}


def committed(node: RunningNode) -> list[str]:
    """What the ledgers say that a PACS has committed to keep."""
    ledgers = [json.loads(file.read_text()) for file in node.data.glob("results/*/*/delivery/*.json")]
    return [item["sop_instance_uid"] for ledger in ledgers for item in ledger["objects"] if item["committed"]]


def test_an_exam_of_two_injections_stills_and_a_neighbour(tmp_path: Path) -> None:
    """Three loops of two injections, five stills, another patient interleaved; then a fourth loop."""
    exam = icu_exam(tmp_path, ExamPlan(datetime.now(UTC).replace(microsecond=0)))
    pacs = Orthanc(tmp_path)
    running = RunningNode(tmp_path / "node", pacs_of(pacs), profile())
    pacs.node_port = running.port
    with pacs as orthanc, running as node:
        node.scan(*exam.send_order)
        first = node.wait_for_delivery(orthanc, results=3)
        sources = sorted(sorted(findings["source"]["sop_instance_uids"]) for findings in node.findings())
        uid = {written.path: str(pydicom.dcmread(written.path, stop_before_pixels=True).SOPInstanceUID)
               for written in (*exam.loops, exam.other_patient, exam.fourth_loop)}  # fmt: skip
        one, two, three = (uid[loop.path] for loop in exam.loops)
        assert sources == sorted([sorted([one, two]), [three], [uid[exam.other_patient.path]]])
        keys = {tuple(f["source"]["sop_instance_uids"]): f["source"]["patient_key"] for f in node.findings()}
        neighbour = keys.pop((uid[exam.other_patient.path],))
        assert len(set(keys.values())) == 1, "one patient's three loops"
        assert neighbour not in keys.values(), "and the neighbour's"
        node.scan(exam.fourth_loop.path)
        after = node.wait_for_delivery(orthanc, results=4)
        assert first < after, "nothing sent was replaced"
        assert set(attempts(node).values()) == {1}, "nothing was sent twice"
        own = [o for o in orthanc.instances() if o["SOPInstanceUID"] in after]
        node.scan(*(_saved(orthanc, item["id"], tmp_path) for item in own))
        node.scan(*exam.send_order)
        # The PACS holds a cine that no scanner sent here, too, and forwards everything that it has.
        orthanc.rest("/instances", tiny_cine(tmp_path, "never scanned").read_bytes())
        forwarded = orthanc.rest("/modalities/node/store", orthanc.rest("/instances"))
        assert forwarded["FailedInstancesCount"] == 0, "a PACS's queue is not blocked"
        done = tiny_cine(tmp_path, "marker")  # measured after everything above: what came before had its chance
        node.scan(done)
        assert len(node.wait_for_results(5)) == 5, "what comes back, or from the PACS, starts nothing"


def _saved(orthanc: Orthanc, identifier: str, folder: Path) -> Path:
    file = folder / f"returned-{identifier}.dcm"
    file.write_bytes(orthanc.file(identifier))
    return file


def test_killed_between_reception_and_processing_and_in_the_middle_of_a_job(tmp_path: Path) -> None:
    cine = tiny_cine(tmp_path, "killed")
    with Orthanc(tmp_path) as orthanc, RunningNode(tmp_path / "node", pacs_of(orthanc), profile()) as node:
        node.role("worker").suspend()  # so that nothing is measured before the receiver dies
        node.scan(cine)
        node.kill("receiver")
        node.role("worker").resume()
        until(lambda: "job started" in node.log(), FINISH_LIMIT_S, "the job runs")
        node.kill("worker")
        held = node.wait_for_delivery(orthanc, results=1)
        until(lambda: set(attempts(node).values()) == {1}, FINISH_LIMIT_S, "every object is marked as sent")
        assert held == set(attempts(node)), "nothing else arrived"
        assert len(node.results()) == 1


def test_a_pacs_that_sleeps_gets_everything_when_it_wakes_and_commits_to_keep_it(tmp_path: Path) -> None:
    """Orthanc reports on an association of its own to the node's receiver, so it must know the node's port."""
    pacs = Orthanc(tmp_path)
    running = RunningNode(tmp_path / "node", pacs_of(pacs), profile(), destination="storage_commitment = true")
    pacs.node_port = running.port
    with pacs as orthanc, running as node:
        assert "offers Storage Commitment" in node.command("check").stdout
        orthanc.stop()
        node.scan(tiny_cine(tmp_path, "asleep"))
        node.wait_for_results(1)
        until(lambda: any(count >= 2 for count in attempts(node).values()), FINISH_LIMIT_S, "the node tried twice")
        orthanc.start()
        held = node.wait_for_delivery(orthanc, results=1)
        until(lambda: set(committed(node)) == held, FINISH_LIMIT_S, "the PACS has committed to keep every object")
        assert " delivered " in node.command("jobs", "list").stdout


def test_a_corrected_profile_gives_new_objects_and_keeps_the_old(tmp_path: Path) -> None:
    with Orthanc(tmp_path) as orthanc, RunningNode(tmp_path / "node", pacs_of(orthanc), profile(50.0)) as node:
        node.scan(tiny_cine(tmp_path, "corrected"))
        before = node.wait_for_delivery(orthanc, results=1)
        node.stop()
        node.configure(profile(60.0))
        node.start()
        (job,) = [folder.name for folder in node.results()]
        said = node.command("jobs", "retry", job)
        assert "revision 2" in said.stdout, said.stderr
        after = node.wait_for_delivery(orthanc, results=2)
        assert before < after
        ranges = sorted(findings["source"]["dynamic_range_db"] for findings in node.findings())
        assert ranges == [50.0, 60.0]


def test_a_lost_engine_database_is_rebuilt_from_the_ledger(tmp_path: Path) -> None:
    with Orthanc(tmp_path) as orthanc, RunningNode(tmp_path / "node", pacs_of(orthanc), profile()) as node:
        orthanc.stop()
        node.scan(tiny_cine(tmp_path, "engine lost"))
        node.wait_for_results(1)
        node.stop()
        for file in node.data.glob("engine.sqlite*"):
            file.unlink()
        orthanc.start()
        node.start()
        node.wait_for_delivery(orthanc, results=1)
        assert len(node.results()) == 1
