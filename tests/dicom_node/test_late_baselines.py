"""A baseline that comes late or is corrected makes a new revision of every comparison that used it, and of no other."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.jobs import Job, JobBook
from dicom_node.late_baselines import CORRECTED, LATE, UNSURE, revise_comparisons
from dicom_node.steering import confirm, grant_wishes
from dicom_node.wishes import Wish, WishBox
from tests.dicom_node.history_scenes import History, Study

NOW = datetime(2026, 11, 22, tzinfo=UTC)


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "node")


def revised(history: History, measured: Job) -> list[tuple[str, int, str]]:
    return [(job.acquisition, job.revision, job.reason) for job in revise_comparisons(history.settings, measured, NOW)]


def test_a_late_baseline_revises_the_study_that_went_without_it(history: History) -> None:
    alone = history.measure(Study(0))
    assert not history.comparison(alone).performed
    assert revised(history, alone) == []
    late = history.measure(Study(-24))
    assert revised(history, late) == [("acquisition 0 h", 2, LATE)]
    assert revised(history, late) == [], "asked again after a crash, it is ordered once"


def test_a_nearer_late_baseline_takes_the_place_of_an_older_one(history: History) -> None:
    history.measure(Study(-60))
    compared = history.measure(Study(0))
    assert history.comparison(compared).hours_since == 60
    assert revised(history, compared) == []
    assert revised(history, history.measure(Study(-20))) == [("acquisition 0 h", 2, LATE)]


def test_a_corrected_baseline_revises_what_used_it_and_nothing_else(history: History) -> None:
    history.measure(Study(-24, ratio=3.0))
    history.measure(Study(0))
    history.measure(Study(200))
    corrected = history.measure(Study(-24, ratio=2.5, revision=2))
    assert revised(history, corrected) == [("acquisition 0 h", 2, CORRECTED)]


def test_a_revision_that_measured_the_same_corrects_nothing(history: History) -> None:
    history.measure(Study(-24))
    history.measure(Study(0))
    assert revised(history, history.measure(Study(-24, revision=2))) == []


def test_a_second_lesion_in_the_baselines_study_makes_it_unsure(history: History) -> None:
    first = Study(-24)
    history.measure(first)
    history.measure(Study(0))
    second = Study(-23.9, attributes={"StudyInstanceUID": first.header().StudyInstanceUID})
    assert revised(history, history.measure(second)) == [("acquisition 0 h", 2, UNSURE)]


def test_a_later_or_another_patients_study_revises_nothing(history: History) -> None:
    history.measure(Study(0))
    other = Study(-24, attributes={"PatientID": "P-2"})
    stranger = history.measure(other)
    assert revised(history, stranger) == []
    contradicting = Study(-20, attributes={"PatientBirthDate": "19600101"})
    assert revised(history, history.measure(contradicting)) == []
    later = history.measure(Study(30))
    assert history.comparison(later).performed
    assert revised(history, later) == []


def test_a_study_whose_cine_has_gone_is_not_ordered(history: History) -> None:
    alone = history.measure(Study(0))
    Path(alone.files[0]).unlink()
    assert revised(history, history.measure(Study(-24))) == []
    assert len(JobBook(history.folder.jobs).all()) == 2


def test_a_readers_word_shares_the_tracking_uid_and_settles_the_match(history: History) -> None:
    before, now = history.measure(Study(-24)), history.measure(Study(0))
    with pytest.raises(ConfigurationError, match="no match to confirm"):
        confirm(history.settings, before.name)
    WishBox(history.folder.wishes).put(Wish(now.name, "confirm", "Dr. Müller"))
    grant_wishes(history.settings)
    (ordered,) = (job for job in JobBook(history.folder.jobs).all() if job.confirmed_lesion)
    assert ordered.acquisition == now.acquisition
    assert ordered.reason == "lesion match confirmed by a reader"
    assert (ordered.revision, ordered.confirmed_by) == (2, "Dr. Müller")
    assert ordered.confirmed_lesion == Study(-24).findings().rois[0].tracking_uid
