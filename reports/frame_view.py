"""A panel of the source on a page: pixels in true proportion, outlines, mm scale bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from processing.cine import Box, Spacing
from reports.findings import Findings, RoiFinding
from reports.page import BACKGROUND, COLOURS, LINE_STYLES, MUTED, SMALL, TEXT, Area, Page, number
from reports.pictures import PanelView

BAR_LENGTHS_MM = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
TITLES = {"lesion": "Lesion", "reference": "Reference"}
MARGIN = 0.2
"""Of a lesion's longer side, left around it in a close-up: its rim and what it borders on are seen with it."""
LEAST_MARGIN_PX = 8


def draw_view(
    page: Page, area: Area, view: PanelView, findings: Findings, *, closely: bool = False
) -> tuple[Area, Any]:
    """Draw a panel of the measured cine with its outlines. Returns where it lies, and its axes. closely: the part of
    it around the lesion only."""
    corner, spacing = panel_corner(findings, view), findings.source.pixel_spacing_mm
    shown = close_up(findings.rois, corner, view.box) if closely else None
    return draw_panel(page, area, view, findings.rois, corner, spacing, shown)


def draw_panel(
    page: Page,
    area: Area,
    view: PanelView,
    rois: tuple[RoiFinding, ...],
    corner_px: tuple[int, int],
    spacing: Spacing | None,
    shown: Box | None = None,
) -> tuple[Area, Any]:
    """Draw a panel, or the part `shown` of it in its own pixels, centred in `area`, as large as its proportions allow,
    with outlines counted from `corner_px`."""
    shown = whole(view.box) if shown is None else shown
    placed = fitted(area, shown, spacing)
    axes = page.axes(placed)
    axes.imshow(view.rgb, interpolation="bilinear", aspect="auto", extent=_extent(view), zorder=0)
    axes.set_axis_off()
    axes.set_xlim(shown.x0 - 0.5, shown.x1 - 0.5)
    axes.set_ylim(shown.y1 - 0.5, shown.y0 - 0.5)
    for roi in rois:
        if roi.label != "panel" and roi.contour_px:
            _draw_outline(axes, roi, corner_px, shown)
    if spacing is not None:
        _draw_scale_bar(axes, shown, spacing)
    return placed, axes


def whole(box: Box) -> Box:
    """All of a panel, in its own pixels."""
    return Box(0, 0, box.columns, box.rows)


def close_up(rois: Sequence[RoiFinding], corner_px: tuple[int, int], panel: Box) -> Box:
    """The part of a panel around its lesion with a margin, in the panel's own pixels; all of it without an outline.

    corner_px: (x, y) that outlines are counted from, as in `panel_corner`.
    """
    outlined = [point for roi in rois if roi.label == "lesion" for point in roi.contour_px]
    if not outlined:
        return whole(panel)
    points = np.array(outlined) - corner_px
    low, high = points.min(axis=0), points.max(axis=0)
    margin = max(MARGIN * float((high - low).max()), LEAST_MARGIN_PX)
    (x0, y0), (x1, y1) = np.floor(low - margin).astype(int), np.ceil(high + margin).astype(int) + 1
    return Box(int(x0), int(y0), int(x1), int(y1)).within(panel.rows, panel.columns)


def nice_length_mm(width_mm: float) -> float:
    """The longest round length that takes at most a third of the width."""
    return max((length for length in BAR_LENGTHS_MM if length <= width_mm / 3), default=BAR_LENGTHS_MM[0])


def fitted(area: Area, box: Box, spacing: Spacing | None) -> Area:
    """Where a panel of that box lies in `area`: centred, in true proportion, as large as it can be."""
    z_mm, x_mm = spacing or (1.0, 1.0)
    width, height = box.columns * x_mm, box.rows * z_mm
    scale = min(area.width / width, area.height / height)
    drawn = (width * scale, height * scale)
    return Area(area.x + (area.width - drawn[0]) / 2, area.y + (area.height - drawn[1]) / 2, *drawn)


def _extent(view: PanelView) -> tuple[float, float, float, float]:
    return -0.5, view.box.columns - 0.5, view.box.rows - 0.5, -0.5


def panel_corner(findings: Findings, view: PanelView) -> tuple[int, int]:
    """(x, y) that outlines and maps are counted from when drawn on a view.

    They are given in the full frame, on the contrast panel; a twin panel shows the same tissue at its own place.
    """
    panel = findings.source.contrast_panel
    return (view.box.x0, view.box.y0) if panel is None else (panel.contrast.x0, panel.contrast.y0)


def _draw_outline(axes: Any, roi: RoiFinding, corner_px: tuple[int, int], shown: Box) -> None:
    from matplotlib.patheffects import Stroke, withStroke

    points = np.array([*roi.contour_px, roi.contour_px[0]]) - corner_px
    colour = COLOURS[roi.label]
    halo = [Stroke(linewidth=4.5, foreground=BACKGROUND, alpha=0.75), withStroke(linewidth=0, foreground=BACKGROUND)]
    axes.plot(
        points[:, 0], points[:, 1], color=colour, lw=2.2, ls=LINE_STYLES[roi.label], path_effects=halo, clip_on=True
    )
    rows, columns = shown.rows, shown.columns
    below = roi.label == "reference"  # beside the lesion, at its depth: two words above would run into each other
    x, edge = points[:, 0].mean() - shown.x0, points[:, 1].max() if below else points[:, 1].min()
    if not (0 <= x <= columns and shown.y0 <= edge <= shown.y1):
        return  # outside of a close-up
    y = edge - shown.y0 + (0.01 if below else -0.015) * rows
    axes.text(
        shown.x0 + np.clip(x, 0.16 * columns, 0.84 * columns),  # a label at the edge would leave the picture
        shown.y0 + np.clip(y, 0.05 * rows, 0.94 * rows),
        f"{TITLES[roi.label]} {roi.number}" if roi.number > 1 else TITLES[roi.label],
        color=colour,
        fontsize=SMALL,
        fontweight="bold",
        ha="center",
        va="top" if below else "bottom",
        path_effects=[withStroke(linewidth=3.5, foreground=BACKGROUND)],
    )


def _draw_scale_bar(axes: Any, shown: Box, spacing: Spacing) -> None:
    from matplotlib.patheffects import withStroke

    length_mm = nice_length_mm(shown.columns * spacing.x_mm)
    length_px = length_mm / spacing.x_mm
    right, bottom = shown.x0 + 0.96 * shown.columns, shown.y0 + 0.96 * shown.rows
    halo = [withStroke(linewidth=5, foreground=BACKGROUND)]
    axes.plot([right - length_px, right], [bottom, bottom], color=TEXT, lw=3, solid_capstyle="butt", path_effects=halo)
    axes.text(
        right - length_px / 2,
        bottom - 0.015 * shown.rows,
        f"{number(length_mm, 1)} mm",
        color=TEXT,
        fontsize=SMALL,
        ha="center",
        va="bottom",
        path_effects=[withStroke(linewidth=3.5, foreground=BACKGROUND)],
    )


def caption(page: Page, placed: Area, words: str) -> None:
    """A line under a view."""
    page.text(placed.x + placed.width / 2, placed.bottom + 7, words, color=MUTED, fontsize=SMALL, ha="center")
