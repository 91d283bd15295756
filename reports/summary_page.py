"""The summary page: reference frame, curves, table of values, quality. The same layout every time.

1600 x 1200: header, pictures on the left, curves on the right, table on the left, quality and limits on the right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.roi import RoiLabel
from reports.findings import Findings, Quantity
from reports.frame_view import caption, draw_view
from reports.page import (
    AMBER,
    BODY,
    COLOURS,
    HEADING,
    LINE,
    MUTED,
    SMALL,
    TEXT,
    Area,
    Page,
    new_page,
    number,
    power_of_ten,
    unit_words,
    with_interval,
)
from reports.page_frame import draw_footer, draw_header
from reports.parameters import PERFUSION_PARAMETERS
from reports.pictures import PictureInputs
from reports.result_object import ResultContext
from reports.tic_plot import draw_curves

VIEWS = Area(24, 104, 800, 566)
CURVES = Area(840, 104, 736, 566)
TABLE = Area(24, 686, 1030, 454)
QUALITY = Area(1070, 686, 506, 454)
LABELS: tuple[RoiLabel, ...] = ("lesion", "reference", "panel")
COLUMN_TITLES = {"lesion": "Lesion", "reference": "Reference", "panel": "Contrast panel"}
OUTLINED_BY = {
    "model": "outlined by the model, not confirmed",
    "reader": "outlined by a reader",
    "file": "outline given as a file",
    "rule": "outlined by a rule",
}
SHORT = {
    "WiAUC": "Wash-in area",
    "WoAUC": "Wash-out area",
    "WiWoAUC": "Wash-in + -out area",
    "AUC": "Area under the curve",
}
SEVERITY = {"refused": ("×", "#ff8f70"), "degraded": ("!", AMBER), "note": ("i", "#8fb8de")}
DYNAMIC_RANGE_WORDS = {
    "pixel value table": "from the image's pixel value table",
    "profile": "declared in the site profile",
    "default": "default, not declared by the site",
}


def summary_page(findings: Findings, inputs: PictureInputs, context: ResultContext) -> NDArray[np.uint8]:
    """Render the page, uint8 (1200, 1600, 3)."""
    with new_page() as page:
        draw_header(page, "Contrast-enhanced ultrasound · perfusion", _subtitle(findings), context)
        _draw_views(page, findings, inputs, context)
        page.box(CURVES)
        page.text(CURVES.x + 20, CURVES.y + 14, "Time-intensity curve", fontsize=HEADING, fontweight="bold")
        draw_curves(page, CURVES.inset(6, 40, 6, 6), findings, inputs)
        draw_table(page, TABLE, findings)
        draw_quality(page, QUALITY, findings)
        draw_footer(page, findings, context)
        return page.rgb()


def _subtitle(findings: Findings) -> str:
    labels = list(findings.perfusion.by_label)
    measured = "lesion and reference parenchyma" if "reference" in labels else "lesion"
    lesion = findings.roi("lesion")
    if lesion is not None:
        measured += f" ({OUTLINED_BY[lesion.drawn_by]})"
    if "lesion" not in labels:
        measured = "whole contrast panel, no lesion outlined"
    models = sorted({p.metrics.model for p in findings.perfusion.by_label.values()})
    method = "read from the smoothed curve, no model" if models == ["none"] else f"model: {', '.join(models)}"
    agent = [findings.source.agent or "contrast agent not recorded"]
    if findings.source.dose:
        agent.append(findings.source.dose)
    return " · ".join([f"Measured: {measured}", method, *agent])


def _draw_views(page: Page, findings: Findings, inputs: PictureInputs, context: ResultContext) -> None:
    page.box(VIEWS)
    when = "" if inputs.frame_time_s is None else f", {number(inputs.frame_time_s)} s"
    named = [(inputs.contrast, f"Contrast, frame {context.reference_frame + 1}{when}")]
    if inputs.bmode is not None:
        named.append((inputs.bmode, "B-mode, same frame"))
    page.text(VIEWS.x + 20, VIEWS.y + 14, "Reference frame", fontsize=HEADING, fontweight="bold")
    for area, (view, words) in zip(view_areas(len(named)), named, strict=True):
        placed, _ = draw_view(page, area, view, findings)
        caption(page, placed, words)


def view_areas(views: int) -> list[Area]:
    """Where the panels of the reference frame are drawn, side by side; `fitted` says where in there."""
    inner = VIEWS.inset(14, 50, 14, 38)
    width = (inner.width - 14 * (views - 1)) / views
    return [Area(inner.x + index * (width + 14), inner.y, width, inner.height) for index in range(views)]


@dataclass(frozen=True)
class Column:
    """A column of the table: the pixel its words end at, its title, its colour, and the figure of each parameter."""

    right: float
    title: str
    colour: str
    figure: Callable[[str], Quantity | None]

    def words(self, symbol: str, exponent: int) -> str:
        """Value and interval in the row's unit; a ratio and a difference say by a sign what they are."""
        quantity = self.figure(symbol)
        if quantity is None or quantity.value is None:
            return "–"
        scale = 1.0 if quantity.unit == "{ratio}" else 10.0**-exponent
        sign = "" if self.title in COLUMN_TITLES.values() else ("× " if quantity.unit == "{ratio}" else "Δ ")
        low, high = (None if bound is None else bound * scale for bound in (quantity.low, quantity.high))
        return sign + with_interval(quantity.value * scale, low, high)


def _row_exponent(quantities: list[Quantity | None]) -> int:
    """Power of ten, a multiple of 3, that the row's unit is printed with: small amplitudes stay short to read."""
    sizes = [abs(q.value) for q in quantities if q is not None and q.value and q.unit not in ("{ratio}", "s", "%")]
    if not sizes or 1 <= max(sizes) < 1e4:
        return 0
    return 3 * math.floor(math.log10(max(sizes)) / 3)


def draw_table(page: Page, area: Area, findings: Findings) -> None:
    """Every value with unit and interval; what does not exist is listed, never left out silently."""
    page.box(area)
    page.text(area.x + 20, area.y + 14, "Values", fontsize=HEADING, fontweight="bold")
    page.text(area.right - 20, area.y + 17, "value [95 % interval]", color=MUTED, fontsize=SMALL, ha="right")
    columns = list(_columns(findings, area))
    shown = [p for p in PERFUSION_PARAMETERS if not _hidden(p.symbol, findings)]
    rows = [p for p in shown if any(_exists(column.figure(p.symbol)) for column in columns)]
    missing = [p.symbol for p in shown if p not in rows]
    top = area.y + 48
    for column in columns:
        page.text(column.right, top, column.title, color=column.colour, fontsize=BODY, fontweight="bold", ha="right")
    page.rule(area.x + 20, area.right - 20, top + 25)
    step = min(58.0, (area.height - 112) / max(len(rows), 1))
    size = SMALL if step < 30 else 17.0
    for index, parameter in enumerate(rows):
        y = top + 46 + (index + 0.5) * step - min(step, 30) / 2
        exponent = _row_exponent([column.figure(parameter.symbol) for column in columns])
        unit = f"{power_of_ten(exponent)} {unit_words(parameter.unit)}".strip()
        cells = [(124.0, SHORT.get(parameter.symbol, parameter.meaning)), (336.0 if size == SMALL else 430.0, unit)]
        page.text(area.x + 20, y, parameter.symbol, fontsize=size + 0.5, fontweight="bold", va="center")
        for offset, words in cells:
            page.text(area.x + offset, y, words, color=MUTED, fontsize=size, va="center")
        for column in columns:
            page.text(column.right, y, column.words(parameter.symbol, exponent), fontsize=size, ha="right", va="center")
    if missing:
        lines = page.lines(f"No value: {', '.join(missing)} (see limitations)", area.width - 40, SMALL)
        page.text(area.x + 20, area.bottom - 12, "\n".join(lines), color=MUTED, fontsize=SMALL, va="bottom")


def _columns(findings: Findings, area: Area) -> Iterator[Column]:
    by_label, ratio, difference = findings.perfusion.by_label, findings.perfusion.ratio, findings.perfusion.difference_s
    labels = [label for label in LABELS if label in by_label]
    both = bool(ratio or difference)
    right = area.right - 20 - (216 if both else 0) - 192 * (len(labels) - 1)
    for index, label in enumerate(labels):

        def figure(symbol: str, label: RoiLabel = label) -> Quantity | None:
            found = next(p for p in PERFUSION_PARAMETERS if p.symbol == symbol)
            return Quantity.of(found.of(by_label[label].metrics), found.unit)

        yield Column(right + 192 * index, COLUMN_TITLES[label], COLOURS[label], figure)
    if both:
        yield Column(
            area.right - 20, "Lesion : reference", TEXT, lambda symbol: ratio.get(symbol) or difference.get(symbol)
        )


def _hidden(symbol: str, findings: Findings) -> bool:
    """Counted from the first frame, AT and TTP tell when somebody pressed store: they stay off the page."""
    return symbol in ("AT", "TTP") and findings.source.time_zero == "first frame"


def _exists(quantity: Quantity | None) -> bool:
    return quantity is not None and quantity.value is not None


def draw_quality(page: Page, area: Area, findings: Findings) -> None:
    """What the numbers rest on, and every limitation in words, the heaviest first."""
    page.box(area)
    page.text(area.x + 20, area.y + 14, "Quality and limitations", fontsize=HEADING, fontweight="bold")
    y = area.y + 50
    for name, words in _quality_lines(findings):
        lines = page.lines(words, area.width - 178, SMALL)
        page.text(area.x + 20, y + 14, name, color=MUTED, fontsize=SMALL, va="baseline")
        for index, line in enumerate(lines):
            page.text(area.x + 158, y + 14 + 20 * index, line, fontsize=SMALL, va="baseline")
        y += 2.5 + 20 * len(lines)
    page.rule(area.x + 20, area.right - 20, y + 4)
    _draw_limitations(page, Area(area.x + 20, y + 14, area.width - 40, area.bottom - y - 22), findings)


def _quality_lines(findings: Findings) -> Iterator[tuple[str, str]]:
    source, quality = findings.source, findings.quality
    rate = "frame rate unknown" if source.frame_rate_hz is None else f"{number(source.frame_rate_hz)} frames/s"
    duration = "no time base" if source.duration_s is None else f"{number(source.duration_s)} s"
    yield "Acquisition", f"{source.frames} frames, {duration}, {rate}"
    range_words = "none" if source.dynamic_range_db is None else f"{number(source.dynamic_range_db)} dB"
    yield "Dynamic range", f"{range_words}, {DYNAMIC_RANGE_WORDS[source.dynamic_range_source]}"
    yield (
        "Commissioning",
        (f"amplitudes checked on {source.commissioned}" if source.commissioned else "amplitudes never checked here"),
    )
    saturated = (
        "not measured" if quality.saturated_fraction is None else f"{number(100 * quality.saturated_fraction, 2)} %"
    )
    yield "Saturation", f"{saturated} of samples at full scale"
    motion = (
        "not measured" if quality.motion_mm_p95 is None else f"{number(quality.motion_mm_p95, 2)} mm (95th percentile)"
    )
    share = 100 * len(quality.rejected_frames) / max(source.frames, 1)
    yield "Motion", motion
    yield "Rejected", f"{len(quality.rejected_frames)} of {source.frames} frames ({number(share, 2)} %)"
    fits = [
        f"{COLUMN_TITLES[label].lower()} {number(perfusion.metrics.quality_of_fit_percent.value)} %"
        for label, perfusion in findings.perfusion.by_label.items()
        if perfusion.metrics.quality_of_fit_percent is not None
    ]
    yield "Quality of fit", ", ".join(fits) or "no model fitted"


def _draw_limitations(page: Page, area: Area, findings: Findings) -> None:
    ordered = sorted(findings.quality.limitations, key=lambda limitation: list(SEVERITY).index(limitation.severity))
    ordered = list({limitation.text: limitation for limitation in reversed(ordered)}.values())[::-1]  # said once
    if not ordered:
        page.text(area.x, area.y, "No limitation was found.", color=MUTED, fontsize=SMALL)
        return
    y, line = area.y, 21.0
    for index, limitation in enumerate(ordered):
        lines = page.lines(limitation.text, area.width - 20, SMALL)
        left = len(ordered) - index
        room = area.bottom - y - (line if left > 1 else 0)
        if len(lines) * line > room:
            page.text(area.x, y, f"… and {left} more in the structured report", color=MUTED, fontsize=SMALL)
            return
        mark, colour = SEVERITY[limitation.severity]
        page.text(area.x, y, mark, color=colour, fontsize=SMALL, fontweight="bold")
        page.text(area.x + 20, y, "\n".join(lines), fontsize=SMALL, linespacing=1.22)
        y += len(lines) * line + 5


def no_contrast_page(findings: Findings, inputs: PictureInputs, context: ResultContext) -> NDArray[np.uint8]:
    """The page of a cine without contrast: the frame, the measured reason, and no number of perfusion."""
    with new_page() as page:
        draw_header(page, "Contrast-enhanced ultrasound · not found", "No perfusion was measured", context)
        wide = Area(24, 104, 960, 1036)
        page.box(wide)
        placed, _ = draw_view(page, wide.inset(14, 14, 14, 40), inputs.contrast, findings)
        caption(page, placed, f"Source, frame {context.reference_frame + 1}")
        card = Area(1000, 104, 576, 1036)
        page.box(card, edge=LINE)
        page.text(card.x + 24, card.y + 24, "No contrast enhancement found", fontsize=18, fontweight="bold")
        reason = findings.quality.contrast_reason or "no reason recorded"
        lines = page.lines(reason[0].upper() + reason[1:], card.width - 48, HEADING)
        page.text(card.x + 24, card.y + 70, "\n".join(lines), fontsize=HEADING, linespacing=1.35)
        y = card.y + 100 + 28 * len(lines)
        page.rule(card.x + 24, card.right - 24, y)
        shown = [line for line in _quality_lines(findings) if line[0] == "Acquisition"]
        for index, (name, words) in enumerate(shown):
            page.text(card.x + 24, y + 18 + 24 * index, name, color=MUTED, fontsize=SMALL)
            page.text(card.x + 164, y + 18 + 24 * index, words, fontsize=SMALL)
        top = y + 34 + 24 * len(shown)
        if findings.quality.limitations:
            _draw_limitations(page, Area(card.x + 24, top, card.width - 48, 300), findings)
        if inputs.tics:
            page.text(card.x + 24, card.bottom - 466, "Mean echo power of the panel", fontsize=HEADING)
            draw_curves(page, Area(card.x + 10, card.bottom - 440, card.width - 24, 430), findings, inputs)
        draw_footer(page, findings, context)
        return page.rgb()
