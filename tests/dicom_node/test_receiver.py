"""Real associations with the receiver: what is acknowledged is in the spool, whole, once, and nothing else is."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pydicom
import pytest

from dicom_node.acquisition import ArrivalKind, Origin, Peer, PeerRole
from dicom_node.status import Status
from reports.uids import ResultIdentity
from tests.datasets import real_ultrasound
from tests.dicom_node.network_scenes import SCANNER, SINGLE_FRAME, Node, Scene, store_status, uid_of
from tests.peers import echoscu, find_peer, storescu

RETIRED_MULTI_FRAME, RETIRED_SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.3", "1.2.840.10008.5.1.4.1.1.6"


def test_what_storescu_sends_lies_in_the_spool_as_it_was_sent(tmp_path: Path) -> None:
    scenes = [Scene(number, frames=frames) for number, frames in ((1, 4), (2, 7))]
    with Node(tmp_path) as node:
        sent = storescu([scene.file(tmp_path / "out") for scene in scenes], node.port)
        assert sent.returncode == 0, sent.stderr
        records = node.spool.instances()
    assert [record.sop_instance_uid for record in records] == [scene.sop_instance_uid for scene in scenes]
    for record, scene in zip(records, scenes, strict=True):
        assert pydicom.dcmread(record.path).PixelData == scene.dataset().PixelData
        assert (record.kind, record.origin, record.frames) == (ArrivalKind.CINE, Origin.SCANNER, scene.frames)
        assert record.starts_jobs
        assert (record.profile, record.priority, record.peer_ae_title) == ("site", 3, "SCANNER")
        assert record.duration_s == pytest.approx(0.05 * (scene.frames - 1))  # 50 ms a frame, by Frame Time
    assert len(node.summaries) == 1
    assert node.summaries[0].stored == 2
    assert node.spool.open_associations() == ()


@pytest.mark.parametrize(
    "name",
    [
        "acuson_mf_implicit_rgb",
        "acuson_mf_jpeg_fragmented",
        "aloka_palette16_bigendian",
        "ge_logiq_j2k_lossy",
        "medistim_mf_jpeglossless",
        "philips_rle_palette",
        "retired_us_planar",
        "sonosite_mf_h264",
    ],
)
def test_real_scanners_files_arrive_in_their_own_encoding(tmp_path: Path, name: str) -> None:
    path = real_ultrasound(name)
    sent = pydicom.dcmread(path)
    with Node(tmp_path) as node:
        assert store_status(node.port, Scene(), dataset=sent) == Status.SUCCESS
        (record,) = node.spool.instances()
    assert record.transfer_syntax_uid == sent.file_meta.TransferSyntaxUID
    assert pydicom.dcmread(record.path).PixelData == sent.PixelData


def test_the_spooled_file_is_a_dicom_file_that_dcmtk_reads(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        assert store_status(node.port, Scene()) == Status.SUCCESS
        (record,) = node.spool.instances()
    dumped = subprocess.run([find_peer("dcmdump"), str(record.path)], capture_output=True, text=True, check=True)
    assert dumped.stderr == ""
    assert Scene().sop_instance_uid in dumped.stdout
    assert "CEUS_NODE" in dumped.stdout


def test_a_ping_is_answered(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        assert echoscu(node.port).returncode == 0


def test_the_retired_classes_of_old_scanners_are_kept_as_what_they_are(tmp_path: Path) -> None:
    """Ultrasound Multi-frame Image and Ultrasound Image (Retired), PS3.6 table A-1."""
    with Node(tmp_path) as node:
        for scene in (Scene(1, sop_class=RETIRED_MULTI_FRAME), Scene(2, frames=1, sop_class=RETIRED_SINGLE_FRAME)):
            assert store_status(node.port, scene) == Status.SUCCESS
        kinds = [record.kind for record in node.spool.instances()]
    assert kinds == [ArrivalKind.CINE, ArrivalKind.STILL]


def test_two_frames_under_the_single_frame_class_are_a_cine_and_one_frame_is_a_still(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        for scene in (Scene(1, frames=2, sop_class=SINGLE_FRAME), Scene(2, frames=1, sop_class=SINGLE_FRAME)):
            assert store_status(node.port, scene) == Status.SUCCESS
        kinds = [record.kind for record in node.spool.instances()]
    assert kinds == [ArrivalKind.CINE, ArrivalKind.STILL]


def test_the_same_bytes_twice_are_success_and_stay_one_object(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        assert [store_status(node.port, Scene()) for _ in range(2)] == [Status.SUCCESS, Status.SUCCESS]
        assert len(node.spool.instances()) == 1
        assert node.spool.counters()["duplicate"] == 1


def test_other_content_under_the_same_uid_is_answered_as_a_duplicate_and_the_first_stands(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        assert store_status(node.port, Scene()) == Status.SUCCESS
        assert store_status(node.port, Scene(attributes={"PixelData": b"\1" * 3072})) == Status.DUPLICATE_INSTANCE
        (record,) = node.spool.instances()
    assert pydicom.dcmread(record.path).PixelData == Scene().dataset().PixelData


@pytest.mark.parametrize("second", [Scene(patient="P2"), Scene(study=2)], ids=["another patient", "another study"])
def test_a_uid_under_two_patients_or_studies_is_kept_but_never_measured(tmp_path: Path, second: Scene) -> None:
    with Node(tmp_path) as node:
        assert store_status(node.port, Scene()) == Status.SUCCESS
        assert store_status(node.port, Scene(number=2, series=5)) == Status.SUCCESS
        assert store_status(node.port, second) == Status.SUCCESS
        assert store_status(node.port, second) == Status.SUCCESS  # the scanner repeats itself: no second copy
        measurable = [record.sop_instance_uid for record in node.spool.instances()]
        kept = node.spool.quarantined()
    assert measurable == [Scene(number=2).sop_instance_uid]
    assert len(kept) == 2  # both claimants
    assert len({(item.instance.patient_key, item.instance.study_instance_uid) for item in kept}) == 2


def test_a_series_under_two_patients_is_never_measured(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        assert store_status(node.port, Scene(1)) == Status.SUCCESS
        assert store_status(node.port, Scene(2, patient="P2")) == Status.SUCCESS
        assert store_status(node.port, Scene(3)) == Status.SUCCESS
        assert node.spool.instances() == ()
        assert len(node.spool.quarantined()) == 3


def test_two_patients_interleaved_on_one_association_stay_apart(tmp_path: Path) -> None:
    exam = [Scene(number, patient=f"P{number % 2}", study=number % 2, series=number % 2) for number in range(1, 7)]
    with Node(tmp_path) as node:
        assert storescu([scene.file(tmp_path / "out") for scene in exam], node.port).returncode == 0
        keys = {record.sop_instance_uid: record.patient_key for record in node.spool.instances()}
    assert len(keys) == 6
    assert len(set(keys.values())) == 2
    assert all(
        keys[one.sop_instance_uid] == keys[other.sop_instance_uid] for one, other in zip(exam, exam[2:], strict=False)
    )


OTHER_CLASSES = {
    "secondary capture": "1.2.840.10008.5.1.4.1.1.7",
    "raw data": "1.2.840.10008.5.1.4.1.1.66",
    "encapsulated pdf": "1.2.840.10008.5.1.4.1.1.104.1",
    "key object": "1.2.840.10008.5.1.4.1.1.88.59",
    "private": "1.3.46.670589.2.5.1.1",
}


@pytest.mark.parametrize("sop_class", OTHER_CLASSES.values(), ids=OTHER_CLASSES.keys())
def test_what_a_scanner_sends_beside_cines_never_blocks_its_queue(tmp_path: Path, sop_class: str) -> None:
    with Node(tmp_path) as node:
        assert store_status(node.port, Scene(sop_class=sop_class, frames=0)) == Status.SUCCESS
        assert node.spool.counters()["dropped"] == 1
        assert node.files() == []


def test_what_a_scanner_sends_beside_cines_is_refused_where_the_site_says_so(tmp_path: Path) -> None:
    strict = Peer("SCANNER", drop_unwanted=False)
    with Node(tmp_path, peers=(strict,)) as node:
        assert store_status(node.port, Scene(sop_class=OTHER_CLASSES["raw data"], frames=0)) is None
        assert store_status(node.port, Scene()) == Status.SUCCESS


def test_a_readers_contour_is_kept_and_starts_no_job(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        for number, sop_class in enumerate(("66.4", "88.22", "88.33", "88.34", "11.1", "11.2"), start=1):
            scene = Scene(number, frames=0, sop_class=f"1.2.840.10008.5.1.4.1.1.{sop_class}")
            assert store_status(node.port, scene) == Status.SUCCESS
        records = node.spool.instances()
    assert {record.kind for record in records} == {ArrivalKind.CONTOUR}
    assert len(records) == 6
    assert not any(record.starts_jobs for record in records)


def test_own_objects_coming_back_leave_no_trace(tmp_path: Path) -> None:
    own = {"Manufacturer": "CEUS Node", "ManufacturerModelName": "CEUS Node"}
    report = own | {"SOPInstanceUID": ResultIdentity("acquisition", ("1.2.3",), "settings", "0.1.0").uid("sr")}
    with Node(tmp_path) as node:
        sr = Scene(frames=0, sop_class="1.2.840.10008.5.1.4.1.1.88.34", attributes=report)
        assert store_status(node.port, sr) == Status.SUCCESS
        assert store_status(node.port, Scene(2, attributes=own)) == Status.SUCCESS
        assert node.files() == []
        assert node.spool.counters()["dropped"] == 2


def test_a_stranger_is_turned_away_at_the_door(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        assert store_status(node.port, Scene(), calling="STRANGER") is None
        assert echoscu(node.port, calling="STRANGER").returncode != 0
        assert echoscu(node.port, calling="SCANNER").returncode == 0


def test_a_strangers_cine_is_refused_with_the_reason_where_strangers_may_call(tmp_path: Path) -> None:
    with Node(tmp_path, require_known_peers=False) as node:
        assert store_status(node.port, Scene(), calling="STRANGER") == Status.NOT_AUTHORISED
        assert node.files() == []


def test_any_peer_is_a_scanner_where_the_configuration_says_so(tmp_path: Path) -> None:
    with Node(tmp_path, peers=(), any_peer_is_scanner=True) as node:
        assert store_status(node.port, Scene(), calling="STRANGER") == Status.SUCCESS
        assert node.spool.instances()[0].starts_jobs


def test_a_pacs_that_forwards_cines_starts_no_job_and_is_not_blocked(tmp_path: Path) -> None:
    pacs = Peer("*", host="127.0.0.1", role=PeerRole.DESTINATION)
    with Node(tmp_path, peers=(SCANNER, pacs)) as node:
        assert store_status(node.port, Scene(), calling="ODD_TITLE") == Status.SUCCESS
        assert node.files() == []
        assert store_status(node.port, Scene(), calling="SCANNER") == Status.SUCCESS
        assert len(node.spool.instances()) == 1


@pytest.mark.parametrize("calling", ["scanner", " SCANNER ", "Scanner"])
def test_titles_typed_in_by_hand_are_recognised(tmp_path: Path, calling: str) -> None:
    with Node(tmp_path) as node:
        assert store_status(node.port, Scene(), calling=calling) == Status.SUCCESS


def test_a_scanner_at_another_address_is_a_stranger(tmp_path: Path) -> None:
    with Node(tmp_path, peers=(Peer("SCANNER", host="192.0.2.1"), Peer("OTHER", host="localhost"))) as node:
        assert store_status(node.port, Scene(), calling="SCANNER") is None
        assert store_status(node.port, Scene(), calling="OTHER") == Status.SUCCESS


def test_the_assembler_hears_the_end_of_an_association(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        assert not node.spool.doorbell.wait(0.0)
        assert storescu([Scene().file(tmp_path / "out")], node.port).returncode == 0
        assert node.spool.doorbell.wait(5.0)


def test_bad_data_gets_a_named_answer_and_leaves_nothing(tmp_path: Path) -> None:
    def altered(keyword: str, value: str) -> pydicom.Dataset:
        dataset = Scene().dataset()
        setattr(dataset, keyword, value)
        return dataset

    with Node(tmp_path) as node:
        assert store_status(node.port, Scene(), dataset=altered("StudyInstanceUID", "")) == Status.MISSING_IDENTITY
        assert store_status(node.port, Scene(frames=0)) == Status.DATASET_DOES_NOT_MATCH_SOP_CLASS
        assert node.files() == []
        assert echoscu(node.port).returncode == 0


def test_series_and_instances_outlive_the_cache_of_their_headers(tmp_path: Path) -> None:
    with Node(tmp_path) as node:
        store_status(node.port, Scene())
        before = node.spool.instances()
        before[0].path.with_suffix(".json").write_bytes(b"\0\0torn")
        node.spool.__init__(node.spool.root)  # type: ignore[misc] # as another process sees it
        assert node.spool.instances() == before
        assert before[0].series_instance_uid == uid_of(2, 1)
