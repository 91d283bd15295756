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

VIEWS = Area(24, 104, 960, 440)
CONTEXT = Area(1000, 104, 576, 440)
TREND_HEIGHT = 180
TABLE = Area(24, 560, 1552, 580)
TREND_FROM = 3
"""Two studies are a change and stand in the table; a trend begins with the third."""
SHOWN = (
    *("PE_ratio", "WiR_ratio", "WiAUC_ratio", "AUC_ratio", "RT", "mTT"),
    *("area_mm2", "perfused_area_percent", "perfusion_density_rarefied_percent", "speed_mean_mm_s"),
    *("PE", "WiR", "AUC"),
)
"""Rows of the page where they could be compared; the report holds every one."""
TREND_NAMES = ("PE_ratio", "AUC_ratio", "RT", "mTT", "area_mm2")
NOT_RECORDED, LIMIT = " not recorded", ": ±"
WORDS = {
    "RT": "Rise time",
    "mTT": "Mean transit time",
    "area_mm2": "Lesion area",
    "perfusion_density_rarefied_percent": "Vessel density, rarefied",
    "speed_mean_mm_s": "Flow speed, mean",
    "perfused_area_percent": "Perfused area",
    "PE": "Peak enhancement",
    "WiR": "Wash-in rate",
    "AUC": "Area under the curve",
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
        base = findings.comparison.baseline
        caption(page, placed, "Before" if base is None else f"Before, {base.datetime:%Y-%m-%d %H:%M}")
    panel = findings.source.contrast_panel
    box = inputs.contrast.box if panel is None else panel.contrast
    spacing: Spacing | None = findings.source.pixel_spacing_mm
    placed, _ = draw_panel(page, right, inputs.contrast, findings.rois, (box.x0, box.y0), spacing)
    now = findings.source.acquired_at
    caption(page, placed, "Now" if now is None else f"Now, {now:%Y-%m-%d %H:%M}")


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
    if comparison.post_treatment:
        yield "Time point", "after treatment, as declared", TEXT
    again = {True: "with this version", False: "no: values as reported then", None: "unknown"}
    yield "Re-measured", again[comparison.remeasured], TEXT
    unrecorded = [w.removesuffix(NOT_RECORDED) for w in comparison.settings_differ if w.endswith(NOT_RECORDED)]
    differ = [words for words in comparison.settings_differ if not words.endswith(NOT_RECORDED)]
    for words in differ:
        yield "Settings" if words is differ[0] else "", words, AMBER
    if unrecorded:
        yield "Not recorded", ", ".join(unrecorded), MUTED
    if comparison.settings_differ:
        yield "", "Absolute amplitudes are not compared; ratios and times are.", MUTED
    else:
        yield "Settings", "all recorded and equal", TEXT
    sources = sorted({c.variability_source for c in comparison.changes.values() if c.variability_source})
    tables = dict.fromkeys(source.partition(LIMIT)[0] for source in sources if LIMIT in source)
    yield "Variability", "; ".join(tables) or "unknown: no repeatability was stated", MUTED


def _draw_changes(page: Page, comparison: Comparison) -> None:
    area = TABLE
    page.box(area)
    page.text(area.x + 20, area.y + 14, "What changed", fontsize=HEADING, fontweight="bold")
    page.text(area.right - 20, area.y + 17, "value [95 % interval of the fit]", color=MUTED, fontsize=SMALL, ha="right")
    top = area.y + 50
    stops = (area.x + 620, area.x + 930, area.x + 1130)
    for stop, words in zip(stops, ("Before", "Now", "Change"), strict=True):
        page.text(stop, top, words, fontsize=BODY, fontweight="bold", ha="right")
    page.text(area.right - 20, top, "Against variability", fontsize=BODY, fontweight="bold", ha="right")
    page.rule(area.x + 20, area.right - 20, top + 25)
    trend = len(comparison.trend) >= TREND_FROM
    shown = {n: comparison.changes[n] for n in SHOWN if n in comparison.changes}
    shown = {name: change for name, change in shown.items() if change.reason is None}
    left_out = _left_out(comparison)
    room = area.height - 96 - (TREND_HEIGHT if trend else 10) - (30 if left_out else 0)
    step = min(38.0, room / max(len(shown), 1))
    for index, (name, change) in enumerate(shown.items()):
        y = top + 32 + (index + 0.5) * step
        page.text(area.x + 20, y, change_words(name), fontsize=BODY, fontweight="bold", va="center")
        for stop, words in zip(stops[:2], (_words(change.baseline), _words(change.now)), strict=True):
            page.text(stop, y, words, fontsize=BODY, ha="right", va="center")
        page.text(stops[2], y, _change(change), fontsize=BODY, fontweight="bold", ha="right", va="center")
        verdict, colour = _verdict(change)
        page.text(area.right - 20, y, verdict, color=colour, fontsize=BODY, ha="right", va="center")
    if not shown:
        page.text(area.x + 20, top + 50, "No parameter could be compared.", color=MUTED)
    if left_out:
        y = area.bottom - (TREND_HEIGHT if trend else 0) - 34
        page.text(area.x + 20, y, page.lines(left_out, area.width - 40, SMALL)[0], color=MUTED, fontsize=SMALL)
    if trend:
        _draw_trend(page, Area(area.x + 20, area.bottom - TREND_HEIGHT, area.width - 40, TREND_HEIGHT - 14), comparison)


def _verdict(change: Change) -> tuple[str, str]:
    """Beyond or within the stated repeatability, with its limit."""
    verdict, colour = VARIABILITY[change.beyond_variability]
    limit = (change.variability_source or "").partition(LIMIT)[2]
    return (f"{verdict} (±{limit})" if limit else verdict), colour


def _left_out(comparison: Comparison) -> str:
    """What both studies measured and yet must not be compared, by reason."""
    reasons: dict[str, list[str]] = {}
    for name, change in comparison.changes.items():
        if change.reason is not None:
            reasons.setdefault(change.reason, []).append(name if name not in WORDS or len(name) < 4 else WORDS[name])
    return "; ".join(f"Not compared: {', '.join(names)} ({reason})" for reason, names in reasons.items())


def change_words(name: str) -> str:
    """A name of `comparison.changes` as it is printed."""
    if name.endswith("_ratio"):
        return f"{name.removesuffix('_ratio')}, lesion : reference"
    if name.endswith("_difference_s"):
        return f"{name.removesuffix('_difference_s')}, lesion − reference"
    return WORDS.get(name, name)


def _draw_trend(page: Page, area: Area, comparison: Comparison) -> None:
    """The first four parameters over all studies, each on its own scale, in days since the first."""
    candidates = [name for name in TREND_NAMES if name in comparison.changes]
    names = [name for name in candidates if any(name in point.values for point in comparison.trend)][:4]
    first = min(point.datetime for point in comparison.trend)
    width = area.width / 4
    for index, name in enumerate(names):
        tile = Area(area.x + index * width, area.y, width, area.height)
        unit = unit_words(next(point.values[name].unit for point in comparison.trend if name in point.values))
        title = f"{change_words(name)} ({unit})" if unit.strip("×") else change_words(name)
        page.text(tile.x + 6, tile.y, title, color=MUTED, fontsize=SMALL)
        axes = page.axes(tile.inset(60, 28, 24, 30), facecolor=SURFACE)
        known = [(p.datetime - first, p.values[name].value) for p in comparison.trend if name in p.values]
        days = [since.total_seconds() / 86400 for since, value in known if value is not None]
        axes.plot(days, [v for _, v in known if v is not None], color=COLOURS["lesion"], lw=2, marker="o", ms=6)
        axes.tick_params(colors=MUTED, labelsize=SMALL, length=3)
        axes.locator_params(nbins=4)
        axes.locator_params(axis="x", nbins=6, integer=max(days, default=0.0) >= TREND_FROM)
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
        points = change.difference.unit == "%"
        words = f"{change.difference.value:+.1f} points" if points else f"{change.difference.value:+.2f} s"
        return words.replace("-", "−")
    return "not compared"
