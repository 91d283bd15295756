"""A simulated exam as a ward sends it: two injections, three loops, stills in between, another patient's cine.

Everything of one patient lies in one series, as scanners file it; only the absolute times tell the injections apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from dicom_node.simulated_scanner import CineIdentity, Encoding, write_cine, write_still
from processing.simulation.scene import Scene, Timing
from processing.simulation.scenes import TINY_BOLUS, ContrastParameters, bolus_scene

BETWEEN_INJECTIONS = timedelta(minutes=12)
"""Bubbles of an injection have gone after about 10 minutes."""


@dataclass(frozen=True, eq=False)
class Written:
    """One file of an exam with its identity, and the scene it shows."""

    path: Path
    identity: CineIdentity
    scene: Scene


@dataclass(frozen=True, eq=False)
class IcuExam:
    """Three loops of two injections, five stills, another patient's loop, and a fourth loop that comes later.

    `loops[0]` and `loops[1]` show the first injection, `loops[2]` the second; `fourth_loop` is a third injection in the
    same series. `send_order` interleaves both patients and leaves the fourth loop out.
    """

    loops: tuple[Written, Written, Written]
    stills: tuple[Written, ...]
    other_patient: Written
    fourth_loop: Written
    send_order: tuple[Path, ...]
    injected_at: tuple[datetime, ...]


@dataclass(frozen=True)
class ExamPlan:
    """How an exam is simulated. The first loop begins at `started_at`; `gap_s` lies between its end and the second.

    With `gap_s` 0 the second loop continues the first within a frame; otherwise it is a late loop of that injection.
    """

    started_at: datetime
    gap_s: float = 0.0
    second_loop_s: float = 12.0
    patient_id: str = "SIM-ICU"
    parameters: ContrastParameters = TINY_BOLUS
    encoding: Encoding = "jpeg"
    seed: int = 1


def icu_exam(folder: Path, plan: ExamPlan) -> IcuExam:
    """Write the exam into `folder`."""
    first = plan.parameters.timing
    patient = CineIdentity(
        plan.started_at, plan.patient_id, "Simulated^Ward", "ward exam", study_started_at=plan.started_at
    )
    injections = tuple(
        plan.started_at - timedelta(seconds=first.start_s) + number * BETWEEN_INJECTIONS for number in range(3)
    )
    later = Timing(
        first.start_s + first.duration_s + plan.gap_s, plan.second_loop_s, first.frame_rate_hz, first.time_zero
    )
    loop = _loop_writer(folder, plan, patient)
    loops = (loop(0, first, injections[0]), loop(1, later, injections[0]), loop(2, first, injections[1]))
    fourth = loop(3, first, injections[2])
    stills = tuple(_still(folder, plan, patient, loops[number % 3], number) for number in range(5))
    stranger = CineIdentity(
        plan.started_at + timedelta(seconds=20), f"{plan.patient_id}-OTHER", "Simulated^Neighbour", "other exam"
    )
    other_scene = bolus_scene(plan.parameters, plan.seed + 100)
    other = Written(write_cine(other_scene, folder, stranger, plan.encoding), stranger, other_scene)
    order = [loops[0], stills[0], stills[1], other, loops[1], stills[2], loops[2], stills[3], stills[4]]
    return IcuExam(loops, stills, other, fourth, tuple(w.path for w in order), injections)


def _loop_writer(folder: Path, plan: ExamPlan, patient: CineIdentity) -> Callable[[int, Timing, datetime], Written]:
    def write(number: int, timing: Timing, injected_at: datetime) -> Written:
        # Loops of one injection share the seed: the same tissue, and bubbles that go on moving from loop to loop.
        seed = plan.seed + max(number - 1, 0)
        scene = bolus_scene(replace(plan.parameters, timing=timing), seed)
        at = injected_at + timedelta(seconds=timing.start_s)
        identity = replace(patient, acquired_at=at, instance_number=10 * number + 1)
        return Written(write_cine(scene, folder, identity, plan.encoding), identity, scene)

    return write


def _still(folder: Path, plan: ExamPlan, patient: CineIdentity, loop: Written, number: int) -> Written:
    """A still taken from a loop: the scanner stores what it showed at that moment."""
    frame = loop.scene.description.frames * (number + 1) // 7
    times_s = loop.scene.times_after_injection_s
    at = loop.identity.acquired_at + timedelta(seconds=float(times_s[frame] - times_s[0]))
    identity = replace(patient, acquired_at=at, instance_number=100 + number)
    return Written(write_still(loop.scene, frame, folder, identity, plan.encoding), identity, loop.scene)
