"""From a reader's contours in the spool to revisions: whose image it is drawn on, whether it may be used, and the job.

Every contour ends as one of three, kept beside it in the spool: taken by a job, refused with a sentence, or set aside
because nothing is outlined in it (scanners send such reports with every exam). Until then it waits: for its cine, or
for the revision before. Nothing here measures, and what is refused is never measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pydicom
import structlog

from dicom_node.acquisition import ArrivalKind, Origin, ReceivedInstance, Verdict
from dicom_node.config import Settings, result_digest
from dicom_node.data_folder import DataFolder
from dicom_node.errors import ContourRefusedError
from dicom_node.jobs import Job, JobBook, newest
from dicom_node.results import ResultFolder, all_results
from dicom_node.site_profiles import job_profile
from dicom_node.spool import Spool, hashed
from reports.errors import NothingDrawnError, ReportsError
from reports.uids import ResultIdentity

log = structlog.get_logger()


class ContourArrivals:
    """Turns readers' contours into revisions of the jobs that they belong to."""

    def __init__(self, settings: Settings, spool: Spool, jobs: JobBook) -> None:
        self._settings = settings
        self._spool = spool
        self._jobs = jobs
        self._results = DataFolder(settings.node.data_dir).results
        self._images: dict[str, frozenset[str]] = {}
        self._captures: dict[Path, str] = {}

    def order_ready(self, now: datetime) -> tuple[list[Job], bool]:
        """Make one revision of every acquisition that contours came for; a contour that waits is in no hurry."""
        contours = self._pending()
        if not contours:
            return [], False
        jobs = self._jobs.all()
        taken: dict[str, list[ReceivedInstance]] = defaultdict(list)
        for contour in contours:
            try:
                for job in self._jobs_of(contour, jobs, now):
                    self._check(contour, job)
                    taken[job.name].append(contour)
            except NothingDrawnError as error:
                self._settle(contour, Verdict.SET_ASIDE, str(error))
            except (ReportsError, ContourRefusedError) as error:
                self._settle(contour, Verdict.REFUSED, str(error))
        by_name = {job.name: job for job in jobs}
        return [self._order(by_name[name], found, now) for name, found in taken.items()], False

    def _pending(self) -> list[ReceivedInstance]:
        """Contours without a verdict, of associations that are over: a lesion and its reference come together."""
        arriving = {association.association_id for association in self._spool.open_associations()}
        return [
            instance
            for instance in self._spool.instances()
            if instance.kind is ArrivalKind.CONTOUR
            and instance.origin is not Origin.RETRIEVE
            and instance.consumed_by is None
            and instance.association_id not in arriving
        ]

    def _jobs_of(self, contour: ReceivedInstance, jobs: Sequence[Job], now: datetime) -> list[Job]:
        """The newest job of each acquisition that the contour is drawn on; none while one of them is not measured.

        Raises ContourRefusedError where no image of it was ever measured here, or cannot be any more.
        """
        from dicom_node.contour_check import images_of  # brings the numeric stack, only where contours come

        uid = contour.sop_instance_uid
        if uid not in self._images:
            self._images[uid] = images_of(contour.path)
        known = self._acquisitions_of(self._images[uid], jobs)
        if not known:
            if (now - contour.received_at).total_seconds() < self._settings.series.max_wait_s:
                return []
            raise ContourRefusedError("it is drawn on an image that this node has not measured")
        found = [job for acquisition in known if (job := newest(jobs, acquisition)) is not None]
        for job in found:
            if job.failure is not None:
                raise ContourRefusedError(f"the cine that it is drawn on could not be measured: {job.failure}")
        return found if all(self._result(job).complete for job in found) else []

    def _acquisitions_of(self, images: frozenset[str], jobs: Sequence[Job]) -> list[str]:
        """Acquisitions that the images are sources or captures of, or whose space they are drawn in."""
        known: Mapping[str, str] = {uid: job.acquisition for job in jobs for uid in job.sop_instance_uids}
        known = {**{_space_of(job): job.acquisition for job in jobs}, **known}
        if not images & known.keys():
            known = self._acquisitions_of_captures()
        return sorted({known[image] for image in images if image in known})

    def _acquisitions_of_captures(self) -> dict[str, str]:
        pages = [page for result in all_results(self._results) for page in result.pages_to_draw_on()]
        for page in pages:
            if page not in self._captures:
                self._captures[page] = str(pydicom.dcmread(page, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
        return {self._captures[page]: page.parent.parent.name for page in pages}

    def _check(self, contour: ReceivedInstance, job: Job) -> None:
        from dicom_node.contour_check import check_contour

        check_contour(contour.path, job, self._result(job))
        retired = not all(Path(file).exists() for file in job.files)
        if retired and not self._settings.destination:
            raise ContourRefusedError("its cine has been retired here, and there is no PACS to fetch it from")

    def _order(self, job: Job, contours: Sequence[ReceivedInstance], now: datetime) -> Job:
        """One revision for all contours that came together. After a crash in between it is found, not made twice."""
        fresh = [contour for contour in contours if contour.sop_instance_uid not in job.contours]
        revised = job
        if fresh:
            profile = job_profile(self._settings, job)
            changed = replace(
                job,
                profile=profile,
                settings_digest=result_digest(self._settings, profile),
                contours=(*job.contours, *(contour.sop_instance_uid for contour in fresh)),
                contour_files=(*job.contour_files, *(str(contour.path) for contour in fresh)),
            )
            revised = self._jobs.revise(changed, "reader's contour", now)
        for contour in contours:
            self._spool.mark_consumed(contour.sop_instance_uid, revised.name)
        log.info("contour taken", job=revised.name, acquisition=revised.acquisition, revision=revised.revision)
        return revised

    def _settle(self, contour: ReceivedInstance, verdict: Verdict, words: str) -> None:
        self._spool.mark_consumed(contour.sop_instance_uid, verdict.mark(words))
        tell = log.warning if verdict is Verdict.REFUSED else log.info
        tell(f"contour {verdict}", reason=words, object=hashed(contour.sop_instance_uid)[:12])

    def _result(self, job: Job) -> ResultFolder:
        return ResultFolder(self._results, job.acquisition, job.name)


def _space_of(job: Job) -> str:
    """The Frame of Reference of the maps and masks of its cine."""
    return ResultIdentity("", job.sop_instance_uids, "", "").frame_of_reference_uid
