"""Which acquisitions arrived: a pure function from clips to the units of work.

One acquisition = one injection (docs/operations.md). Scanners put a whole exam into one series, so the series says
nothing. A cine is an acquisition of its own unless its absolute times are known and mean what they say (the profile's
`time_tag`), and it goes on where another of the same view ended, and no new bolus began in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Literal

from dicom_node.config import SeriesSettings

TimeTag = Literal["loop start", "loop end", "saved"]

MAX_GAP_S = 3.0
"""Scanners with a longest clip (60 s is common) need 1 to 3 s to store it and go on (hypothesis, no public source)."""
MAX_OVERLAP_S = 1.0
"""A loop cannot begin before the one before it ended; DICOM times often carry whole seconds only."""
MIN_SINGLE_FRAMES = 20
"""Fewer single frames are stills: at the lowest rate that is a cine (2 Hz) they would show less than 10 s."""
MAX_SINGLE_FRAME_INTERVAL_S = 1.0


@dataclass(frozen=True)
class Clip:
    """What the assembler knows of one received instance.

    `started_at`: time of the first frame by the scanner's clock where the header gives one, as the profile's
    `time_tag` reads it. `view`: a word for image size, regions and transducer; equal words = same view.
    `injected_at`: start of the bolus where the header gives it. `priority` 1 is served first.
    """

    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_key: str
    peer: str
    received_at: datetime
    frames: int
    duration_s: float
    view: str
    started_at: datetime | None = None
    time_tag: TimeTag | None = None
    injected_at: datetime | None = None
    priority: int = 10

    @property
    def start(self) -> datetime | None:
        """Time of the first frame; None where the tag's meaning is unknown or is the time of saving."""
        if self.started_at is None or self.time_tag in (None, "saved"):
            return None
        if self.time_tag == "loop end":
            return self.started_at - timedelta(seconds=self.duration_s)
        return self.started_at


@dataclass(frozen=True)
class Acquisition:
    """The unit of work: the clips of one injection, in time order."""

    name: str
    patient_key: str
    study_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    priority: int


@dataclass(frozen=True)
class Assembly:
    """What is ready to be measured, what still waits, and which instances are stills."""

    ready: tuple[Acquisition, ...]
    waiting: tuple[Acquisition, ...]
    stills: tuple[str, ...]


def assemble(
    clips: Iterable[Clip],
    settings: SeriesSettings,
    *,
    now: datetime,
    busy_peers: Collection[str] = (),
    known: Mapping[str, str] | None = None,
) -> Assembly:
    """Sort clips into acquisitions.

    `busy_peers` have an association open: more may come. `known` maps SOP Instance UIDs to the name of the
    acquisition that they were measured under: a late clip makes a new revision of that one and touches no other.
    """
    ready: list[Acquisition] = []
    waiting: list[Acquisition] = []
    stills: list[str] = []
    for exam in _by_exam(clips):
        cines = [clip for clip in exam if clip.frames > 1]
        loose, frame_series = _single_frames([clip for clip in exam if clip.frames == 1])
        stills += [clip.sop_instance_uid for clip in loose]
        for group in _joined(cines) + frame_series:
            acquisition = _acquisition(group, known or {})
            done = _nothing_can_follow(group) or _quiet(group, settings, now, busy_peers)
            (ready if done else waiting).append(acquisition)
    return Assembly(tuple(ready), tuple(waiting), tuple(stills))


def _by_exam(clips: Iterable[Clip]) -> list[list[Clip]]:
    def exam(clip: Clip) -> tuple[str, str]:
        return clip.patient_key, clip.study_instance_uid

    return [list(group) for _, group in groupby(sorted(clips, key=exam), key=exam)]


def _in_time_order(clip: Clip) -> tuple[bool, datetime, str]:
    return (clip.start is None, clip.start or clip.received_at, clip.sop_instance_uid)


def _joined(cines: Sequence[Clip]) -> list[list[Clip]]:
    groups: list[list[Clip]] = []
    for clip in sorted(cines, key=_in_time_order):
        # Two views may be recorded in turns: look for the loop that this one goes on from, not only at the last.
        before = next((group for group in reversed(groups) if _goes_on(group[-1], clip)), None)
        if before is None:
            groups.append([clip])
        else:
            before.append(clip)
    return groups


def _goes_on(previous: Clip, clip: Clip) -> bool:
    if previous.start is None or clip.start is None or previous.view != clip.view:
        return False
    new_bolus = clip.injected_at is not None and clip.injected_at != previous.injected_at
    gap_s = (clip.start - previous.start).total_seconds() - previous.duration_s
    return not new_bolus and -MAX_OVERLAP_S <= gap_s <= MAX_GAP_S


def _single_frames(frames: Sequence[Clip]) -> tuple[list[Clip], list[list[Clip]]]:
    """Stills, and the groups of single frames that make up a cine."""
    loose: list[Clip] = []
    cines: list[list[Clip]] = []

    def kind(clip: Clip) -> tuple[str, str]:
        return clip.series_instance_uid, clip.view

    for _, members in groupby(sorted(frames, key=kind), key=kind):
        group = sorted(members, key=lambda clip: (clip.started_at or clip.received_at, clip.sop_instance_uid))
        (cines.append(group) if _is_cine(group) else loose.extend(group))
    return loose, cines


def _is_cine(group: Sequence[Clip]) -> bool:
    times = [clip.started_at for clip in group if clip.started_at is not None]
    if len(group) < MIN_SINGLE_FRAMES or len(times) < len(group):
        return False
    return (times[-1] - times[0]).total_seconds() / (len(times) - 1) <= MAX_SINGLE_FRAME_INTERVAL_S


def _nothing_can_follow(group: Sequence[Clip]) -> bool:
    """A multi-frame cine whose time tag is unknown is never joined, so there is nothing to wait for."""
    return group[-1].frames > 1 and group[-1].start is None


def _quiet(group: Sequence[Clip], settings: SeriesSettings, now: datetime, busy_peers: Collection[str]) -> bool:
    arrivals = [clip.received_at for clip in group]
    if (now - min(arrivals)).total_seconds() >= settings.max_wait_s:
        return True
    if any(clip.peer in busy_peers for clip in group):
        return False
    return (now - max(arrivals)).total_seconds() >= settings.quiet_s


def _acquisition(group: Sequence[Clip], known: Mapping[str, str]) -> Acquisition:
    uids = tuple(clip.sop_instance_uid for clip in group)
    first = group[0]
    fresh = hashlib.sha256("\n".join((first.patient_key, first.study_instance_uid, uids[0])).encode()).hexdigest()[:20]
    name = next((known[uid] for uid in uids if uid in known), fresh)
    return Acquisition(name, first.patient_key, first.study_instance_uid, uids, min(clip.priority for clip in group))
