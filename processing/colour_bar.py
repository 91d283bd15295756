"""The colour bar burned in beside an image: found, read to its exact ends, and turned into a map of 256 levels.

Bars are drawn evenly in level from full scale to zero, so where a bar ends decides the level of every colour: an end
that lies a row off in a bar of 170 rows moves the levels there by 1.5, which is 8 % of the power at 60 dB.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_smoothing_spline

from processing.frozen_arrays import frozen_array

MIN_BAR_ROWS = 40
CODING_BLACK = 2
"""What JPEG leaves of the black below a bar."""
STRAY_LEVELS = 12.0
"""Luma that differs by more from the median across a bar is a tick or letters, not coding noise."""
FRAME_LEVELS = 4.0
"""A first row that stands out by more, beyond thrice the usual step, belongs to a line around the bar."""
DARK_SHARE = (0.01, 0.10)
"""Of the bar's brightest luma: the rows whose course tells where it reaches the screen's black."""
VISIBLE_LEVELS = (0.5, 6.0)
"""Difference of colour from the screen below that is not rounding; nor, with JPEG, coding noise."""
STEP_LEVELS = (2.0, 6.0)
"""Beyond that: a map whose darkest colour is not black ends in a step."""
WHOLE_ROW_STEP = 2.0
"""Bars are drawn in whole rows. Where the luma falls by this a row, what coding adds to dark rows (up to 0.9) cannot
move the end by half of one: a bar of 68 rows ended .44 of a row late at q95, 2.6 % of the level."""
SMOOTHING = 100.0
"""Of the natural cubic spline through the luma, over levels: of 10 to 1000 the least error, 0.3 levels rms, at q90 and
q95 on bars of 68 to 218 rows with straight, kinked and curved maps."""


@dataclass(frozen=True, eq=False)
class ColourBar:
    """A strip of the image that shows the map itself, darkest row first.

    colours: uint8 (row, 3). luma: float64 (row,), as it was coded, which lossy RGB does not give back exactly, averaged
    across the bar. levels: float64 (row,), the level that each row stands for, rising to 255.
    """

    x0: int
    y0: int
    colours: NDArray[np.uint8]
    luma: NDArray[np.float64]
    levels: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "colours", frozen_array("colours", self.colours, np.uint8, 2))
        object.__setattr__(self, "luma", frozen_array("luma", self.luma, np.float64, 1))
        object.__setattr__(self, "levels", frozen_array("levels", self.levels, np.float64, 1))


def bar_curve(bar: ColourBar) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """256 colours, uint8 (256, 3), and lumas, float64 (256,), of the bar; the luma is smoothed and made to rise."""
    every = np.arange(256)
    curve = np.stack([np.interp(every, bar.levels, bar.colours[:, c]) for c in range(3)], -1)
    smooth = make_smoothing_spline(bar.levels, bar.luma, lam=SMOOTHING)(bar.levels)
    rising = np.interp(every, bar.levels, np.maximum.accumulate(smooth))
    return np.rint(curve).astype(np.uint8), np.clip(rising, 0.0, 255.0)


def find_colour_bars(
    still: NDArray[np.uint8], grey: NDArray[np.uint8], static: NDArray[np.bool_], lossy: bool
) -> tuple[ColourBar, ...]:
    """Vertical strips of the unchanging image whose luma falls steadily from top to bottom (or rises).

    still: uint8 (row, column, 3) and its luma `grey`; static: bool (row, column), where nothing moves.
    """
    bars: list[ColourBar] = []
    for flipped in (False, True):
        turned = slice(None, None, -1) if flipped else slice(None)
        image = _Image(still[turned], grey[turned], flipped, lossy)
        level, fixed = grey[turned].astype(np.int16), static[turned]
        runs = [
            (column, *run)
            for column in range(level.shape[1])
            if (run := _falling_run(level[:, column], fixed[:, column], CODING_BLACK if lossy else 0))
        ]
        bars += [_bar(image, group) for group in _neighbours(runs)]
    return tuple(bars)


@dataclass(frozen=True, eq=False)
class _Image:
    """The screen turned so that bars fall downwards: `still` and `grey` as above."""

    still: NDArray[np.uint8]
    grey: NDArray[np.uint8]
    flipped: bool
    lossy: bool


def _falling_run(column: NDArray[np.int16], fixed: NDArray[np.bool_], black: int) -> tuple[int, int] | None:
    """The longest stretch that never rises by more than coding noise and spans most of the grey scale, to a few rows.

    It ends with its first row at `black`, which is level 0: what follows is the screen.
    """
    step = np.diff(column)
    steady = (step <= 3) & (step >= -24) & fixed[1:] & fixed[:-1]
    edges = np.flatnonzero(np.diff(np.concatenate(([0], steady.view(np.int8), [0]))))
    best = None
    for a, b in zip(edges[::2], edges[1::2], strict=True):
        stretch = column[a : b + 1]
        top = a + int(np.flatnonzero(stretch >= stretch.max() - 1)[-1 if stretch.max() < 250 else 0])
        dark = np.flatnonzero(column[top : b + 1] <= black)
        bottom = top + int(dark[0]) if dark.size else b
        long = bottom - top + 1 >= max(MIN_BAR_ROWS, 0 if best is None else best[1] - best[0] + 1)
        if long and column[top] - column[bottom] >= 120 and _even(column[top : bottom + 1]):
            best = (top, bottom + 1)
    return best


def _even(stretch: NDArray[np.int16]) -> bool:
    """A bar falls all along; an image edge falls in a few rows."""
    quarters = np.array_split(stretch, 4)
    return all(int(part[0]) - int(part[-1]) >= 10 for part in quarters)


def _neighbours(runs: list[tuple[int, int, int]]) -> list[list[tuple[int, int, int]]]:
    """Runs (column, first row, end) of neighbouring columns that begin alike, at least two columns wide."""
    groups: list[list[tuple[int, int, int]]] = []
    for run in runs:
        last = groups[-1][-1] if groups else (-9, 0, 0)
        if run[0] == last[0] + 1 and abs(run[1] - last[1]) <= 3:
            groups[-1].append(run)
        else:
            groups.append([run])
    return [group for group in groups if len(group) >= 2]


def _bar(image: _Image, group: list[tuple[int, int, int]]) -> ColourBar:
    y0, y1 = (int(np.median([run[i] for run in group])) for i in (1, 2))
    # The inner columns: the outer ones carry the blur of the edge.
    inner = group[len(group) // 4 : len(group) - len(group) // 4] or group
    strip = slice(inner[0][0], inner[-1][0] + 1)
    across = image.grey[:, strip].astype(np.float64)
    middle = np.median(across, axis=1, keepdims=True)
    luma = np.where(np.abs(across - middle) <= STRAY_LEVELS, across, middle).mean(axis=1)
    colours = np.median(image.still[:, strip], axis=1)
    top = _bright_end(luma, y0, y1)
    end = _dark_end(luma, colours, (top, y1), image.lossy)
    rows = np.arange(top, int(end) + 1)[::-1]
    levels = np.asarray(255.0 * (end - rows) / (end - top), np.float64)
    first = len(luma) - 1 - int(rows[0]) if image.flipped else top
    return ColourBar(group[0][0], first, colours[rows].astype(np.uint8), luma[rows], levels)


def _bright_end(luma: NDArray[np.float64], y0: int, y1: int) -> int:
    """The bar's first row: where its sharp upper edge lies, which coding noise hides from a single column."""
    top = y0
    while top > 0 and y0 - top <= (y1 - y0) // 8 and luma[top - 1] > 0.5 * luma[y0]:
        top -= 1
    usual = float(np.median(luma[y0 : y1 - 1] - luma[y0 + 1 : y1]))
    return top + 1 if luma[top] - luma[top + 1] > 3.0 * usual + FRAME_LEVELS else top


def _dark_end(luma: NDArray[np.float64], colours: NDArray[np.float64], rows: tuple[int, int], lossy: bool) -> float:
    """The row at which the bar stands for level 0.

    A map that ends in black fades into the screen: a line through its darkest rows tells where. A map that ends in
    another colour ends in a step, whose row is seen.
    """
    top, y1 = rows
    n = y1 - top
    below = colours[y1 + 3 : y1 + 9]
    screen = np.median(below, axis=0) if len(below) else np.zeros(3)
    black = float(np.median(luma[y1 + 3 : y1 + 9])) if len(below) else 0.0
    away = np.abs(colours - screen).max(axis=1)
    seen = top + int(np.flatnonzero(away[top : y1 + 4] > VISIBLE_LEVELS[lossy])[-1])
    # Away from the step itself, which coding smears.
    near = np.arange(max(seen - 3 - max(5, n // 16), top), seen - 2)
    slope, intercept = np.polyfit(near, away[near], 1)
    if slope * seen + intercept > VISIBLE_LEVELS[lossy] + 2.0 * abs(slope) + STEP_LEVELS[lossy]:
        return float(seen)
    full = luma[top] - black
    height = luma[top : y1 + 3] - black
    dark = np.flatnonzero((height > DARK_SHARE[0] * full + lossy) & (height < DARK_SHARE[1] * full)) + top
    if dark.size < 4:
        dark = np.arange(y1 - max(5, n // 12), y1 - 1)
    slope, intercept = np.polyfit(dark, luma[dark] - black, 1)
    faded = -float(intercept / slope)
    if abs(slope) >= WHOLE_ROW_STEP:
        faded = float(round(faded))
    # Without coding noise the first black row is seen, and nothing has to be guessed.
    return faded if lossy else seen + 1.0
