"""The page of before and after: both regions side by side, what changed, and whether that means anything."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from processing.cine import Spacing
from reports.findings import Change, Comparison, Findings, Quantity
from reports.frame_view import caption, draw_panel
from reports.page import (
    AMBER,
    BODY,
    COLOURS,
    HEADING,
    MUTED,
    SMALL,
    SURFACE,
    TEXT,
    Area,
    Page,
    new_page,
    number,
    unit_words,
    with_interval,
)
from reports.page_frame import draw_footer, draw_header
from reports.pictures import PictureInputs
from reports.result_object import ResultContext

VIEWS = Area(24, 104, 960, 500)
CONTEXT = Area(1000, 104, 576, 500)
TREND_HEIGHT = 190
TABLE = Area(24, 620, 1552, 520)
WORDS = {
    "area_mm2": "Area",
    "perfusion_density_rarefied_percent": "Perfusion density, rarefied",
    "speed_mean_mm_s": "Flow speed, mean",
    "perfused_area_percent": "Perfused area",
}
VARIABILITY = {True: ("beyond variability", AMBER), False: ("within variability", TEXT), None: ("unknown", MUTED)}


def comparison_page(findings: Findings, inputs: PictureInputs, context: ResultContext) -> NDArray[np.uint8]:
    """Render the page of a performed comparison."""
    with new_page() as page:
        comparison = findings.comparison
        draw_header(page, "Before and after", _subtitle(comparison), context)
        _draw_views(page, findings, inputs)
        _draw_context(page, findings)
        _draw_changes(page, comparison)
        draw_footer(page, findings, context)
        return page.rgb()


def _subtitle(comparison: Comparison) -> str:
    base = comparison.baseline
    when = "" if base is None else f"Baseline of {base.datetime:%Y-%m-%d %H:%M}"
    since = "" if comparison.hours_since is None else f"{number(comparison.hours_since)} h before"
    rule = "" if base is None else f"rule: {base.rule}"
    return " · ".join(words for words in (when, since, rule) if words)


def _draw_views(page: Page, findings: Findings, inputs: PictureInputs) -> None:
    page.box(VIEWS)
    page.text(VIEWS.x + 20, VIEWS.y + 14, "Measured regions", fontsize=HEADING, fontweight="bold")
    inner = VIEWS.inset(14, 48, 14, 38)
    width = (inner.width - 14) / 2
    left, right = Area(inner.x, inner.y, width, inner.height), Area(inner.x + width + 14, inner.y, width, inner.height)
    if inputs.baseline is None:
        page.box(left)
        words = "The baseline's picture\ncould not be had"
        page.text(left.x + width / 2, left.y + left.height / 2, words, color=MUTED, ha="center", va="center")
    else:
        before = inputs.baseline
        corner = (before.view.box.x0, before.view.box.y0)
        placed, _ = draw_panel(page, left, before.view, before.rois, corner, before.pixel_spacing_mm)
        caption(page, placed, "Before")
    panel = findings.source.contrast_panel
    box = inputs.contrast.box if panel is None else panel.contrast
    spacing: Spacing | None = findings.source.pixel_spacing_mm
    placed, _ = draw_panel(page, right, inputs.contrast, findings.rois, (box.x0, box.y0), spacing)
    caption(page, placed, "Now")


def _draw_context(page: Page, findings: Findings) -> None:
    """How sure the match is, what differs between the studies, and what the variability is taken from."""
    comparison, area = findings.comparison, CONTEXT
    page.box(area)
    page.text(area.x + 20, area.y + 14, "How far it can be compared", fontsize=HEADING, fontweight="bold")
    y = area.y + 54
    for name, words, colour in _context_lines(comparison):
        lines = page.lines(words, area.width - 190, SMALL)
        page.text(area.x + 20, y, name, color=MUTED, fontsize=SMALL, linespacing=1.25)
        page.text(area.x + 170, y, "\n".join(lines), color=colour, fontsize=SMALL, linespacing=1.25)
        y += 22 * len(lines) + 10


def _context_lines(comparison: Comparison) -> Iterator[tuple[str, str, str]]:
    match = comparison.match
    if match is not None:
        sure = "" if match.confidence is None else f" (confidence {number(match.confidence, 2)})"
        if match.confirmed:
            yield "Lesion match", f"confirmed by a reader{sure}", TEXT
        else:
            yield "Lesion match", f"UNCONFIRMED: compare both outlines{sure}", AMBER
    again = {True: "with this version", False: "no: values as reported then", None: "unknown"}
    yield "Re-measured", again[comparison.remeasured], TEXT
    differ = ", ".join(comparison.settings_differ)
    yield "Settings", f"differ: {differ}" if differ else "equal as far as recorded", AMBER if differ else TEXT
    if differ:
        yield "", "Absolute amplitudes are not compared; ratios and times are.", MUTED
    sources = sorted({c.variability_source for c in comparison.changes.values() if c.variability_source})
    yield "Variability", "; ".join(sources) or "no repeatability was stated", TEXT if sources else MUTED


def _draw_changes(page: Page, comparison: Comparison) -> None:
    area = TABLE
    page.box(area)
    page.text(area.x + 20, area.y + 14, "Changes", fontsize=HEADING, fontweight="bold")
    page.text(area.right - 20, area.y + 17, "value [95 % interval]", color=MUTED, fontsize=SMALL, ha="right")
    top = area.y + 50
    stops = (area.x + 700, area.x + 1010, area.x + 1230)
    for stop, words in zip(stops, ("Before", "Now", "Change"), strict=True):
        page.text(stop, top, words, fontsize=BODY, fontweight="bold", ha="right")
    page.text(area.right - 20, top, "Against variability", fontsize=BODY, fontweight="bold", ha="right")
    page.rule(area.x + 20, area.right - 20, top + 25)
    room = area.height - 100 - (TREND_HEIGHT if len(comparison.trend) > 1 else 0)
    step = min(46.0, room / max(len(comparison.changes), 1))
    size = SMALL if step < 30 else 15.0
    for index, (name, change) in enumerate(comparison.changes.items()):
        y = top + 36 + (index + 0.5) * step
        verdict, colour = VARIABILITY[change.beyond_variability]
        page.text(area.x + 20, y, change_words(name), fontsize=size, fontweight="bold", va="center")
        for stop, words in zip(stops, (_words(change.baseline), _words(change.now), _change(change)), strict=True):
            page.text(stop, y, words, fontsize=size, ha="right", va="center")
        page.text(area.right - 20, y, verdict, color=colour, fontsize=size, ha="right", va="center")
    if not comparison.changes:
        page.text(area.x + 20, top + 50, "No parameter could be compared.", color=MUTED)
    if len(comparison.trend) > 1:
        _draw_trend(page, Area(area.x + 20, area.bottom - TREND_HEIGHT, area.width - 40, TREND_HEIGHT - 14), comparison)


def change_words(name: str) -> str:
    """A name of `comparison.changes` as it is printed."""
    if name.endswith("_ratio"):
        return f"{name.removesuffix('_ratio')}, lesion : reference"
    if name.endswith("_difference_s"):
        return f"{name.removesuffix('_difference_s')}, lesion − reference"
    return WORDS.get(name, name)


def _draw_trend(page: Page, area: Area, comparison: Comparison) -> None:
    """The first four parameters over all studies, each on its own scale, in days since the first."""
    names = [name for name in comparison.changes if any(name in point.values for point in comparison.trend)][:4]
    first = min(point.datetime for point in comparison.trend)
    width = area.width / 4
    for index, name in enumerate(names):
        tile = Area(area.x + index * width, area.y, width, area.height)
        page.text(tile.x + 6, tile.y, change_words(name), color=MUTED, fontsize=SMALL)
        axes = page.axes(tile.inset(60, 28, 24, 30), facecolor=SURFACE)
        known = [(p.datetime - first, p.values[name].value) for p in comparison.trend if name in p.values]
        days = [since.total_seconds() / 86400 for since, value in known if value is not None]
        axes.plot(days, [v for _, v in known if v is not None], color=COLOURS["lesion"], lw=2, marker="o", ms=6)
        axes.tick_params(colors=MUTED, labelsize=SMALL, length=3)
        axes.locator_params(nbins=4)
        axes.margins(0.12, 0.25)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(MUTED)
    page.text(area.right, area.y, "days since the first study", color=MUTED, fontsize=SMALL, ha="right")


def _words(quantity: Quantity) -> str:
    if quantity.value is None:
        return "–"
    value, _, interval = with_interval(quantity.value, quantity.low, quantity.high).partition("  ")
    return f"{value} {unit_words(quantity.unit)}".strip() + (f"  {interval}" if interval else "")


def _change(change: Change) -> str:
    if change.percent is not None:
        return f"{change.percent:+.1f} %".replace("-", "−")
    if change.difference is not None and change.difference.value is not None:
        return f"{change.difference.value:+.2f} {unit_words(change.difference.unit)}".replace("-", "−")
    return "not compared"
