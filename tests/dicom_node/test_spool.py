"""The ledger: what order things reach the disk in, what a crash leaves, what readers in other processes see."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pydicom
import pytest

from dicom_node.acquisition import ArrivalKind, Origin, Peer, ReceivedInstance
from dicom_node.arrived_header import read_arrived_header
from dicom_node.errors import SpoolError, UnreadableHeaderError
from dicom_node.inbox import AssociationLedger, Inbox, SpoolLimits, StoreRequest
from dicom_node.spool import Spool, file_stem
from dicom_node.status import Status
from tests.datasets import real_ultrasound
from tests.dicom_node.network_scenes import Scene

PEER = Peer("SCANNER")
EXPLICIT = "1.2.840.10008.1.2.1"


def data_set_of(scene: Scene, folder: Path) -> bytes:
    """The bytes of the data set as they travel."""
    data = scene.file(folder).read_bytes()
    return data[data.index(b"\x08\x00\x16\x00UI") :]


def receive(ledger: AssociationLedger, scene: Scene, folder: Path, data: bytes | None = None) -> Status:
    """What the network does with an object, without one."""
    upload = ledger.upload(StoreRequest(scene.sop_class, scene.sop_instance_uid, EXPLICIT, Origin.SCANNER))
    upload.write([memoryview(data if data is not None else data_set_of(scene, folder))])
    return ledger.commit(upload)


def test_success_comes_after_file_name_and_folder_are_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "spool")
    calls: list[str] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(handle: int) -> None:
        calls.append(f"fsync {Path(f'/proc/self/fd/{handle}').readlink().suffix or 'folder'}")
        real_fsync(handle)

    def link(source: Any, target: Any) -> None:
        if Path(target).suffix == ".dcm":
            calls.append("link")
        real_link(source, target)

    with Inbox(spool) as inbox:
        ledger = inbox.begin(PEER, "SCANNER", "h")
        receive(ledger, Scene(1), tmp_path)  # makes the shard's folder
        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(os, "link", link)
        shard = spool.instance_path(Scene(1).sop_instance_uid).parent
        twin = next(n for n in range(2, 5000) if spool.instance_path(Scene(n).sop_instance_uid).parent == shard)
        assert receive(ledger, Scene(twin), tmp_path) is Status.SUCCESS
    assert calls == ["fsync .part", "link", "fsync folder"]


def test_an_assembler_in_another_process_sees_new_instances_and_its_own_marks(tmp_path: Path) -> None:
    writer, reader = Spool(tmp_path / "spool"), Spool(tmp_path / "spool")
    with Inbox(writer) as inbox:
        ledger = inbox.begin(PEER, "SCANNER", "h")
        for number in range(1, 4):
            assert receive(ledger, Scene(number), tmp_path) is Status.SUCCESS
            assert len(reader.instances()) == number
        first = reader.instances()[0]
        assert first.consumed_by is None
        before = (first.path.stat().st_mtime_ns, first.path.stat().st_ino)
        reader.mark_consumed(first.sop_instance_uid, "acquisition-1")
        reader.mark_consumed(first.sop_instance_uid, "acquisition-2")
        assert (first.path.stat().st_mtime_ns, first.path.stat().st_ino) == before  # never rewritten
        assert [record.consumed_by for record in Spool(writer.root).instances()] == ["acquisition-2", None, None]
        reader.remove(first.sop_instance_uid)
        assert len(reader.instances()) == len(writer.instances()) == 2


def test_what_did_not_change_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The assembler looks every second at a spool of a fortnight: settled folders cost one stat each."""
    spool = Spool(tmp_path / "spool")
    with Inbox(spool) as inbox:
        receive(inbox.begin(PEER, "SCANNER", "h"), Scene(1), tmp_path)
    folder = spool.instance_path(Scene(1).sop_instance_uid).parent
    old = time.time() - 60
    os.utime(folder, (old, old))
    known = spool.instances()
    real = os.scandir

    def scandir(listed: Any = ".") -> Any:
        assert Path(listed) != folder, "a settled folder was listed again"
        return real(listed)

    monkeypatch.setattr(os, "scandir", scandir)
    assert spool.instances() == known


def test_claims_of_series_that_are_gone_are_forgotten_in_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with Inbox(spool) as inbox:
        ledger = inbox.begin(PEER, "SCANNER", "h")
        for scene in (Scene(1, series=1), Scene(2, series=2), Scene(3, series=3)):
            receive(ledger, scene, tmp_path)
    spool.remove(Scene(1).sop_instance_uid)
    spool.remove(Scene(2).sop_instance_uid)
    old = time.time() - 2 * 86_400
    for series in (2, 3):
        os.utime(spool.series_path(Scene(series=series).dataset().SeriesInstanceUID), (old, old))
    spool.tidy()
    left = {path.name for path in (spool.root / "series").iterdir()}
    assert left == {spool.series_path(Scene(series=series).dataset().SeriesInstanceUID).name for series in (1, 3)}


def test_open_associations_are_those_of_living_receivers(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with Inbox(spool) as inbox:
        ledger = inbox.begin(PEER, "SCANNER", "192.0.2.7")
        (open_one,) = Spool(spool.root).open_associations()
        assert (open_one.peer_ae_title, open_one.peer_host) == ("SCANNER", "192.0.2.7")
        assert open_one.association_id == ledger.association_id
        ledger.close()
        assert spool.open_associations() == ()


def test_a_new_receiver_sweeps_what_dead_ones_left_and_nothing_of_the_living(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with Inbox(spool) as living:
        upload = living.begin(PEER, "SCANNER", "h").upload(
            StoreRequest(Scene().sop_class, "1.2", EXPLICIT, Origin.SCANNER)
        )
        dead = [spool.root / "incoming" / "0dead-1-1.part", spool.root / "associations" / "0dead-1.json"]
        for path in dead:
            path.write_bytes(b"half")
        assert len(spool.open_associations()) == 1  # the living one's
        with Inbox(spool):
            assert not any(path.exists() for path in dead)
            assert upload.path.exists()
            assert len(spool.open_associations()) == 1


def test_a_series_claim_torn_by_a_power_failure_is_made_anew(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with Inbox(spool) as inbox:
        ledger = inbox.begin(PEER, "SCANNER", "h")
        claim = spool.series_path(Scene().dataset().SeriesInstanceUID)
        claim.write_bytes(b"")
        assert receive(ledger, Scene(1), tmp_path) is Status.SUCCESS
        assert receive(ledger, Scene(2), tmp_path) is Status.SUCCESS
        assert len(spool.instances()) == 2
        assert len(claim.read_text().split()) == 2


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_object_is_not_understood(tmp_path: Path, kept: float) -> None:
    spool = Spool(tmp_path / "spool")
    data = data_set_of(Scene(), tmp_path)
    with Inbox(spool) as inbox:
        ledger = inbox.begin(PEER, "SCANNER", "h")
        status = receive(ledger, Scene(), tmp_path, data[: int(kept * len(data))])
        assert status in (Status.CANNOT_UNDERSTAND, Status.MISSING_IDENTITY)
        assert spool.instances() == ()
        assert list((spool.root / "incoming").iterdir()) == []


@pytest.mark.parametrize("name", ["acuson_mf_jpeg_fragmented", "sonosite_mf_h264", "ge_logiq_j2k_lossy"])
def test_truncated_compressed_pixels_are_seen(tmp_path: Path, name: str) -> None:
    whole = real_ultrasound(name).read_bytes()
    path = tmp_path / "cut.dcm"
    for cut in (1000, len(whole) // 2, len(whole) - 2000):
        path.write_bytes(whole[:cut] if cut != 1000 else whole[:-1000])
        with pytest.raises(UnreadableHeaderError, match="truncated"):
            read_arrived_header(path)


def test_one_broken_attribute_is_no_reason_to_refuse_a_cine(tmp_path: Path) -> None:
    path = Scene().file(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"IS\x02\x001 ", b"IS\x02\x00??"))  # Series and Instance Number
    header = read_arrived_header(path)
    assert header.number("SeriesNumber") is None
    assert header.text("SOPInstanceUID") == Scene().sop_instance_uid


def test_a_deflated_object_is_read_without_inflating_its_pixels(tmp_path: Path) -> None:
    dataset = Scene(frames=40, size=512).dataset()  # 10 MB
    dataset.PixelData = b"\0" * len(dataset.PixelData)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    path = tmp_path / "deflated.dcm"
    dataset.save_as(path, enforce_file_format=True)
    header = read_arrived_header(path)
    assert header.has_pixels
    assert header.number("NumberOfFrames") == 40


def test_times_mean_what_the_file_says(tmp_path: Path) -> None:
    times = {
        "AcquisitionDateTime": "20261120101530.250000+0100",
        "ContentDate": "20261120",
        "ContentTime": "101531.5",
        "TimezoneOffsetFromUTC": "+0100",
        "ContrastBolusStartTime": "101520",
    }
    record = one_record(tmp_path, Scene(attributes=times))
    assert record.acquired_at is not None
    assert record.acquired_at.isoformat() == "2026-11-20T10:15:30.250000+01:00"
    assert record.content_at is not None
    assert record.content_at.isoformat() == "2026-11-20T10:15:31.500000+01:00"
    assert record.injected_at is not None
    assert record.injected_at.isoformat() == "2026-11-20T10:15:20+01:00"


def test_without_times_nothing_is_invented(tmp_path: Path) -> None:
    record = one_record(tmp_path, Scene(attributes={"AcquisitionDateTime": "", "FrameTime": None}))
    assert (record.acquired_at, record.content_at, record.injected_at, record.duration_s) == (None, None, None, None)


def test_a_frame_time_vector_adds_up(tmp_path: Path) -> None:
    vector = {"FrameIncrementPointer": 0x00181065, "FrameTimeVector": [0, 40, 60, 50]}
    assert one_record(tmp_path, Scene(frames=4, attributes=vector)).duration_s == pytest.approx(0.15)


def one_record(folder: Path, scene: Scene) -> ReceivedInstance:
    """The ledger's record of that object, as another process reads it."""
    spool = Spool(folder / "spool")
    with Inbox(spool) as inbox:
        assert receive(inbox.begin(PEER, "SCANNER", "h"), scene, folder) is Status.SUCCESS
    (record,) = Spool(spool.root).instances()
    assert record.kind is ArrivalKind.CINE
    return record


def test_patients_are_told_apart_without_being_named(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with Inbox(spool) as inbox:
        ledger = inbox.begin(PEER, "SCANNER", "h")
        renamed = {"PatientName": "Corrected^Name"}
        receive(ledger, Scene(1), tmp_path)
        receive(ledger, Scene(2, attributes=renamed), tmp_path)
        receive(ledger, Scene(3, patient="P2", study=2, series=2), tmp_path)
    keys = [record.patient_key for record in spool.instances()]
    assert keys[0] == keys[1] != keys[2]
    for path in spool.root.rglob("*.json"):
        assert b"NAME" not in path.read_bytes()
        assert b"P2" not in path.read_bytes()


def test_no_value_of_a_patient_reaches_a_log(tmp_path: Path) -> None:
    """Both DICOM libraries quote the values that they complain of, through loggers and through warnings."""
    secrets = {"PatientBirthDate": "19SECRET", "PatientID": "SECRET" * 20, "InstanceNumber": "SECRET"}
    with pydicom.config.disable_value_validation():
        path = Scene(attributes={key: value for key, value in secrets.items() if key != "InstanceNumber"}).file(
            tmp_path
        )
    path.write_bytes(path.read_bytes().replace(b"IS\x02\x001 ", b"IS\x02\x00SE"))
    code = (
        "import sys; from pathlib import Path; from dicom_node.config import LogSettings;"
        "from dicom_node.logs import configure_logging; configure_logging(LogSettings(level='debug'), 'receiver');"
        "from dicom_node.ledger_record import record_of; record = record_of(Path(sys.argv[1]));"
        "import structlog; structlog.get_logger().info('read', uid=record.sop_instance_uid)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert '"event": "read"' in done.stdout
    assert "SE" not in done.stdout + done.stderr
    assert Scene().sop_instance_uid not in done.stdout


def test_a_hostile_uid_stays_inside_the_spool() -> None:
    assert file_stem("1.2.840.3") == "1.2.840.3"
    for uid in ("../../etc/passwd", "", "..", ".", "1.2/3", "1.2\0"):
        assert set(file_stem(uid)) <= set("x0123456789abcdef")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SpoolError, match="file"):
        Spool(tmp_path / "file")


def test_counters_add_up_over_receivers_and_restarts(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    for turn in range(2):
        with Inbox(spool, SpoolLimits(reserve_bytes=0)) as inbox:
            ledger = inbox.begin(PEER, "SCANNER", "h")
            receive(ledger, Scene(turn), tmp_path)
            summary = ledger.close()
            assert (summary.stored, summary.duplicate) == (1, 0)
    assert spool.counters()["stored"] == 2
