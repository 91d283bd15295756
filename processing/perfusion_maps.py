"""Perfusion parameters as maps, at a stated effective resolution.

One pixel carries one speckle, whose power is exponential: no curve can be fitted to it. Every sample of a map is
therefore the mean over an area of several speckles (4 to 9, docs/perfusion.md), fitted by the same engine as
the ROI's curve, with the ROI's model. What fails is NaN, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from processing.bolus_fit import FIT_DEFAULTS, bounds_of_shape
from processing.bolus_models import AMPLITUDES, FIELDS, MODELS, SHORT_NAMES, BolusCurve
from processing.cine import Cine
from processing.errors import UnfitCineError
from processing.frozen_arrays import frozen_array
from processing.kernels import bolus as bolus_kernel
from processing.kernels.bolus_map import fit_samples
from processing.limitations import Limitation
from processing.perfusion import BolusFit
from processing.speckle_size import speckle_cell_px

MAP_NAMES = tuple(name for name in SHORT_NAMES if name != "QOF")


@dataclass(frozen=True)
class MapParameters:
    """speckles: averaged in one sample (9: median errors of 5 % in PE, 0.4 s in TTP). most_frames: consecutive frames
    are averaged down to this number, which costs nothing as long as a bin is short against the rise. minimum_gain:
    chi-square over a constant below which a sample shows no bolus. iterations, tolerance: of one descent; a hundredth
    of a standard error is enough for a map."""

    speckles: float = 9.0
    most_frames: int = 300
    minimum_gain: float = 30.0
    iterations: int = 40
    tolerance: float = 1e-4


@dataclass(frozen=True, eq=False)
class PerfusionMaps:
    """values: float32 (z, x) a parameter by short name, NaN outside the mask and where the fit failed; interpolated
    between the samples. samples: float64 (fitted sample,) of the same parameters, for statistics.

    resolution_px: edge (z, x) of the area that one sample averages; resolution_mm: the same, None without calibration.
    speckles_per_sample: how many independent speckles that is. fitted_fraction: of the samples inside the mask.
    """

    values: dict[str, NDArray[np.float32]]
    samples: dict[str, NDArray[np.float64]]
    resolution_px: tuple[int, int]
    resolution_mm: tuple[float, float] | None
    speckles_per_sample: float
    fitted_fraction: float
    limitations: tuple[Limitation, ...]

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            self.values[name] = frozen_array(name, value, np.float32, 2)


@dataclass(frozen=True, eq=False)
class _Grid:
    """Sample centres (z, x) of a regular grid over the mask's bounding box, and which lie inside the mask."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    inside: NDArray[np.bool_]
    edge: tuple[int, int]
    step: tuple[int, int]


MAP_DEFAULTS = MapParameters()


def perfusion_maps(
    cine: Cine,
    mask: NDArray[np.bool_],
    fit: BolusFit,
    rejected: NDArray[np.bool_] | None = None,
    parameters: MapParameters = MAP_DEFAULTS,
) -> PerfusionMaps:
    """Maps of every parameter inside `mask` (z, x), started from the fitted curve of a ROI that covers it.

    rejected: bool (frame,), frames left out. Raises UnfitCineError (limitation `no_map`) where the ROI has no fit.
    """
    bolus, last_s = _fitted(fit)
    inside = mask & cine.valid
    kept = np.ones(cine.frame_times_s.size, np.bool_) if rejected is None else ~rejected
    cell = speckle_cell_px(_bright_frames(cine, fit, kept), inside)
    grid = _grid(inside, cell, parameters.speckles)
    frames = np.flatnonzero(kept & (cine.frame_times_s <= last_s))
    bins = [part for part in np.array_split(frames, min(parameters.most_frames, frames.size)) if part.size]
    time_s = np.array([cine.frame_times_s[members].mean() for members in bins])
    power = _samples(cine, bins, inside, grid)
    tail_au = np.maximum(fit.curve_au - bolus.power_au(cine.frame_times_s), 0.0)
    tail_au[tail_au < 1e-6 * tail_au.max(initial=0.0)] = 0.0
    found, gain = _fit(time_s, power, np.interp(time_s, cine.frame_times_s, tail_au), bolus, parameters)
    # Beyond a second, what correlates in a ROI's residuals is misfit of the whole, not speckle.
    correlation = max(1.0, min(fit.correlation_s or 0.0, 1.0) / float(np.median(np.diff(time_s))))
    good = (gain > parameters.minimum_gain * correlation) & np.isfinite(found).all(axis=1)
    return _assemble(cine, inside, grid, np.where(good[:, None], found, np.nan), cell, fit)


def _bright_frames(cine: Cine, fit: BolusFit, kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Up to 24 frames while the fitted curve stands above half of its highest value."""
    level = np.where(kept, fit.curve_au, -np.inf)
    bright = np.flatnonzero(level > 0.5 * level.max())
    chosen = bright[np.unique(np.linspace(0, bright.size - 1, min(24, bright.size)).astype(np.intp))]
    return np.asarray(cine.contrast[chosen])


def _grid(inside: NDArray[np.bool_], cell: tuple[float, float], speckles: float) -> _Grid:
    """Averaging area of `speckles` cells, as square in speckles as whole pixels allow; samples half an edge apart."""
    edge = (max(1, round(cell[0] * speckles**0.5)), max(1, round(cell[1] * speckles**0.5)))
    step = (max(1, edge[0] // 2), max(1, edge[1] // 2))
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    z = np.arange(rows[0], rows[-1] + step[0], step[0]).clip(max=rows[-1])
    x = np.arange(columns[0], columns[-1] + step[1], step[1]).clip(max=columns[-1])
    return _Grid(z, x, inside[np.ix_(z, x)], edge, step)


def _fitted(fit: BolusFit) -> tuple[BolusCurve, float]:
    """The ROI's curve and the last time of its window."""
    if fit.bolus is None or fit.window_s is None:
        text = f"Without a fitted {fit.label} curve there are no perfusion maps."
        raise UnfitCineError(Limitation("no_map", text, "refused", ("maps",)))
    return fit.bolus, fit.window_s[1]


def _samples(cine: Cine, bins: list[NDArray[np.intp]], inside: NDArray[np.bool_], grid: _Grid) -> NDArray[np.float32]:
    """float32 (sample, bin): mean power of each averaging area inside the mask."""
    nodes = np.ix_(grid.rows, grid.columns)
    share = ndimage.uniform_filter(inside.astype(np.float32), grid.edge, mode="constant")[nodes][grid.inside]
    power = np.empty((share.size, len(bins)), np.float32)
    for index, members in enumerate(bins):
        image = np.where(inside, cine.contrast[members].mean(axis=0), np.float32(0.0))
        mean = ndimage.uniform_filter(image, grid.edge, mode="constant")
        power[:, index] = mean[nodes][grid.inside] / np.maximum(share, 1e-6)
    return power


def _fit(
    time_s: NDArray[np.float64],
    power: NDArray[np.float32],
    tail_au: NDArray[np.float64],
    bolus: BolusCurve,
    parameters: MapParameters,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Characteristics (sample, len(FIELDS)) and chi-square over a constant (sample,)."""
    fitting = FIT_DEFAULTS
    peak_au = bolus.characteristics()["peak_enhancement_au"]
    tail = tail_au / peak_au
    lower, upper = bounds_of_shape(bolus.model)
    upper[-1] = 2.0 if tail.any() else 0.0  # of the ROI's own share of tail
    theta = np.append(bolus.theta, min(1.0, upper[-1]))
    theta[0] -= np.log(peak_au)
    half = round(0.5 * fitting.smoothing_s / float(np.median(np.diff(time_s))))
    found = np.full((power.shape[0], bolus_kernel.CHARACTERISTICS), np.nan)
    gain = np.zeros(power.shape[0])
    ends = (max(half, 1), parameters.iterations, parameters.tolerance, found, gain)
    floor = fitting.floor_fraction**2
    fit_samples(MODELS.index(bolus.model), time_s, tail, power, floor, lower, upper, theta, *ends)
    return found[:, : len(FIELDS)], gain


def _assemble(
    cine: Cine,
    inside: NDArray[np.bool_],
    grid: _Grid,
    found: NDArray[np.float64],
    cell: tuple[float, float],
    fit: BolusFit,
) -> PerfusionMaps:
    withheld = fit.levels.order_only or not fit.levels.dynamic_range_known
    values: dict[str, NDArray[np.float32]] = {}
    samples: dict[str, NDArray[np.float64]] = {}
    for name in MAP_NAMES:
        if withheld and SHORT_NAMES[name] in AMPLITUDES:
            continue
        column = found[:, FIELDS.index(SHORT_NAMES[name])]
        values[name] = _interpolated(column, grid, inside)
        samples[name] = column[np.isfinite(column)]
    limitations = []
    if withheld:
        text = "The dynamic range is not known: maps of amplitudes are withheld, those of times are shown."
        limitations.append(Limitation("amplitude_maps_withheld", text, "refused", ("maps",)))
    spacing = cine.spacing_mm
    edge = grid.edge
    return PerfusionMaps(
        values=values,
        samples=samples,
        resolution_px=edge,
        resolution_mm=None if spacing is None else (edge[0] * spacing.z_mm, edge[1] * spacing.x_mm),
        speckles_per_sample=max(1.0, edge[0] / cell[0]) * max(1.0, edge[1] / cell[1]),
        fitted_fraction=float(np.isfinite(found).all(axis=1).mean()) if found.size else 0.0,
        limitations=tuple(limitations),
    )


def _interpolated(column: NDArray[np.float64], grid: _Grid, inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Between the fitted samples, linearly; a pixel whose nearer half of samples failed is NaN."""
    sampled = np.full(grid.inside.shape, np.nan)
    sampled[grid.inside] = column
    fitted = np.isfinite(sampled)
    z, x = np.nonzero(inside)
    where = np.array([(z - grid.rows[0]) / grid.step[0], (x - grid.columns[0]) / grid.step[1]])
    share = ndimage.map_coordinates(fitted.astype(np.float64), where, order=1, mode="nearest")
    total = ndimage.map_coordinates(np.where(fitted, sampled, 0.0), where, order=1, mode="nearest")
    image = np.full(inside.shape, np.nan, np.float32)
    image[z, x] = np.where(share >= 0.5, total / np.maximum(share, 0.5), np.nan)
    return image
