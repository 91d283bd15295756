"""Destruction and replenishment: the flash that empties the plane, and how fast it fills again.

y = A (1 - exp(-b t)) (Wei 1998, Circulation 97:473) or A Phi((ln t - m) / s) (Arditi 2006, TUFFC 53:1118), with what
the flash left standing as an offset. rBV = A, mTT = 1/b or exp(m + s^2/2), rBF = rBV / mTT. Fitted by the engine of the
bolus, with the same weights and the same intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, stats

from processing.fit_uncertainty import correlation_length, sandwich_covariance
from processing.kernels import bolus as bolus_kernel
from processing.kernels import bolus_fit as fit_kernel
from processing.limitations import Limitation
from processing.metrics import Estimate
from processing.tic import Tic

ReplenishmentModel = Literal["exponential", "S-shaped"]
KERNEL_NUMBER: dict[ReplenishmentModel, int] = {
    "exponential": bolus_kernel.EXPONENTIAL,
    "S-shaped": bolus_kernel.S_SHAPED,
}


@dataclass(frozen=True)
class FlashParameters:
    """spike_db: of the whole-panel mean over its running median: the flash insonates at full power, 6 dB and more above
    contrast imaging; a bolus rises monotonically and never exceeds its running median by that much. median_s: length
    of that median. longest_s: a flash lasts less (scanners offer up to about a second)."""

    spike_db: float = 2.0
    median_s: float = 4.0
    longest_s: float = 1.5


@dataclass(frozen=True)
class Flash:
    """First and last frame of the flash; replenishment counts from `start_s`, the first frame after it."""

    first_frame: int
    last_frame: int
    start_s: float


@dataclass(frozen=True)
class ReplenishmentParameters:
    """models: both; the one with the lower quasi-AICc (small-sample, effective samples) is chosen. floor_fraction: as
    in the bolus fit. minimum_frames, minimum_refill: fewer frames, or a plateau of which less than this was seen, carry
    no rBV."""

    models: tuple[ReplenishmentModel, ...] = ("exponential", "S-shaped")
    evidence: float = 6.0
    refill_chi2: float = 10.0
    floor_fraction: float = 0.03
    minimum_frames: int = 20
    minimum_refill: float = 0.8
    iterations: int = 100
    tolerance: float = 1e-6


@dataclass(frozen=True, eq=False)
class ReplenishmentFit:
    """curve_au: float64 (frame,), the fit after the flash, NaN before. None: refused, a limitation says why."""

    label: str
    model: ReplenishmentModel | None
    r2: float | None
    rbv_au: Estimate | None
    beta_per_s: Estimate | None
    mean_transit_time_s: Estimate | None
    rbf_au_per_s: Estimate | None
    curve_au: NDArray[np.float64]
    limitations: tuple[Limitation, ...]


FLASH_DEFAULTS = FlashParameters()
REPLENISHMENT_DEFAULTS = ReplenishmentParameters()


def detect_flash(
    time_s: NDArray[np.float64], panel_power_au: NDArray[np.float64], parameters: FlashParameters = FLASH_DEFAULTS
) -> Flash | None:
    """The last flash of a clip that leaves something to fill: a short spike of the mean of the whole contrast panel."""
    if time_s.size < 8:
        return None
    frames = max(5, round(parameters.median_s / float(np.median(np.diff(time_s)))) | 1)
    usual = ndimage.median_filter(panel_power_au, frames, mode="nearest")
    spike = panel_power_au > usual * 10.0 ** (parameters.spike_db / 10.0)
    labels, count = ndimage.label(spike)
    for number in range(count, 0, -1):
        members = np.flatnonzero(labels == number)
        first, last = int(members[0]), int(members[-1])
        short = time_s[last] - time_s[first] <= parameters.longest_s
        if not short or last + 2 >= time_s.size or first == 0:
            continue
        # A flash destroys: the frames after it are darker than those before. A cough or a bolus edge does not.
        if panel_power_au[last + 1] < 0.9 * float(np.median(panel_power_au[max(first - 5, 0) : first])):
            return Flash(first, last, float(time_s[last + 1]))
    return None


@dataclass(frozen=True, eq=False)
class _Candidate:
    model: ReplenishmentModel
    theta: NDArray[np.float64]
    covariance: NDArray[np.float64]
    misfit: float
    parameters: int
    correlation: float
    fitted: NDArray[np.float64]


def fit_replenishment(
    tic: Tic, flash: Flash, parameters: ReplenishmentParameters = REPLENISHMENT_DEFAULTS
) -> ReplenishmentFit:
    """Fit the refill of a ROI after `flash`."""
    used = ~tic.rejected & (np.arange(tic.time_s.size) > flash.last_frame)
    if used.sum() < parameters.minimum_frames:
        text = f"Only {int(used.sum())} frames follow the flash: replenishment needs {parameters.minimum_frames}."
        return _refused(tic, Limitation("too_few_frames", text, "refused", ("replenishment",)))
    # The plane was empty when the flash ended, half a frame before the first frame after it.
    frame_s = float(np.median(np.diff(tic.time_s)))
    after_s, power = tic.time_s[used] - flash.start_s + 0.5 * frame_s, tic.power_au[used]
    scale = float(np.percentile(power, 95.0))
    if not scale > 0.0:
        return _refused(tic, _no_refill(tic))
    candidates = [_candidate(model, after_s, power / scale, parameters) for model in parameters.models]
    # Beyond a second, what correlates is misfit, not speckle: it must not excuse the model that misfits.
    correlation = min(max(1.0 / frame_s, 1.0), *(candidate.correlation for candidate in candidates))
    best = candidates[0]
    for candidate in candidates[1:]:
        if _aicc(candidate, correlation) < _aicc(best, correlation) - parameters.evidence:
            best = candidate
    plateau = float(np.exp(float(best.theta[0])))
    rises = _gain_over_constant(power / scale, best, correlation, parameters) > parameters.refill_chi2
    seen = float(best.fitted[-1] - best.theta[4]) / plateau
    if not rises or not plateau > 0.05:
        return _refused(tic, _no_refill(tic))
    limitations = []
    if seen < parameters.minimum_refill:
        text = f"The clip shows {100 * seen:.0f} % of the refill: blood volume and flow are extrapolated."
        limitations.append(Limitation("refill_not_seen", text, "degraded", ("rBV", "rBF")))
    return _measured(tic, used, best, scale, tuple(limitations))


def _gain_over_constant(
    power: NDArray[np.float64], best: _Candidate, correlation: float, parameters: ReplenishmentParameters
) -> float:
    """Chi-square by which the curve describes the refill better than a level does."""
    residual = (power - best.fitted) / np.sqrt(best.fitted**2 + parameters.floor_fraction**2)
    flat = power / power.mean() - 1.0
    ratio = float(flat @ flat) / max(float(residual @ residual), 1e-300)
    return power.size / correlation * float(np.log(ratio))


def _aicc(candidate: _Candidate, correlation: float) -> float:
    """Quasi-AICc (Hurvich and Tsai 1989) of the weighted residuals, over effective samples."""
    samples, count = candidate.fitted.size / correlation, candidate.parameters
    penalty = 2.0 * count + 2.0 * count * (count + 1.0) / max(samples - count - 1.0, 1.0)
    return samples * float(np.log(max(candidate.misfit, 1e-300))) + penalty


def _candidate(
    model: ReplenishmentModel,
    after_s: NDArray[np.float64],
    power: NDArray[np.float64],
    parameters: ReplenishmentParameters,
) -> _Candidate:
    number, floor = KERNEL_NUMBER[model], parameters.floor_fraction**2
    nothing = np.zeros(after_s.size)
    shaped = model == "S-shaped"
    lower = np.array([-6.0, np.log(0.05), np.log(0.1) if shaped else 0.0, 0.0, 0.0, 0.0])
    upper = np.array([4.0, np.log(100.0), np.log(2.5) if shaped else 0.0, 0.0, 1.0, 0.0])
    deviance, theta = np.inf, lower.copy()
    for transit_s in (0.5, 1.5, 4.0, 12.0):
        start = np.array([0.0, np.log(transit_s), np.log(0.7) if shaped else 0.0, 0.0, float(power[:2].min()), 0.0])
        start = np.clip(start, lower, upper)
        ends = (parameters.iterations, parameters.tolerance)
        cost = fit_kernel.descend(number, after_s, nothing, power, floor, lower, upper, start, *ends)
        if cost < deviance:
            deviance, theta = cost, start
    fitted, gradient = np.empty(after_s.size), np.empty((after_s.size, 5))
    bolus_kernel.curve_and_gradient(number, theta, after_s, fitted, gradient)
    deviation = np.sqrt(fitted**2 + floor)
    residual = (power - fitted) / deviation
    free = (theta[:5] > lower[:5]) & (theta[:5] < upper[:5])
    count = int(free.sum())
    correlation = correlation_length(residual, count)
    covariance = np.zeros((5, 5))
    covariance[np.ix_(free, free)] = sandwich_covariance(gradient[:, free] / deviation[:, None], residual, correlation)
    misfit = float(residual @ residual) / after_s.size
    return _Candidate(model, theta, covariance, misfit, count, correlation, fitted)


def _measured(
    tic: Tic, used: NDArray[np.bool_], best: _Candidate, scale: float, limitations: tuple[Limitation, ...]
) -> ReplenishmentFit:
    """Logarithms are linear in theta for the exponential, and ln mTT = m + s^2/2 for the S-shaped curve."""
    shape = float(np.exp(best.theta[2]))
    shaped = best.model == "S-shaped"
    ln_transit = float(best.theta[1]) + (0.5 * shape**2 if shaped else 0.0)
    of_volume = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
    of_transit = np.array([0.0, 1.0, shape**2 if shaped else 0.0, 0.0, 0.0])
    freedom = max(int(used.sum()) / best.correlation - 4.0, 3.0)
    reach = float(stats.t.ppf(0.975, freedom))

    def estimate(value: float, direction: NDArray[np.float64]) -> Estimate:
        spread = float(np.exp(min(reach * float(direction @ best.covariance @ direction) ** 0.5, 50.0)))
        return Estimate(value, value / spread, value * spread)

    volume, transit = float(np.exp(best.theta[0])) * scale, float(np.exp(ln_transit))
    curve = np.full(tic.time_s.size, np.nan)
    curve[used] = best.fitted * scale
    power = tic.power_au[used]
    rest = power - curve[used]
    return ReplenishmentFit(
        label=tic.label,
        model=best.model,
        r2=float(1.0 - (rest @ rest) / max(float(((power - power.mean()) ** 2).sum()), 1e-300)),
        rbv_au=estimate(volume, of_volume),
        beta_per_s=estimate(1.0 / transit, of_transit),
        mean_transit_time_s=estimate(transit, of_transit),
        rbf_au_per_s=estimate(volume / transit, of_volume - of_transit),
        curve_au=curve,
        limitations=limitations,
    )


def _refused(tic: Tic, limitation: Limitation) -> ReplenishmentFit:
    nothing = np.full(tic.time_s.size, np.nan)
    return ReplenishmentFit(tic.label, None, None, None, None, None, None, nothing, (limitation,))


def _no_refill(tic: Tic) -> Limitation:
    text = f"The {tic.label} curve does not fill again after the flash: no blood volume or flow."
    return Limitation("no_refill", text, "refused", ("replenishment",))
