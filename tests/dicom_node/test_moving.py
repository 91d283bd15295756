"""C-MOVE to ourselves: a real Orthanc stores what was asked for to the node's receiver, and nothing else is taken."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from dicom_node.acquisition import Peer, PeerRole
from dicom_node.checks import run_checks
from dicom_node.config import load_settings
from dicom_node.errors import UnreachableError
from dicom_node.moving import move_instances
from dicom_node.retrieve_desk import RetrieveDesk
from dicom_node.retrieving import PacsCall, WantedInstances
from dicom_node.sending import send_files
from dicom_node.status import Status
from dicom_node.transport.requestor import RemoteNode
from tests.dicom_node.network_scenes import SCANNER, Node, Scene, store_status, uid_of
from tests.peers import LOOPBACK, Orthanc, free_ports

SR, CAPTURE = "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.7"
PACS = Peer("ORTHANC", role=PeerRole.DESTINATION)
OWN = {"Manufacturer": "CEUS Node", "ManufacturerModelName": "CEUS Node"}


def report(number: int, series: int = 1) -> Scene:
    """An object of this node's, as it lies in a PACS."""
    return Scene(number, series=series, frames=0, sop_class=SR, attributes={"Modality": "SR", **OWN})


def node_at(folder: Path, port: int) -> Node:
    return Node(folder, port=port, peers=(SCANNER, PACS))


def wanted_series(series: int = 1, sop_class: str = SR, *uids: str) -> WantedInstances:
    return WantedInstances(uid_of(1, 1), uid_of(2, series), (sop_class,), uids)


@contextmanager
def pacs_with(folder: Path, scenes: list[Scene], node_port: int | None, title: str = "CEUS_NODE") -> Iterator[PacsCall]:
    with Orthanc(folder, node_port=node_port, node_ae_title=title) as orthanc:
        remote = RemoteNode(orthanc.ae_title, LOOPBACK, orthanc.dicom_port)
        sent = send_files(remote, "SCANNER", [scene.file(folder / "out") for scene in scenes])
        assert all(outcome.delivered for _, outcome in sent)
        yield PacsCall(remote, "CEUS_NODE", limit_s=20.0)


@pytest.mark.peers
def test_a_series_and_a_single_object_come_through_our_own_receiver_and_start_nothing(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    page = Scene(4, series=3, frames=1, sop_class=CAPTURE, attributes={"Modality": "OT", **OWN})
    cine = Scene(5, series=4)
    scenes = [report(1), report(2), report(3, series=2), page, cine]
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    with node_at(tmp_path, port) as node, pacs_with(tmp_path, scenes, port) as call:
        desk = RetrieveDesk(node.spool.root)
        whole = move_instances(call, wanted_series(), desk, fetched)
        (one,) = move_instances(call, wanted_series(3, CAPTURE, page.sop_instance_uid), desk, fetched)
        (source,) = move_instances(call, wanted_series(4, cine.sop_class, cine.sop_instance_uid), desk, fetched)
        nothing = move_instances(call, wanted_series(9), desk, fetched)
        assert node.spool.instances() == ()
        assert node.files() == []
        assert node.spool.counters()["retrieved"] == 4
        assert list((node.spool.root / "retrieves").iterdir()) == []
    assert {pydicom.dcmread(path).SOPInstanceUID for path in whole} == {s.sop_instance_uid for s in scenes[:2]}
    assert pydicom.dcmread(one).SOPInstanceUID == page.sop_instance_uid
    assert pydicom.dcmread(source).PixelData == cine.dataset().PixelData
    assert nothing == ()


@pytest.mark.peers
def test_a_pacs_that_does_not_know_our_title_says_so_at_once(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    begin_s = time.monotonic()
    with (
        node_at(tmp_path, port) as node,
        pacs_with(tmp_path, [report(1)], port, title="SOMEBODY_ELSE") as call,
        pytest.raises(UnreachableError, match="is CEUS_NODE entered there as a move destination"),
    ):
        move_instances(call, wanted_series(), RetrieveDesk(node.spool.root), tmp_path)
    assert time.monotonic() - begin_s < 15.0  # the start and the end of both, on a loaded machine; the limit is 20 s


@pytest.mark.peers
def test_a_pacs_that_does_not_reach_our_receiver_says_so(tmp_path: Path) -> None:
    port, closed = free_ports(2)
    with (
        node_at(tmp_path, port) as node,
        pacs_with(tmp_path, [report(1)], closed) as call,
        pytest.raises(UnreachableError, match="ORTHANC"),
    ):
        move_instances(call, wanted_series(), RetrieveDesk(node.spool.root), tmp_path)


@contextmanager
def pacs_that(moves: Any, finds: Any) -> Iterator[PacsCall]:
    """A PACS whose C-MOVE and C-FIND do what these handlers of pynetdicom's do."""
    ae = AE(ae_title="SLOW")
    ae.add_supported_context(Verification)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelMove)
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    handlers = [(evt.EVT_C_MOVE, moves), (evt.EVT_C_FIND, finds)]
    server = ae.start_server((LOOPBACK, 0), block=False, evt_handlers=handlers)
    try:
        port = server.socket.getsockname()[1]
        yield PacsCall(RemoteNode("SLOW", LOOPBACK, port), "CEUS_NODE", limit_s=1.0)
    finally:
        server.shutdown()


def found(_: Any) -> Iterator[Any]:
    match = Dataset()
    match.SOPClassUID, match.SOPInstanceUID, match.QueryRetrieveLevel = SR, uid_of(9, 1), "IMAGE"
    yield 0xFF00, match


def test_a_pacs_that_takes_the_question_and_never_answers_costs_a_bounded_wait(tmp_path: Path) -> None:
    over = threading.Event()

    def never(_: Any) -> Iterator[Any]:
        over.wait(60.0)
        yield None, None

    begin_s = time.monotonic()
    with pacs_that(never, found) as call:
        with pytest.raises(UnreachableError, match="did not answer a C-MOVE in time"):
            move_instances(call, wanted_series(1, SR, uid_of(9, 1)), RetrieveDesk(tmp_path), tmp_path)
        assert time.monotonic() - begin_s < 10.0  # its limit of 1 s, the abort, a loaded machine
        over.set()
    assert list((tmp_path / "retrieves").iterdir()) == []


def test_a_pacs_that_says_success_and_stores_nothing_is_not_believed(tmp_path: Path) -> None:
    def stores_nothing(_: Any) -> Iterator[Any]:
        (port,) = free_ports(1)
        yield LOOPBACK, port, {}
        yield 0

    with pacs_that(stores_nothing, found) as call:
        with pytest.raises(UnreachableError, match="SLOW was to store 1 objects to CEUS_NODE, 0 came"):
            move_instances(call, wanted_series(), RetrieveDesk(tmp_path), tmp_path)
        elsewhere = wanted_series(1, SR, uid_of(9, 2))
        assert move_instances(call, elsewhere, RetrieveDesk(tmp_path), tmp_path) == (), "it does not have them"


def checked(folder: Path, remote: RemoteNode, way: str) -> tuple[bool, str]:
    """What `ceus-node check` says of fetching from that PACS."""
    title, host, port = remote.ae_title, remote.host, remote.port
    pacs = {"name": "pacs", "ae_title": title, "host": host, "port": port, "objects": [], "retrieve": way}
    settings = load_settings(None, node={"data_dir": folder}, destination=[pacs])
    (line,) = [line for line in run_checks(settings) if "earlier results" in line.text or "move dest" in line.text]
    return line.passed, line.text.partition(") ")[2]


@pytest.mark.peers
def test_check_says_whether_a_pacs_can_be_asked_and_how(tmp_path: Path) -> None:
    def unknown(_: Any) -> Iterator[Any]:
        yield None, None  # 0xA801

    with pacs_with(tmp_path, [], None) as call:
        for way, name in (("get", "C-GET"), ("move", "C-MOVE")):
            assert checked(tmp_path, call.remote, way) == (True, f"offers C-FIND and {name}, for earlier results")
    with pacs_that(unknown, found) as call:
        assert checked(tmp_path, call.remote, "move") == (False, "does not know CEUS_NODE as a move destination")
        passed, words = checked(tmp_path, call.remote, "get")
    assert not passed
    assert words.startswith("does NOT offer C-FIND and C-GET")
    assert words.endswith("it does offer C-MOVE")


def test_only_what_was_asked_for_is_taken_and_only_from_a_destination(tmp_path: Path) -> None:
    asked, unasked = (Scene(number, frames=1, sop_class=CAPTURE, attributes=OWN) for number in (1, 2))
    with Node(tmp_path, peers=(SCANNER, PACS)) as node:
        with RetrieveDesk(node.spool.root).waiting_for([asked.sop_instance_uid], 30.0) as folder:
            assert store_status(node.port, asked, calling="SCANNER") == Status.SUCCESS
            assert list(folder.glob("*.dcm")) == [], "a scanner is no PACS"
            assert store_status(node.port, unasked, calling="ORTHANC") == Status.SUCCESS
            assert list(folder.glob("*.dcm")) == []
            # A PACS that names no Move Originator (it is optional, PS3.7 9.1.1.1), and stores it twice.
            for _ in range(2):
                assert store_status(node.port, asked, calling="ORTHANC") == Status.SUCCESS
            assert [path.stem for path in folder.glob("*.dcm")] == [asked.sop_instance_uid]
        assert store_status(node.port, asked, calling="ORTHANC", originator_aet="CEUS_NODE", originator_id=1) == 0
        assert node.files() == [], "the late answer is dropped"


def test_two_jobs_that_ask_for_the_same_object_both_get_it(tmp_path: Path) -> None:
    asked = Scene(1, frames=1, sop_class=CAPTURE, attributes=OWN)
    with Node(tmp_path, peers=(SCANNER, PACS)) as node:
        desk, uids = RetrieveDesk(node.spool.root), [asked.sop_instance_uid]
        with desk.waiting_for(uids, 30.0) as one, desk.waiting_for(uids, 30.0) as other:
            assert store_status(node.port, asked, calling="ORTHANC") == Status.SUCCESS
            assert [len(list(folder.glob("*.dcm"))) for folder in (one, other)] == [1, 1]


def test_a_request_that_is_over_takes_nothing_and_is_swept(tmp_path: Path) -> None:
    desk, other = RetrieveDesk(tmp_path), RetrieveDesk(tmp_path)
    with desk.waiting_for(["1.2.3"], 30.0) as folder:
        assert other.folders_for("1.2.3") == (folder,)
        assert other.folders_for("1.2.4") == ()
        (folder / "wanted.json").write_text('{"uids": ["1.2.3"], "until": 1.0}')
        assert RetrieveDesk(tmp_path).folders_for("1.2.3") == ()
        with RetrieveDesk(tmp_path).waiting_for(["1.2.5"], 30.0):
            assert not folder.exists(), "whoever opened it was killed"
