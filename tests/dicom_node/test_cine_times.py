"""When frames were taken: the pointer is followed, hints are flagged, instances are joined on absolute time only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.cine_reader import CineFile, open_cine
from dicom_node.errors import UnreadableCineError
from tests.dicom_node.cine_files import region, write_cine

FRAMES = np.random.default_rng(2).integers(0, 256, (4, 16, 20), dtype=np.uint8)
VECTOR = 0x00181065


def opened(folder: Path, **changed: object) -> CineFile:
    return open_cine(write_cine(folder, FRAMES, ExplicitVRLittleEndian, **changed))


def codes(cine: CineFile) -> set[str]:
    return {limitation.code for limitation in cine.limitations}


def test_a_jittered_vector_is_summed_from_its_second_value(tmp_path: Path) -> None:
    cine = opened(tmp_path, FrameIncrementPointer=VECTOR, FrameTimeVector=[33.3, 50, 33.3, 66.7])
    # The first increment belongs to no interval (PS3.3 C.7.6.5.1.2), whatever a maker wrote there.
    assert cine.description.frame_times_s == pytest.approx([0.0, 0.05, 0.0833, 0.15], abs=1e-6)
    assert cine.description.frame_times_source == "frame time vector"
    assert not cine.limitations


def test_the_pointer_decides_when_both_are_there(tmp_path: Path) -> None:
    cine = opened(tmp_path, FrameIncrementPointer=VECTOR, FrameTimeVector=[0, 40, 40, 40], FrameTime=100.0)
    assert cine.description.frame_times_s[-1] == pytest.approx(0.12)


def test_a_pointer_to_nothing_is_said(tmp_path: Path) -> None:
    cine = opened(tmp_path, FrameIncrementPointer=VECTOR)
    assert cine.description.frame_times_s[-1] == pytest.approx(0.3)
    assert codes(cine) == {"frame_increment_pointer"}


def test_the_cine_rate_stands_in_only_with_a_flag(tmp_path: Path) -> None:
    cine = opened(tmp_path, FrameTime=None, CineRate=20)
    assert cine.description.frame_times_s == pytest.approx([0, 0.05, 0.1, 0.15])
    assert codes(cine) >= {"cine_rate_only"}


@pytest.mark.parametrize("broken", [{"FrameTime": 0.0}, {"FrameTime": -5.0}])
def test_without_any_time_there_is_no_time_base(tmp_path: Path, broken: dict[str, object]) -> None:
    cine = opened(tmp_path, **broken)
    assert cine.description.frame_times_source == "none"
    assert cine.description.frame_times_s.size == 0
    assert "no_time_base" in codes(cine)


def test_a_vector_that_stands_still_is_no_time_base(tmp_path: Path) -> None:
    cine = opened(tmp_path, FrameIncrementPointer=VECTOR, FrameTimeVector=[0, 40, 0, 40], FrameTime=None)
    assert cine.description.frame_times_source == "none"


def test_a_decimated_clip_is_noticed_by_its_effective_duration(tmp_path: Path) -> None:
    assert "duration_mismatch" in codes(opened(tmp_path, EffectiveDuration=4.0))
    assert "duration_mismatch" not in codes(opened(tmp_path, EffectiveDuration=0.41))


@pytest.mark.parametrize(
    ("acquired", "injected", "offset_s"),
    [
        ("20260102030405.250000", "030400.25", 5.0),
        ("20260102030405.250000", "030410.25", -5.0),  # the loop began before the injection
        ("20260103000002.000000", "235958", 4.0),  # across midnight
    ],
)
def test_time_counts_from_the_bolus_where_it_is_stored(
    tmp_path: Path, acquired: str, injected: str, offset_s: float
) -> None:
    cine = opened(tmp_path, AcquisitionDateTime=acquired, ContrastBolusStartTime=injected)
    assert cine.description.time_zero.kind == "bolus start"
    assert cine.description.frame_times_s[0] == pytest.approx(offset_s)


def test_an_injection_an_hour_away_is_another_one(tmp_path: Path) -> None:
    cine = opened(tmp_path, ContrastBolusStartTime="015900")
    assert cine.description.time_zero.kind == "first frame"
    assert codes(cine) == {"bolus_start_implausible"}


def test_a_contrast_timer_gives_time_zero(tmp_path: Path) -> None:
    cine = opened(tmp_path, EventTimerNames=["Biopsy", "Contrast 1"], EventElapsedTimes=[1000, 12500])
    assert cine.description.time_zero.kind == "event timer"
    assert cine.description.frame_times_s[0] == pytest.approx(12.5)


def parts(folder: Path, starts: list[str], frames: list[np.ndarray], **changed: object) -> list[Path]:
    written = []
    for i, (start, part) in enumerate(zip(starts, frames, strict=True)):
        (folder / str(i)).mkdir()
        stamp = {"AcquisitionDateTime": start} if start else {"AcquisitionDateTime": None}
        written.append(write_cine(folder / str(i), part, ExplicitVRLittleEndian, **stamp, **changed))
    return written


def test_a_clip_split_over_instances_is_joined_in_time(tmp_path: Path) -> None:
    paths = parts(tmp_path, ["20260102030406.0", "20260102030405.5"], [FRAMES[2:], FRAMES[:2]])
    cine = open_cine(paths)
    assert cine.description.frame_times_s == pytest.approx([0.0, 0.1, 0.5, 0.6])
    np.testing.assert_array_equal(np.concatenate([b.pixels for b in cine.blocks()]), FRAMES)
    np.testing.assert_array_equal(cine.sample([3, 1]), FRAMES[[3, 1]])


def test_single_frames_become_a_cine_by_their_acquisition_times(tmp_path: Path) -> None:
    starts = [f"2026010203040{i}.5" for i in range(4)]
    cine = open_cine(parts(tmp_path, starts[::-1], [frame[None] for frame in FRAMES[::-1]]))
    assert cine.description.frame_times_source == "acquisition times"
    assert cine.description.frame_times_s == pytest.approx([0, 1, 2, 3])
    np.testing.assert_array_equal(np.concatenate([b.pixels for b in cine.blocks()]), FRAMES)


@pytest.mark.parametrize("starts", [["", ""], ["20260102030405.5", "20260102030405.5"]])
def test_instances_without_an_order_in_time_are_not_joined(tmp_path: Path, starts: list[str]) -> None:
    with pytest.raises(UnreadableCineError) as refusal:
        open_cine(parts(tmp_path, starts, [FRAMES[:2], FRAMES[2:]]))
    assert refusal.value.code == "mixed_instances"


def test_instances_of_two_views_are_not_joined(tmp_path: Path) -> None:
    first, second = parts(tmp_path, ["20260102030405.5", "20260102030406.5"], [FRAMES[:2], FRAMES[2:, :12]])
    with pytest.raises(UnreadableCineError) as refusal:
        open_cine([first, second])
    assert refusal.value.code == "mixed_instances"


def test_a_table_of_the_pixel_calibration_becomes_levels_in_db(tmp_path: Path) -> None:
    item: Dataset = region((0, 0, 19, 15))
    item.PixelComponentOrganization, item.PixelComponentPhysicalUnits = 2, 2
    item.NumberOfTableEntries = 3
    item.TableOfPixelValues, item.TableOfParameterValues = [0, 128, 255], [-70.0, -30.0, -10.0]
    (found,) = opened(tmp_path, SequenceOfUltrasoundRegions=[item]).description.regions
    assert found.grey_to_db is not None
    # Full scale is 0 dB: the table is shifted to its top.
    assert [found.grey_to_db[g] for g in (0, 64, 128, 255)] == pytest.approx([-60.0, -40.0, -20.0, 0.0])
