"""Figures of a vascular bed from its tracks, with bootstrap intervals over bubbles.

None is standardised: the definitions are those of docs/super-resolution.md, printed with each figure's unit. Tracks of
one bubble are drawn together; percentiles are moved to the measured value, from which a bootstrap's own mean strays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from processing.bubbles import Tracks
from processing.coverage_error import coverage_error
from processing.kernels.accumulate import sum_over_pixels
from processing.kernels.jit import side_by_side
from processing.metrics import Estimate
from processing.super_resolution_maps import Grid, Visits

SPEED_BINS, DIRECTION_BINS = 12, 16
"""No finer than speeds and directions are known where bubbles pass each other: over 32 bins errors read as entropy."""

BY_PIXEL = ("area_percent_rarefied", "speed_cv", "speed_quartile_coefficient", "speed_entropy", "direction_entropy")
"""Figures of the pixels that bubbles entered: their intervals come from leaving bubbles out (`left_out`).

The direction dispersion is one as well, and has no interval: two images that merge draw tracks backwards, and what no
bubble did cannot be known from the bubbles."""


@dataclass(frozen=True)
class FlowMetricParameters:
    """fewest_tracks: below, no figure is given. Of so many whole bubbles, which came in 50 pieces before they
    were joined, the interval of a share is already +-22 points.

    rarefied_to: positions in tracks, one a bubble and frame, to which coverage is rarefied, so that studies of
    different length compare.
    resamples, seed: of the bootstrap; as many groups of bubbles at most are left out in turn.
    """

    fewest_tracks: int = 20
    rarefied_to: int = 5000
    resamples: int = 200
    seed: int = 20201


@dataclass(frozen=True)
class FlowMetrics:
    """All of one ROI; None: cannot be stated. Units in the names; `*_percent` of the ROI's super-resolved pixels."""

    tracks: int
    localizations: int
    area_percent: Estimate
    area_percent_rarefied: Estimate | None
    rarefied_to: int
    tracks_per_mm2_s: Estimate
    flux_mm_per_mm2_s: Estimate
    filled_percent: Estimate
    plateau_percent: Estimate | None
    speed_mean_mm_per_s: Estimate
    speed_median_mm_per_s: Estimate
    speed_p95_mm_per_s: Estimate
    speed_cv: Estimate
    speed_quartile_coefficient: Estimate
    speed_entropy: Estimate
    direction_entropy: Estimate
    direction_dispersion: Estimate | None


@dataclass(frozen=True, eq=False)
class Field:
    """What the figures of a ROI are made of: its tracks' visits on the grid, and the steps of the tracks inside it.

    pixel: number of each visit's pixel among the `pixels` that are visited at all. direction_bin: of each visit, 0 to
    DIRECTION_BINS - 1. step_track, step_speed_mm_per_s: one value a step between two rows of a track inside the
    ROI, by speed: a bootstrap draws other weights, but never another order. row_track: of each row inside.
    counts_as, alone: as of `Tracks`. way_mm: length of each track inside. localizations: rows inside in which a bubble
    was seen.
    """

    visits: Visits
    pixel: NDArray[np.int64]
    pixels: int
    direction_bin: NDArray[np.int64]
    speed_mm_per_s: NDArray[np.float64]
    unit_z: NDArray[np.float64]
    unit_x: NDArray[np.float64]
    time_s: NDArray[np.float64]
    step_track: NDArray[np.int64]
    step_speed_mm_per_s: NDArray[np.float64]
    row_track: NDArray[np.int64]
    counts_as: NDArray[np.float64]
    alone: NDArray[np.bool_]
    way_mm: NDArray[np.float64]
    localizations: int
    roi_pixels: int
    area_mm2: float
    duration_s: float

    @property
    def tracks(self) -> int:
        """All, also those that never enter the ROI."""
        return len(self.counts_as)

    @property
    def present(self) -> NDArray[np.int64]:
        """Tracks that enter the ROI."""
        return np.unique(self.visits.track)


def field_of(tracks: Tracks, visits: Visits, grid: Grid, roi: NDArray[np.bool_], duration_s: float) -> Field:
    """Restrict tracks and visits to a ROI on the grid; `duration_s` is how long bubbles were followed."""
    inside = visits.inside(roi)
    speed = tracks.speed_mm_per_s()
    moving = np.where(speed > 0, speed, 1.0)
    cell = tuple(
        np.clip(np.round(v / grid.pixel_mm).astype(np.int64), 0, size - 1)
        for v, size in ((tracks.z_mm, grid.rows), (tracks.x_mm, grid.columns))
    )
    row_inside = roi[cell]
    owner = tracks.track_of_row
    step = np.flatnonzero(row_inside[:-1] & row_inside[1:] & (owner[:-1] == owner[1:])) if len(owner) else owner
    step = step[np.argsort(speed[step], kind="stable")]
    length = np.hypot(np.diff(tracks.z_mm), np.diff(tracks.x_mm))[step] if len(step) else np.empty(0)
    pixels, pixel = np.unique(inside.pixel, return_inverse=True)
    unit_z, unit_x = (tracks.vz_mm_per_s / moving)[inside.row], (tracks.vx_mm_per_s / moving)[inside.row]
    turn = (np.arctan2(unit_z, unit_x) + np.pi) / (2 * np.pi)
    return Field(
        visits=inside,
        pixel=pixel,
        pixels=len(pixels),
        direction_bin=np.minimum((turn * DIRECTION_BINS).astype(np.int64), DIRECTION_BINS - 1),
        speed_mm_per_s=speed[inside.row],
        unit_z=unit_z,
        unit_x=unit_x,
        time_s=tracks.time_s[inside.row],
        step_track=owner[step],
        step_speed_mm_per_s=speed[step],
        row_track=owner[row_inside],
        counts_as=tracks.counts_as,
        alone=tracks.alone,
        way_mm=np.bincount(owner[step], length, len(tracks)).astype(np.float64),
        localizations=int((row_inside & tracks.seen).sum()),
        roi_pixels=int(roi.sum()),
        area_mm2=float(roi.sum()) * grid.pixel_mm**2,
        duration_s=duration_s,
    )


def flow_metrics(field: Field, parameters: FlowMetricParameters) -> FlowMetrics | None:
    """All figures with their 95 % intervals; None below `fewest_tracks` tracks in the ROI."""
    present = field.present
    if len(present) < parameters.fewest_tracks or not len(field.step_track):
        return None
    once = np.zeros(field.tracks)
    once[present] = 1.0
    by_step, by_pixel = step_figures(field, once), pixel_figures(field, once, parameters)
    rng = np.random.default_rng(parameters.seed)
    # Poisson weights: the number of bubbles is itself a draw, so that flux and count have an interval too.
    weights = once * rng.poisson(1.0, (parameters.resamples, field.tracks))
    drawn = side_by_side(lambda weight: step_figures(field, weight), weights)
    estimates = {name: interval(value, [d[name] for d in drawn]) for name, value in by_step.items()}
    estimates |= left_out(field, once, by_pixel, parameters)
    area, reach = by_pixel["area_percent"], 196.0 * coverage_error(field.visits) / field.roi_pixels
    filled = Estimate(area, max(area - reach, 0.0), min(area + reach, 100.0))
    rarefied, dispersed = estimates.pop("area_percent_rarefied"), by_pixel["direction_dispersion"]
    plateau = plateau_percent(field)
    enough = len(field.row_track) >= parameters.rarefied_to
    return FlowMetrics(
        tracks=len(present),
        localizations=field.localizations,
        area_percent_rarefied=rarefied if enough else None,
        rarefied_to=parameters.rarefied_to,
        # No pixel was crossed twice: nothing says how directions scatter.
        direction_dispersion=Estimate(dispersed) if np.isfinite(dispersed) else None,
        plateau_percent=None if plateau is None else Estimate(plateau),
        area_percent=filled,
        filled_percent=filled,
        **estimates,
    )


def interval(value: float, drawn: list[float]) -> Estimate:
    """Percentile interval moved so that its centre of mass is the measured value."""
    kept = np.array([d for d in drawn if np.isfinite(d)])
    if len(kept) < 20:
        return Estimate(value)
    low, high = np.percentile(kept, [2.5, 97.5]) - kept.mean()
    return Estimate(value, float(value + low), float(value + high))


def left_out(
    field: Field, once: NDArray[np.float64], measured: dict[str, float], parameters: FlowMetricParameters
) -> dict[str, Estimate]:
    """Figures of pixels with intervals of 1.96 standard errors, from what leaving out each bubble changes.

    A bootstrap never draws a third of the bubbles, and with them goes what only they entered: it saw three quarters of
    the scatter of these figures over simulated trees. Bubbles come as a Poisson process, whose variance is at most the
    sum of the squared changes (Efron and Stein 1981). Many bubbles are left out in groups.
    """
    present = np.random.default_rng(parameters.seed).permutation(field.present)
    groups = np.array_split(present, min(len(present), parameters.resamples))

    def without(group: NDArray[np.int64]) -> dict[str, float]:
        weight = once.copy()
        weight[group] = 0.0
        return pixel_figures(field, weight, parameters)

    drawn = side_by_side(without, groups)
    found = {}
    for name in BY_PIXEL:
        value = measured[name]
        reach = 1.96 * float(np.sqrt(sum((d[name] - value) ** 2 for d in drawn)))
        most = {"area_percent_rarefied": 100.0, "speed_cv": np.inf}.get(name, 1.0)
        found[name] = Estimate(value, max(value - reach, 0.0), min(value + reach, most))
    return found


def step_figures(field: Field, weight: NDArray[np.float64]) -> dict[str, float]:
    """Figures of the way that bubbles went, tracks counted `weight` times (1 = measured, Poisson = one sample)."""
    steps, rate = weight[field.step_track], field.area_mm2 * field.duration_s
    speed_mean, speed_median, speed_p95 = weighted_speed(field.step_speed_mm_per_s, steps)
    bubbles = float((weight * field.counts_as).sum())
    return {
        "tracks_per_mm2_s": bubbles / rate,
        "flux_mm_per_mm2_s": bubbles * mean_way_mm(field, weight) / rate,
        "speed_mean_mm_per_s": speed_mean,
        "speed_median_mm_per_s": speed_median,
        "speed_p95_mm_per_s": speed_p95,
    }


def pixel_figures(field: Field, weight: NDArray[np.float64], parameters: FlowMetricParameters) -> dict[str, float]:
    """Figures of the pixels that bubbles entered, tracks counted `weight` times (1 = measured, 0 = left out)."""
    sums, directions = np.zeros((field.pixels, 4)), np.zeros(DIRECTION_BINS)
    sum_over_pixels(
        field.pixel, field.visits.track, field.direction_bin, weight, field.speed_mm_per_s, field.unit_z, field.unit_x,
        sums, directions,
    )  # fmt: skip
    n, total, uz, ux = sums[sums[:, 0] > 0].T
    per_pixel = total / n
    # Rarefied: each track is drawn with the share q, so a pixel of n tracks is met with 1 - (1 - q)^n.
    share = min(parameters.rarefied_to / max(float(weight[field.row_track].sum()), 1.0), 1.0)
    # Counts are whole numbers: one power for each that occurs.
    missed = ((1 - share) ** np.arange(int(n.max()) + 1))[n.astype(np.int64)]
    # Speeds end at their 99th percentile: one stray track would spread the bins over empty speeds.
    low, high, fast = (float(v) for v in np.percentile(per_pixel, [25, 75, 99]))
    return {
        "area_percent": 100.0 * len(n) / field.roi_pixels,
        "area_percent_rarefied": 100.0 * float((1 - missed).sum()) / field.roi_pixels,
        "speed_cv": float(per_pixel.std() / per_pixel.mean()),
        "speed_quartile_coefficient": float((high - low) / (high + low)),
        "speed_entropy": entropy(np.histogram(np.minimum(per_pixel, fast), SPEED_BINS, (0.0, fast))[0]),
        "direction_entropy": entropy(directions),
        # Weighted by tracks: a pixel of one track has no dispersion to show.
        "direction_dispersion": dispersion(n, np.hypot(uz, ux)),
    }


def mean_way_mm(field: Field, weight: NDArray[np.float64]) -> float:
    """Mean length of a bubble's way inside the ROI, with what others hid of it.

    A track that ends beside another goes on unseen: its length is censored, and the mean is the area under Kaplan and
    Meier's curve (1958). Of tracks that begin alone up to their ends, and backwards of those that end alone; in the
    mean, because crowding differs between where bubbles come from and where they go.
    """
    means = []
    for known, other in ((0, 1), (1, 0)):
        taken = np.flatnonzero(field.alone[:, known] & (weight > 0))
        if len(taken):
            taken = taken[np.argsort(field.way_mm[taken], kind="stable")]
            at_risk = np.cumsum(weight[taken][::-1])[::-1]
            onwards = np.cumprod(1 - weight[taken] * field.alone[taken, other] / at_risk)
            beyond = np.concatenate([[1.0], onwards[:-1]])
            means.append(float((np.diff(field.way_mm[taken], prepend=0.0) * beyond).sum()))
    return float(np.mean(means or [np.average(field.way_mm, weights=weight)]))


def dispersion(count: NDArray[np.float64], resultant: NDArray[np.float64]) -> float:
    """1 - |mean unit vector| over the tracks of a pixel, averaged over pixels that two tracks or more crossed."""
    several = count >= 2
    if not several.any():
        return float("nan")
    return float(np.average(1 - resultant[several] / count[several], weights=count[several]))


def weighted_speed(speed: NDArray[np.float64], weight: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean, median and 95th percentile of the speed over weighted track steps, in order of speed."""
    cumulative = np.cumsum(weight)
    median, p95 = (float(speed[np.searchsorted(cumulative, q * cumulative[-1])]) for q in (0.5, 0.95))
    return float(np.average(speed, weights=weight)), median, p95


def entropy(counts: NDArray[np.number]) -> float:
    """Shannon entropy of a histogram over its largest possible value: 0 one bin, 1 uniform."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log(share)).sum() / np.log(len(counts)))


def filling(field: Field, points: int = 50) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Time after the first track and percent of the ROI's pixels filled by then."""
    first = np.full(int(field.visits.pixel.max()) + 1 if len(field.visits.pixel) else 0, np.inf)
    np.minimum.at(first, field.visits.pixel, field.time_s)
    times = np.sort(first[np.isfinite(first)])
    if not len(times):
        return np.zeros(1), np.zeros(1)
    at = np.linspace(times[0], times[-1], points)
    return at - times[0], 100.0 * np.searchsorted(times, at, side="right") / field.roi_pixels


def plateau_percent(field: Field) -> float | None:
    """Plateau of filled = plateau (1 - exp(-t / tau)); None where the growth is still too straight to tell one."""
    time_s, filled = filling(field)
    if time_s[-1] <= 0:
        return None
    model: Callable[..., NDArray[np.float64]] = lambda t, p, tau: p * (1 - np.exp(-t / tau))  # noqa: E731
    try:
        (plateau, tau), _ = curve_fit(
            model, time_s, filled, p0=(filled[-1], time_s[-1] / 2), bounds=([0, 1e-6], [1000, np.inf])
        )
    except RuntimeError:
        return None
    # Beyond three acquisition times the curve has hardly bent: the plateau would be extrapolated, not measured.
    return float(min(plateau, 100.0)) if tau < 3 * time_s[-1] else None
