"""What a reader drew, on the contrast panel: from any object that holds masks or outlines, on any picture of the cine.

A picture is the source itself (contrast panel or B-mode twin, which show the same tissue) or our own capture of it.
What a drawing means is never guessed between two: `meant` refuses by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from processing.cine import Box, Spacing
from processing.roi import RoiLabel
from reports.contours import Contour, polygon_area_px2, polygon_mask
from reports.errors import UnreadableObjectError
from reports.page import Area
from reports.read_back.labels import says_nothing
from reports.read_back.masks import SEGMENTATIONS, SegmentMask, read_masks
from reports.read_back.outlines import Outline, read_outlines

SMALLEST_PX2 = 16.0
"""Less than four by four pixels of the panel is a slip of the hand, no region whose mean says anything."""
BEYOND_PX = 1.0
"""Viewers round to whole pixels at the image's edge; farther out it is another image's geometry."""


@dataclass(frozen=True)
class View:
    """Where the contrast panel's tissue shows in a picture, in pixels from its top-left corner.

    panel: where all of the panel would lie. seen: the part of it that is shown, where that is a close-up.
    """

    panel: Area
    seen: Area


@dataclass(frozen=True)
class Canvas:
    """A picture that may be drawn on.

    views: where the contrast panel's tissue shows in it, the contrast panel first.
    first_frame: frame of the acquisition (from 0) that its first frame is. frames: 0 where it is the reference frame.
    """

    rows: int
    columns: int
    views: tuple[View, ...]
    first_frame: int = 0
    frames: int = 1


@dataclass(frozen=True)
class DrawingPlace:
    """One acquisition to be drawn on: its pictures by SOP Instance UID, its contrast panel in the full frame, and the
    synthetic Frame of Reference in which our own masks lie (pixel_mm: its pixels, None without calibration)."""

    canvases: Mapping[str, Canvas]
    panel: Box
    frame_of_reference_uid: str
    pixel_mm: Spacing | None


@dataclass(frozen=True, eq=False)
class Drawing:
    """One structure on the contrast panel, as an outline in its pixel-centre coordinates or as pixels of it.

    frame: of the acquisition, from 0; None where the object says none (it is then on all of them). fractional: the
    pixels are those of a probability or share of at least one half.
    """

    label: RoiLabel | None
    said: str
    frame: int | None
    tracking_uid: str
    panel: Box
    outline: Contour = ()
    pixels: NDArray[np.bool_] | None = None
    fractional: bool = False

    @property
    def area_px2(self) -> float:
        return abs(polygon_area_px2(self.outline)) if self.pixels is None else float(self.pixels.sum())

    def mask(self) -> NDArray[np.bool_]:
        """bool (z, x) on the contrast panel."""
        if self.pixels is not None:
            return self.pixels
        return polygon_mask(self.outline, self.panel.rows, self.panel.columns)


def images_drawn_on(dataset: Dataset) -> frozenset[str]:
    """SOP Instance UIDs of the images that masks or outlines of a SEG, SR or presentation state lie on, and Frames of
    Reference that they lie in.

    Raises UnreadableObjectError where it cannot be read, NothingDrawnError where nothing is outlined in it.
    """
    shapes = _shapes(dataset)
    named = (uid for shape in shapes for uid in (shape.sop_instance_uid, shape.frame_of_reference_uid))
    return frozenset(uid for uid in named if uid)


def read_drawings(dataset: Dataset, place: DrawingPlace) -> tuple[Drawing, ...]:
    """Everything in a SEG, SR or presentation state that is drawn on this acquisition.

    Raises UnreadableObjectError where nothing of it is, and where a mask or an outline does not fit its picture.
    """
    found = tuple(
        _of_mask(shape, canvas, place) if isinstance(shape, SegmentMask) else _of_outline(shape, canvas, place)
        for shape in _shapes(dataset)
        if (canvas := _canvas_of(shape, place)) is not None
    )
    if not found:
        raise UnreadableObjectError("it is drawn on none of the images of this acquisition")
    return found


def _canvas_of(shape: SegmentMask | Outline, place: DrawingPlace) -> Canvas | None:
    """The picture that a shape lies on. In our Frame of Reference it may name one of our maps, or none at all: then it
    lies on the full frame as the reference frame shows it."""
    canvas = place.canvases.get(shape.sop_instance_uid)
    if canvas is None and shape.frame_of_reference_uid == place.frame_of_reference_uid:
        first = next(iter(place.canvases.values()))
        return Canvas(first.rows, first.columns, first.views, frames=0)
    return canvas


def _shapes(dataset: Dataset) -> tuple[SegmentMask | Outline, ...]:
    try:
        return read_masks(dataset) if dataset.get("SOPClassUID") in SEGMENTATIONS else read_outlines(dataset)
    except (
        AttributeError,
        ArithmeticError,
        LookupError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as e:
        # pydicom's and numpy's words for what a damaged object lacks may quote a value: only their kind is said
        raise UnreadableObjectError(f"it is damaged or incomplete ({type(e).__name__})") from e


@dataclass(frozen=True)
class Meaning:
    """What was drawn: for each structure its drawings on different frames. unnamed: the object does not say what it
    is, and as the only drawing it is taken for the lesion."""

    by_label: Mapping[RoiLabel, tuple[Drawing, ...]]
    unnamed: bool = False


def meant(drawings: Sequence[Drawing]) -> Meaning:
    """Lesion and reference among the drawings.

    Raises UnreadableObjectError where none is either, where one is too small, and where two are drawn on one frame or
    tracked as two.
    """
    labels: tuple[RoiLabel, ...] = ("lesion", "reference")
    named = {label: tuple(d for d in drawings if d.label == label) for label in labels}
    found = {label: _one_structure(label, of_it) for label, of_it in named.items() if of_it}
    if found:
        return Meaning(found)
    nameless = tuple(drawing for drawing in drawings if drawing.label is None and says_nothing(drawing.said))
    if not nameless:
        raise UnreadableObjectError("what it outlines is named as neither a lesion nor a reference")
    return Meaning({"lesion": _one_structure("lesion", nameless)}, unnamed=True)


def _one_structure(label: RoiLabel, drawings: tuple[Drawing, ...]) -> tuple[Drawing, ...]:
    tracked = {drawing.tracking_uid for drawing in drawings if drawing.tracking_uid}
    if len(tracked) > 1 or len({drawing.frame for drawing in drawings}) < len(drawings):
        raise UnreadableObjectError(f"it holds {len(drawings)} {label} contours: which one is meant is not said")
    if min(drawing.area_px2 for drawing in drawings) < SMALLEST_PX2:
        raise UnreadableObjectError(f"the {label} contour holds less than {SMALLEST_PX2:.0f} pixels of the panel")
    return drawings


def _of_outline(outline: Outline, canvas: Canvas, place: DrawingPlace) -> Drawing:
    points = np.array(outline.contour_px, dtype=np.float64)
    if outline.frame_of_reference_uid:
        if place.pixel_mm is None:
            raise UnreadableObjectError("an outline is in mm, its image has no calibration")
        points /= (place.pixel_mm.x_mm, place.pixel_mm.z_mm)
    points += 0.5  # from pixel centres to the picture's edges
    if (points < -BEYOND_PX).any() or (points > (canvas.columns + BEYOND_PX, canvas.rows + BEYOND_PX)).any():
        raise UnreadableObjectError(f"an outline leaves its image of {canvas.columns} x {canvas.rows} pixels")
    view = _view_of(canvas, points.mean(axis=0))
    lies, seen = view.panel, view.seen
    points = np.clip(points, (seen.x, seen.y), (seen.right, seen.bottom))
    shares = np.clip((points - (lies.x, lies.y)) / (lies.width, lies.height), 0.0, 1.0)
    on_panel = shares * (place.panel.columns, place.panel.rows) - 0.5
    contour = tuple((float(x), float(y)) for x, y in on_panel)
    frame = _frame(canvas, outline.frame_number)
    return Drawing(outline.label, outline.said, frame, outline.tracking_uid, place.panel, contour)


def _of_mask(mask: SegmentMask, canvas: Canvas, place: DrawingPlace) -> Drawing:
    if mask.frame_of_reference_uid == place.frame_of_reference_uid:
        whole = mask.on_frame(canvas.rows, canvas.columns, place.pixel_mm)
    elif mask.mask.shape == (canvas.rows, canvas.columns):
        whole = mask.mask
    else:
        rows, columns = mask.mask.shape
        text = f"a mask of {columns} x {rows} pixels lies on an image of {canvas.columns} x {canvas.rows}"
        raise UnreadableObjectError(text)
    row, column = (float(indices.mean()) + 0.5 for indices in np.nonzero(whole))
    pixels = _sampled(whole, _view_of(canvas, np.array([column, row])), place.panel)
    frame = _frame(canvas, mask.frame_number)
    said, tracking = mask.segment_label, mask.tracking_uid
    return Drawing(mask.label, said, frame, tracking, place.panel, pixels=pixels, fractional=mask.fractional)


def _view_of(canvas: Canvas, centre: NDArray[np.float64]) -> View:
    for view in canvas.views:
        seen = view.seen
        if seen.x <= centre[0] <= seen.right and seen.y <= centre[1] <= seen.bottom:
            return view
    raise UnreadableObjectError("a drawing lies on no panel of its picture that shows the measured tissue")


def _sampled(whole: NDArray[np.bool_], view: View, panel: Box) -> NDArray[np.bool_]:
    """The pixel of the picture under the centre of each pixel of the panel; nothing where the view does not show it."""
    lies, seen = view.panel, view.seen
    z = lies.y + (np.arange(panel.rows) + 0.5) * lies.height / panel.rows
    x = lies.x + (np.arange(panel.columns) + 0.5) * lies.width / panel.columns
    rows, columns = (z >= seen.y) & (z < seen.bottom), (x >= seen.x) & (x < seen.right)
    sampled = np.zeros((panel.rows, panel.columns), dtype=np.bool_)
    sampled[np.ix_(rows, columns)] = whole[np.ix_(z[rows].astype(np.intp), x[columns].astype(np.intp))]
    return sampled


def _frame(canvas: Canvas, number: int | None) -> int | None:
    """Frame of the acquisition. Without a number a drawing is on the only frame, or on all of several."""
    if canvas.frames == 0:
        return None
    if number is None:
        return canvas.first_frame if canvas.frames == 1 else None
    if not 1 <= number <= canvas.frames:
        raise UnreadableObjectError(f"frame {number} is beyond the {canvas.frames} frames of the image")
    return canvas.first_frame + number - 1
