"""When a reader's contour is taken: alone or together, first or later, before its cine, and after it was retired."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import dcmread
from structlog.testing import capture_logs

from dicom_node.acquisition import Origin
from dicom_node.measuring_order import MeasuringOrder
from dicom_node.steering import retry
from dicom_node.writing import earlier_report
from tests.dicom_node.contour_scenes import (
    OUTLINE,
    SLIP,
    Ward,
    as_report,
    full_mask,
    result_files,
)
from tests.dicom_node.reader_objects import LESION, REFERENCE, Drawn, closed
from tests.reports.pictures_scene import CONTRAST_BOX
from tests.reports.scenes import ellipse
from tests.reports.sources import MULTI_FRAME


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def test_lesion_and_reference_that_come_together_make_one_revision(ward: Ward) -> None:
    beside = ellipse(300, 230, 25, 40)
    ward.receive(ward.drawn(1).presentation_state("POLYLINE", closed(OUTLINE), "lesion"))
    ward.receive(ward.drawn(2).report([(REFERENCE, closed(beside))]))
    (revision,) = ward.look()
    drawn = ward.rois(revision)
    assert len(revision.contours) == 2
    assert drawn.lesion is not None
    assert drawn.reference is not None
    assert (drawn.reference ^ full_mask(beside)[CONTRAST_BOX.slices]).sum() <= SLIP * drawn.reference.sum()


def test_a_second_contour_builds_on_the_first_and_the_newer_lesion_counts(ward: Ward) -> None:
    ward.receive(ward.drawn(1).report([(LESION, closed(OUTLINE)), (REFERENCE, closed(ellipse(300, 230, 25, 40)))]))
    (second,) = ward.look()
    smaller = ellipse(180, 230, 20, 25)
    ward.receive(ward.drawn(2).report([(LESION, closed(smaller))]))
    assert ward.look() == [], "it waits for the revision before"
    ward.measure(second)
    (third,) = ward.look()
    assert (third.revision, len(third.contours)) == (3, 2)
    drawn = ward.rois(third)
    assert drawn.lesion is not None
    assert drawn.lesion.sum() == pytest.approx(full_mask(smaller).sum(), rel=0.02)
    assert drawn.reference is not None, "the first contour's reference still stands"
    assert drawn.digest != ward.rois(second).digest


def test_a_contour_waits_until_its_association_is_over_and_its_cine_is_measured(ward: Ward) -> None:
    unmeasured = replace(ward.job, name="second", revision=2)
    ward.jobs.write(unmeasured)
    ward.receive(as_report(ward))
    assert ward.look() == []
    ward.measure(unmeasured)
    (revision,) = ward.look()
    assert revision.revision == 3


def test_a_contour_on_an_unknown_image_waits_for_its_cine_and_is_then_refused(ward: Ward) -> None:
    stray = Drawn(ward.source, target=(MULTI_FRAME, "2.25.4711"))
    uid = ward.receive(stray.report([(LESION, closed(OUTLINE))]))
    assert ward.look() == []
    assert ward.refusal(uid) == "", "its cine may still come"
    assert ward.look(timedelta(seconds=ward.settings.series.max_wait_s)) == []
    assert "has not measured" in ward.refusal(uid)


def test_a_report_without_an_outline_is_set_aside_without_noise(ward: Ward) -> None:
    uid = ward.receive(ward.drawn().report([]), Origin.SCANNER)
    with capture_logs() as logs:
        assert ward.look() == []
    assert ward.refusal(uid) == ""
    assert [entry["log_level"] for entry in logs] == ["info"]
    assert ward.look() == []


def test_what_was_fetched_by_the_node_itself_is_no_readers_contour(ward: Ward) -> None:
    ward.receive(as_report(ward), Origin.RETRIEVE)
    assert ward.look() == []


def test_a_retired_source_without_a_pacs_is_refused_by_name(ward: Ward) -> None:
    ward.spool.remove(str(ward.source.SOPInstanceUID))
    uid = ward.receive(as_report(ward))
    assert ward.look() == []
    assert "no PACS to fetch it from" in ward.refusal(uid)


def test_a_retry_under_other_settings_keeps_the_reader_and_settings_that_come_back_repeat_no_revision(
    ward: Ward,
) -> None:
    uid = ward.receive(as_report(ward))
    (revision,) = ward.look()
    other = ward.settings.model_copy(
        update={"report": ward.settings.report.model_copy(update={"sr_class": "enhanced"})}
    )
    assert "ordered revision 3" in retry(other, revision.name)
    (third,) = [job for job in ward.jobs.all() if job.revision == 3]
    assert third.contours == (uid,)
    assert f"try 2 of job {revision.name}" in retry(ward.settings, third.name), "as it was before"
    assert len(ward.jobs.all()) == 3


def test_a_revision_follows_the_last_report_that_was_made(ward: Ward) -> None:
    ward.receive(as_report(ward))
    (second,) = ward.look()
    first_report = dcmread(io.BytesIO(result_files()["sr.dcm"]))
    for revision in (2, 3):  # the second one has no result yet, so the third follows the first as well
        job = replace(second, name=f"revision {revision}", revision=revision)
        followed = earlier_report(MeasuringOrder(ward.settings, ward.folder, job))
        assert followed is not None
        assert followed.sop_instance_uid == first_report.SOPInstanceUID
        assert followed.series_instance_uid == first_report.SeriesInstanceUID
    assert earlier_report(MeasuringOrder(ward.settings, ward.folder, ward.job)) is None
