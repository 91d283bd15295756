"""What reaches a PACS after the job was measured is noticed: at stated times, once each, and then no more."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dicom_node import priors
from dicom_node.config import Settings, load_settings
from dicom_node.jobs import Job, JobBook
from dicom_node.late_baselines import LATE, revise_after_news
from dicom_node.second_looks import FORGOTTEN_AFTER, SecondLooks
from dicom_node.sending import send_files
from dicom_node.transport.requestor import RemoteNode
from tests.dicom_node.history_scenes import History, Study
from tests.peers import LOOPBACK, Orthanc, free_ports

MINUTES = (10.0, 60.0)


def asking(history: History, port: int) -> Settings:
    """The node's settings with that PACS."""
    pacs = {"name": "pacs", "ae_title": "ORTHANC", "host": LOOPBACK, "port": port}
    comparison = {"look_again_min": list(MINUTES), "wait_s": 5.0}
    analysis = {"protocol": "bedside_bolus"}
    return load_settings(
        None, node={"data_dir": history.root}, destination=[pacs], analysis=analysis, comparison=comparison
    )


def measured(history: History, settings: Settings) -> Job:
    """A study without a baseline, for which the PACS was asked when it was measured."""
    job = history.measure(Study(0))
    study = Study(0)
    header = study.header()
    header.AcquisitionDateTime = f"{study.at:%Y%m%d%H%M%S}"
    header.save_as(Path(job.files[0]), enforce_file_format=True)
    priors.retrieve(settings, job)
    return job


def after(job: Job, minutes: float) -> datetime:
    return datetime.fromisoformat(job.accepted_at) + timedelta(minutes=minutes)


@pytest.mark.peers
def test_another_nodes_report_that_comes_after_the_job_makes_one_revision(tmp_path: Path) -> None:
    history, elsewhere = History(tmp_path / "node"), History(tmp_path / "another node")
    elsewhere.measure(Study(-24))
    with Orthanc(tmp_path) as pacs:
        settings = asking(history, pacs.dicom_port)
        job, looks = measured(history, settings), SecondLooks(settings)
        assert looks.look(after(job, 10)) == [], "nothing has come yet"
        remote = RemoteNode(pacs.ae_title, LOOPBACK, pacs.dicom_port)
        sent = send_files(remote, "OTHER_NODE", sorted(elsewhere.root.glob("results/*/*/sr.dcm")))
        assert all(outcome.delivered for _, outcome in sent)
        assert looks.look(after(job, 59)) == [], "its time has not come"
        assert looks.look(after(job, 61)) == [job.name]
    now = after(job, 62)
    (revised,) = revise_after_news(settings, now)
    assert (revised.acquisition, revised.revision, revised.reason) == (job.acquisition, 2, LATE)
    assert revise_after_news(settings, now) == [], "told once"
    assert looks.look(after(job, 100)) == [], "the looks at the older revision are over"


def test_a_look_that_is_missed_is_made_up_once_and_a_long_gone_one_never(tmp_path: Path) -> None:
    history = History(tmp_path / "node")
    (closed,) = free_ports(1)
    settings = asking(history, closed)
    job, looks = measured(history, settings), SecondLooks(settings)
    asked: list[str] = []

    def look_again(_: Settings, job: Job) -> bool:
        asked.append(job.name)
        return False

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(priors, "look_again", look_again)
        looks.look(after(job, 9))
        assert asked == []
        looks.look(after(job, 500))  # both times have passed: a node that was switched off asks once
        looks.look(after(job, 501))
        assert asked == [job.name]
        JobBook(history.folder.jobs).write(replace(job, accepted_at=after(job, 600).isoformat()))
        looks.look(after(job, 600 + MINUTES[-1]) + FORGOTTEN_AFTER + timedelta(hours=1))
        assert asked == [job.name]


def test_a_pacs_that_does_not_answer_the_second_time_changes_nothing(tmp_path: Path) -> None:
    history = History(tmp_path / "node")
    (closed,) = free_ports(1)
    settings = asking(history, closed)
    job, looks = measured(history, settings), SecondLooks(settings)
    before, limitations = priors.retrieved(settings, job)
    assert looks.look(after(job, 10)) == []
    assert priors.retrieved(settings, job) == (before, limitations)
    assert not list((history.root / "priors").glob("*.news"))


def test_a_site_may_do_without(tmp_path: Path) -> None:
    history = History(tmp_path / "node")
    settings = asking(history, 1)
    never = settings.comparison.model_copy(update={"look_again_min": ()})
    looks = SecondLooks(settings.model_copy(update={"comparison": never}))
    assert not looks.wanted
    looks.watch(threading.Event())  # ends by itself
