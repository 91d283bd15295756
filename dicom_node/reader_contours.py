"""A reader's contours as masks of the cine: read from what was sent back, carried to the reference frame.

A contour may lie on any frame of the source, on either of its panels, or on one of the node's own pages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from dicom_node.cine_reader import CineFile
from dicom_node.results import PAGES_TO_DRAW_ON, ResultFolder, page_file
from processing.cine import Box, Cine, Panels, Spacing
from processing.limitations import Limitation
from processing.motion import Motion, in_reference_frame
from processing.roi import RoiLabel
from reports.errors import InvalidFindingsError, UnreadableObjectError
from reports.findings_json import from_json
from reports.page import LAYOUT, Area
from reports.read_back.capture import page_canvas
from reports.read_back.drawings import Canvas, Drawing, DrawingPlace, View, meant, read_drawings
from reports.uids import ResultIdentity


@dataclass(frozen=True)
class ContourFiles:
    """What a reader sent back, oldest first, and the captures of this acquisition that it may be drawn on."""

    objects: tuple[Path, ...] = ()
    captures: tuple[Path, ...] = ()


NO_CONTOURS = ContourFiles()


@dataclass(frozen=True, eq=False)
class ReaderRois:
    """Masks (z, x) on the contrast panel of the motion-corrected cine; None where the reader drew none.

    digest: of the objects that they come from, so that another object gives another result.
    """

    lesion: NDArray[np.bool_] | None
    reference: NDArray[np.bool_] | None
    limitations: tuple[Limitation, ...]
    digest: str


def captures_of(results: Path, acquisition: str) -> tuple[Path, ...]:
    """The pages of all revisions of an acquisition that may be drawn on."""
    jobs = sorted(folder.name for folder in (results / acquisition).glob("[!.]*"))
    return tuple(file for job in jobs for file in ResultFolder(results, acquisition, job).pages_to_draw_on())


def drawing_place(source: CineFile, panels: Panels, spacing: Spacing | None, captures: Sequence[Path]) -> DrawingPlace:
    """Everything that belongs to an acquisition and can be drawn on."""
    boxes = [panels.contrast] if panels.bmode is None else [panels.contrast, panels.bmode]
    areas = (Area(box.x0, box.y0, box.columns, box.rows) for box in boxes)
    views = tuple(View(area, area) for area in areas)
    canvases: dict[str, Canvas] = {}
    first = 0
    for clip in source.clips:
        uid = str(pydicom.dcmread(clip.path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
        canvases[uid] = Canvas(source.description.rows, source.description.columns, views, first, clip.frames)
        first += clip.frames
    place = ResultIdentity("", tuple(canvases), "", "").frame_of_reference_uid
    for capture in captures:
        canvases |= _capture(capture, panels.contrast, canvases)
    return DrawingPlace(canvases, panels.contrast, place, spacing)


def reader_rois(contours: ContourFiles, source: CineFile, panels: Panels, cine: Cine, motion: Motion) -> ReaderRois:
    """The newest contour of each structure, where its tissue lies in the reference frame.

    Raises UnreadableObjectError where an object cannot be laid on this cine.
    """
    place = drawing_place(source, panels, cine.spacing_mm, contours.captures)
    chosen: dict[RoiLabel, Drawing] = {}
    uids: dict[RoiLabel, str] = {}
    limitations: list[Limitation] = []
    for path in contours.objects:
        dataset = pydicom.dcmread(path)
        meaning = meant(read_drawings(dataset, place))
        for label, drawings in meaning.by_label.items():
            chosen[label] = min(drawings, key=lambda drawing: _distance(drawing, motion))
            uids[label] = str(dataset.SOPInstanceUID)
        if meaning.unnamed:
            text = "The reader's contour does not say what it is: as the only one it was taken for the lesion."
            limitations.append(Limitation("contour_unnamed", text, "note", ("rois",)))
    masks: dict[RoiLabel, NDArray[np.bool_]] = {}
    for label, drawing in chosen.items():
        masks[label] = _carried(drawing, label, cine, motion)
        limitations += _of_carrying(drawing, label, cine, motion)
        if drawing.fractional:
            text = f"The {label} was sent as a fractional mask: its pixels of at least one half were measured."
            limitations.append(Limitation("contour_fractional", text, "note", ("rois",)))
    digest = hashlib.sha256("\n".join(f"{label} {uids[label]}" for label in sorted(uids)).encode()).hexdigest()
    return ReaderRois(masks.get("lesion"), masks.get("reference"), tuple(dict.fromkeys(limitations)), digest)


def _distance(drawing: Drawing, motion: Motion) -> int:
    return 0 if drawing.frame is None else abs(drawing.frame - motion.reference_frame)


def _carried(drawing: Drawing, label: RoiLabel, cine: Cine, motion: Motion) -> NDArray[np.bool_]:
    mask = drawing.mask()
    if drawing.frame is not None:
        mask = in_reference_frame(mask, motion, drawing.frame)
    seen = mask & cine.valid
    if not seen.any():
        raise UnreadableObjectError(f"the {label} contour lies where the frames that are measured show no echo")
    return np.ascontiguousarray(seen)


def _of_carrying(drawing: Drawing, label: RoiLabel, cine: Cine, motion: Motion) -> Iterator[Limitation]:
    """What the reader of the report should know of a contour that was drawn on another frame."""
    if drawing.frame is None:
        return
    moved_px = np.rint(motion.displacement_px[drawing.frame])
    if motion.rejected[drawing.frame]:
        text = (
            f"The {label} was drawn on frame {drawing.frame + 1}, which the motion analysis rejects: it was carried to"
            " the reference frame by the motion of its neighbours."
        )
        yield Limitation("contour_on_rejected_frame", text, "degraded", ("rois",))
    elif moved_px.any():
        z_mm, x_mm = cine.spacing_mm or (1.0, 1.0)
        unit = "pixels" if cine.spacing_mm is None else "mm"
        distance = float(np.hypot(moved_px[0] * z_mm, moved_px[1] * x_mm))
        text = (
            f"The {label} was drawn on frame {drawing.frame + 1} and carried {distance:.1f} {unit} to the reference"
            " frame by the measured motion."
        )
        yield Limitation("contour_carried", text, "note", ("rois",))


def _capture(path: Path, panel: Box, canvases: dict[str, Canvas]) -> dict[str, Canvas]:
    """A page, where its source is part of this acquisition, its findings can still be read, and pages of its kind still
    lie as it does."""
    header = pydicom.dcmread(path, stop_before_pixels=True)
    if LAYOUT not in str(header.get("DerivationDescription", "")):
        return {}
    try:
        findings = from_json(path.with_name("findings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, InvalidFindingsError):
        return {}
    shown = findings.source
    shown_panels, (source, *_) = shown.contrast_panel, header.SourceImageSequence
    canvas = canvases.get(str(source.ReferencedSOPInstanceUID))
    if shown_panels is None or canvas is None:
        return {}
    boxes = [box for box in (shown_panels.contrast, shown_panels.bmode) if box is not None]
    frame = canvas.first_frame + int(source.get("ReferencedFrameNumber") or 1) - 1
    name = next(page for page in PAGES_TO_DRAW_ON if page_file(page) == path.name)
    page = page_canvas(name, boxes, shown.pixel_spacing_mm, frame, findings.rois)
    views = tuple(View(_area_of_panel(v.panel, shown_panels.contrast, panel), v.seen) for v in page.views)
    return {str(header.SOPInstanceUID): Canvas(page.rows, page.columns, views, page.first_frame)}


def _area_of_panel(view: Area, shown: Box, panel: Box) -> Area:
    """Where today's panel lies on a page that shows another cut of the same frame (a profile may have changed it)."""
    scale_x, scale_z = view.width / shown.columns, view.height / shown.rows
    x, y = view.x + (panel.x0 - shown.x0) * scale_x, view.y + (panel.y0 - shown.y0) * scale_z
    return Area(x, y, panel.columns * scale_x, panel.rows * scale_z)
