"""Wash-out as liver readers look for it: the lesion's level minus the reference's, in dB, over time.

Both levels are the displayed ones (baseline included): a reader compares what is on the screen. No LI-RADS category is
given: onset within or after 60 s and its degree are the reader's to judge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.cine import TimeZero
from processing.curve_outline import smoothed
from processing.errors import InvalidValueError
from processing.limitations import Limitation
from processing.tic import Tic

LEVEL_TIMES_S = (30, 60, 120)


@dataclass(frozen=True)
class WashOutParameters:
    """dead_band_db: a fall has to exceed it: 1.5 dB is about 8 of 256 grey levels at 50 dB, what a reader can just see
    side by side (domain knowledge, not measured). lasting_s: for at least this long, or to the end of the clip.
    smoothing_s: 100 speckles at 10 fps leave 0.1 dB after 3 s. visible_db: the reference must stand this far above its
    own pre-contrast level, or there is nothing to compare with."""

    dead_band_db: float = 1.5
    lasting_s: float = 10.0
    smoothing_s: float = 3.0
    visible_db: float = 3.0


@dataclass(frozen=True, eq=False)
class WashOut:
    """difference_db: float64 (frame,) lesion minus reference, NaN where neither shows contrast or the frame is
    rejected. onset_s and level_db are seconds after injection, None where the time of injection is unknown or no such
    fall was seen; onset_after_arrival_s counts from the reference's arrival and needs no injection time."""

    time_s: NDArray[np.float64]
    difference_db: NDArray[np.float64]
    onset_s: float | None
    onset_after_arrival_s: float | None
    level_db: dict[int, float | None]
    limitations: tuple[Limitation, ...]


DEFAULTS = WashOutParameters()


def wash_out(lesion: Tic, reference: Tic, time_zero: TimeZero, parameters: WashOutParameters = DEFAULTS) -> WashOut:
    """Compare two curves of one cine. Raises InvalidValueError when they do not share their times."""
    if not np.array_equal(lesion.time_s, reference.time_s):
        raise InvalidValueError("lesion and reference must share their frame times")
    time_s = lesion.time_s
    kept = ~(lesion.rejected | reference.rejected)
    difference = np.full(time_s.size, np.nan)
    if kept.sum() < 2:
        return WashOut(time_s, difference, None, None, dict.fromkeys(LEVEL_TIMES_S), (_not_visible(),))
    level = [smoothed(time_s[kept], tic.power_au[kept], parameters.smoothing_s) for tic in (lesion, reference)]
    shown = [_visible(values, parameters) for values in level]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio_db = 10.0 * np.log10(level[0] / level[1])
    difference[kept] = np.where((shown[0] | shown[1]) & np.isfinite(ratio_db), ratio_db, np.nan)
    if not shown[1].any():
        return WashOut(time_s, difference, None, None, dict.fromkeys(LEVEL_TIMES_S), (_not_visible(),))
    onset = _onset(time_s[kept], difference[kept], parameters)
    arrival = float(time_s[kept][shown[1].argmax()])
    known = time_zero.kind != "first frame"
    return WashOut(
        time_s=time_s,
        difference_db=difference,
        onset_s=onset if known else None,
        onset_after_arrival_s=None if onset is None else onset - arrival,
        level_db={at: _level(time_s, difference, at, parameters) if known else None for at in LEVEL_TIMES_S},
        limitations=() if known else (_no_injection_time(),),
    )


def _visible(level: NDArray[np.float64], parameters: WashOutParameters) -> NDArray[np.bool_]:
    """Where a curve stands clear of its own darkest moment (smoothed, so not a single dark frame)."""
    return np.asarray(level > level.min() * 10.0 ** (parameters.visible_db / 10.0))


def _onset(
    time_s: NDArray[np.float64], difference_db: NDArray[np.float64], parameters: WashOutParameters
) -> float | None:
    """Start of the first lasting stretch below the dead band that follows a stretch at or above it."""
    seen = np.isfinite(difference_db)
    time_s, difference_db = time_s[seen], difference_db[seen]
    below = difference_db < -parameters.dead_band_db
    if below.all() or not below.any():
        return None  # never fell, or was below from the start: hypo-enhancing throughout is no wash-out
    edges = np.flatnonzero(np.diff(below.astype(np.int8)) == 1) + 1
    for start in edges:
        after = np.flatnonzero(~below[start:])
        end = time_s[start + after[0] - 1] if after.size else time_s[-1]
        reaches_end = after.size == 0 and end - time_s[start] >= parameters.smoothing_s
        if end - time_s[start] >= parameters.lasting_s or reaches_end:
            return float(time_s[start])
    return None


def _level(
    time_s: NDArray[np.float64], difference_db: NDArray[np.float64], at_s: float, parameters: WashOutParameters
) -> float | None:
    """The smoothed difference nearest to a time, None where no frame lies within half the smoothing."""
    seen = np.isfinite(difference_db)
    if not seen.any():
        return None
    nearest = int(np.abs(time_s[seen] - at_s).argmin())
    if abs(time_s[seen][nearest] - at_s) > 0.5 * parameters.smoothing_s:
        return None
    return float(difference_db[seen][nearest])


def _not_visible() -> Limitation:
    text = "The reference never stands clear of its own background: wash-out has nothing to compare with."
    return Limitation("reference_not_enhancing", text, "refused", ("washout",))


def _no_injection_time() -> Limitation:
    text = "The time of injection is unknown: wash-out onset and levels have no time after injection."
    return Limitation("injection_time_unknown", text, "refused", ("washout",))
