"""What a reader sends back and must not be measured is refused by name, and gives away nobody."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from structlog.testing import capture_logs

from reports.uids import ResultIdentity
from tests.dicom_node.contour_scenes import (
    OUTLINE,
    Ward,
    as_mask,
    as_report,
    moved,
)
from tests.dicom_node.reader_objects import LESION, closed
from tests.reports.scenes import ellipse


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def another_patient(ward: Ward) -> Dataset:
    return ward.drawn(PatientID="P-2").report([(LESION, closed(OUTLINE))])


def above_the_plane(ward: Ward) -> Dataset:
    place = ResultIdentity("", ward.job.sop_instance_uids, "", "").frame_of_reference_uid
    return ward.drawn().report_in_space(LESION, [(0.15 * x, 0.15 * z, 3.0) for x, z in OUTLINE], place)


def on_a_page_of_another_layout(ward: Ward) -> Dataset:
    """Drawn on a page that an earlier version made: where the tissue lay on it is no longer known."""
    (page,) = ward.folder.results.rglob("sc_summary.dcm")
    earlier = dcmread(page)
    earlier.DerivationDescription = "Summary, computed by CEUS Node 0.1.0"
    earlier.save_as(page)
    return ward.on_page().presentation_state("POLYLINE", closed(OUTLINE), "lesion")


def as_a_type_of_another_class(ward: Ward) -> Dataset:
    made = as_mask(ward)
    made.SegmentationType = "LABELMAP"
    return made


REFUSED: dict[str, tuple[Callable[[Ward], Dataset], str]] = {
    "a page of another layout": (on_a_page_of_another_layout, "none of the images"),
    "another patient": (another_patient, "another patient"),
    "no patient ID": (lambda w: w.drawn(PatientID="").report([(LESION, closed(OUTLINE))]), "another patient"),
    "another birth date": (
        lambda w: w.drawn(PatientBirthDate="19510101").report([(LESION, closed(OUTLINE))]),
        "birth date contradicts",
    ),
    "another study": (
        lambda w: w.drawn(StudyInstanceUID="2.25.5").report([(LESION, closed(OUTLINE))]),
        "another study",
    ),
    "another geometry": (
        lambda w: w.drawn().segmentation({"Lesion": np.ones((100, 120), bool)}),
        "a mask of 120 x 100 pixels lies on an image of 800 x 480",
    ),
    "beyond the image": (
        lambda w: w.drawn().report([(LESION, closed(moved(OUTLINE, 700, 0)))]),
        "leaves its image of 800 x 480 pixels",
    ),
    "beside the panels": (
        lambda w: w.drawn().report([(LESION, closed(ellipse(770, 450, 15, 15)))]),
        "no panel",
    ),
    "beyond the last frame": (lambda w: w.drawn(frame=9).report([(LESION, closed(OUTLINE))]), "frame 9"),
    "two lesions": (
        lambda w: w.drawn().report([(LESION, closed(OUTLINE)), (LESION, closed(ellipse(300, 230, 25, 40)))]),
        "2 lesion contours",
    ),
    "something else": (
        lambda w: w.drawn().presentation_state("POLYLINE", closed(OUTLINE), "gallbladder"),
        "neither a lesion nor a reference",
    ),
    "out of the plane": (above_the_plane, "leaves the plane of the image"),
    "a type of another class": (as_a_type_of_another_class, "is not read in this class"),
    "a slip of the hand": (lambda w: w.drawn().report([(LESION, closed(ellipse(180, 230, 1, 1)))]), "less than 16"),
}


@pytest.mark.parametrize("scene", REFUSED)
def test_what_may_not_be_measured_is_refused_by_name(scene: str, ward: Ward) -> None:
    make, words = REFUSED[scene]
    with capture_logs() as logs:
        uid = ward.receive(make(ward))
        assert ward.look() == []
    assert words in ward.refusal(uid)
    assert [job.name for job in ward.jobs.all()] == ["first"]
    (said,) = [entry for entry in logs if entry["event"] == "contour refused"]
    for secret in ("P-1", "P-2", "Müller", "1951", uid):
        assert secret not in str(said)


def test_a_damaged_object_is_refused_and_the_next_one_is_read(ward: Ward) -> None:
    broken = as_mask(ward)
    del broken.SegmentSequence
    broken.SOPInstanceUID = "2.25.99"
    uid = ward.receive(broken)
    ward.receive(as_report(ward))
    assert len(ward.look()) == 1
    assert "damaged" in ward.refusal(uid)
