"""The bolus fit of one curve: four models, one engine, intervals that hold under correlated speckle.

Speckle noise grows with the signal and is correlated in time. The fit therefore minimises the quasi-deviance of
variance F^2 + floor (`processing.kernels.bolus_fit`), and intervals come from the sandwich covariance, inflated by the
correlation length of the residuals and by the disagreement of the models that the data cannot tell apart (Buckland,
Burnham and Augustin 1997, Biometrics 53:603).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from processing.bolus_models import ABSOLUTE_TIMES, FIELDS, MODELS, SHAPE_BOUNDS, BolusCurve, ModelName, characteristics
from processing.curve_outline import CurveOutline
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
    tail_fractions: where the wash-out is cut while recirculation shows, as fractions of the peak, widest window first.
    tail_tension: chi-square above which a window is too wide, because its tail bends the fit of the early part; with
      five degrees of freedom 1 % of clean curves exceed it.
    iterations, tolerance: of one descent; the tolerance is a thousandth of a standard error.
    """

    models: tuple[ModelName, ...] = MODELS
    smoothing_s: float = 1.0
    start_widths: tuple[float, ...] = (0.3, 0.5, 0.8)
    floor_fraction: float = 0.03
    tail_fractions: tuple[float, ...] = (0.0, 0.3, 0.5)
    tail_tension: float = 15.0
    iterations: int = 100
    tolerance: float = 1e-6


@dataclass(frozen=True, eq=False)
class ModelFit:
    """One model fitted to one window. theta in units of the outline's scale; covariance (5, 5) of theta."""

    model: ModelName
    theta: NDArray[np.float64]
    deviance: float
    covariance: NDArray[np.float64]
    dispersion: float
    correlation_frames: float

    def curve(self, scale_au: float) -> BolusCurve:
        ln_area, location, ln_shape, t0_s, offset = self.theta
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
    """The models fitted to the window that the tail test left, best first. `last` is the window's end, exclusive."""

    fits: tuple[ModelFit, ...]
    weights: tuple[float, ...]
    last: int
    samples: int

    @property
    def best(self) -> ModelFit:
        return self.fits[0]


def fit_models(outline: CurveOutline, parameters: BolusFitParameters) -> SelectedFit:
    """Fit all candidates; narrow the window while the best one leaves a tail that looks like recirculation."""
    # The narrowest window holds no second pass. A wider one is taken if its fit describes that early part as well.
    last = narrow = outline.wash_out_index(parameters.tail_fractions[-1])
    fits = narrowest = _fit_window(outline, parameters, narrow)
    for fraction in parameters.tail_fractions[:-1]:
        wider = outline.wash_out_index(fraction)
        tried = _fit_window(outline, parameters, wider)
        if _tension(outline, tried[0], narrowest[0], narrow, parameters) <= parameters.tail_tension:
            last, fits = wider, tried
            break
    best = fits[0]
    # Quasi-AIC: deviance over dispersion, per effective sample; 2k is the same for all and drops out.
    excess = np.array([fit.deviance - best.deviance for fit in fits]) / (best.dispersion * best.correlation_frames)
    weights = np.exp(-0.5 * np.minimum(excess, 700.0))
    weights /= weights.sum()
    return SelectedFit(fits, tuple(float(w) for w in weights), last, last)


def _fit_window(outline: CurveOutline, parameters: BolusFitParameters, last: int) -> tuple[ModelFit, ...]:
    time_s, power = outline.time_s[:last], outline.relative_power[:last]
    fits = [_fit_model(model, time_s, power, outline, parameters) for model in parameters.models]
    return tuple(sorted(fits, key=lambda fit: fit.deviance))


def _fit_model(
    model: ModelName,
    time_s: NDArray[np.float64],
    power: NDArray[np.float64],
    outline: CurveOutline,
    parameters: BolusFitParameters,
) -> ModelFit:
    lower, upper = bounds(model, outline)
    theta = np.empty(PARAMETERS)
    floor = parameters.floor_fraction**2
    deviance = fit_kernel.fit_curve(
        MODELS.index(model),
        time_s,
        power,
        floor,
        lower,
        upper,
        outline.guess,
        np.array(parameters.start_widths),
        theta,
        parameters.iterations,
        parameters.tolerance,
    )
    fitted, gradient = np.empty(time_s.size), np.empty((time_s.size, PARAMETERS))
    bolus_kernel.curve_and_gradient(MODELS.index(model), theta, time_s, fitted, gradient)
    deviation = np.sqrt(fitted**2 + floor)
    residual = (power - fitted) / deviation
    weighted = gradient / deviation[:, None]
    free = (theta > lower) & (theta < upper)
    correlation = correlation_length(residual, int(free.sum()))
    covariance = np.zeros((PARAMETERS, PARAMETERS))
    covariance[np.ix_(free, free)] = _sandwich(weighted[:, free], residual, correlation)
    dispersion = float(residual @ residual) / max(time_s.size - PARAMETERS * correlation, 1.0)
    return ModelFit(model, theta, deviance, covariance, max(dispersion, 1e-300), correlation)


def bounds(model: ModelName, outline: CurveOutline) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds of theta: those of docs/perfusion.md; the offset stays between dark and just above the baseline."""
    shape_low, shape_high = np.log(SHAPE_BOUNDS[model])
    baseline = outline.guess[3]
    lower = np.array([-20.0, -3.0, shape_low, outline.time_s[0] - 5.0, -0.05])
    upper = np.array([20.0, 7.0, shape_high, outline.peak_time_s - 0.05, baseline + 0.1])
    return lower, upper


def correlation_length(residual: NDArray[np.float64], parameters: int) -> float:
    """Frames that carry one independent sample: 1 + 2 sum of the residuals' autocorrelation, at least 1.

    Summed over the initial positive pairs (Geyer 1992, Statistical Science 7:473). Each lag is raised by what the fit
    of `parameters` took out of it, without which short clips look less correlated than they are.
    """
    n = residual.size
    centred = residual - residual.mean()
    power = float(centred @ centred)
    if n < 8 or power <= 0.0:
        return 1.0
    lags = min(n // 4, 200)
    spectrum = np.fft.rfft(centred, 2 * n)
    rho = np.fft.irfft(np.abs(spectrum) ** 2)[: lags + 1] / power
    length = 1.0
    for _ in range(3):
        raised = rho + parameters * length / n
        total = 1.0
        for k in range(1, lags, 2):
            pair = raised[k] + raised[k + 1]
            if pair <= 0.0:
                break
            total += 2.0 * pair
        length = min(max(total, 1.0), n / 8.0)
    return float(length)


def _sandwich(weighted: NDArray[np.float64], residual: NDArray[np.float64], correlation: float) -> NDArray[np.float64]:
    """Covariance that does not believe the assumed variance: bread of the information, meat of the residuals."""
    bread = np.linalg.pinv(weighted.T @ weighted, rcond=1e-13, hermitian=True)
    # A frame with leverage pulls the curve to itself and hides its own error (HC3, MacKinnon and White 1985).
    leverage = np.einsum("ij,jk,ik->i", weighted, bread, weighted) * correlation
    scores = weighted * (residual / (1.0 - np.minimum(leverage, 0.5)))[:, None]
    return np.asarray(bread @ (scores.T @ scores) @ bread * correlation, np.float64)


def _tension(
    outline: CurveOutline, wide: ModelFit, narrow: ModelFit, last: int, parameters: BolusFitParameters
) -> float:
    """How much worse the fit of a wider window describes the narrow one, as chi-square with about 5 degrees."""
    time_s, power = outline.time_s[:last], outline.relative_power[:last]
    floor = parameters.floor_fraction**2
    excess = fit_kernel.deviance(MODELS.index(wide.model), wide.theta, time_s, power, floor) - fit_kernel.deviance(
        MODELS.index(narrow.model), narrow.theta, time_s, power, floor
    )
    return float(excess) / (narrow.dispersion * narrow.correlation_frames)


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
    freedom = max(selected.samples / best.correlation_frames - PARAMETERS, 3.0)
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
