"""Earlier objects from a real Orthanc, and from peers that do not answer."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import pydicom
import pytest

from dicom_node.errors import UnreachableError
from dicom_node.retrieving import PacsCall, SeriesQuery, WantedInstances, find_series, get_instances
from dicom_node.sending import send_files
from dicom_node.transport.requestor import RemoteNode
from tests.dicom_node.network_scenes import Node, Scene, uid_of
from tests.peers import LOOPBACK, Orthanc

SR = "1.2.840.10008.5.1.4.1.1.88.34"
NOVEMBER = (date(2026, 11, 1), date(2026, 11, 30))


def report(number: int, patient: str, study: int, day: str) -> Scene:
    """An object of modality SR; what is in it matters to nobody here."""
    attributes = {"Modality": "SR", "StudyDate": day, "StudyTime": "101500", "PatientBirthDate": "19700101"}
    return Scene(number, patient, study, series=study, frames=0, sop_class=SR, attributes=attributes)


def test_a_patients_earlier_reports_are_found_and_fetched_and_nobody_elses(tmp_path: Path) -> None:
    scenes = [
        report(1, "P1", 1, "20261103"),
        report(2, "P1", 1, "20261103"),
        report(3, "P1", 2, "20261105"),
        report(4, "P1", 3, "20260105"),  # too old
        report(5, "P10", 4, "20261103"),  # an identifier that begins alike
        Scene(6, "P1", 1, series=9, attributes={"StudyDate": "20261103"}),  # a cine of the same study
    ]
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    with Orthanc(tmp_path) as pacs:
        remote = RemoteNode(pacs.ae_title, LOOPBACK, pacs.dicom_port)
        sent = send_files(remote, "CEUS_NODE", [scene.file(tmp_path / "out") for scene in scenes])
        assert all(outcome.delivered for _, outcome in sent)
        call = PacsCall(remote, "CEUS_NODE")
        found = find_series(call, SeriesQuery("P1", "SR", *NOVEMBER))
        assert {series.study_instance_uid for series in found} == {uid_of(1, 1), uid_of(1, 2)}
        assert {(series.study_date, series.patient_id) for series in found} == {("20261103", "P1"), ("20261105", "P1")}
        (first,) = (series for series in found if series.study_instance_uid == uid_of(1, 1))
        wanted = WantedInstances(first.study_instance_uid, first.series_instance_uid, (SR,))
        paths = get_instances(call, wanted, fetched)
        (one,) = get_instances(call, replace(wanted, sop_instance_uids=(scenes[1].sop_instance_uid,)), fetched)
        for wild in ("P*", "P?", "", "*"):
            assert find_series(call, SeriesQuery(wild, "SR", *NOVEMBER)) == ()
    objects = {pydicom.dcmread(path).SOPInstanceUID for path in paths}
    assert pydicom.dcmread(one).SOPInstanceUID == scenes[1].sop_instance_uid
    assert objects == {scenes[0].sop_instance_uid, scenes[1].sop_instance_uid}


def test_a_pacs_that_does_not_answer_costs_a_bounded_wait() -> None:
    with socket.socket() as silent:
        silent.bind((LOOPBACK, 0))
        silent.listen()
        call = PacsCall(RemoteNode("SILENT", LOOPBACK, silent.getsockname()[1]), "CEUS_NODE", limit_s=0.5)
        begin = time.monotonic()
        with pytest.raises(UnreachableError):
            find_series(call, SeriesQuery("P1", "SR", *NOVEMBER))
        assert time.monotonic() - begin < 5.0  # the wait, its abort, and a loaded machine


def test_a_peer_that_offers_no_query_says_so(tmp_path: Path) -> None:
    wanted = WantedInstances(uid_of(1, 1), uid_of(2, 1), (SR,))
    with Node(tmp_path) as node:
        call = PacsCall(RemoteNode("CEUS_NODE", LOOPBACK, node.port), "SCANNER")
        with pytest.raises(UnreachableError):
            find_series(call, SeriesQuery("P1", "SR", *NOVEMBER))
        with pytest.raises(UnreachableError):
            get_instances(call, wanted, tmp_path)
