"""Pages of maps: perfusion parameters, and super-resolved density, speed and direction."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reports.findings import Findings, Quantity, SuperResolution
from reports.map_view import AMPLITUDE, DENSITY, DIRECTION, SPEED, TIME, MapStyle, draw_map, draw_missing, map_area
from reports.page import HEADING, MUTED, SMALL, Area, Page, new_page, number, unit_words, with_interval
from reports.page_frame import draw_footer, draw_header
from reports.parameters import BY_SYMBOL
from reports.pictures import PanelView, PictureInputs
from reports.result_object import ResultContext

BODY_AREA = Area(24, 104, 1552, 1036)
GAP = 16
COUNTS = ("Vessels",)
SHOWN = ("PE", "WiR", "AUC", "TTP", "RT", "mTT")
"""The page's places: amplitudes above, times below. A map that was withheld leaves its place empty, by name."""


def perfusion_maps_page(findings: Findings, inputs: PictureInputs, context: ResultContext) -> NDArray[np.uint8]:
    """Up to six parameter maps over B-mode (or the contrast panel), each masked where its fit is not valid."""
    with new_page() as page:
        words = f"{_sampling_words(findings)}{_ground_words(findings, inputs)}; blank where no valid fit"
        draw_header(page, "Perfusion maps", words, context)
        given = {quantity.name: quantity for quantity in inputs.perfusion_maps}
        names = SHOWN if set(given) <= set(SHOWN) else tuple(given)
        for symbol, area in zip(names, _tiles(3, 2), strict=False):
            if symbol in given:
                draw_map(page, area, given[symbol], _style(symbol), _ground(inputs), findings)
            else:
                draw_missing(page, area, symbol, BY_SYMBOL[symbol].meaning)
        draw_footer(page, findings, context)
        return page.rgb()


def super_resolution_page(findings: Findings, inputs: PictureInputs, context: ResultContext) -> NDArray[np.uint8]:
    """Density, speed and direction of microbubbles, and what was measured on them."""
    with new_page() as page:
        result = findings.super_resolution
        counted = f"{result.localizations} localizations in {result.tracks} tracks over {number(result.interval_s)} s"
        subtitle = f"{counted}; {_ground_words(findings, inputs)}"
        draw_header(page, "Super-resolution ultrasound", subtitle, context)
        tiles = _tiles(2, 2)
        for name, style in (("density", DENSITY), ("speed", SPEED), ("direction", DIRECTION)):
            draw_map(page, next(tiles), inputs.flow_maps[name], style, _ground(inputs), findings)
        _draw_figures(page, next(tiles), result)
        draw_footer(page, findings, context)
        return page.rgb()


def map_views(page: Literal["maps", "super_resolution"]) -> list[Area]:
    """Where the panel is drawn on a page of maps, once for each of them."""
    tiles = _tiles(3, 2) if page == "maps" else islice(_tiles(2, 2), 3)
    return [map_area(tile) for tile in tiles]


def _sampling_words(findings: Findings) -> str:
    """What one value of a map averages: finer detail is interpolated."""
    sampling = findings.perfusion.map_sampling
    if sampling is None:
        return "Parameters per pixel, "
    speckles, edges = f"{sampling.speckles:.0f} speckles", f" ({sampling.edges})" if sampling.edges else ""
    return f"Each value averages {speckles}{edges}, finer detail is interpolated; "


def _ground_words(findings: Findings, inputs: PictureInputs) -> str:
    """What the maps lie on, and whether all of it is shown."""
    outlined = any(roi.label == "lesion" and roi.contour_px for roi in findings.rois)
    where = "over B-mode" if inputs.bmode is not None else "over the contrast panel"
    return f"close-up of the lesion, {where}" if outlined else where


def _style(symbol: str) -> MapStyle:
    return AMPLITUDE if BY_SYMBOL[symbol].kind in ("amplitude", "quality") else TIME


def _ground(inputs: PictureInputs) -> PanelView:
    return inputs.contrast if inputs.bmode is None else inputs.bmode


def _tiles(columns: int, rows: int) -> Iterator[Area]:
    width = (BODY_AREA.width - GAP * (columns - 1)) / columns
    height = (BODY_AREA.height - GAP * (rows - 1)) / rows
    for row in range(rows):
        for column in range(columns):
            yield Area(BODY_AREA.x + column * (width + GAP), BODY_AREA.y + row * (height + GAP), width, height)


def _draw_figures(page: Page, area: Area, result: SuperResolution) -> None:
    page.box(area)
    page.text(area.x + 20, area.y + 12, "Measured on the maps", fontsize=HEADING, fontweight="bold")
    page.text(area.right - 20, area.y + 15, "value [95 % interval]", color=MUTED, fontsize=SMALL, ha="right")
    lines = [line for line in figure_lines(result) if line[1] is not None and line[1].value is not None]
    step = min(30.0, (area.height - 60) / max(len(lines), 1))
    for index, (name, figure) in enumerate(lines):
        if figure is None or figure.value is None:
            continue
        y = area.y + 50 + index * step
        shown = f"{figure.value:.0f}" if name in COUNTS else with_interval(figure.value, figure.low, figure.high)
        value, _, interval = shown.partition("  ")
        words = f"{value} {unit_words(figure.unit)}".strip() + (f"  {interval}" if interval else "")
        page.text(area.x + 20, y, name, color=MUTED, fontsize=SMALL)
        page.text(area.right - 20, y, words, fontsize=SMALL, ha="right")


def figure_lines(result: SuperResolution) -> Iterator[tuple[str, Quantity | None]]:
    """The figures of the page in the order a reader wants them, with the formula's name."""
    if (density := result.perfusion_density) is not None:
        if density.by_threshold is not None:
            yield "Perfusion density (area)", density.by_threshold.area_percent
            rarefied = f"Perfusion density at {density.by_threshold.rarefied_to} positions"
            yield rarefied, density.by_threshold.area_percent_rarefied
        if density.by_model is not None:
            yield "Perfusion density (vessel model)", density.by_model.area_percent
        yield "Tracks per area and time", density.tracks_per_mm2_s
        yield "Flux", density.flux_mm_per_mm2_s
    if (speed := result.speed_mm_s) is not None:
        yield "Flow speed, mean", speed.mean
        yield "Flow speed, 95th percentile", speed.p95
    if (spread := result.flow_heterogeneity) is not None:
        yield "Speed, coefficient of variation", spread.speed_cv
        yield "Direction entropy", spread.direction_entropy
    if (vessels := result.vessels) is not None:
        yield "Vessels", vessels.count
        yield "Tortuosity, median", vessels.tortuosity_median
        yield "Diameter, median", vessels.diameter_um_median
        yield "Centre to rim ratio", vessels.centre_rim_ratio
    if result.saturation is not None:
        yield "Filled at the end", result.saturation.filled_percent
        yield "Fitted plateau", result.saturation.plateau_percent
    yield "Resolution (Fourier ring correlation)", result.frc_resolution_um
    yield "Localization precision", result.localization_precision_um
    yield "Trackable speed, at most", Quantity(result.trackable_speed_mm_s, "mm/s")
