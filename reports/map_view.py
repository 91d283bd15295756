"""A parameter image on a page: the map over its panel, with a colour key that carries unit, least and greatest."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from reports.findings import Findings
from reports.frame_view import draw_view, panel_corner
from reports.page import BODY, HEADING, MUTED, SMALL, TEXT, Area, Page, number, power_of_ten, unit_words
from reports.pictures import PanelView
from reports.quantity_maps import QuantityMap

KEY_WIDTH = 120
"""Pixels right of a map that its colour key takes."""

STRAY = 1.25
"""A maximum that stands further above the 99th percentile than this belongs to a few pixels only."""

LIFT = 70
"""Least level of a cyclic map's colours: the dark half of the circle would vanish on a dark page."""


@dataclass(frozen=True)
class MapStyle:
    """Colours of a quantity: all perceptually uniform and readable without colour vision; `cyclic` for directions.

    logarithmic: the key is drawn over orders of magnitude (density). ground: brightness left to the panel below.
    gather: what stands for the map pixels that one pixel of the page covers. start: share of the colours left out at
    the dark end: what a single bubble crossed must be seen on a dark page.
    """

    colours: str
    cyclic: bool = False
    logarithmic: bool = False
    ground: float = 0.45
    gather: Literal["mean", "greatest", "mean direction"] = "mean"
    start: float = 0.0


AMPLITUDE, TIME = MapStyle("cividis"), MapStyle("viridis")
DENSITY = MapStyle("inferno", logarithmic=True, ground=0.25, gather="greatest", start=0.3)
SPEED = MapStyle("viridis", ground=0.25, start=0.1)
DIRECTION = MapStyle("twilight", cyclic=True, ground=0.25, gather="mean direction")


def draw_map(
    page: Page, area: Area, quantity: QuantityMap, style: MapStyle, view: PanelView, findings: Findings
) -> None:
    """The map over the dimmed panel, its title above, its key at the right."""
    page.box(area)
    title = page.text(area.x + 18, area.y + 12, quantity.name, fontsize=HEADING, fontweight="bold")
    page.text(area.x + 28 + page.width_px(title), area.y + 15, quantity.meaning, color=MUTED, fontsize=SMALL)
    placed, axes = draw_view(page, map_area(area), _dimmed(view, style.ground), findings, closely=True)
    limits = display_range(quantity, style)
    if limits is None:
        words = "no value in any pixel"
        page.text(placed.x + placed.width / 2, placed.y + placed.height / 2, words, color=TEXT, ha="center")
        return
    left, _, _, top = quantity.grid.extent_px
    x0, y0 = panel_corner(findings, view)
    (pitch_z, pitch_x), (first, last) = quantity.grid.pitch_px, axes.get_xlim()
    covered = math.ceil((last - first) / (placed.width * pitch_x) - 1e-6)  # pixels of the map under one of the page
    values = gathered(quantity.values, covered, style)
    height, width = (size * max(covered, 1) for size in values.shape)
    extent = (left - x0, left - x0 + width * pitch_x, top - y0 + height * pitch_z, top - y0)
    axes.imshow(coloured(values, style, limits), extent=extent, interpolation="nearest", zorder=0.5, aspect="auto")
    if style.cyclic:
        _draw_wheel(page, Area(area.right - KEY_WIDTH - 4, placed.y + 8, KEY_WIDTH - 8, KEY_WIDTH - 8), style)
    else:
        _draw_key(page, Area(area.right - KEY_WIDTH + 4, placed.y, 18, placed.height), quantity, style, limits)


def map_area(tile: Area) -> Area:
    """Where the panel is drawn in a tile: below the title, beside the key."""
    return tile.inset(14, 46, 14 + KEY_WIDTH, 16)


def draw_missing(page: Page, area: Area, name: str, meaning: str) -> None:
    """The place of a map that does not exist."""
    page.box(area)
    title = page.text(area.x + 18, area.y + 12, name, fontsize=HEADING, fontweight="bold")
    page.text(area.x + 28 + page.width_px(title), area.y + 15, meaning, color=MUTED, fontsize=SMALL)
    words = "no map: see the limitations"
    page.text(area.x + area.width / 2, area.y + area.height / 2, words, color=MUTED, ha="center", va="center")


def display_range(quantity: QuantityMap, style: MapStyle) -> tuple[float, float] | None:
    """The values at the ends of the key: least and greatest of the map; the full circle for directions.

    Where a few pixels stand far above all others the key ends at the 99th percentile and says so: one stray track would
    else paint all vessels in one colour.
    """
    if quantity.range is None:
        return None
    if style.cyclic:
        return -180.0, 180.0
    low, high = quantity.range
    most = float(np.nanpercentile(quantity.values, 99.0))
    if not style.logarithmic and high > STRAY * most > STRAY * low:
        high = most
    return (low, high) if high > low else (low, low + max(abs(low), 1.0) * 1e-3)


def coloured(values: NDArray[np.float32], style: MapStyle, limits: tuple[float, float]) -> NDArray[np.uint8]:
    """RGBA of the map; transparent where there is no value."""
    low, high = limits
    known = np.isfinite(values)
    filled = np.where(known, values, low)
    if style.logarithmic and low > 0:
        share = np.log(filled / low) / math.log(high / low)
    else:
        share = (filled - low) / (high - low)
    painted = _colours(np.clip(share, 0, 1), style)
    painted[..., 3] = np.where(known, 255, 0)
    return painted


def _colours(share: NDArray[Any], style: MapStyle) -> NDArray[np.uint8]:
    """RGBA of shares of the key's length, 0 to 1."""
    from matplotlib import colormaps

    painted: NDArray[np.uint8] = colormaps[style.colours](style.start + (1 - style.start) * share, bytes=True)
    if style.cyclic:
        painted[..., :3] = LIFT + (255 - LIFT) / 255 * painted[..., :3]
    return painted


def gathered(values: NDArray[np.float32], times: int, style: MapStyle) -> NDArray[np.float32]:
    """The map on pixels `times` as large each way, NaN where none of them has a value: left to a picture's own
    scaling, vessels one pixel wide break into dots. The last row and column may be covered in part only."""
    if times <= 1:
        return values
    padded = np.pad(values, [(0, -size % times) for size in values.shape], constant_values=np.nan)
    blocks = padded.reshape(padded.shape[0] // times, times, -1, times).swapaxes(1, 2)
    if style.gather == "greatest":
        greatest: NDArray[np.float32] = np.fmax.reduce(blocks, axis=(2, 3))
        return greatest
    known = np.isfinite(blocks)
    if style.gather == "mean direction":
        turned = np.where(known, np.exp(1j * np.radians(np.where(known, blocks, 0))), 0).sum(axis=(2, 3))
        mean = np.degrees(np.angle(turned))
    else:
        mean = np.where(known, blocks, 0).sum(axis=(2, 3)) / np.maximum(known.sum(axis=(2, 3)), 1)
    return np.where(known.any(axis=(2, 3)), mean, np.nan).astype(np.float32)


def _dimmed(view: PanelView, ground: float) -> PanelView:
    """The panel as a quiet grey ground: luma (ITU-R BT.601) at the share `ground`."""
    grey = view.rgb @ np.array([0.299, 0.587, 0.114]) * ground
    return PanelView(grey.astype(np.uint8), view.box)


def _draw_key(page: Page, area: Area, quantity: QuantityMap, style: MapStyle, limits: tuple[float, float]) -> None:
    axes = page.axes(area)
    axes.imshow(_colours(np.linspace(1, 0, 256)[:, np.newaxis], style), aspect="auto", extent=(0, 1, 0, 1))
    axes.set_axis_off()
    low, high = limits
    size = max(abs(low), abs(high))
    least = 1.0 if "arb'U" in quantity.unit else 0.1  # amplitudes in the unit in which the summary prints them
    exponent = 0 if size == 0 or least <= size < 1e4 else 3 * math.floor(math.log10(size) / 3)
    scale = 10.0**-exponent
    middle = math.sqrt(low * high) if style.logarithmic and low > 0 else (low + high) / 2
    for value, y, va in (
        (high, area.y, "top"),
        (middle, area.y + area.height / 2, "center"),
        (low, area.bottom, "bottom"),
    ):
        beyond = value == high and quantity.range is not None and quantity.range[1] > high
        page.text(area.right + 7, y, ("≥ " if beyond else "") + number(value * scale), fontsize=SMALL, va=va)
        if beyond and quantity.range is not None:
            page.text(area.right + 7, y + 20, f"max {number(quantity.range[1] * scale)}", color=MUTED, fontsize=SMALL)
    unit = f"{power_of_ten(exponent)} {unit_words(quantity.unit)}".strip()
    if unit:
        page.text(area.right + 7, area.y + area.height / 4, unit, color=MUTED, fontsize=SMALL, va="center")


def _draw_wheel(page: Page, area: Area, style: MapStyle) -> None:
    """The key of a direction: colours around a circle as they run in the image, 0 to the right."""
    axes = page.axes(area)
    grid = np.linspace(-1, 1, 181)
    x, y = np.meshgrid(grid, grid[::-1])
    radius = np.hypot(x, y)
    share = (np.degrees(np.arctan2(y, x)) + 180) / 360
    painted = _colours(share, style)
    painted[..., 3] = np.where((radius < 1) & (radius > 0.45), 255, 0)
    axes.imshow(painted, extent=(-1, 1, -1, 1))
    axes.set_axis_off()
    for words, px, py in (("→", 0.26, 0), ("←", -0.26, 0), ("↑", 0, 0.26), ("↓", 0, -0.26)):
        axes.text(px, py, words, color=TEXT, fontsize=BODY, ha="center", va="center")
