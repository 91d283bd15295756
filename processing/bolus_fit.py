"""The bolus fit of one curve: four models, one engine, intervals that hold under correlated speckle.

Speckle noise grows with the signal and is correlated in time. The fit therefore minimises the quasi-deviance of
variance F^2 + floor (`processing.kernels.bolus_fit`), and intervals come from the sandwich covariance, inflated by the
correlation length of the residuals and by the disagreement of the models that the data cannot tell apart (Buckland,
Burnham and Augustin 1997, Biometrics 53:603).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from processing.bolus_models import ABSOLUTE_TIMES, FIELDS, MODELS, SHAPE_BOUNDS, BolusCurve, ModelName, characteristics
from processing.curve_outline import CurveOutline, smoothed
from processing.fit_uncertainty import correlation_length, sandwich_covariance
from processing.kernels import bolus as bolus_kernel
from processing.kernels import bolus_fit as fit_kernel
from processing.metrics import Estimate

PARAMETERS = fit_kernel.PARAMETERS


@dataclass(frozen=True)
class BolusFitParameters:
    """How a bolus is fitted.

    models: candidates; the one with the least quasi-deviance (all have five parameters, so also the least AIC and BIC).
    smoothing_s, start_widths: initialisation that never failed in 1,000 simulated curves (docs/perfusion.md).
    floor_fraction: standard deviation, as a fraction of the peak, below which noise stops shrinking with the signal;
      0.01 to 0.05 cost nothing on pure speckle, 0.1 widens PE by 20 % (tests/accuracy/test_perfusion_bolus.py).
    systematic_fraction: error that no averaging removes, as a fraction of the peak: 8-bit levels, clipping at the floor
      of the display and JPEG distort the dark part of a curve by some 0.3 % of its peak, far more than the noise of a
      large ROI there. largest_floor: bound of what follows from it (a curve without noise is fitted almost unweighted).
    tail_fractions: where the wash-out is cut while recirculation bends the fit, as fractions of the peak, widest first;
      30 to 50 % (docs/perfusion.md).
    tail_gain: chi-square that a term for mixed, recirculating agent must gain to be kept (one degree of freedom, four
      models: one clean curve in a hundred). largest_tail: its bound as a fraction of the peak. tail_rounds: the course
      of the tail follows the fit, the fit the tail; settled after three. return_s: before which nothing comes back:
      4 s keep the mean bias of AUC and mTT within 3 % for tails that mix over 5 to 20 s (docs/perfusion.md).
    rival_returns_s: (delay, time constant of mixing) that fit a tail as well as return_s does. Which is true, no data
      say, so intervals reach to the farthest: they held the truth of 15 % of recirculation in 49 to 91 % without, in
      90 to 100 % with it (docs/perfusion.md).
    rival_fraction: where a wash-out cut at the narrowest of tail_fractions is cut once more, for the same reason: a
      second pass of 15 % was held in 89 to 98 % without, in 91 to 98 % with it (docs/perfusion.md).
    smallest_bend, smallest_tail: as fractions of the peak; what bends or misses the curve by less, or rises to less, is
      no recirculation but the distortion above.
    tail_tension: chi-square above which a window is too wide, because its tail bends the fit of the early part; with
      five degrees of freedom 1 % of clean curves exceed it.
    iterations, tolerance: of one descent; the tolerance is a thousandth of a standard error.
    """

    models: tuple[ModelName, ...] = MODELS
    smoothing_s: float = 1.0
    start_widths: tuple[float, ...] = (0.3, 0.5, 0.8)
    floor_fraction: float = 0.03
    systematic_fraction: float = 0.003
    largest_floor: float = 0.3
    tail_fractions: tuple[float, ...] = (0.3, 0.5)
    tail_gain: float = 10.0
    smallest_bend: float = 0.02
    smallest_tail: float = 0.03
    largest_tail: float = 0.5
    tail_rounds: int = 3
    return_s: float = 4.0
    rival_returns_s: tuple[tuple[float, float], ...] = ((0.0, 0.0), (8.0, 0.0), (0.0, 10.0))
    rival_fraction: float = 0.65
    tail_tension: float = 15.0
    iterations: int = 100
    tolerance: float = 1e-6


FIT_DEFAULTS = BolusFitParameters()


def variance_floor(outline: CurveOutline, parameters: BolusFitParameters) -> float:
    """c of the variance F^2 + c, peak = 1: noise of the smallest level, or what no averaging removes, over speckle."""
    systematic = parameters.systematic_fraction / max(outline.relative_noise, 1e-9)
    return max(parameters.floor_fraction, min(systematic, parameters.largest_floor)) ** 2


@dataclass(frozen=True, eq=False)
class ModelFit:
    """One model fitted to one window. theta (6,) in units of the outline's scale, its last entry the amount of tail;
    covariance (6, 6) of theta."""

    model: ModelName
    theta: NDArray[np.float64]
    deviance: float
    covariance: NDArray[np.float64]
    dispersion: float
    correlation_frames: float

    def curve(self, scale_au: float) -> BolusCurve:
        ln_area, location, ln_shape, t0_s, offset = self.theta[:5]
        return BolusCurve(
            self.model,
            float(np.exp(ln_area)) * scale_au,
            float(location),
            float(np.exp(ln_shape)),
            float(t0_s),
            float(offset) * scale_au,
        )


@dataclass(frozen=True, eq=False)
class SelectedFit:
    """All models fitted to one window, best first. `last`: the window's end, exclusive. tail: float64 (kept frame,),
    the course of what recirculates, all zero where none was needed. rivals: the best model fitted under other
    assumptions on what recirculates, which the data cannot tell from the one made."""

    fits: tuple[ModelFit, ...]
    last: int
    tail: NDArray[np.float64]
    rivals: tuple[ModelFit, ...] = ()

    @property
    def best(self) -> ModelFit:
        return self.fits[0]

    @property
    def weights(self) -> tuple[float, ...]:
        """Akaike weights: quasi-deviance over dispersion, per effective sample; 2k is the same for all, drops out."""
        best = self.best
        excess = np.array([fit.deviance - best.deviance for fit in self.fits])
        weights = np.exp(-0.5 * np.minimum(excess / (best.dispersion * best.correlation_frames), 700.0))
        return tuple(float(w) for w in weights / weights.sum())


def fit_models(outline: CurveOutline, parameters: BolusFitParameters) -> SelectedFit:
    """Fit all candidates to the widest window whose tail does not bend the fit.

    The narrowest window holds the least of a second pass and judges the others: the whole clip; the whole clip with a
    term for agent that has passed and mixes; narrower windows.
    """
    nothing = np.zeros(outline.time_s.size)
    whole = outline.time_s.size
    narrow = _fit_window(outline, parameters, outline.wash_out_index(parameters.tail_fractions[-1]), nothing)
    plain = _fit_window(outline, parameters, whole, nothing)
    mixed, gain = plain, 0.0
    for _ in range(parameters.tail_rounds):
        mixed = _fit_window(outline, parameters, whole, _passed(outline, mixed.best, parameters.return_s))
        noise = mixed.best.dispersion * max(mixed.best.correlation_frames, outline.noise_correlation)
        gain = (plain.best.deviance - mixed.best.deviance) / noise
        if gain <= 0.5 * parameters.tail_gain:
            break
    with_tail = (
        gain > parameters.tail_gain
        and mixed.best.theta[-1] > parameters.smallest_tail
        and _misfit(outline, plain) > parameters.smallest_bend
    )
    candidates = [mixed] if with_tail else [plain]
    candidates += [
        _fit_window(outline, parameters, outline.wash_out_index(fraction), nothing)
        for fraction in parameters.tail_fractions[:-1]
    ]
    for candidate in candidates:
        bent = _bend(outline, candidate, narrow) > parameters.smallest_bend
        if not bent or _tension(outline, candidate, narrow, parameters) <= parameters.tail_tension:
            return _with_rivals(outline, candidate, narrow, parameters)
    return _with_rivals(outline, narrow, narrow, parameters)


def _with_rivals(
    outline: CurveOutline, chosen: SelectedFit, narrow: SelectedFit, parameters: BolusFitParameters
) -> SelectedFit:
    """When agent comes back is assumed, not measured; where the wash-out is cut is a choice: others were as good."""
    if chosen.last < outline.time_s.size:
        if chosen is narrow:
            last = outline.wash_out_index(parameters.rival_fraction)
            narrow = _fit_window(outline, parameters, last, np.zeros(outline.time_s.size))
        return replace(chosen, rivals=(narrow.best,))
    if not chosen.tail.any():
        return chosen
    rivals = []
    for return_s, mixing_s in parameters.rival_returns_s:
        rival = chosen.best
        for _ in range(parameters.tail_rounds):
            tail = _passed(outline, rival, return_s, mixing_s)
            rival = _fit_model(chosen.best.model, outline, parameters, chosen.last, tail)
        rivals.append(rival)
    return replace(chosen, rivals=tuple(rivals))


def _passed(outline: CurveOutline, fit: ModelFit, return_s: float, mixing_s: float = 0.0) -> NDArray[np.float64]:
    """Share of the agent that passed at least `return_s` ago and has since mixed into the blood, with the time constant
    `mixing_s`: what comes back is proportional to it."""
    curve = fit.curve(1.0)
    flow = curve.power_au(outline.time_s - return_s) - curve.offset_au
    step_s = np.diff(outline.time_s)
    passed = np.concatenate([[0.0], np.cumsum(0.5 * (flow[1:] + flow[:-1]) * step_s)]) / curve.area_au_s
    if mixing_s > 0.0:
        # One compartment, exact for a share that is constant over each step.
        kept, mixed = np.exp(-step_s / mixing_s), 0.0
        for k in range(1, passed.size):
            mixed = kept[k - 1] * mixed + (1.0 - kept[k - 1]) * passed[k]
            passed[k - 1] = mixed
        passed = np.concatenate([[0.0], passed[:-1]])
    return np.asarray(passed, np.float64)


def _fit_window(
    outline: CurveOutline, parameters: BolusFitParameters, last: int, tail: NDArray[np.float64]
) -> SelectedFit:
    fits = [_fit_model(model, outline, parameters, last, tail[:last]) for model in parameters.models]
    return SelectedFit(tuple(sorted(fits, key=lambda fit: fit.deviance)), last, tail)


def _fit_model(
    model: ModelName, outline: CurveOutline, parameters: BolusFitParameters, last: int, tail: NDArray[np.float64]
) -> ModelFit:
    number, time_s, power = MODELS.index(model), outline.time_s[:last], outline.relative_power[:last]
    lower, upper = bounds(model, outline)
    upper[-1] = parameters.largest_tail if tail.any() else 0.0
    theta = np.empty(PARAMETERS)
    floor = variance_floor(outline, parameters)
    widths = np.array(parameters.start_widths)
    ends = (parameters.iterations, parameters.tolerance)
    deviance = fit_kernel.fit_curve(
        number, time_s, tail, power, floor, lower, upper, outline.guess, widths, theta, *ends
    )
    fitted, gradient = np.empty(time_s.size), np.empty((time_s.size, PARAMETERS))
    bolus_kernel.curve_and_gradient(number, theta, time_s, fitted, gradient)
    fitted += theta[-1] * tail
    gradient[:, -1] = tail
    deviation = np.sqrt(fitted**2 + floor)
    residual = (power - fitted) / deviation
    free = (theta > lower) & (theta < upper)
    correlation = correlation_length(residual, int(free.sum()))
    covariance = np.zeros((PARAMETERS, PARAMETERS))
    covariance[np.ix_(free, free)] = sandwich_covariance(gradient[:, free] / deviation[:, None], residual, correlation)
    dispersion = float(residual @ residual) / max(time_s.size - free.sum() * correlation, 1.0)
    return ModelFit(model, theta, deviance, covariance, max(dispersion, 1e-300), correlation)


def bounds(model: ModelName, outline: CurveOutline) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of theta for one curve: t0 before its peak, the offset between dark and just above its baseline."""
    lower, upper = bounds_of_shape(model)
    lower[3], upper[3] = outline.time_s[0] - 5.0, outline.peak_time_s - 0.05
    upper[4] = outline.guess[3] + 0.1
    return lower, upper


def bounds_of_shape(model: ModelName) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of theta (docs/perfusion.md) before a curve is known; no tail."""
    shape_low, shape_high = np.log(SHAPE_BOUNDS[model])
    lower = np.array([-20.0, -3.0, shape_low, -np.inf, -0.05, 0.0])
    upper = np.array([20.0, 7.0, shape_high, np.inf, np.inf, 0.0])
    return lower, upper


def _tension(outline: CurveOutline, wide: SelectedFit, narrow: SelectedFit, parameters: BolusFitParameters) -> float:
    """How much worse the fit of a wider window describes the narrow one, as chi-square with about 5 degrees."""
    floor, last = variance_floor(outline, parameters), narrow.last
    window = outline.time_s[:last], wide.tail[:last], outline.relative_power[:last]
    excess = fit_kernel.deviance(MODELS.index(wide.best.model), wide.best.theta, *window, floor)
    excess -= fit_kernel.deviance(MODELS.index(narrow.best.model), narrow.best.theta, *window, floor)
    correlation = max(narrow.best.correlation_frames, outline.noise_correlation)
    return float(excess) / (narrow.best.dispersion * correlation)


def _misfit(outline: CurveOutline, fit: SelectedFit) -> float:
    """Largest deviation of the smoothed curve from the fit, peak = 1."""
    residual = outline.relative_power - fit.best.curve(1.0).power_au(outline.time_s)
    return float(np.abs(smoothed(outline.time_s, residual, 3.0)).max())


def _bend(outline: CurveOutline, wide: SelectedFit, narrow: SelectedFit) -> float:
    """Largest difference of the two fits inside the narrow window, peak = 1."""
    time_s, tail = outline.time_s[: narrow.last], wide.tail[: narrow.last]
    apart = wide.best.curve(1.0).power_au(time_s) + wide.best.theta[-1] * tail - narrow.best.curve(1.0).power_au(time_s)
    return float(np.abs(apart).max())


def estimates(selected: SelectedFit, scale_au: float) -> dict[str, Estimate]:
    """Every parameter of `FIELDS` of the chosen model with its 95 % interval."""
    best = selected.best
    value = characteristics(best.model, best.theta)
    additive = np.array([field in ABSOLUTE_TIMES for field in FIELDS])
    variance = np.zeros(value.size)
    for fit, weight in zip(selected.fits, selected.weights, strict=True):
        own = characteristics(fit.model, fit.theta)
        if weight > 0.001 and np.isfinite(own).all() and (own[~additive] > 0.0).all():
            apart = _distance(own, value, additive)
            variance += weight * (_standard_errors(fit, additive) ** 2 + apart**2)
    rivals = [characteristics(rival.model, rival.theta) for rival in selected.rivals]
    distances = [_distance(rival, value, additive) ** 2 for rival in rivals if np.isfinite(rival).all()]
    # The farthest, not a mean: no data weigh these assumptions against each other.
    variance += np.max(distances, axis=0) if distances else 0.0
    freedom = max(selected.last / best.correlation_frames - PARAMETERS, 3.0)
    reach = float(stats.t.ppf(0.975, freedom)) * np.sqrt(variance)
    scale = np.array([scale_au if "_au" in field else 1.0 for field in FIELDS])
    low = np.where(additive, value - reach, value * np.exp(-reach)) * scale
    high = np.where(additive, value + reach, value * np.exp(np.minimum(reach, 50.0))) * scale
    return {
        field: Estimate(float(v), float(lo), float(hi))
        for field, v, lo, hi in zip(FIELDS, value * scale, low, high, strict=True)
    }


def _standard_errors(fit: ModelFit, additive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Delta method: of the value itself for instants, of its logarithm for everything positive."""
    jacobian = np.empty((additive.size, PARAMETERS))
    for i in range(PARAMETERS):
        # A hundredth of the standard error, so that the difference sees the curve where the interval lives.
        step = max(0.01 * float(np.sqrt(fit.covariance[i, i])), 1e-6)
        shift = np.zeros(PARAMETERS)
        shift[i] = step
        up, down = characteristics(fit.model, fit.theta + shift), characteristics(fit.model, fit.theta - shift)
        jacobian[:, i] = _distance(up, down, additive) / (2.0 * step)
    return np.asarray(np.sqrt(np.einsum("ij,jk,ik->i", jacobian, fit.covariance, jacobian)), np.float64)


def _distance(one: NDArray[np.float64], other: NDArray[np.float64], additive: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Difference of instants, logarithm of the ratio of everything positive."""
    distance = one - other
    distance[~additive] = np.log(np.maximum(one[~additive], 1e-300) / np.maximum(other[~additive], 1e-300))
    return distance
