"""When each frame was acquired: the Frame Increment Pointer is followed, never guessed (PS3.3 C.7.6.5, C.7.6.6)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.cine_header import acquisition_start, number, numbers, text, time_of_day, value
from processing.cine import FrameTimesSource, TimeZero
from processing.limitations import Limitation

FRAME_TIME = 0x00181063
FRAME_TIME_VECTOR = 0x00181065
TIMES_AFFECTED = ("perfusion", "super_resolution")
PLAUSIBLE_INJECTION_S = 1800.0
"""A bolus start half an hour away from the loop belongs to another injection."""
DURATION_TOLERANCE = 0.1
"""Effective Duration is rounded to a frame or to 0.1 s by makers; 10 % separates that from decimation."""
INJECTION_WORDS = ("contrast", "bolus", "inject", "agent", "uca", "ceus")


@dataclass(frozen=True, eq=False)
class FrameTimes:
    """Seconds after the first frame (strictly increasing, empty where there is no time base) and their origin."""

    times_s: NDArray[np.float64]
    source: FrameTimesSource
    limitations: tuple[Limitation, ...]


def frame_times(ds: Dataset, frames: int) -> FrameTimes:
    """The time of each of `frames` frames after the first one."""
    if frames == 1:
        return FrameTimes(np.zeros(0), "none", ())
    found = _pointed(ds, frames)
    if found is None:
        found = _cine_rate(ds, frames)
    return FrameTimes(found.times_s, found.source, found.limitations + _cross_check(ds, found.times_s))


def _pointed(ds: Dataset, frames: int) -> FrameTimes | None:
    pointer = value(ds, "FrameIncrementPointer")
    pointed = {
        int(tag)
        for tag in (pointer if isinstance(pointer, (list, tuple)) or _many(pointer) else [pointer])
        if tag is not None
    }
    candidates: list[tuple[int, FrameTimesSource]] = [
        (FRAME_TIME_VECTOR, "frame time vector"),
        (FRAME_TIME, "frame time"),
    ]
    readings = {"frame time vector": _vector(ds, frames), "frame time": _uniform(ds, frames)}
    for tag, source in candidates:
        times_s = readings[source]
        if tag in pointed and times_s is not None:
            return FrameTimes(times_s, source, ())
    for _, source in candidates:
        times_s = readings[source]
        if times_s is not None:
            note = Limitation(
                "frame_increment_pointer",
                f"the Frame Increment Pointer does not lead to usable times; the {source} that is present was used",
                "note",
                TIMES_AFFECTED,
            )
            return FrameTimes(times_s, source, (note,))
    return None


def _many(pointer: object) -> bool:
    return hasattr(pointer, "__iter__") and not isinstance(pointer, (str, int))


def _vector(ds: Dataset, frames: int) -> NDArray[np.float64] | None:
    """Cumulative sum of the increments; the first increment belongs to no interval, whatever a maker wrote there."""
    increments_ms = np.array(numbers(ds, "FrameTimeVector"), dtype=np.float64)
    if increments_ms.size == frames - 1:
        increments_ms = np.concatenate(([0.0], increments_ms))
    if increments_ms.size < frames or frames < 1 or (increments_ms[1:frames] <= 0).any():
        return None
    steps_s = increments_ms[:frames] / 1000.0
    steps_s[0] = 0.0
    return np.cumsum(steps_s, dtype=np.float64)


def _uniform(ds: Dataset, frames: int) -> NDArray[np.float64] | None:
    step_ms = number(ds, "FrameTime")
    return np.arange(frames, dtype=np.float64) * (step_ms / 1000.0) if step_ms is not None and step_ms > 0 else None


def _cine_rate(ds: Dataset, frames: int) -> FrameTimes:
    for keyword in ("CineRate", "RecommendedDisplayFrameRate"):
        rate_hz = number(ds, keyword)
        if rate_hz is not None and rate_hz > 0:
            flag = Limitation(
                "cine_rate_only",
                f"no frame times are stored; the display hint {keyword} = {rate_hz:g} frames/s stands in for them",
                "degraded",
                TIMES_AFFECTED,
            )
            return FrameTimes(np.arange(frames, dtype=np.float64) / rate_hz, "cine rate", (flag,))
    missing = Limitation(
        "no_time_base",
        "no usable frame times are stored: nothing that needs time is measured",
        "refused",
        TIMES_AFFECTED,
    )
    return FrameTimes(np.zeros(0), "none", (missing,))


def _cross_check(ds: Dataset, times_s: NDArray[np.float64]) -> tuple[Limitation, ...]:
    """n dt against Effective Duration (0018,0072): a difference tells of decimated or edited clips."""
    effective_s = number(ds, "EffectiveDuration")
    if times_s.size < 2 or effective_s is None or effective_s <= 0:
        return ()
    duration_s = float(times_s[-1]) * times_s.size / (times_s.size - 1)
    if abs(duration_s - effective_s) <= DURATION_TOLERANCE * effective_s:
        return ()
    return (
        Limitation(
            "duration_mismatch",
            f"the frame times span {duration_s:.2f} s, the header states an effective duration of {effective_s:.2f} s: "
            "the clip may have been decimated or cut",
            "degraded",
            TIMES_AFFECTED,
        ),
    )


def time_zero(ds: Dataset) -> tuple[TimeZero, tuple[Limitation, ...]]:
    """What times count from: Contrast/Bolus Start Time (0018,1042), an event timer (0008,2130/2132) or frame 1."""
    start, keyword = acquisition_start(ds)
    bolus = time_of_day(text(ds, "ContrastBolusStartTime"))
    if bolus is not None and start is not None:
        offset_s = (start - datetime.combine(start.date(), bolus)).total_seconds()
        if abs(offset_s) > timedelta(hours=12).total_seconds():  # the injection was on the other side of midnight
            offset_s -= float(np.sign(offset_s)) * timedelta(days=1).total_seconds()
        if abs(offset_s) > PLAUSIBLE_INJECTION_S:
            far = Limitation(
                "bolus_start_implausible",
                f"the stored bolus start is {abs(offset_s):.0f} s away from the loop: times count from the first frame",
                "note",
            )
            return TimeZero(), (far,)
        notes = (
            ()
            if keyword.startswith("Acquisition")
            else (
                Limitation(
                    "time_zero_from_content_time",
                    "only Content Time tells the loop's start: the time of injection may be off by the loop's length",
                    "degraded",
                    ("AT", "TTP"),
                ),
            )
        )
        return TimeZero("bolus start", offset_s), notes
    names = text(ds, "EventTimerNames").split("\\")
    for name, elapsed_ms in zip(names, numbers(ds, "EventElapsedTimes"), strict=False):
        if any(word in name.lower() for word in INJECTION_WORDS) and 0 <= elapsed_ms / 1000 <= PLAUSIBLE_INJECTION_S:
            return TimeZero("event timer", elapsed_ms / 1000.0), ()
    return TimeZero(), ()
