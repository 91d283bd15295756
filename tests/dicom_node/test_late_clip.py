"""An exam over the network up to its jobs: what arrives late touches its own acquisition and no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydicom import dcmread

from dicom_node.arrivals import Arrivals
from dicom_node.config import load_settings
from dicom_node.data_folder import DataFolder
from dicom_node.jobs import Job, JobBook
from dicom_node.simulated_exam import ExamPlan, icu_exam
from tests.dicom_node.network_scenes import Node
from tests.peers import storescu

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
PROFILE = {"site": {"manufacturer": "CEUS Node Simulation", "time_tag": "loop start"}}


def uid_of(path: Path) -> str:
    return str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)


def test_a_late_clip_of_an_old_injection_orders_only_its_own_acquisition_again(tmp_path: Path) -> None:
    """An ICU exam in one series: the second loop of the first injection is stored after the second injection's loop was
    ordered, with stills and a neighbour's loop on the same associations."""
    exam = icu_exam(tmp_path / "exam", ExamPlan(START))
    first, late, second = (loop.path for loop in exam.loops)
    settings = load_settings(None, node={"data_dir": tmp_path}, profile=PROFILE)
    folder = DataFolder(tmp_path)
    folder.prepare()

    def ordered_after(*paths: Path) -> list[Job]:
        assert storescu(paths, node.port, options=("-xy",)).returncode == 0
        assert node.ended.acquire(timeout=20)
        quiet = datetime.now(UTC) + timedelta(seconds=settings.series.quiet_s + 1)
        return Arrivals(settings, node.spool, JobBook(folder.jobs)).order_ready(quiet)[0]

    with Node(tmp_path) as node:
        stills = [still.path for still in exam.stills]
        jobs = {job.sop_instance_uids: job for job in ordered_after(first, stills[0], exam.other_patient.path, second)}
        assert set(jobs) == {(uid_of(path),) for path in (first, second, exam.other_patient.path)}
        (again,) = ordered_after(stills[1], late, stills[2])
        assert again.acquisition == jobs[uid_of(first),].acquisition
        assert again.sop_instance_uids == (uid_of(first), uid_of(late))
        assert (again.revision, again.reason) == (2, "a further clip of the same injection arrived")
        (fresh,) = ordered_after(exam.fourth_loop.path)
        assert fresh.revision == 1
        assert ordered_after(first, late, second) == [], "sent again, the same bytes order nothing"
