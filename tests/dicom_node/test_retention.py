"""Retention: age alone loses nothing, an acquisition goes as a whole, a crash in between is harmless."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dicom_node.acquisition import ArrivalKind, Origin, ReceivedInstance
from dicom_node.config import RetentionSettings, load_settings
from dicom_node.data_folder import DataFolder
from dicom_node.engine import EngineClient
from dicom_node.jobs import Job, JobBook
from dicom_node.retention import Holding, Keeper, Retirement, Stock, choose
from dicom_node.spool import Spool
from tests.dicom_node.web.ward_day import DESTINATIONS, UNREACHABLE, WardDay

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DAY = 24 * 60.0
"""Minutes: the unit of the scene's ages."""
KEEP = RetentionSettings(sources_days=14, results_days=90)


def node(folder: Path, **retention: float) -> WardDay:
    settings = load_settings(None, node={"data_dir": folder}, destination=DESTINATIONS, retention=retention)
    DataFolder(folder).prepare()
    return WardDay(settings, NOW)


def delivered(day: WardDay, name: str, minutes_ago: float) -> Job:
    job = day.order(name, minutes_ago)
    result = day.measure(job)
    for destination in ("pacs", "research"):
        day.deliver(result, destination)
    return job


def spooled(day: WardDay) -> set[str]:
    return {instance.sop_instance_uid for instance in Spool(day.folder.spool).instances()}


def kept_jobs(day: WardDay) -> set[str]:
    return {job.name for job in JobBook(day.folder.jobs).all()}


def keeper(day: WardDay) -> Keeper:
    return Keeper(day.settings, Spool(day.folder.spool))


def test_sources_go_first_and_results_much_later(tmp_path: Path) -> None:
    day = node(tmp_path)
    ages = {"fresh": 1.0, "old": 15.0, "ancient": 91.0}
    jobs = {name: delivered(day, name, age * DAY) for name, age in ages.items()}
    keeper(day).tidy(NOW)
    assert spooled(day) == set(jobs["fresh"].sop_instance_uids)
    assert kept_jobs(day) == {"fresh", "old"}
    assert {folder.name for folder in day.folder.results.glob("*/*")} == {"fresh", "old"}
    assert not (day.folder.results / jobs["ancient"].acquisition).exists()


def test_what_a_destination_does_not_have_stays_however_old(tmp_path: Path) -> None:
    day = node(tmp_path)
    job = day.order("job", 400 * DAY)
    result = day.measure(job)
    day.deliver(result, "pacs")
    day.deliver(result, "research", answer=UNREACHABLE)
    assert keeper(day).tidy(NOW) == Retirement()
    day.deliver(result, "research")
    assert [job.name for job in keeper(day).tidy(NOW).jobs] == ["job"]


def test_what_is_not_measured_stays_however_old(tmp_path: Path) -> None:
    day = node(tmp_path)
    day.order("waiting", 400 * DAY)
    day.arrive(400 * DAY)  # a cine that was never assembled: the worker was off
    assert keeper(day).tidy(NOW) == Retirement()


def test_a_failed_job_goes_like_a_delivered_one(tmp_path: Path) -> None:
    day = node(tmp_path)
    day.order("job", 91 * DAY, failure="the file ends in the middle of frame 17")
    keeper(day).tidy(NOW)
    assert (kept_jobs(day), spooled(day)) == (set(), set())


def test_stills_and_contours_go_once_the_assembler_has_looked(tmp_path: Path) -> None:
    day = node(tmp_path)
    for kind in (ArrivalKind.STILL, ArrivalKind.CONTOUR):
        day.arrive(15 * DAY, kind=kind)
    young = day.arrive(1.0, kind=ArrivalKind.STILL)
    keeping = keeper(day)
    keeping.tidy_when_due(NOW)
    assert len(spooled(day)) == 3
    keeping.tidy_when_due(NOW)
    assert spooled(day) == {young}


def test_a_late_clip_keeps_its_whole_acquisition() -> None:
    """A first clip that went alone would have the second one measured anew, as an injection of its own."""
    day_one, day_two = (
        Job(f"job{n}", "acquisition", uids, (), (NOW - timedelta(days=age)).isoformat(), "digest", revision=n)
        for n, uids, age in ((1, ("1",), 20), (2, ("1", "2"), 10))
    )
    holdings = [Holding(day_one, True), Holding(day_two, True)]
    both = [received("1", 20), received("2", 10)]
    assert choose(Stock(both, holdings), KEEP, NOW) == Retirement()
    assert choose(Stock(both, holdings), KEEP, NOW + timedelta(days=5)).instances == ("1", "2")


def test_a_readers_contour_stays_as_long_as_the_job_that_was_measured_on_it() -> None:
    """A retry after the cine was retired fetches the cine again; the contour nobody could fetch."""
    job = Job("job", "acquisition", ("1",), (), (NOW - timedelta(days=20)).isoformat(), "digest", contours=("drawn",))
    both = [received("1", 20), replace(received("drawn", 20), kind=ArrivalKind.CONTOUR, origin=Origin.OTHER)]
    stock = Stock(both, [Holding(job, True)])
    assert choose(stock, KEEP, NOW).instances == ("1",)
    assert set(choose(stock, KEEP, NOW + timedelta(days=80)).instances) == {"1", "drawn"}


def test_one_unsettled_revision_keeps_all_of_its_acquisition() -> None:
    jobs = [
        Job(f"job{n}", "acquisition", ("1",), (), (NOW - timedelta(days=200)).isoformat(), "digest", revision=n)
        for n in (1, 2)
    ]
    holdings = [Holding(jobs[0], True), Holding(jobs[1], False)]
    assert choose(Stock([received("1", 200)], holdings), KEEP, NOW) == Retirement()


def test_a_job_never_goes_before_its_cines() -> None:
    """With results kept shorter than sources the job file still waits: a cine without one would be measured again."""
    job = Job("job", "acquisition", ("1",), (), (NOW - timedelta(days=5)).isoformat(), "digest")
    short = RetentionSettings(sources_days=14, results_days=1)
    assert choose(Stock([received("1", 5)], [Holding(job, True)]), short, NOW) == Retirement()


def test_quarantined_objects_do_not_stay_for_ever(tmp_path: Path) -> None:
    day = node(tmp_path)
    uid = day.arrive(15 * DAY)
    neighbour = day.arrive(1.0)
    spool = Spool(day.folder.spool)
    spool.instance_path(uid).with_suffix(".contested").touch()
    assert len(spool.quarantined()) == 1
    keeper(day).tidy(NOW)
    assert Spool(day.folder.spool).quarantined() == ()
    assert spooled(day) == {neighbour}


# 2 cines x 4 files, the job file, the result folder: 10 deletions; the 11th never comes
@pytest.mark.parametrize("step", range(1, 12))
def test_a_crash_at_any_step_is_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    day = node(tmp_path)
    job = delivered(day, "job", 91 * DAY)
    second = day.arrive(91 * DAY)
    JobBook(day.folder.jobs).write(replace(job, sop_instance_uids=(*job.sop_instance_uids, second)))
    crash = _Crash(step)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", crash.before(Path.unlink))
        patch.setattr(shutil, "rmtree", crash.before(shutil.rmtree))
        try:
            keeper(day).tidy(NOW)
        except _Killed:
            # whatever is left of the cines still has its job: nothing is assembled anew
            assert not spooled(day) or kept_jobs(day) == {"job"}
    keeper(day).tidy_when_due(NOW)
    # a result folder without its job goes when it is old by its own time stamp, which is this test's
    keeper(day).tidy(datetime.now(UTC) + timedelta(days=91))
    assert (spooled(day), kept_jobs(day), list(day.folder.results.glob("*/*"))) == (set(), set(), [])


def test_the_engine_forgets_with_the_rest(tmp_path: Path) -> None:
    day = node(tmp_path)
    for name, age in (("gone", 91.0), ("stays", 1.0)):
        job = delivered(day, name, age * DAY)
        day.engine_states |= {job.workflow_id: "SUCCESS", f"{job.workflow_id}>pacs": "SUCCESS"}
    day.write_engine()
    keeper(day).tidy(NOW)
    client = EngineClient(day.settings)
    left = {row.workflow_id for row in client.jobs()}
    client.close()
    assert left == {"stays.0", "stays.0>pacs"}


def test_it_looks_once_an_hour(tmp_path: Path) -> None:
    day = node(tmp_path)
    keeping = keeper(day)
    keeping.tidy_when_due(NOW)
    keeping.tidy_when_due(NOW)
    delivered(day, "job", 91 * DAY)
    keeping.tidy_when_due(NOW + timedelta(minutes=59))
    assert kept_jobs(day) == {"job"}
    keeping.tidy_when_due(NOW + timedelta(minutes=60))
    assert kept_jobs(day) == set()


def received(uid: str, days_ago: float) -> ReceivedInstance:
    return ReceivedInstance(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.3.1",
        sop_instance_uid=uid,
        study_instance_uid="s",
        series_instance_uid="e",
        patient_key="p",
        kind=ArrivalKind.CINE,
        origin=Origin.SCANNER,
        peer_ae_title="SCANNER",
        peer_host="127.0.0.1",
        association_id="a",
        received_at=NOW - timedelta(days=days_ago),
        transfer_syntax_uid="1.2.840.10008.1.2.4.50",
        path=Path(uid),
        frames=900,
    )


class _Killed(Exception):
    """Stands for kill -9."""


class _Crash:
    """Ends the process, as it were, before its nth deletion."""

    def __init__(self, step: int) -> None:
        self._left = step

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                raise _Killed
            return call(*arguments, **options)

        return counted
