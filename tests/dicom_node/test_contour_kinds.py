"""Every kind of contour that a reader sends back becomes a revision on the tissue that was meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from reports.contours import polygon_mask
from reports.uids import ResultIdentity
from tests.dicom_node.contour_scenes import (
    MOVED,
    OUTLINE,
    SLIP,
    TRUTH,
    Ward,
    as_mask,
    as_report,
    circle_data,
    ellipse_data,
    full_mask,
    moved,
    page_point,
)
from tests.dicom_node.reader_objects import BLENDING, CSPS, GSPS, LESION, PSEUDO_COLOUR, Drawn, closed
from tests.reports.pictures_scene import BMODE_BOX, CONTRAST_BOX, SPACING
from tests.reports.scenes import ellipse


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def as_polyline(ward: Ward) -> Dataset:
    return ward.drawn().presentation_state("POLYLINE", closed(OUTLINE), "Lesion", GSPS)


def as_ellipse(ward: Ward) -> Dataset:
    return ward.drawn().presentation_state("ELLIPSE", ellipse_data(180, 230, 40, 50), "Tumour 12 mm", CSPS)


def as_unnamed_circle(ward: Ward) -> Dataset:
    return ward.drawn().presentation_state("CIRCLE", circle_data(180, 230, np.sqrt(40 * 50)), "Area: 14.1 mm2")


def on_the_bmode_twin(ward: Ward) -> Dataset:
    aside = moved(OUTLINE, BMODE_BOX.x0 - CONTRAST_BOX.x0, 0)
    return ward.drawn().presentation_state("POLYLINE", closed(aside), "Läsion")


def on_another_frame(ward: Ward) -> Dataset:
    away = moved(OUTLINE, MOVED[1], MOVED[0])
    return ward.drawn(frame=3).report([(LESION, closed(away))])


def as_mask_on_another_frame(ward: Ward) -> Dataset:
    return ward.drawn(frame=3).segmentation({"Tumor": full_mask(moved(OUTLINE, MOVED[1], MOVED[0]))})


def on_the_summary_page(ward: Ward) -> Dataset:
    data = [value for point in (*OUTLINE, OUTLINE[0]) for value in page_point(*point)]
    return ward.on_page().presentation_state("POLYLINE", data, "lesion", CSPS)


def on_a_map(ward: Ward) -> Dataset:
    data = [value for point in (*OUTLINE, OUTLINE[0]) for value in page_point(*point, "maps")]
    return ward.on_page("maps").presentation_state("POLYLINE", data, "lesion", CSPS)


def as_mask_on_the_summary_page(ward: Ward) -> Dataset:
    page = polygon_mask(tuple((x - 0.5, y - 0.5) for x, y in (page_point(*p) for p in OUTLINE)), 1200, 1600)
    return ward.on_page().segmentation({"Lesion": page})


def as_pseudo_colour_state(ward: Ward) -> Dataset:
    return ward.drawn().presentation_state("POLYLINE", closed(OUTLINE), "Lesion", PSEUDO_COLOUR)


def as_blending_state(ward: Ward) -> Dataset:
    return ward.drawn().presentation_state("ELLIPSE", ellipse_data(180, 230, 40, 50), "lesion", BLENDING)


def as_label_map(ward: Ward) -> Dataset:
    return ward.drawn().label_map({"Lesion": full_mask(OUTLINE), "Kidney": full_mask(ellipse(300, 300, 9, 9))})


def as_probability(ward: Ward) -> Dataset:
    """One half inside, and a rim of less."""
    wider = full_mask(ellipse(180, 230, 48, 58)) * 0.4
    return ward.drawn().fractional("Lesion", np.maximum(wider, full_mask(OUTLINE) * 0.5))


def in_mm(x: float, z: float) -> tuple[float, float, float]:
    return x * SPACING.x_mm, z * SPACING.z_mm, 0.0


def in_space(ward: Ward) -> Dataset:
    """On one of our maps or masks, whose Frame of Reference it is; the frame is then the reference frame."""
    place = ResultIdentity("", ward.job.sop_instance_uids, "", "").frame_of_reference_uid
    return ward.drawn().report_in_space(LESION, [in_mm(x, z) for x, z in OUTLINE], place)


def as_mask_on_one_of_our_maps(ward: Ward) -> Dataset:
    """It names the map that it was drawn on, not the cine; the space is the cine's."""
    made = Drawn(ward.source, target=("1.2.840.10008.5.1.4.1.1.30", "2.25.4712")).segmentation({"Lesion": TRUTH})
    made.FrameOfReferenceUID = ResultIdentity("", ward.job.sop_instance_uids, "", "").frame_of_reference_uid
    measures, plane = Dataset(), Dataset()
    measures.PixelSpacing = [SPACING.z_mm, SPACING.x_mm]
    plane.ImagePositionPatient = list(in_mm(CONTRAST_BOX.x0, CONTRAST_BOX.y0))
    (shared,) = made.SharedFunctionalGroupsSequence
    shared.PixelMeasuresSequence, shared.PlanePositionSequence = [measures], [plane]
    return made


KINDS: dict[str, Callable[[Ward], Dataset]] = {
    "grayscale state, polyline": as_polyline,
    "colour state, ellipse": as_ellipse,
    "state, a circle without a name": as_unnamed_circle,
    "report": as_report,
    "mask": as_mask,
    "on the B-mode twin": on_the_bmode_twin,
    "on another frame": on_another_frame,
    "mask on another frame": as_mask_on_another_frame,
    "on the summary page": on_the_summary_page,
    "on a map": on_a_map,
    "mask on the summary page": as_mask_on_the_summary_page,
    "pseudo-colour state": as_pseudo_colour_state,
    "blending state": as_blending_state,
    "label map": as_label_map,
    "mask of probabilities": as_probability,
    "in space": in_space,
    "mask on one of our maps": as_mask_on_one_of_our_maps,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_contour_makes_a_revision_on_the_tissue_that_was_meant(kind: str, ward: Ward) -> None:
    uid = ward.receive(KINDS[kind](ward))
    (revision,) = ward.look()
    assert (revision.acquisition, revision.revision, revision.reason) == ("a1", 2, "reader's contour")
    assert revision.contours == (uid,)
    assert revision.name != ward.job.name
    found = ward.rois(revision).lesion
    assert found is not None
    if "circle" in kind:  # of the same area: compared by area and place
        assert found.sum() == pytest.approx(TRUTH.sum(), rel=0.02)
        np.testing.assert_allclose(np.argwhere(found).mean(axis=0), np.argwhere(TRUTH).mean(axis=0), atol=0.5)
    else:
        assert (found ^ TRUTH).sum() <= SLIP * TRUTH.sum(), "the reader's outline on the reference frame"
    assert ward.look() == [], "taken once"
    assert ward.refusal(uid) == ""


def test_a_carried_contour_says_how_far_and_from_which_frame(ward: Ward) -> None:
    ward.receive(on_another_frame(ward))
    (revision,) = ward.look()
    (said,) = ward.rois(revision).limitations
    distance_mm = np.hypot(*MOVED) * SPACING.z_mm
    assert said.code == "contour_carried"
    assert "frame 3" in said.text
    assert f"{distance_mm:.1f} mm" in said.text


def test_a_contour_on_a_rejected_frame_is_measured_with_less_trust(ward: Ward) -> None:
    ward.receive(as_report(ward))  # frame 1 of the breathing cine left the plane
    (revision,) = ward.look()
    (said,) = ward.rois(revision).limitations
    assert (said.code, said.severity) == ("contour_on_rejected_frame", "degraded")


def test_a_mask_of_probabilities_says_where_it_was_cut(ward: Ward) -> None:
    ward.receive(as_probability(ward))
    (revision,) = ward.look()
    assert "contour_fractional" in {limitation.code for limitation in ward.rois(revision).limitations}
