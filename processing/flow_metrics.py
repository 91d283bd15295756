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
from processing.coverage_error import coverage_errors
from processing.kernels.accumulate import sum_over_pixels
from processing.kernels.jit import side_by_side
from processing.metrics import Estimate
from processing.super_resolution_maps import Grid, Visits
from processing.track_chains import chains

ENTROPY_BINS = 32
WITHOUT_INTERVAL = ("tracks_per_mm2_s", "direction_dispersion")
"""Of 24 simulated trees their bootstrap intervals held the mean of repeats in 13 (docs/super-resolution.md): a bubble
comes in pieces that are only partly recognised as one. No interval is better than one that does not hold."""


@dataclass(frozen=True)
class FlowMetricParameters:
    """fewest_tracks: below, no figure is given (the interval of a share from 30 tracks is already +-18 points).

    rarefied_to: localizations in tracks to which coverage is rarefied, so that studies of different length compare.
    resamples, seed: of the bootstrap.
    """

    fewest_tracks: int = 30
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
    ENTROPY_BINS - 1. step_track, step_speed_mm_per_s, step_length_mm: one value a step between two rows of a track
    inside the ROI, by speed: a bootstrap draws other weights, but never another order. chain: of each track, the bubble
    it belongs to (`processing.track_chains`).
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
    step_length_mm: NDArray[np.float64]
    row_track: NDArray[np.int64]
    chain: NDArray[np.int64]
    tracks: int
    roi_pixels: int
    area_mm2: float
    duration_s: float

    @property
    def bubbles(self) -> int:
        """How many the tracks belong to."""
        return int(self.chain.max(initial=-1)) + 1


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
    pixels, pixel = np.unique(inside.pixel, return_inverse=True)
    unit_z, unit_x = (tracks.vz_mm_per_s / moving)[inside.row], (tracks.vx_mm_per_s / moving)[inside.row]
    turn = (np.arctan2(unit_z, unit_x) + np.pi) / (2 * np.pi)
    return Field(
        visits=inside,
        pixel=pixel,
        pixels=len(pixels),
        direction_bin=np.minimum((turn * ENTROPY_BINS).astype(np.int64), ENTROPY_BINS - 1),
        speed_mm_per_s=speed[inside.row],
        unit_z=unit_z,
        unit_x=unit_x,
        time_s=tracks.time_s[inside.row],
        step_track=owner[step],
        step_speed_mm_per_s=speed[step],
        step_length_mm=np.hypot(np.diff(tracks.z_mm), np.diff(tracks.x_mm))[step] if len(step) else np.empty(0),
        row_track=owner[row_inside],
        chain=chains(tracks),
        tracks=len(tracks),
        roi_pixels=int(roi.sum()),
        area_mm2=float(roi.sum()) * grid.pixel_mm**2,
        duration_s=duration_s,
    )


def tracks_inside(field: Field) -> int:
    """Tracks that enter the ROI."""
    return len(np.unique(field.visits.track))


def flow_metrics(field: Field, parameters: FlowMetricParameters) -> FlowMetrics | None:
    """All figures with their 95 % intervals; None below `fewest_tracks` tracks in the ROI."""
    present = np.unique(field.visits.track)
    if len(present) < parameters.fewest_tracks or not len(field.step_track):
        return None
    once = np.zeros(field.tracks)
    once[present] = 1.0
    measured = figures(field, once, parameters)
    rng = np.random.default_rng(parameters.seed)
    # Poisson weights: the number of bubbles is itself a draw, so that flux has an interval too.
    # (`take` keeps each sample's weights side by side; an index would lay them out the other way.)
    weights = once * rng.poisson(1.0, (parameters.resamples, field.bubbles)).take(field.chain, axis=1)
    drawn = side_by_side(lambda weight: figures(field, weight, parameters), weights)
    otherwise = coverage(field, measured, parameters) | {name: Estimate(measured[name]) for name in WITHOUT_INTERVAL}
    estimates = otherwise | {
        name: interval(value, [d[name] for d in drawn]) for name, value in measured.items() if name not in otherwise
    }
    dispersed = estimates.pop("direction_dispersion")
    plateau = plateau_percent(field)
    enough = len(field.row_track) >= parameters.rarefied_to
    return FlowMetrics(
        tracks=len(present),
        localizations=len(field.row_track),
        area_percent_rarefied=estimates.pop("area_percent_rarefied") if enough else None,
        rarefied_to=parameters.rarefied_to,
        # No pixel was crossed twice: nothing says how directions scatter.
        direction_dispersion=dispersed if np.isfinite(dispersed.value) else None,
        plateau_percent=None if plateau is None else Estimate(plateau),
        filled_percent=estimates["area_percent"],
        **{name: e for name, e in estimates.items() if name != "area_percent_rarefied"},
    )


def interval(value: float, drawn: list[float]) -> Estimate:
    """Percentile interval moved so that its centre of mass is the measured value."""
    kept = np.array([d for d in drawn if np.isfinite(d)])
    if len(kept) < 20:
        return Estimate(value)
    low, high = np.percentile(kept, [2.5, 97.5]) - kept.mean()
    return Estimate(value, float(value + low), float(value + high))


def coverage(field: Field, measured: dict[str, float], parameters: FlowMetricParameters) -> dict[str, Estimate]:
    """Both shares of covered pixels with intervals of 1.96 standard errors (`processing.coverage_error`)."""
    rows = np.bincount(field.chain[field.row_track], minlength=field.bubbles)
    errors = coverage_errors(field.visits.pixel, field.chain[field.visits.track], rows, parameters.rarefied_to)
    found = {}
    for name, error in zip(("area_percent", "area_percent_rarefied"), errors, strict=True):
        value, reach = measured[name], 1.96 * 100.0 * error / field.roi_pixels
        found[name] = Estimate(value, max(value - reach, 0.0), min(value + reach, 100.0))
    return found


def figures(field: Field, weight: NDArray[np.float64], parameters: FlowMetricParameters) -> dict[str, float]:
    """Every figure with tracks counted `weight` times (1 = measured, Poisson = one bootstrap sample)."""
    sums, directions = np.zeros((field.pixels, 4)), np.zeros(ENTROPY_BINS)
    sum_over_pixels(
        field.pixel, field.visits.track, field.direction_bin, weight, field.speed_mm_per_s, field.unit_z, field.unit_x,
        sums, directions,
    )  # fmt: skip
    n, total, uz, ux = sums[sums[:, 0] > 0].T
    per_pixel = total / n
    steps = weight[field.step_track]
    speed_mean, speed_median, speed_p95 = weighted_speed(field.step_speed_mm_per_s, steps)
    rate = field.area_mm2 * field.duration_s
    # A bubble lost and found again is one.
    met = np.zeros(field.bubbles)
    np.maximum.at(met, field.chain, weight)
    # Rarefied: each track is drawn with the share q, so a pixel of n tracks is met with 1 - (1 - q)^n.
    share = min(parameters.rarefied_to / max(float(weight[field.row_track].sum()), 1.0), 1.0)
    # Counts are whole numbers: one power for each that occurs.
    missed = ((1 - share) ** np.arange(int(n.max()) + 1))[n.astype(np.int64)]
    # Speeds end at their 99th percentile: one stray track would spread the bins over empty speeds.
    low, high, fast = (float(v) for v in np.percentile(per_pixel, [25, 75, 99]))
    return {
        "area_percent": 100.0 * len(n) / field.roi_pixels,
        "area_percent_rarefied": 100.0 * float((1 - missed).sum()) / field.roi_pixels,
        "tracks_per_mm2_s": float(met.sum()) / rate,
        "flux_mm_per_mm2_s": float((steps * field.step_length_mm).sum()) / rate,
        "speed_mean_mm_per_s": speed_mean,
        "speed_median_mm_per_s": speed_median,
        "speed_p95_mm_per_s": speed_p95,
        "speed_cv": float(per_pixel.std() / per_pixel.mean()),
        "speed_quartile_coefficient": float((high - low) / (high + low)),
        "speed_entropy": entropy(np.histogram(np.minimum(per_pixel, fast), ENTROPY_BINS, (0.0, fast))[0]),
        "direction_entropy": entropy(directions),
        # Weighted by tracks: a pixel of one track has no dispersion to show.
        "direction_dispersion": dispersion(n, np.hypot(uz, ux)),
    }


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
