"""Earlier results from a PACS: ours and this patient's only, in a bounded time; a PACS that did not answer is said."""

from __future__ import annotations

import json
import socket
import time
from datetime import UTC
from pathlib import Path

import pydicom
import pytest

from dicom_node.acquisition import Peer, PeerRole
from dicom_node.config import Settings, load_settings
from dicom_node.data_folder import DataFolder
from dicom_node.earlier_results import from_history, known_to
from dicom_node.jobs import Job
from dicom_node.priors import retrieve, retrieved
from dicom_node.sending import send_files
from dicom_node.transport.requestor import RemoteNode
from reports.comparable import PatientIdentity
from tests.dicom_node.history_scenes import KEY, History, Study
from tests.dicom_node.network_scenes import Node
from tests.peers import LOOPBACK, Orthanc, free_ports

pytestmark = pytest.mark.peers


def settings_of(root: Path, port: int, web: str = "", way: str = "get", **comparison: object) -> Settings:
    pacs = {"name": "pacs", "ae_title": "ORTHANC", "host": LOOPBACK, "port": port}
    pacs |= {"dicomweb_url": web, "retrieve": way}
    return load_settings(
        None,
        node={"data_dir": root},
        destination=[pacs],
        analysis={"protocol": "bedside_bolus"},
        comparison=comparison,
    )


def arrived(root: Path, study: Study) -> Job:
    """The job of a cine that has just come to a node which knows nothing of the patient."""
    DataFolder(root).prepare()
    file, header = root / "cine.dcm", study.header()
    header.AcquisitionDateTime = f"{study.at:%Y%m%d%H%M%S}"
    header.save_as(file, enforce_file_format=True)
    at = study.at.replace(tzinfo=UTC).isoformat()
    return Job("job", study.acquisition, (str(header.SOPInstanceUID),), (str(file),), at, "d", patient_key=KEY)


def test_the_patients_own_earlier_reports_come_and_nothing_else(tmp_path: Path) -> None:
    elsewhere = History(tmp_path / "another node")
    wanted = Study(-24)
    stored = [
        wanted,
        Study(-400),  # outside of the rule's reach
        Study(80),  # a later study
        Study(-30, attributes={"PatientID": "P-10"}),  # an identifier that begins alike
        Study(-40, attributes={"PatientBirthDate": "19600101"}),  # a contradicting one: fetched, never chosen
    ]
    for study in stored:
        elsewhere.measure(study)
    reports = sorted(elsewhere.root.glob("results/*/*/sr.dcm"))
    foreign = pydicom.dcmread(reports[0])
    foreign.Manufacturer, foreign.SOPInstanceUID = "Somebody Else", "2.25.4711"
    foreign.file_meta.MediaStorageSOPInstanceUID = "2.25.4711"
    foreign.save_as(tmp_path / "foreign.dcm")
    (port,) = free_ports(1)
    receiver = Node(tmp_path / "moved", port=port, peers=(Peer("ORTHANC", role=PeerRole.DESTINATION),))
    with receiver, Orthanc(tmp_path, node_port=port) as pacs:
        remote = RemoteNode(pacs.ae_title, LOOPBACK, pacs.dicom_port)
        sent = send_files(remote, "CEUS_NODE", [*reports, tmp_path / "foreign.dcm"])
        assert all(outcome.delivered for _, outcome in sent)
        settings = settings_of(tmp_path / "node", pacs.dicom_port)
        job = arrived(tmp_path / "node", Study(0))
        retrieve(settings, job)
        over_the_web = settings_of(tmp_path / "web", 1, pacs.dicomweb_url)
        retrieve(over_the_web, arrived(tmp_path / "web", Study(0)))
        by_move = settings_of(tmp_path / "moved", pacs.dicom_port, way="move")
        retrieve(by_move, arrived(tmp_path / "moved", Study(0)))
    found, limitations = retrieved(settings, job)
    assert limitations == ()
    for other_way in (over_the_web, by_move):
        theirs, limitations = retrieved(other_way, job)
        assert limitations == ()
        assert {each.result.sr_sop_instance_uid for each in theirs} == {
            each.result.sr_sop_instance_uid for each in found
        }
    assert receiver.spool.instances() == (), "what was moved to the node's receiver is no arrival"
    mine = PatientIdentity("P-1", "", "19500101", "M")
    assert {each.result.acquired_at for each in found} == {Study(-24).at, Study(-40).at}
    assert [each.result.acquired_at for each in found if not mine.unlike(each.result.patient)] == [wanted.at]
    assert list(from_history(DataFolder(tmp_path / "node"), job)) == []
    retrieve(settings, job)  # the PACS has gone: what came is kept, a retry compares with the same
    assert len(known_to(DataFolder(tmp_path / "node"), job)) == len(found)


@pytest.mark.parametrize("web", [False, True])
def test_a_pacs_that_does_not_answer_costs_a_bounded_wait_and_a_limitation(tmp_path: Path, web: bool) -> None:
    with socket.socket() as silent:
        silent.bind((LOOPBACK, 0))
        silent.listen()
        port = silent.getsockname()[1]
        settings = settings_of(tmp_path, port, f"http://{LOOPBACK}:{port}" if web else "", wait_s=0.5)
        job = arrived(tmp_path, Study(0))
        begin_s = time.monotonic()
        retrieve(settings, job)
        found, (limitation,) = retrieved(settings, job)
        assert time.monotonic() - begin_s < 10.0  # the wait, its abort, and a loaded machine
    assert found == []
    assert limitation.code == "priors_not_asked"
    assert limitation.text.startswith("pacs could not be asked")
    assert limitation.affects == ("comparison",)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/dicom-web", "file:///etc/passwd", "http://["])
def test_an_address_that_does_not_answer_is_said(tmp_path: Path, url: str) -> None:
    settings = settings_of(tmp_path, 1, url)
    job = arrived(tmp_path, Study(0))
    retrieve(settings, job)
    assert [limitation.code for limitation in retrieved(settings, job)[1]] == ["priors_not_asked"]


def test_a_pacs_that_is_not_there_is_said_too(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))  # bound, not listening: connections are refused
        settings = settings_of(tmp_path, taken.getsockname()[1])
        job = arrived(tmp_path, Study(0))
        retrieve(settings, job)
    assert [limitation.code for limitation in retrieved(settings, job)[1]] == ["priors_not_asked"]


def test_a_cine_without_a_patient_id_asks_nobody(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, 1)
    job = arrived(tmp_path, Study(0, attributes={"PatientID": ""}))
    retrieve(settings, job)
    assert json.loads((tmp_path / "priors" / job.name / "answer.json").read_text())["failures"] == {}


def test_a_site_may_leave_a_destination_unasked(tmp_path: Path) -> None:
    silent = load_settings(
        None,
        node={"data_dir": tmp_path},
        destination=[{"name": "archive", "ae_title": "A", "host": LOOPBACK, "port": 1, "priors": False}],
    )
    assert retrieved(silent, arrived(tmp_path, Study(0))) == ([], ())
