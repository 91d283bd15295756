"""What the simulated scanner writes, as others read it: pydicom, dciodvfy, dcmdump, a peer on loopback."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import UltrasoundImageStorage, UltrasoundMultiFrameImageStorage
from pynetdicom import AE, evt
from pynetdicom.events import Event

from dicom_node.cine_reader import open_cine
from dicom_node.simulated_exam import ExamPlan, icu_exam
from dicom_node.simulated_scanner import (
    PROFILE,
    CineIdentity,
    Encoding,
    ScannerAssociation,
    play_scanner,
    write_cine,
    write_single_frames,
    write_still,
)
from processing.simulation.display import Display, tint_table
from processing.simulation.other_scenes import GAIN_STEP, bmode_scene, doppler_scene
from processing.simulation.scene import Scene
from processing.simulation.scenes import DEMO_BOLUS, SMALL_BOLUS, TINY_BOLUS, ContrastParameters, bolus_scene
from tests.peers import find_peer

IDENTITY = CineIdentity(datetime(2026, 3, 14, 9, 26, 53, 589000))  # noqa: DTZ001 - scanners write local time
SHORT = replace(TINY_BOLUS, timing=replace(TINY_BOLUS.timing, start_s=13.0, duration_s=2.2))


def verified(path: Path) -> list[str]:
    """The errors that dciodvfy finds."""
    report = subprocess.run([find_peer("dciodvfy"), str(path)], capture_output=True, text=True, check=False)
    text = report.stdout + report.stderr
    assert "Image" in text, "dciodvfy names the object it has recognised"
    return [line for line in text.splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("encoding", ["rle", "jpeg-ls", "explicit", "implicit"])
def test_a_lossless_cine_is_read_back_with_the_very_pixels(tmp_path: Path, encoding: Encoding) -> None:
    scene = bolus_scene(SHORT)
    path = write_cine(scene, tmp_path, IDENTITY, encoding)
    np.testing.assert_array_equal(dcmread(path).pixel_array, scene.sample(range(scene.description.frames)))


def test_a_jpeg_cine_keeps_the_luma_of_its_frames(tmp_path: Path) -> None:
    scene = bolus_scene(SHORT)
    ds = dcmread(write_cine(scene, tmp_path, IDENTITY))
    frames = list(generate_frames(ds.PixelData, number_of_frames=ds.NumberOfFrames))
    assert len(frames) == scene.description.frames == ds.NumberOfFrames
    assert ds.LossyImageCompression == "01"
    for index in (0, 10):
        shown = Image.open(io.BytesIO(frames[index]))
        luma = np.asarray(shown.convert("L"), dtype=float)
        expected = np.asarray(Image.fromarray(scene.frame(index)).convert("L"), dtype=float)
        # Quality 95: quantiser steps of 1 to 12 at high frequencies; speckle uses them all.
        assert np.abs(luma - expected).mean() < 2.0


@pytest.mark.peers
@pytest.mark.parametrize("encoding", ["jpeg", "rle", "jpeg-ls", "explicit", "implicit"])
@pytest.mark.parametrize("kind", ["bolus", "vector", "grey", "doppler"])
def test_dciodvfy_finds_no_error(tmp_path: Path, encoding: Encoding, kind: str) -> None:
    short = replace(GAIN_STEP.timing, duration_s=0.7)
    scenes = {
        "bolus": lambda: bolus_scene(SHORT),
        "vector": lambda: bolus_scene(replace(SHORT, timing=replace(SHORT.timing, increments="vector"))),
        "grey": lambda: bmode_scene(replace(GAIN_STEP, timing=short, colour=False)),
        "doppler": lambda: doppler_scene(replace(GAIN_STEP, timing=short)),
    }
    scene = scenes[kind]()
    assert verified(write_cine(scene, tmp_path, IDENTITY, encoding)) == []
    assert verified(write_still(scene, 1, tmp_path, replace(IDENTITY, instance_number=2), encoding)) == []


@pytest.mark.peers
def test_dcmdump_reads_the_offset_table_and_the_frames(tmp_path: Path) -> None:
    path = write_cine(bolus_scene(SHORT), tmp_path, IDENTITY)
    dump = subprocess.run(
        [find_peer("dcmdump"), "+P", "PixelData", str(path)], capture_output=True, text=True, check=True
    )
    items = [line for line in dump.stdout.splitlines() if "(fffe,e000)" in line]
    assert len(items) == 1 + 11


def test_times_and_calibration_stand_in_the_header(tmp_path: Path) -> None:
    scene = bolus_scene(SHORT)
    ds = dcmread(write_cine(scene, tmp_path, IDENTITY))
    assert ds.SOPClassUID == UltrasoundMultiFrameImageStorage
    assert ds.FrameIncrementPointer == 0x00181063
    assert float(ds.FrameTime) == pytest.approx(200.0)
    assert ds.AcquisitionDateTime == "20260314092653.589000"
    assert ds.ContrastBolusStartTime == "092640.589000"  # the first frame was taken 13 s after the injection
    box = scene.truth.contrast
    assert box is not None
    region = ds.SequenceOfUltrasoundRegions[0]
    assert (region.RegionLocationMinX0, region.RegionLocationMaxX1) == (box.x0, box.x1 - 1)
    assert (region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection) == (3, 3)
    assert 10 * region.PhysicalDeltaY == pytest.approx(80.0 / box.rows)


def test_a_frame_time_vector_adds_up_to_the_frame_times(tmp_path: Path) -> None:
    scene = bolus_scene(replace(SHORT, timing=replace(SHORT.timing, increments="vector")))
    ds = dcmread(write_cine(scene, tmp_path, IDENTITY))
    assert ds.FrameIncrementPointer == 0x00181065
    times_s = np.cumsum([float(step) for step in ds.FrameTimeVector]) / 1000
    np.testing.assert_allclose(times_s, scene.description.frame_times_s - 13.0, atol=1e-8)


@pytest.mark.peers
def test_the_header_can_declare_the_levels_of_the_display(tmp_path: Path) -> None:
    path = write_cine(bolus_scene(replace(SHORT, declares_levels=True)), tmp_path, IDENTITY)
    assert verified(path) == []
    regions = open_cine(path).description.regions
    assert regions[0].grey_to_db == pytest.approx(Display().grey_to_db, abs=1e-5)  # stored as float32
    assert regions[1].grey_to_db is None


def test_a_clip_in_two_instances_goes_on_where_the_first_ends(tmp_path: Path) -> None:
    scene = bolus_scene(SHORT)
    second = replace(IDENTITY, acquired_at=IDENTITY.acquired_at + timedelta(seconds=0.8), instance_number=2)
    parts = [
        write_cine(scene, tmp_path, IDENTITY, "explicit", range(4)),
        write_cine(scene, tmp_path, second, "explicit", range(4, 11)),
    ]
    both = open_cine(parts)
    np.testing.assert_allclose(both.description.frame_times_s, scene.description.frame_times_s, atol=1e-6)
    np.testing.assert_array_equal(both.sample([3, 4, 10]), scene.sample([3, 4, 10]))
    assert len({dcmread(part).ContrastBolusStartTime for part in parts}) == 1


def test_single_frames_carry_their_own_times(tmp_path: Path) -> None:
    scene = bolus_scene(SHORT)
    series = open_cine(write_single_frames(scene, tmp_path, IDENTITY, "rle"))
    np.testing.assert_allclose(series.description.frame_times_s, scene.description.frame_times_s, atol=1e-5)
    assert series.description.frame_times_source == "acquisition times"


@pytest.mark.parametrize("increments", ["uniform", "vector"])
def test_the_nodes_reader_finds_what_the_scene_describes(
    tmp_path: Path, increments: Literal["uniform", "vector"]
) -> None:
    scene = bolus_scene(replace(SHORT, timing=replace(SHORT.timing, increments=increments)))
    read, said = open_cine(write_cine(scene, tmp_path, IDENTITY)).description, scene.description
    np.testing.assert_allclose(read.frame_times_s, said.frame_times_s, atol=1e-7)
    assert (read.frame_times_source, read.time_zero) == (said.frame_times_source, said.time_zero)
    assert [region.box for region in read.regions] == [region.box for region in said.regions]
    assert read.lossy


def test_a_scene_without_contrast_claims_none(tmp_path: Path) -> None:
    scene = bmode_scene(replace(GAIN_STEP, timing=replace(GAIN_STEP.timing, duration_s=0.5)))
    ds = dcmread(write_cine(scene, tmp_path, IDENTITY))
    assert "ContrastBolusAgent" not in ds
    assert "ContrastBolusStartTime" not in ds


def test_the_same_identity_gives_the_same_file(tmp_path: Path) -> None:
    one = write_cine(bolus_scene(SHORT, 7), tmp_path / "one", IDENTITY)
    two = write_cine(bolus_scene(SHORT, 7), tmp_path / "two", IDENTITY)
    assert one.name == two.name
    assert one.read_bytes() == two.read_bytes()
    other = replace(IDENTITY, patient_id="SIM-0002")
    assert other.study_instance_uid != IDENTITY.study_instance_uid


def panel_power(path: Path, scene: Scene) -> np.ndarray:
    """An independent reading: luma of the JPEG, level by the tint's luma, power by the profile, mean of the panel."""
    luma = tint_table(scene.screen.tint).astype(float) @ (0.299, 0.587, 0.114)
    level = np.interp(np.arange(256), luma, np.arange(256))
    power = 10 ** ((level / 255 - 1) * PROFILE["dynamic_range_db"] / 10)
    ds = dcmread(path)
    box = scene.truth.contrast
    assert box is not None
    curve = []
    for data in generate_frames(ds.PixelData, number_of_frames=ds.NumberOfFrames):
        shown = np.asarray(Image.open(io.BytesIO(data)).convert("L"))
        curve.append(power[shown[box.slices]].mean())
    return np.array(curve)


@pytest.mark.parametrize("size", [SMALL_BOLUS, pytest.param(DEMO_BOLUS, marks=pytest.mark.full)], ids=["small", "demo"])
def test_peak_and_time_to_peak_survive_the_display_and_jpeg(tmp_path: Path, size: ContrastParameters) -> None:
    assert PROFILE["dynamic_range_db"] == Display().dynamic_range_db
    scene = bolus_scene(size, seed=1)
    truth = scene.truth.panel
    assert truth is not None
    curve = panel_power(write_cine(scene, tmp_path, IDENTITY), scene)
    enhancement = curve - curve[truth.time_s < 5].mean()
    near = np.abs(truth.time_s - truth.time_to_peak_s) < 3.5
    shape = np.polynomial.Polynomial.fit(truth.time_s[near], enhancement[near], 3)
    fine_s = np.linspace(truth.time_to_peak_s - 2, truth.time_to_peak_s + 2, 4001)
    # The budget of the node's end-to-end test is 5 % and 0.2 s; a plain cubic through the peak needs less.
    assert shape(fine_s).max() == pytest.approx(truth.peak_enhancement_au, rel=0.04)
    assert fine_s[shape(fine_s).argmax()] == pytest.approx(truth.time_to_peak_s, abs=0.2)


@pytest.fixture
def received() -> Iterator[tuple[int, list[Dataset]]]:
    """A peer on loopback that keeps what it is sent."""
    kept: list[Dataset] = []

    def keep(event: Event) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        kept.append(ds)
        return 0x0000

    ae = AE("CEUS_NODE")
    for sop_class in (UltrasoundMultiFrameImageStorage, UltrasoundImageStorage):
        ae.add_supported_context(sop_class, ["1.2.840.10008.1.2.4.50"])
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    yield server.socket.getsockname()[1], kept
    server.shutdown()


def test_a_ward_exam_arrives_in_order_over_one_association(tmp_path: Path, received: tuple[int, list[Dataset]]) -> None:
    port, kept = received
    brief = replace(SHORT, timing=replace(SHORT.timing, start_s=-1.0))
    plan = ExamPlan(datetime(2026, 3, 14, 23, 50), second_loop_s=1.0, parameters=brief)  # noqa: DTZ001
    exam = icu_exam(tmp_path, plan)
    assert play_scanner(exam.send_order, ScannerAssociation("127.0.0.1", port)) == [0x0000] * 9
    assert [ds.SOPInstanceUID for ds in kept] == [path.stem for path in exam.send_order]
    assert sum(ds.PatientID == "SIM-ICU-OTHER" for ds in kept) == 1
    ours = [ds for ds in kept if ds.PatientID == "SIM-ICU"]
    assert len({ds.SeriesInstanceUID for ds in ours}) == 1
    first, second, third = (ds for ds in ours if ds.SOPClassUID == UltrasoundMultiFrameImageStorage)
    assert first.ContrastBolusStartTime == second.ContrastBolusStartTime == "235001.000000"
    assert third.ContrastBolusStartTime == "000201.000000"
    # The second loop goes on where the first ends: 11 frames of 200 ms later.
    assert first.AcquisitionDateTime == "20260314235000.000000"
    assert second.AcquisitionDateTime == "20260314235002.200000"
    assert third.AcquisitionDateTime == "20260315000200.000000"
    assert exam.fourth_loop.path not in exam.send_order
    assert exam.fourth_loop.identity.series_instance_uid == first.SeriesInstanceUID


def test_a_peer_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write_still(bolus_scene(SHORT), 0, tmp_path, IDENTITY)
    with pytest.raises(ConnectionError, match="NOBODY"):
        play_scanner([path], ScannerAssociation("127.0.0.1", 1, called_ae="NOBODY"))
