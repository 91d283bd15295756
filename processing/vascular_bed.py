"""The vascular bed that tracks show: maps, vessels and every figure of the report with its interval."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from processing.bubbles import FlowMaps, Tracks
from processing.cine import Spacing
from processing.flow_metrics import FlowMetricParameters, FlowMetrics, field_of, flow_metrics, interval
from processing.fourier_ring import resolution_um
from processing.kernels.jit import side_by_side
from processing.metrics import Estimate
from processing.super_resolution_maps import Grid, Visits, flow_maps, grid_over, mask_on_grid, visits_of
from processing.vessels import VesselParameters, Vessels, centre_and_rim, centre_rim_ratio, measure_vessels, vessel_mask


@dataclass(frozen=True)
class BedParameters:
    """map_pixel_mm: 25 um, a third of the finest vessels that clinical loops have shown (60 to 100 um)."""

    map_pixel_mm: float = 0.025
    metrics: FlowMetricParameters = field(default_factory=FlowMetricParameters)
    vessels: VesselParameters = field(default_factory=VesselParameters)


@dataclass(frozen=True)
class VesselFigures:
    """Figures of the skeleton; None where there is none to measure.

    diameter_um_median has `diameter_below_um` set where half of the diameters or more lie below the measured
    resolution: then print "< diameter_below_um". by_mask_area_percent: share of the ROI that the mask covers.
    """

    count: int
    tortuosity_median: Estimate | None
    diameter_um_median: Estimate | None
    diameter_below_um: float | None
    branch_points: int
    fractal_dimension: float | None
    centre_rim_ratio: Estimate | None
    mask_area_percent: float


@dataclass(frozen=True, eq=False)
class VascularBed:
    """Maps over the panel, vessels inside the ROI, figures of the ROI."""

    maps: FlowMaps
    roi_on_grid: NDArray[np.bool_]
    vessels: Vessels
    metrics: FlowMetrics
    vessel_figures: VesselFigures
    frc_resolution_um: Estimate | None


def vascular_bed(
    tracks: Tracks, roi: NDArray[np.bool_], spacing_mm: Spacing, duration_s: float, parameters: BedParameters
) -> VascularBed | None:
    """Everything that `tracks` show of a ROI (z, x); None when too few of them cross it."""
    grid = grid_over((roi.shape[0], roi.shape[1]), spacing_mm, parameters.map_pixel_mm)
    visits = visits_of(tracks, grid)
    inside = mask_on_grid(roi, spacing_mm, grid)
    seen = field_of(tracks, visits, grid, inside, duration_s)
    metrics = flow_metrics(seen, parameters.metrics)
    if metrics is None:
        return None
    maps = flow_maps(tracks, visits, grid)
    mask = vessel_mask(maps.density, parameters.vessels) & inside
    vessels = measure_vessels(mask, grid.pixel_mm, parameters.vessels)
    resolution = ring_resolution(visits, seen.tracks, inside, grid, parameters.metrics.seed)
    return VascularBed(
        maps=maps,
        roi_on_grid=inside,
        vessels=vessels,
        metrics=metrics,
        vessel_figures=vessel_figures(vessels, visits, inside, grid, resolution, parameters),
        frc_resolution_um=resolution,
    )


def half_density(visits: Visits, chosen: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    """Density of the tracks of a mask (track,), float64 (z, x)."""
    counts = np.bincount(visits.pixel[chosen[visits.track]], minlength=grid.size).astype(np.float64)
    return counts.reshape(grid.rows, grid.columns)


def ring_resolution(
    visits: Visits, tracks: int, inside: NDArray[np.bool_], grid: Grid, seed: int, splits: int = 5
) -> Estimate | None:
    """Median over random halves of the tracks, with the range of those splits; None when any split shows none."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(tracks) < tracks // 2 for _ in range(splits)]

    def measured(first: NDArray[np.bool_]) -> float | None:
        halves = [half_density(visits, chosen, grid)[box] for chosen in (first, ~first)]
        return resolution_um(halves[0], halves[1], grid.pixel_mm)

    found = [value for value in side_by_side(measured, drawn) if value is not None]
    return Estimate(float(np.median(found)), min(found), max(found)) if len(found) == splits else None


def median_estimate(values: NDArray[np.float64], seed: int) -> Estimate | None:
    """Median with its bootstrap interval over vessels; None without values."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    rng = np.random.default_rng(seed)
    drawn = np.median(finite[rng.integers(0, len(finite), (400, len(finite)))], axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Estimate(float(np.median(finite)), float(low), float(high))


def vessel_figures(
    vessels: Vessels,
    visits: Visits,
    inside: NDArray[np.bool_],
    grid: Grid,
    resolution: Estimate | None,
    parameters: BedParameters,
) -> VesselFigures:
    """Figures of the vessels inside a ROI; intervals over vessels, and over bubbles for centre and rim."""
    seed = parameters.metrics.seed
    diameter = median_estimate(vessels.diameter_um, seed)
    # Without a measured resolution the grid's own limit stands: two pixels.
    limit = resolution.value if resolution is not None else 2000.0 * grid.pixel_mm
    below = diameter is not None and diameter.value < limit
    return VesselFigures(
        count=len(vessels),
        tortuosity_median=median_estimate(vessels.tortuosity, seed),
        diameter_um_median=diameter,
        diameter_below_um=limit if below else None,
        branch_points=vessels.branch_points,
        fractal_dimension=vessels.fractal_dimension,
        centre_rim_ratio=ratio_estimate(vessels, visits, inside, parameters.metrics),
        mask_area_percent=100.0 * float(vessels.mask.sum()) / max(int(inside.sum()), 1),
    )


def ratio_estimate(
    vessels: Vessels, visits: Visits, inside: NDArray[np.bool_], parameters: FlowMetricParameters
) -> Estimate | None:
    """Centre/rim ratio of the vessel mask; its interval from the pixels that resampled bubbles cover."""
    value = centre_rim_ratio(vessels.mask, inside)
    if value is None:
        return None
    here = visits.inside(inside)
    centre, rim = (half.reshape(-1) for half in centre_and_rim(inside))
    present, track = np.unique(here.track, return_inverse=True)
    pixels, pixel = np.unique(here.pixel, return_inverse=True)
    centre_pixels, rim_pixels = centre.sum(), max(int(rim.sum()), 1)
    in_centre, in_rim = centre[pixels], rim[pixels]
    rng = np.random.default_rng(parameters.seed)
    drawn = []
    for _ in range(parameters.resamples):
        taken = np.zeros(len(present), dtype=np.bool_)
        taken[rng.integers(0, len(present), len(present))] = True
        covered = np.zeros(len(pixels), dtype=np.bool_)
        covered[pixel[taken[track]]] = True
        outer = (covered & in_rim).sum() / rim_pixels
        drawn.append(float((covered & in_centre).sum() / centre_pixels / outer) if outer > 0 else np.nan)
    return interval(value, drawn)
