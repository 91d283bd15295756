"""From the spool to jobs: what arrived becomes clips, clips become acquisitions, a ready acquisition becomes a job.

One process a spool does this, under a lock. Everything it knows is on disk, so it can be killed at any point: an
acquisition without a job file is assembled again, to the same name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

import structlog

from dicom_node.acquisition import ReceivedInstance
from dicom_node.assembler import Acquisition, Clip, assemble
from dicom_node.cine_reader import CineFile, open_cine
from dicom_node.clips import Arrival, clip_of
from dicom_node.config import Settings, result_digest
from dicom_node.errors import UnreadableCineError
from dicom_node.jobs import Job, JobBook, job_name, newest
from dicom_node.service_notify import Pulse
from dicom_node.site_profiles import match_profile
from dicom_node.spool import Spool

log = structlog.get_logger()

IDLE_S = 2.0
"""Without the doorbell (a receiver on another machine) arrivals are noticed within this time."""
WAITING_S = 0.25
"""While an acquisition waits for quiet, its time is checked four times a second."""


class Arrivals:
    """Turns the spool's instances into jobs."""

    def __init__(self, settings: Settings, spool: Spool, jobs: JobBook) -> None:
        self._settings = settings
        self._spool = spool
        self._jobs = jobs
        self._headers: dict[str, CineFile | None] = {}
        self._stills: set[str] = set()

    def order_ready(self, now: datetime) -> tuple[list[Job], bool]:
        """Make a job of every acquisition that is ready and has none; also say whether any still waits."""
        instances = {i.sop_instance_uid: i for i in self._spool.instances() if i.starts_jobs}
        clips = [clip for instance in instances.values() if (clip := self._clip(instance)) is not None]
        jobs = self._jobs.all()
        known = {uid: job.acquisition for job in jobs for uid in job.sop_instance_uids}
        measured = {(job.acquisition, frozenset(job.sop_instance_uids)) for job in jobs}
        busy = {association.peer_ae_title for association in self._spool.open_associations()}
        assembly = assemble(clips, self._settings.series, now=now, busy_peers=busy, known=known)
        self._name_stills(assembly.stills)
        ordered = []
        for acquisition in assembly.ready:
            if (acquisition.name, frozenset(acquisition.sop_instance_uids)) not in measured:
                ordered.append(self._order(acquisition, instances, newest(jobs, acquisition.name), now))
        return ordered, bool(assembly.waiting)

    def _order(
        self, acquisition: Acquisition, instances: Mapping[str, ReceivedInstance], earlier: Job | None, now: datetime
    ) -> Job:
        uids = acquisition.sop_instance_uids
        header, scanner_profile = self._headers[uids[0]], instances[uids[0]].profile or ""
        profile = match_profile(self._settings, header.facts, scanner_profile)[0].name if header else "default"
        digest = result_digest(self._settings, profile)
        job = Job(
            name=job_name(acquisition.name, uids, digest),
            acquisition=acquisition.name,
            sop_instance_uids=uids,
            files=tuple(str(instances[uid].path) for uid in uids),
            accepted_at=now.isoformat(),
            settings_digest=digest,
            scanner_profile=scanner_profile,
            profile=profile,
            priority=acquisition.priority,
            patient_key=instances[uids[0]].patient_key,
        )
        if earlier is None:
            self._jobs.write(job)
        else:  # what a reader outlined stays outlined
            drawn, files = earlier.contours, earlier.contour_files
            same, by = earlier.confirmed_lesion, earlier.confirmed_by
            job = replace(job, contours=drawn, contour_files=files, confirmed_lesion=same, confirmed_by=by)
            job = self._jobs.revise(job, "a further clip of the same injection arrived", now)
        for uid in uids:
            self._spool.mark_consumed(uid, job.name)
        log.info("acquisition ready", job=job.name, acquisition=job.acquisition, clips=len(uids), revision=job.revision)
        return job

    def _clip(self, instance: ReceivedInstance) -> Clip | None:
        """What the assembler needs of an instance; None where the header cannot be read (the job would only say so)."""
        uid = instance.sop_instance_uid
        if uid not in self._headers:
            self._headers[uid] = _header_of(instance)
        header = self._headers[uid]
        if header is None:
            return _unreadable_clip(instance)
        arrival = Arrival(uid, instance.patient_key, instance.peer_ae_title, instance.received_at, instance.priority)
        return clip_of(header, self._settings, arrival, instance.profile or "")

    def _name_stills(self, uids: tuple[str, ...]) -> None:
        fresh = [uid for uid in uids if uid not in self._stills]
        self._stills.update(fresh)
        if fresh:
            log.info("stills are not measured", count=len(fresh))


class Desk(Protocol):
    """Makes jobs of one kind of arrival."""

    def order_ready(self, now: datetime) -> tuple[list[Job], bool]:
        """Order what is ready; also say whether anything must be looked at again very soon."""
        ...


def watch(
    desks: Sequence[Desk], spool: Spool, order_unfinished: Callable[[], None], stop: threading.Event, pulse: Pulse
) -> None:
    """Make jobs of what arrives as it becomes ready, and have them ordered, until `stop` is set."""
    while not stop.is_set():
        pulse.beat()
        looked = [desk.order_ready(datetime.now(UTC)) for desk in desks]
        waiting = any(soon for _, soon in looked)
        order_unfinished()
        spool.doorbell.wait(WAITING_S if waiting else IDLE_S)


def _header_of(instance: ReceivedInstance) -> CineFile | None:
    try:
        return open_cine(instance.path)
    except UnreadableCineError as error:
        log.warning("header cannot be read", sop_instance_uid=instance.sop_instance_uid, reason=str(error))
        return None


def _unreadable_clip(instance: ReceivedInstance) -> Clip | None:
    """A cine whose header cannot be read still becomes a job, which says so by name; a still does not."""
    if instance.frames == 1:
        return None
    return Clip(
        sop_instance_uid=instance.sop_instance_uid,
        study_instance_uid=instance.study_instance_uid,
        series_instance_uid=instance.series_instance_uid,
        patient_key=instance.patient_key,
        peer=instance.peer_ae_title,
        received_at=instance.received_at,
        frames=instance.frames,
        duration_s=0.0,
        view="unreadable",
        priority=instance.priority,
    )
