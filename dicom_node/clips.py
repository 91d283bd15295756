"""A readable instance as the assembler sees it: its place in time, its view, its injection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from dicom_node.assembler import Clip
from dicom_node.cine_reader import CineFile
from dicom_node.config import Settings
from dicom_node.site_profiles import match_profile


@dataclass(frozen=True)
class Arrival:
    """How an instance came: which one, of which patient, from whom, when."""

    sop_instance_uid: str
    patient_key: str
    peer: str
    received_at: datetime
    priority: int = 10


def clip_of(header: CineFile, settings: Settings, arrival: Arrival, scanner_profile: str = "") -> Clip:
    """Read the clip from its header. `scanner_profile` is the profile that the sender's configuration names."""
    facts, description = header.facts, header.description
    profile, _ = match_profile(settings, facts, scanner_profile)
    times_s = description.frame_times_s
    return Clip(
        sop_instance_uid=arrival.sop_instance_uid,
        study_instance_uid=facts.study_instance_uid,
        series_instance_uid=facts.series_instance_uid,
        patient_key=arrival.patient_key,
        peer=arrival.peer,
        received_at=arrival.received_at,
        frames=description.frames,
        duration_s=float(times_s[-1] - times_s[0]) if times_s.size > 1 else 0.0,
        view=repr((description.rows, description.columns, facts.transducer, facts.regions)),
        started_at=facts.acquired_at,
        time_tag=profile.time_tag,
        injected_at=_injected_at(header),
        priority=arrival.priority,
    )


def _injected_at(header: CineFile) -> datetime | None:
    time_zero, acquired_at = header.description.time_zero, header.facts.acquired_at
    if time_zero.kind != "bolus start" or acquired_at is None:
        return None
    return acquired_at - timedelta(seconds=time_zero.offset_s)
