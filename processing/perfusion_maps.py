"""Perfusion parameters as maps, at a stated effective resolution.

One pixel carries one speckle, whose power is exponential: no curve can be fitted to it. Every sample of a map is
therefore the mean over an area of several speckles (4 to 9, docs/perfusion.md), fitted by the same engine as
the ROI's curve, with the ROI's model. What fails is NaN, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.bolus_fit import FIT_DEFAULTS, bounds_of_shape
from processing.bolus_models import AMPLITUDES, FIELDS, MODELS, SHORT_NAMES, BolusCurve
from processing.cine import Cine
from processing.errors import UnfitCineError
from processing.frozen_arrays import frozen_array
from processing.kernels import bolus as bolus_kernel
from processing.kernels.bolus_map import fit_samples
from processing.limitations import Limitation
from processing.map_samples import SampleGrid, frame_bins, interpolated, sample_grid, sampled_power
from processing.metrics import MapSampling
from processing.perfusion import BolusFit
from processing.speckle_size import speckle_cell_px

MAP_NAMES = tuple(name for name in SHORT_NAMES if name != "QOF")


@dataclass(frozen=True)
class MapParameters:
    """speckles: averaged in one sample (9: median errors of 5 % in PE, 0.4 s in TTP). most_frames: consecutive frames
    are averaged down to this number, which costs nothing as long as a bin is short against the rise. minimum_gain:
    chi-square over a constant below which a sample shows no bolus. iterations, tolerance: of one descent; a thirtieth
    of a standard error is enough for a map."""

    speckles: float = 9.0
    most_frames: int = 300
    minimum_gain: float = 30.0
    iterations: int = 40
    tolerance: float = 1e-3


@dataclass(frozen=True, eq=False)
class PerfusionMaps:
    """values: float32 (z, x) a parameter by short name, NaN outside the mask and where the fit failed; interpolated
    between the samples. samples: float64 (fitted sample,) of the same parameters, for statistics.

    resolution_px: edge (z, x) of the area that one sample averages; sampling: the same in mm, and what it holds.
    """

    values: dict[str, NDArray[np.float32]]
    samples: dict[str, NDArray[np.float64]]
    resolution_px: tuple[int, int]
    sampling: MapSampling
    limitations: tuple[Limitation, ...]

    def __post_init__(self) -> None:
        for name, value in self.values.items():
            self.values[name] = frozen_array(name, value, np.float32, 2)


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
    cell = speckle_cell_px(bright_frames(cine, fit, kept), inside)
    grid = sample_grid(inside, cell, parameters.speckles)
    frames = np.flatnonzero(kept & (cine.frame_times_s <= last_s))
    bins = frame_bins(frames, parameters.most_frames)
    time_s = np.array([cine.frame_times_s[members].mean() for members in bins])
    power = sampled_power(cine, bins, grid)
    tail_au = np.maximum(fit.curve_au - bolus.power_au(cine.frame_times_s), 0.0)
    tail_au[tail_au < 1e-6 * tail_au.max(initial=0.0)] = 0.0
    found, gain = _fit(time_s, power, np.interp(time_s, cine.frame_times_s, tail_au), bolus, parameters)
    # Beyond a second, what correlates in a ROI's residuals is misfit of the whole, not speckle.
    correlation = max(1.0, min(fit.correlation_s or 0.0, 1.0) / float(np.median(np.diff(time_s))))
    good = (gain > parameters.minimum_gain * correlation) & np.isfinite(found).all(axis=1)
    return _assemble(cine, grid, np.where(good[:, None], found, np.nan), cell, fit)


def bright_frames(cine: Cine, fit: BolusFit, kept: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Up to 24 frames while the fitted curve stands above half of its highest value."""
    level = np.where(kept, fit.curve_au, -np.inf)
    bright = np.flatnonzero(level > 0.5 * level.max())
    chosen = bright[np.unique(np.linspace(0, bright.size - 1, min(24, bright.size)).astype(np.intp))]
    return np.asarray(cine.contrast[chosen])


def _fitted(fit: BolusFit) -> tuple[BolusCurve, float]:
    """The ROI's curve and the last time of its window."""
    if fit.bolus is None or fit.window_s is None:
        text = f"Without a fitted {fit.label} curve there are no perfusion maps."
        raise UnfitCineError(Limitation("no_map", text, "refused", ("maps",)))
    return fit.bolus, fit.window_s[1]


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
    grid: SampleGrid,
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
        values[name] = interpolated(column, grid)
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
        sampling=MapSampling(
            depth_mm=None if spacing is None else edge[0] * spacing.z_mm,
            width_mm=None if spacing is None else edge[1] * spacing.x_mm,
            speckles=max(1.0, edge[0] / cell[0]) * max(1.0, edge[1] / cell[1]),
            fitted_percent=100.0 * float(np.isfinite(found).all(axis=1).mean()) if found.size else 0.0,
        ),
        limitations=tuple(limitations),
    )
