"""Retired images come back from a real Orthanc, byte for byte; where they cannot, the job says what the PACS said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest

from dicom_node.acquisition import Origin, Peer, PeerRole
from dicom_node.config import Settings, load_settings
from dicom_node.data_folder import DataFolder
from dicom_node.errors import SourceGoneError
from dicom_node.jobs import Job
from dicom_node.results import ResultFolder
from dicom_node.sending import send_files
from dicom_node.simulated_scanner import CineIdentity, write_cine
from dicom_node.source_fetching import fetch_sources, missing_sources
from dicom_node.spool import Spool
from dicom_node.transport.requestor import RemoteNode
from processing.simulation.scenes import TINY_BOLUS, bolus_scene
from reports.findings_json import to_json
from tests.dicom_node.network_scenes import Node as Receiving
from tests.dicom_node.network_scenes import uid_of
from tests.peers import LOOPBACK, Orthanc, free_ports
from tests.reports.scenes import full_findings


def node(folder: Path, port: int, way: str = "get") -> Settings:
    pacs = {"name": "pacs", "ae_title": "ORTHANC", "host": LOOPBACK, "port": port, "retrieve": way}
    settings = load_settings(None, node={"data_dir": folder}, destination=[pacs])
    DataFolder(folder).prepare()
    return settings


def retired(settings: Settings, cine: Path) -> Job:
    """A job whose result is there and whose cine is not."""
    folder, header = DataFolder(settings.node.data_dir), pydicom.dcmread(cine, stop_before_pixels=True)
    uids = (str(header.SOPInstanceUID),)
    path = Spool(folder.spool).instance_path(uids[0])
    job = Job("second", "a1", uids, (str(path),), datetime.now(UTC).isoformat(), "digest", revision=2)
    findings = full_findings()
    studied = replace(
        findings.source,
        study_instance_uid=str(header.StudyInstanceUID),
        series_instance_uid=str(header.SeriesInstanceUID),
    )
    with ResultFolder(folder.results, "a1", "first").being_made() as draft:
        (draft / "findings.json").write_text(to_json(replace(findings, source=studied)))
    return job


@pytest.mark.peers
@pytest.mark.parametrize("way", ["get", "move"])
def test_a_retired_cine_comes_back_as_the_pacs_stores_it_and_starts_nothing(tmp_path: Path, way: str) -> None:
    cine = write_cine(bolus_scene(TINY_BOLUS), tmp_path, CineIdentity(datetime.now(UTC), study="retired"))  # JPEG
    (port,) = free_ports(1)
    receiver = Receiving(tmp_path / "data", port=port, peers=(Peer("ORTHANC", role=PeerRole.DESTINATION),))
    with receiver, Orthanc(tmp_path, node_port=port) as pacs:
        settings = node(tmp_path / "data", pacs.dicom_port, way)
        remote = RemoteNode(pacs.ae_title, LOOPBACK, pacs.dicom_port)
        assert all(outcome.delivered for _, outcome in send_files(remote, "SCANNER", [cine]))
        job = retired(settings, cine)
        assert missing_sources(job) == job.sop_instance_uids
        fetch_sources(settings, job)
        assert missing_sources(job) == ()
        stranger = replace(job, sop_instance_uids=(uid_of(4, 4),), files=(str(tmp_path / "none.dcm"),))
        with pytest.raises(SourceGoneError, match="1 of its 1 images have been retired"):
            fetch_sources(settings, stranger)
    sent, back = pydicom.dcmread(cine), pydicom.dcmread(job.files[0])
    assert back.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert back.PixelData == sent.PixelData
    (record,) = Spool(DataFolder(settings.node.data_dir).spool).instances()
    assert record.origin is Origin.RETRIEVE
    assert not record.starts_jobs
    assert not list((settings.node.data_dir / "spool").glob(".fetched-*"))


def test_a_pacs_that_is_down_is_named_by_the_job(tmp_path: Path) -> None:
    (closed,) = free_ports(1)
    settings = node(tmp_path / "data", closed)
    cine = write_cine(bolus_scene(TINY_BOLUS), tmp_path, CineIdentity(datetime.now(UTC), study="retired"))
    with pytest.raises(SourceGoneError, match="pacs: ORTHANC at 127"):
        fetch_sources(settings, retired(settings, cine))
