"""A node's disk with one measured cine on it, and the outlines that readers send to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.acquisition import Origin
from dicom_node.cine_reader import open_cine
from dicom_node.config import load_settings
from dicom_node.contour_arrivals import ContourArrivals
from dicom_node.data_folder import DataFolder
from dicom_node.jobs import Job, JobBook
from dicom_node.ledger_record import record_of, to_json
from dicom_node.reader_contours import ContourFiles, ReaderRois, captures_of, reader_rois
from dicom_node.results import ResultFolder
from dicom_node.spool import Spool
from processing.cine import Cine, TimeZero
from processing.motion import Motion
from reports.build import build_results
from reports.contours import polygon_mask
from reports.findings_json import to_json as findings_json
from reports.result_object import dicom_bytes
from tests.dicom_node.reader_objects import LESION, Drawn, closed, saved
from tests.reports.pictures_scene import CONTRAST_BOX, SPACING, picture_inputs
from tests.reports.rig import context
from tests.reports.scenes import CREATED, ellipse, full_findings
from tests.reports.sources import COLUMNS, ROWS, sources

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


def moved(outline: Any, x: float, z: float) -> list[tuple[float, float]]:
    return [(px + x, pz + z) for px, pz in outline]


VIEWS_OF_PAGE = {"summary": (38.0, 154.0, 379.0, 478.0), "maps": (419.5, 539.0, 640.0, 720.0)}
"""x, y, width, height of the panel on each page, measured on the pages as they are drawn: the left one of the reference
frame's box (38..797, 154..632, parted by 14 px); the middle one of the lower row of three close-ups, where the ring
around the lesion of 120 x 142 px at (200, 240) is 240 x 284 px large around (740.5, 900)."""


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


def as_report(ward: Ward) -> Dataset:
    return ward.drawn().report([(LESION, closed(OUTLINE))])


def as_mask(ward: Ward) -> Dataset:
    return ward.drawn().segmentation({"Lesion": full_mask(OUTLINE)})
