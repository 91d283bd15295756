"""A panel of the source on a page: pixels in true proportion, outlines, mm scale bar."""

from __future__ import annotations

from typing import Any

import numpy as np

from processing.cine import Box, Spacing
from reports.findings import Findings, RoiFinding
from reports.page import BACKGROUND, COLOURS, LINE_STYLES, MUTED, SMALL, TEXT, Area, Page, number
from reports.pictures import PanelView

BAR_LENGTHS_MM = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
TITLES = {"lesion": "Lesion", "reference": "Reference"}


def draw_view(page: Page, area: Area, view: PanelView, findings: Findings) -> tuple[Area, Any]:
    """Draw a panel of the measured cine with its outlines. Returns where it lies, and its axes."""
    corner, spacing = panel_corner(findings, view), findings.source.pixel_spacing_mm
    return draw_panel(page, area, view, findings.rois, corner, spacing)


def draw_panel(
    page: Page,
    area: Area,
    view: PanelView,
    rois: tuple[RoiFinding, ...],
    corner_px: tuple[int, int],
    spacing: Spacing | None,
) -> tuple[Area, Any]:
    """Draw a panel centred in `area`, as large as its proportions allow, with outlines counted from `corner_px`."""
    placed = fitted(area, view.box, spacing)
    axes = page.axes(placed)
    axes.imshow(view.rgb, interpolation="bilinear", aspect="auto", extent=_extent(view), zorder=0)
    axes.set_axis_off()
    axes.set_xlim(-0.5, view.box.columns - 0.5)
    axes.set_ylim(view.box.rows - 0.5, -0.5)
    for roi in rois:
        if roi.label != "panel" and roi.contour_px:
            _draw_outline(axes, roi, corner_px, view)
    if spacing is not None:
        _draw_scale_bar(axes, view, spacing)
    return placed, axes


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


def _draw_outline(axes: Any, roi: RoiFinding, corner_px: tuple[int, int], view: PanelView) -> None:
    from matplotlib.patheffects import Stroke, withStroke

    points = np.array([*roi.contour_px, roi.contour_px[0]]) - corner_px
    colour = COLOURS[roi.label]
    halo = [Stroke(linewidth=4.5, foreground=BACKGROUND, alpha=0.75), withStroke(linewidth=0, foreground=BACKGROUND)]
    axes.plot(
        points[:, 0], points[:, 1], color=colour, lw=2.2, ls=LINE_STYLES[roi.label], path_effects=halo, clip_on=True
    )
    rows, columns = view.box.rows, view.box.columns
    below = roi.label == "reference"  # beside the lesion, at its depth: two words above would run into each other
    height = points[:, 1].max() + 0.01 * rows if below else points[:, 1].min() - 0.015 * rows
    axes.text(
        np.clip(points[:, 0].mean(), 0.16 * columns, 0.84 * columns),  # a label at the edge would leave the picture
        np.clip(height, 0.05 * rows, 0.94 * rows),
        f"{TITLES[roi.label]} {roi.number}" if roi.number > 1 else TITLES[roi.label],
        color=colour,
        fontsize=SMALL,
        fontweight="bold",
        ha="center",
        va="top" if below else "bottom",
        path_effects=[withStroke(linewidth=3.5, foreground=BACKGROUND)],
    )


def _draw_scale_bar(axes: Any, view: PanelView, spacing: Spacing) -> None:
    from matplotlib.patheffects import withStroke

    length_mm = nice_length_mm(view.box.columns * spacing.x_mm)
    length_px = length_mm / spacing.x_mm
    right, bottom = 0.96 * view.box.columns, 0.96 * view.box.rows
    halo = [withStroke(linewidth=5, foreground=BACKGROUND)]
    axes.plot([right - length_px, right], [bottom, bottom], color=TEXT, lw=3, solid_capstyle="butt", path_effects=halo)
    axes.text(
        right - length_px / 2,
        bottom - 0.015 * view.box.rows,
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
