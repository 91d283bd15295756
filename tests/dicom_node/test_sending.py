"""Sending to real peers: every file has one outcome, and its name is right."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest

from dicom_node.errors import UnreachableError
from dicom_node.sending import Verdict, echo, negotiate, send_files
from dicom_node.status import Status
from dicom_node.transport.requestor import RemoteNode, Timeouts
from tests.datasets import bundled
from tests.dicom_node.network_scenes import MULTI_FRAME, Node, Scene
from tests.peers import LOOPBACK, Orthanc, echoscu, find_peer, free_ports

SC = "1.2.840.10008.5.1.4.1.1.7"


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[RemoteNode]:
    """DCMTK's receiver as it comes: Nagle's algorithm on, 16 KB PDUs."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    command = [find_peer("storescp"), *options, "-od", str(folder), "+uf", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20.0
        while echoscu(port, called="ANY").returncode != 0:
            assert time.monotonic() < deadline, "storescp does not listen"
        yield RemoteNode("ANY", LOOPBACK, port)
    finally:
        process.terminate()
        process.wait(timeout=10)


def test_files_arrive_at_dcmtk_byte_for_byte(tmp_path: Path) -> None:
    paths = [Scene(number, frames=number).file(tmp_path / "out") for number in (1, 2, 5)]
    with storescp(tmp_path / "in", "+B") as peer:
        outcomes = list(send_files(peer, "CEUS_NODE", paths))
    assert [path for path, _ in outcomes] == paths
    assert {outcome.verdict for _, outcome in outcomes} == {Verdict.STORED}
    received = sorted((tmp_path / "in").iterdir())
    pixels = {pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path).PixelData for path in received}
    assert pixels == {Scene(n).sop_instance_uid: Scene(n, frames=n).dataset().PixelData for n in (1, 2, 5)}


def test_a_fragmented_jpeg_is_sent_as_it_is(tmp_path: Path) -> None:
    source = bundled("examples_ybr_color")
    with storescp(tmp_path / "in", "+xa", "+B") as peer:
        ((_, outcome),) = send_files(peer, "CEUS_NODE", [source])
    assert outcome.verdict is Verdict.STORED, outcome
    (received,) = (tmp_path / "in").iterdir()
    assert pydicom.dcmread(received).PixelData == pydicom.dcmread(source).PixelData


def test_small_objects_flow_to_a_peer_with_nagle(tmp_path: Path) -> None:
    """20 a second is what our delayed acknowledgements would leave of it (40 ms each): a loaded machine stays far
    below 10 s for 200 objects, and far above 5 s without the cure."""
    path = Scene(frames=1, size=16).file(tmp_path / "out")
    with storescp(tmp_path / "in", "--ignore") as peer:
        begin = time.monotonic()
        outcomes = [outcome.verdict for _, outcome in send_files(peer, "CEUS_NODE", [path] * 200)]
        took_s = time.monotonic() - begin
    assert outcomes == [Verdict.STORED] * 200
    assert took_s < 5.0


@pytest.mark.parametrize("objects", [1000, pytest.param(100_000, marks=[pytest.mark.full, pytest.mark.timeout(3600)])])
def test_no_answer_is_lost_in_thousands(tmp_path: Path, objects: int) -> None:
    """The stock reactor swallows 2 of 15,000 answers; none of 100,000 may be lost (node.md 7)."""
    path = Scene(frames=1, size=16).file(tmp_path / "out")
    with storescp(tmp_path / "in", "--ignore") as peer:
        outcomes = [outcome for _, outcome in send_files(peer, "CEUS_NODE", [path] * objects, Timeouts(dimse_s=30.0))]
    assert [outcome for outcome in outcomes if outcome.verdict is not Verdict.STORED] == []
    assert len(outcomes) == objects


def test_a_peer_that_takes_only_implicit_little_endian_gets_the_same_values(tmp_path: Path) -> None:
    path = Scene().file(tmp_path / "out")
    with storescp(tmp_path / "in", "+xi") as peer:
        ((_, outcome),) = send_files(peer, "CEUS_NODE", [path])
    assert outcome.verdict is Verdict.STORED, outcome
    (received,) = (tmp_path / "in").iterdir()
    arrived = pydicom.dcmread(received)
    assert arrived.file_meta.TransferSyntaxUID == pydicom.uid.ImplicitVRLittleEndian
    assert arrived.PixelData == Scene().dataset().PixelData


def test_the_pacs_answers_are_named(tmp_path: Path) -> None:
    """Our own receiver as the peer that refuses: no study, a duplicate, a full disk."""
    nameless = Scene(number=2, attributes={"StudyInstanceUID": ""})
    changed = Scene(attributes={"PixelData": b"\0" * 3072})
    paths = [Scene().file(tmp_path / "a"), nameless.file(tmp_path / "b"), changed.file(tmp_path / "c")]
    with Node(tmp_path, any_peer_is_scanner=True) as node:
        peer = RemoteNode("CEUS_NODE", LOOPBACK, node.port)
        verdicts = [(outcome.verdict, outcome.status) for _, outcome in send_files(peer, "X", paths)]
    assert verdicts == [
        (Verdict.STORED, Status.SUCCESS),
        (Verdict.REFUSED, Status.MISSING_IDENTITY),
        (Verdict.DUPLICATE, Status.DUPLICATE_INSTANCE),
    ]


def test_what_a_peer_does_not_take_is_not_negotiated(tmp_path: Path) -> None:
    with storescp(tmp_path / "in") as peer:
        assert negotiate(peer, "CEUS_NODE", [MULTI_FRAME, SC, "1.2.3.4.5"]) == {
            MULTI_FRAME: True,
            SC: True,
            "1.2.3.4.5": False,
        }
        paths = [Scene(sop_class="1.2.3.4.5").file(tmp_path / "odd"), Scene().file(tmp_path / "good")]
        verdicts = [outcome.verdict for _, outcome in send_files(peer, "CEUS_NODE", paths)]
        assert verdicts == [Verdict.NOT_NEGOTIATED, Verdict.STORED]
        (alone,) = send_files(peer, "CEUS_NODE", paths[:1])
        assert alone[1].verdict is Verdict.NOT_NEGOTIATED


def test_a_missing_or_broken_file_costs_only_itself(tmp_path: Path) -> None:
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(b"no DICOM at all" * 40)
    paths = [tmp_path / "missing.dcm", broken, Scene().file(tmp_path / "out")]
    with storescp(tmp_path / "in") as peer:
        verdicts = [outcome.verdict for _, outcome in send_files(peer, "CEUS_NODE", paths)]
    assert verdicts == [Verdict.UNREADABLE, Verdict.UNREADABLE, Verdict.STORED]


def test_a_peer_that_is_down_is_unreachable_and_worth_a_retry(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    peer = RemoteNode("GONE", LOOPBACK, port)
    ((_, outcome),) = send_files(peer, "CEUS_NODE", [Scene().file(tmp_path / "out")])
    assert outcome.verdict is Verdict.UNREACHABLE
    assert outcome.worth_retrying
    assert echo(peer, "CEUS_NODE").verdict is Verdict.UNREACHABLE
    with pytest.raises(UnreachableError):
        negotiate(peer, "CEUS_NODE", [SC])


def test_a_peer_that_does_not_know_us_rejects_by_name(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        peer = RemoteNode("CEUS_NODE", LOOPBACK, node.port)
        assert echo(peer, "STRANGER").verdict is Verdict.REJECTED
        assert "calling AE title" in echo(peer, "STRANGER").text.replace("Calling", "calling")
        assert echo(peer, "SCANNER").verdict is Verdict.STORED


def test_a_peer_that_dies_in_the_middle_costs_one_object_and_gets_the_rest(tmp_path: Path) -> None:
    paths = [Scene(number).file(tmp_path / "out") for number in range(1, 5)]
    with storescp(tmp_path / "in", "--abort-during") as peer:
        verdicts = [outcome.verdict for _, outcome in send_files(peer, "CEUS_NODE", paths)]
    assert verdicts == [Verdict.LOST] * 4  # each over a new association: the peer aborts every one of them


def test_orthanc_takes_objects_and_tells_no_twice(tmp_path: Path) -> None:
    paths = [Scene(number).file(tmp_path / "out") for number in (1, 2)]
    with Orthanc(tmp_path, tcp_nodelay=False) as pacs:
        peer = RemoteNode(pacs.ae_title, LOOPBACK, pacs.dicom_port)
        assert echo(peer, "CEUS_NODE").delivered
        for _ in range(2):
            assert all(outcome.delivered for _, outcome in send_files(peer, "CEUS_NODE", paths))
        assert len(pacs.instances()) == 2
        assert echo(replace(peer, ae_title="WRONG"), "CEUS_NODE").verdict is Verdict.REJECTED
