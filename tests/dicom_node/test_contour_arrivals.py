"""What a reader sends back: every kind becomes a revision on the right tissue, everything else is refused by name."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from structlog.testing import capture_logs

from dicom_node.acquisition import Origin
from dicom_node.cine_reader import open_cine
from dicom_node.config import load_settings
from dicom_node.contour_arrivals import ContourArrivals
from dicom_node.data_folder import DataFolder
from dicom_node.jobs import Job, JobBook
from dicom_node.ledger_record import record_of, to_json
from dicom_node.measuring_order import MeasuringOrder
from dicom_node.reader_contours import ContourFiles, ReaderRois, captures_of, reader_rois
from dicom_node.results import ResultFolder
from dicom_node.spool import Spool
from dicom_node.steering import retry
from dicom_node.writing import earlier_report
from processing.cine import Cine, TimeZero
from processing.motion import Motion
from reports.build import build_results
from reports.contours import polygon_mask
from reports.findings_json import to_json as findings_json
from reports.result_object import dicom_bytes
from tests.dicom_node.reader_objects import CSPS, GSPS, LESION, REFERENCE, Drawn, closed, saved
from tests.reports.pictures_scene import BMODE_BOX, CONTRAST_BOX, SPACING, picture_inputs
from tests.reports.rig import context
from tests.reports.scenes import CREATED, ellipse, full_findings
from tests.reports.sources import COLUMNS, MULTI_FRAME, ROWS, sources

FRAMES = 3
PAGES = ("summary", "maps")
SHOWN = 1
"""The frame (from 0) that the summary page shows."""
NOW = CREATED + timedelta(hours=2)
MOVED = (4, -6)
"""By how many pixels (z, x) the tissue of frame 3 lies away from the reference frame."""
OUTLINE = ellipse(180, 230, 40, 50)
"""What the reader means, in the full frame of the reference frame's contrast panel."""
TRUTH = polygon_mask(OUTLINE, ROWS, COLUMNS)[CONTRAST_BOX.slices]
SLIP = 0.06
"""Share of the area that may differ: a rim of a quarter of a pixel of that ellipse (1.2 % a tenth of a pixel)."""


@cache
def result_files() -> dict[str, bytes]:
    findings = full_findings()
    drawn = replace(picture_inputs(("lesion", "reference"), maps=True), flow_maps={}, baseline=None)
    made = dict(build_results(findings, drawn, context(frame=SHOWN)).objects)
    objects = {name: dicom_bytes(made[name]) for name in ("sr.dcm", "sc_summary.dcm", "sc_maps.dcm")}
    return {"findings.json": findings_json(findings).encode(), **objects}


class Ward:
    """A node's disk with one measured cine on it, and what readers send to it."""

    def __init__(self, folder: Path, **tables: Any) -> None:
        self.settings = load_settings(None, node={"data_dir": folder / "data"}, **tables)
        self.folder = DataFolder(folder / "data")
        self.folder.prepare()
        self.spool, self.jobs = Spool(self.folder.spool), JobBook(self.folder.jobs)
        self.drop = folder / "drop"
        (self.source,) = sources("rgb", FRAMES)
        path = self._place(self.source, Origin.SCANNER)
        uids = (str(self.source.SOPInstanceUID),)
        self.job = Job("first", "a1", uids, (str(path),), CREATED.isoformat(), "digest")
        self.jobs.write(self.job)
        self.measure(self.job)
        self.desk = ContourArrivals(self.settings, self.spool, self.jobs)

    def measure(self, job: Job) -> None:
        """Give the job a result: the lesion of the reports' own scene, on frame 2."""
        result = ResultFolder(self.folder.results, job.acquisition, job.name)
        with result.being_made() as draft:
            for name, content in result_files().items():
                (draft / name).write_bytes(content)
        self.pages = {page: dcmread(result.path / f"sc_{page}.dcm", stop_before_pixels=True) for page in PAGES}

    def receive(self, dataset: Dataset, origin: Origin = Origin.OTHER) -> str:
        """A contour in the spool, as the receiver leaves it; returns its UID."""
        self._place(dataset, origin)
        return str(dataset.SOPInstanceUID)

    def look(self, after: timedelta = timedelta(0)) -> list[Job]:
        return self.desk.order_ready(NOW + after)[0]

    def refusal(self, uid: str) -> str:
        (instance,) = [i for i in self.spool.instances() if i.sop_instance_uid == uid]
        return instance.refusal

    def drawn(self, number: int = 1, frame: int | None = 1, **attributes: Any) -> Drawn:
        return Drawn(self.source, number, frame, attributes=attributes)

    def on_page(self, name: str = "summary") -> Drawn:
        page = self.pages[name]
        return Drawn(self.source, target=(str(page.SOPClassUID), str(page.SOPInstanceUID)))

    def rois(self, job: Job) -> ReaderRois:
        """What the revision measures."""
        cine = Cine(
            contrast=np.ones((FRAMES, CONTRAST_BOX.rows, CONTRAST_BOX.columns), np.float32),
            valid=np.ones((CONTRAST_BOX.rows, CONTRAST_BOX.columns), bool),
            saturated=np.zeros((CONTRAST_BOX.rows, CONTRAST_BOX.columns), np.uint32),
            floor_au=1e-6,
            frame_times_s=0.1 * np.arange(FRAMES),
            time_zero=TimeZero(),
            spacing_mm=SPACING,
            origin_px=(CONTRAST_BOX.y0, CONTRAST_BOX.x0),
            bmode=None,
        )
        files = ContourFiles(
            tuple(Path(file) for file in job.contour_files), captures_of(self.folder.results, job.acquisition)
        )
        panels = full_findings().source.contrast_panel
        assert panels is not None
        return reader_rois(files, open_cine([Path(file) for file in job.files]), panels, cine, breathing())

    def _place(self, dataset: Dataset, origin: Origin) -> Path:
        path = saved(dataset, self.spool.instance_path(str(dataset.SOPInstanceUID)))
        record = replace(record_of(path), origin=origin, received_at=NOW)
        path.with_suffix(".json").write_bytes(to_json(record))
        return path


def breathing() -> Motion:
    """The tissue of the third frame lies 4 pixels deeper and 6 to the left; the second and third are kept."""
    displacement = np.zeros((FRAMES, 2), np.float32)
    displacement[2] = MOVED
    return Motion(
        displacement_px=displacement,
        rejected=np.array([True, False, False]),
        correlation=np.ones(FRAMES, np.float32),
        reference_frame=1,
        estimated_on="B-mode",
        p95_px=1.0,
        p95_mm=0.15,
        phase_kept_fraction=None,
        limitations=(),
    )


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def moved(outline: Any, x: float, z: float) -> list[tuple[float, float]]:
    return [(px + x, pz + z) for px, pz in outline]


VIEWS_OF_PAGE = {"summary": (38.0, 154.0, 379.0, 478.0), "maps": (560.67, 676.0, 358.67, 448.0)}
"""x, y, width, height of a view on each page, measured on the pages as they are drawn: the left one of the reference
frame's box (38..797, 154..632, parted by 14 px); the middle one of the lower row of three maps, a tile of 506.67 x 510
at (546.67, 630) less 14 px at the left, 46 above, 16 below and 134 for the key."""


def page_point(x: float, y: float, page: str = "summary") -> tuple[float, float]:
    """Where a full-frame point of the contrast panel lies on a page: 320 x 360 pixels in true proportion, centred."""
    left, top, width, height = VIEWS_OF_PAGE[page]
    scale = min(width / CONTRAST_BOX.columns, height / CONTRAST_BOX.rows)
    corner = left + (width - scale * CONTRAST_BOX.columns) / 2, top + (height - scale * CONTRAST_BOX.rows) / 2
    return corner[0] + (x + 0.5 - CONTRAST_BOX.x0) * scale, corner[1] + (y + 0.5 - CONTRAST_BOX.y0) * scale


def circle_data(x: float, y: float, radius: float) -> list[float]:
    return [x + 0.5, y + 0.5, x + 0.5 + radius, y + 0.5]


def ellipse_data(x: float, y: float, half_width: float, half_height: float) -> list[float]:
    x, y = x + 0.5, y + 0.5
    return [x, y - half_height, x, y + half_height, x - half_width, y, x + half_width, y]


def full_mask(outline: Any) -> NDArray[np.bool_]:
    return polygon_mask(tuple(outline), ROWS, COLUMNS)


def as_polyline(ward: Ward) -> Dataset:
    return ward.drawn().presentation_state("POLYLINE", closed(OUTLINE), "Lesion", GSPS)


def as_ellipse(ward: Ward) -> Dataset:
    return ward.drawn().presentation_state("ELLIPSE", ellipse_data(180, 230, 40, 50), "Tumour 12 mm", CSPS)


def as_unnamed_circle(ward: Ward) -> Dataset:
    return ward.drawn().presentation_state("CIRCLE", circle_data(180, 230, np.sqrt(40 * 50)), "Area: 14.1 mm2")


def as_report(ward: Ward) -> Dataset:
    return ward.drawn().report([(LESION, closed(OUTLINE))])


def as_mask(ward: Ward) -> Dataset:
    return ward.drawn().segmentation({"Lesion": full_mask(OUTLINE)})


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


def another_patient(ward: Ward) -> Dataset:
    return ward.drawn(PatientID="P-2").report([(LESION, closed(OUTLINE))])


REFUSED: dict[str, tuple[Callable[[Ward], Dataset], str]] = {
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


def test_a_damaged_object_is_refused_and_the_next_one_is_read(ward: Ward) -> None:
    broken = as_mask(ward)
    del broken.SegmentSequence
    broken.SOPInstanceUID = "2.25.99"
    uid = ward.receive(broken)
    ward.receive(as_report(ward))
    assert len(ward.look()) == 1
    assert "damaged" in ward.refusal(uid)


def test_what_was_fetched_by_the_node_itself_is_no_readers_contour(ward: Ward) -> None:
    ward.receive(as_report(ward), Origin.RETRIEVE)
    assert ward.look() == []


def test_a_retired_source_without_a_pacs_is_refused_by_name(ward: Ward) -> None:
    ward.spool.remove(str(ward.source.SOPInstanceUID))
    uid = ward.receive(as_report(ward))
    assert ward.look() == []
    assert "no PACS to fetch it from" in ward.refusal(uid)


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
