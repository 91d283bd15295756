"""Where the contrast image and its B-mode twin are drawn on the screen.

Makers put contrast left or right, beside a twin of the same geometry or alone, tinted or grey, with one calibrated
region for both, two, or none: no single sign is safe, so several vote and the confidence says how they agreed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from processing.cine import Box, CineDescription, DisplayProfile, Panels
from processing.evidence import successive_correlation
from processing.furniture import CHANGE_LEVELS, change, echo_area
from processing.limitations import Limitation

Side = Literal["left", "right"]
SAME_SIZE = 0.06
"""Twins are drawn at one size; 6 % covers the rim that dark noise hides."""
TINTED_LEVELS = 12.0
"""Mean distance between the channels of lit pixels; JPEG leaves below 4 on grey."""
RENEWAL_PAIRS = 6
"""Pairs of successive samples compared a side: the median of six is steady enough for a vote."""
SAME_OUTLINE = 0.8
"""Twins scan one shape; the halves of one fan or one apical view agree by 0.3 to 0.6."""
SEAM_REACH = 6
SEAM_USUAL, SEAM_DROP = 0.3, 0.5
"""Correlation of two neighbouring columns' changes: 0.5 to 0.9 within an image (random layouts, a real apical view),
where no pair falls below 0.8 of its neighbours' median; 0.00 across a seam, through JPEG at q90 too."""
SURE = 0.7
"""Below this confidence the choice of side is a limitation: a reader must look."""


@dataclass(frozen=True)
class SideVote:
    """What one sign says: positive for left, negative for right, 0 for no opinion; weight 0 to 1."""

    sign: str
    leaning: float


def find_panels(
    description: CineDescription, frames: NDArray[np.uint8], grey: NDArray[np.uint8], profile: DisplayProfile
) -> Panels | None:
    """The panels of a cine from sampled frames (frame, row, column[, 3]) and their luma; None where nothing changes."""
    declared = profile.contrast_panel
    whole = Box(0, 0, description.columns, description.rows)
    if isinstance(declared, Box):
        return Panels(declared.within(description.rows, description.columns), None, "whole", 1.0, "profile")
    changes = change(grey)
    pair, single, origin = _candidates(description, changes)
    if pair is None and single is not None and declared != "whole":
        pair = _abutting(grey, echo_area(changes), single)
        origin += ", drawn edge to edge" if pair else ""
    if declared == "whole" or pair is None:
        box = single or (whole if declared == "whole" else None)
        if box is None:
            return None
        return Panels(box, None, "whole", 1.0 if declared == "whole" else 0.9, f"{origin}, one panel")
    left, right = pair
    if declared in ("left", "right"):
        contrast, bmode = (left, right) if declared == "left" else (right, left)
        return Panels(contrast, bmode, declared, 1.0, f"{origin}, side from the profile")
    side, confidence, method = _contrast_side(frames, grey, left, right)
    contrast, bmode = (left, right) if side == "left" else (right, left)
    return Panels(contrast, bmode, side, confidence, f"{origin}, {method}")


def doubtful(panels: Panels) -> tuple[Limitation, ...]:
    """A limitation where the signs disagreed on the side."""
    if panels.confidence >= SURE:
        return ()
    said = (
        f"it is uncertain which panel shows contrast ({panels.method}; confidence {panels.confidence:.2f}): "
        "declare contrast_panel in the site's profile"
    )
    return (Limitation("panel_uncertain", said, "degraded", ("perfusion", "super_resolution")),)


def _candidates(
    description: CineDescription, changes: NDArray[np.uint8]
) -> tuple[tuple[Box, Box] | None, Box | None, str]:
    """A pair of twins (left, right) or a single panel, from the calibrated regions, else from where echo changes."""
    area = echo_area(changes)
    lit = [region.box for region in description.regions if _lit_fraction(area, region.box) > 0.1]
    regions = sorted(set(lit), key=lambda box: box.x0)
    for i, left in enumerate(regions):
        for right in regions[i + 1 :]:
            if _twins(left, right):
                return (left, right), None, "two calibrated regions"
    if len(regions) == 1:
        halves = _halves(area, regions[0])
        return halves, regions[0], "one calibrated region" + (" for both" if halves else "")
    boxes = _component_boxes(area)
    for i, left in enumerate(boxes):
        for right in boxes[i + 1 :]:
            if _twins(left, right):
                return _equal_rows(left, right), None, "two areas of echo"
    if not boxes:
        return None, None, "no echo"
    largest = max(boxes, key=lambda box: box.rows * box.columns)
    halves = _halves(area, largest)
    return halves, largest, "one area of echo" + (" for both" if halves else "")


def _lit_fraction(area: NDArray[np.bool_], box: Box) -> float:
    inside = area[box.slices]
    return float(inside.mean()) if inside.size else 0.0


def _twins(left: Box, right: Box) -> bool:
    """Same size, side by side, at the same height."""
    same_size = abs(left.columns - right.columns) <= SAME_SIZE * left.columns + 4
    same_rows = abs(left.y0 - right.y0) <= SAME_SIZE * left.rows + 4 and abs(left.y1 - right.y1) <= 0.2 * left.rows
    return same_size and same_rows and right.x0 >= left.x1 - 4


def _component_boxes(area: NDArray[np.bool_]) -> list[Box]:
    """Bounding boxes of the areas of echo, left to right."""
    labels, _ = ndimage.label(area)
    found = [Box(x.start, z.start, x.stop, z.stop) for z, x in ndimage.find_objects(labels)]
    return sorted(found, key=lambda box: box.x0)


def _equal_rows(left: Box, right: Box) -> tuple[Box, Box]:
    """Twins show the same depths: each gets the rows and the width of their union."""
    y0, y1 = min(left.y0, right.y0), max(left.y1, right.y1)
    width = max(left.columns, right.columns)
    return Box(left.x0, y0, left.x0 + width, y1), Box(right.x1 - width, y0, right.x1, y1)


def _halves(area: NDArray[np.bool_], box: Box) -> tuple[Box, Box] | None:
    """The two halves of a box when echo leaves a gap down its middle, and the halves have the same outline."""
    inside = area[box.slices]
    filled = inside.mean(axis=0)
    columns = filled.size
    middle = slice(int(0.42 * columns), int(0.58 * columns) + 1)
    gap = int(0.42 * columns) + int(filled[middle].argmin())
    sides = min(filled[: columns // 3].max(initial=0), filled[-columns // 3 :].max(initial=0))
    if columns < 64 or filled[gap] > 0.1 * sides:
        return None
    empty = np.flatnonzero(filled[middle] <= 0.1 * sides) + middle.start
    left, right = (
        Box(box.x0, box.y0, box.x0 + int(empty[0]), box.y1),
        Box(box.x0 + int(empty[-1]) + 1, box.y0, box.x1, box.y1),
    )
    tight = [_tight(area, half) for half in (left, right)]
    if any(half is None for half in tight):
        return None
    a, b = (half for half in tight if half is not None)
    return _equal_rows(a, b) if _twins(a, b) else None


def _abutting(grey: NDArray[np.uint8], area: NDArray[np.bool_], box: Box) -> tuple[Box, Box] | None:
    """The two halves of a box without a gap: a seam down its middle, and the same outline of echo on either side."""
    tight = _tight(area, box)
    if tight is None or tight.columns < 64:
        return None
    edge = _seam(grey[(slice(None), *tight.slices)])
    if edge is None:
        return None
    edge += tight.x0
    width = min(edge - tight.x0, tight.x1 - edge)
    left, right = Box(edge - width, tight.y0, edge, tight.y1), Box(edge, tight.y0, edge + width, tight.y1)
    return (left, right) if _outline_agreement(area, left, right) >= SAME_OUTLINE else None


def _seam(grey: NDArray[np.uint8]) -> int | None:
    """The column (in the middle sixth) whose echo changes without its left neighbour; None where all go together.

    Neighbouring columns of one image share their speckle, so they change alike from sample to sample; the last column
    of one panel and the first of the next do not.
    """
    columns = grey.shape[2]
    zone = slice(int(0.42 * columns) - SEAM_REACH, int(0.58 * columns) + SEAM_REACH + 1)
    steps = np.diff(grey[:, :, zone].astype(np.float32), axis=0)
    steps -= steps.mean(axis=1, keepdims=True)  # a gain step changes both panels alike
    energy = np.sqrt((steps**2).sum(axis=(0, 1))) + 1e-6
    shared = (steps[..., 1:] * steps[..., :-1]).sum(axis=(0, 1)) / (energy[1:] * energy[:-1])
    inner = shared[SEAM_REACH:-SEAM_REACH]
    place = int(inner.argmin())
    usual = float(np.median(np.delete(shared, place + SEAM_REACH)))
    if usual < SEAM_USUAL or inner[place] > SEAM_DROP * usual:
        return None
    return zone.start + SEAM_REACH + place + 1


def _outline_agreement(area: NDArray[np.bool_], left: Box, right: Box) -> float:
    """Intersection over union of the echo of two boxes of one size, laid on each other."""
    a, b = area[left.slices], area[right.slices]
    return float((a & b).sum() / max((a | b).sum(), 1))


def _tight(area: NDArray[np.bool_], box: Box) -> Box | None:
    rows, columns = (np.flatnonzero(area[box.slices].any(axis=axis)) for axis in (1, 0))
    if not rows.size or not columns.size:
        return None
    return Box(
        box.x0 + int(columns[0]), box.y0 + int(rows[0]), box.x0 + int(columns[-1]) + 1, box.y0 + int(rows[-1]) + 1
    )


def _contrast_side(
    frames: NDArray[np.uint8], grey: NDArray[np.uint8], left: Box, right: Box
) -> tuple[Side, float, str]:
    """Which twin shows contrast: tint, enhancement and darkness vote."""
    votes = [vote for vote in _votes(frames, grey, left, right) if vote.leaning != 0]
    total = sum(vote.leaning for vote in votes)
    if not votes or total == 0:
        return "left", 0.3, "no sign tells the sides apart"
    side: Side = "left" if total > 0 else "right"
    against = sum(abs(vote.leaning) for vote in votes if vote.leaning * total < 0)
    strength = abs(total) / (abs(total) + 2 * against)
    confidence = min(0.98, strength * (0.6 + 0.4 * min(abs(total), 1.0)))
    named = ", ".join(f"{vote.sign} {'left' if vote.leaning > 0 else 'right'}" for vote in votes)
    return side, round(confidence, 2), named


def _votes(frames: NDArray[np.uint8], grey: NDArray[np.uint8], left: Box, right: Box) -> list[SideVote]:
    boxes = (left, right)
    votes = []
    if frames.ndim == 4:
        echo = change(grey) >= CHANGE_LEVELS
        tint = [_chroma(frames[(slice(None), *box.slices)][:, echo[box.slices]]) for box in boxes]
        tinted = [value >= TINTED_LEVELS for value in tint]
        votes.append(SideVote("tint", 0.8 * (int(tinted[0]) - int(tinted[1]))))
    # Mean displayed level of each frame: relative rise tells enhancement, the darkest part of the loop tells the mode.
    curves = [np.array([float(frame[box.slices].mean()) for frame in grey]) for box in boxes]
    smooth = [ndimage.median_filter(curve, min(5, curve.size)) for curve in curves]
    swing = [float(np.ptp(curve)) for curve in smooth]
    if abs(swing[0] - swing[1]) >= 4.0:
        votes.append(SideVote("enhancement", 0.7 * (1 if swing[0] > swing[1] else -1)))
    dark = [float(curve.min()) for curve in smooth]
    if abs(dark[0] - dark[1]) >= 6.0:
        votes.append(SideVote("darkness", 0.25 * (1 if dark[0] < dark[1] else -1)))
    renewal = [1.0 - successive_correlation(grey[(slice(None), *box.slices)], RENEWAL_PAIRS) for box in boxes]
    if abs(renewal[0] - renewal[1]) >= 0.3:
        votes.append(SideVote("new speckle", 0.5 * (1 if renewal[0] > renewal[1] else -1)))
    return votes


def _chroma(pixels: NDArray[np.uint8]) -> float:
    """Median distance between the strongest and the weakest channel of lit pixels (frame, pixel, 3) of echo.

    Echo only: menus and marks are coloured, too.
    """
    flat = pixels[:: max(len(pixels) // 8, 1)].reshape(-1, 3)
    lit = flat[flat.max(axis=1) >= 40]
    if len(lit) < 100:
        return 0.0
    return float(np.median(lit.max(axis=1).astype(np.int16) - lit.min(axis=1)))
