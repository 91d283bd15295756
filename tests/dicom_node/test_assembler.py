"""Which acquisitions arrived: exams as wards send them, told apart by time, view and injection alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.assembler import Assembly, Clip, assemble
from dicom_node.config import SeriesSettings

SCANNED = datetime(2026, 3, 1, 10, 0, 0)  # noqa: DTZ001  # scanners write local times without a zone
RECEIVED = datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
LATER = RECEIVED + timedelta(minutes=1)
QUIET = SeriesSettings(quiet_s=10, max_wait_s=300)


def clip(
    uid: str, start_s: float = 0.0, duration_s: float = 60.0, injected_s: float | None = 0.0, **other: object
) -> Clip:
    """A loop whose times are known and mean the loop's start."""
    made = Clip(
        sop_instance_uid=uid,
        study_instance_uid="study",
        series_instance_uid="series",
        patient_key="patient",
        peer="US1",
        received_at=RECEIVED,
        frames=600,
        duration_s=duration_s,
        view="liver",
        started_at=SCANNED + timedelta(seconds=start_s),
        time_tag="loop start",
        injected_at=None if injected_s is None else SCANNED + timedelta(seconds=injected_s),
    )
    return replace(made, **other)  # type: ignore[arg-type]


def groups(assembly: Assembly) -> list[tuple[str, ...]]:
    return sorted(acquisition.sop_instance_uids for acquisition in assembly.ready)


def test_one_injection_recorded_in_two_loops_is_one_acquisition() -> None:
    found = assemble([clip("b", 61), clip("a", 0)], QUIET, now=LATER)
    assert groups(found) == [("a", "b")]


def test_a_second_injection_is_another_acquisition_even_when_it_follows_at_once() -> None:
    found = assemble([clip("a", 0), clip("b", 61, injected_s=70)], QUIET, now=LATER)
    assert groups(found) == [("a",), ("b",)]


@pytest.mark.parametrize(
    "second",
    [
        clip("b", 300),  # a pause: nobody knows what happened in between
        clip("b", 61, view="kidney"),
        clip("b", 30),  # begins before the first one ended: not the same recording
        clip("b", 61, time_tag=None),
        clip("b", 61, time_tag="saved"),
        clip("b", 61, started_at=None),
        clip("b", 61, study_instance_uid="other"),
        clip("b", 61, patient_key="other"),
    ],
)
def test_loops_that_do_not_provably_belong_together_stay_apart(second: Clip) -> None:
    assert groups(assemble([clip("a", 0), second], QUIET, now=LATER)) == [("a",), ("b",)]


def test_a_tag_that_means_the_end_of_the_loop_is_read_so() -> None:
    """Two loops of 60 s, tagged at their ends 61 s apart; read as starts they would join all the same, so the
    second is 30 s long: read as starts the gap were 1 s, read as ends it is 31 s."""
    first = clip("a", 60, 60, time_tag="loop end")
    second = clip("b", 121, 30, time_tag="loop end")
    assert groups(assemble([first, second], QUIET, now=LATER)) == [("a",), ("b",)]
    assert groups(assemble([first, replace(second, duration_s=60)], QUIET, now=LATER)) == [("a", "b")]


def test_two_views_recorded_in_turns_are_each_joined_to_their_own() -> None:
    loops = [clip("a1", 0, 30), clip("b1", 0, 30, view="kidney"), clip("a2", 31, 30), clip("b2", 31, 30, view="kidney")]
    assert groups(assemble(loops, QUIET, now=LATER)) == [("a1", "a2"), ("b1", "b2")]


def test_an_exam_of_two_injections_stills_and_a_stranger_comes_apart_rightly() -> None:
    loops = [clip("1", 0), clip("2", 61), clip("3", 720, injected_s=715)]
    stills = [clip(f"still{i}", 10.0 * i, 0.0, frames=1) for i in range(5)]
    stranger = clip("other", 20, patient_key="neighbour", study_instance_uid="other exam")
    found = assemble([loops[0], stranger, *stills, *loops[1:]], QUIET, now=LATER)
    assert groups(found) == [("1", "2"), ("3",), ("other",)]
    assert sorted(found.stills) == [f"still{i}" for i in range(5)]
    names = {acquisition.name for acquisition in found.ready}
    assert len(names) == 3


def test_a_late_loop_touches_only_its_own_acquisition() -> None:
    before = assemble([clip("1", 0), clip("3", 720, injected_s=715)], QUIET, now=LATER)
    known = {uid: acquisition.name for acquisition in before.ready for uid in acquisition.sop_instance_uids}
    after = assemble(
        [clip("1", 0), clip("3", 720, injected_s=715), clip("4", 781, injected_s=715)], QUIET, now=LATER, known=known
    )
    by_name = {acquisition.name: acquisition.sop_instance_uids for acquisition in after.ready}
    assert by_name == {known["1"]: ("1",), known["3"]: ("3", "4")}


def test_an_earlier_loop_that_comes_late_keeps_the_name_of_its_acquisition() -> None:
    """The name must not follow the first loop: the results sent under it would lose their successor."""
    before = assemble([clip("2", 61)], QUIET, now=LATER).ready[0]
    after = assemble([clip("2", 61), clip("1", 0)], QUIET, now=LATER, known={"2": before.name}).ready[0]
    assert after.sop_instance_uids == ("1", "2")
    assert after.name == before.name


def test_a_loop_that_nothing_can_follow_does_not_wait() -> None:
    lonely = clip("a", time_tag=None)
    assert groups(assemble([lonely], QUIET, now=RECEIVED, busy_peers={"US1"})) == [("a",)]


def test_a_loop_that_may_be_continued_waits_for_quiet() -> None:
    early = RECEIVED + timedelta(seconds=9)
    assert assemble([clip("a")], QUIET, now=early).waiting
    assert groups(assemble([clip("a")], QUIET, now=RECEIVED + timedelta(seconds=10))) == [("a",)]
    assert assemble([clip("a")], QUIET, now=LATER, busy_peers={"US1"}).waiting, "its scanner is still sending"
    assert groups(assemble([clip("a")], QUIET, now=LATER, busy_peers={"US2"})) == [("a",)]


def test_waiting_ends_even_if_the_scanner_never_hangs_up() -> None:
    much_later = RECEIVED + timedelta(seconds=300)
    assert groups(assemble([clip("a")], QUIET, now=much_later, busy_peers={"US1"})) == [("a",)]


def test_a_loop_stored_frame_by_frame_is_a_cine_and_a_few_pictures_are_not() -> None:
    frames = [clip(f"f{i:03d}", 0.2 * i, 0.0, frames=1) for i in range(50)]
    found = assemble(frames, QUIET, now=LATER)
    assert groups(found) == [tuple(f"f{i:03d}" for i in range(50))]
    assert assemble(frames[:19], QUIET, now=LATER).ready == ()
    slow = [clip(f"s{i:03d}", 5.0 * i, 0.0, frames=1) for i in range(50)]
    assert assemble(slow, QUIET, now=LATER).ready == ()


def test_the_order_of_arrival_changes_nothing() -> None:
    loops = [clip("1", 0), clip("2", 61), clip("3", 720, injected_s=715), clip("4", 781, injected_s=715)]
    assert assemble(loops, QUIET, now=LATER) == assemble(loops[::-1], QUIET, now=LATER)


def test_an_urgent_loop_makes_its_acquisition_urgent() -> None:
    found = assemble([clip("a", 0, priority=10), clip("b", 61, priority=1)], QUIET, now=LATER)
    assert found.ready[0].priority == 1
