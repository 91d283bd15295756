"""From the curve of a ROI to its perfusion parameters: fitted, with intervals, and with what the data cannot carry
refused by name.

Order of judgement: can the clip be measured at all, does anything enhance, is it one bolus, how much of it was seen,
and what the levels are worth. docs/perfusion.md holds definitions, limits and measured accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processing.bolus_fit import FIT_DEFAULTS, BolusFitParameters, SelectedFit, estimates, fit_models, variance_floor
from processing.bolus_models import SHORT_NAMES, BolusCurve
from processing.cine import Cine
from processing.curve_outline import CurveOutline, outline_curve
from processing.curve_plausibility import (
    PlausibilityParameters,
    extent_limitations,
    has_enhancement,
    level_limitations,
    second_bolus,
    unmeasurable,
)
from processing.limitations import Limitation
from processing.metrics import Estimate, PerfusionMetrics
from processing.roi import Roi
from processing.tic import Tic


@dataclass(frozen=True)
class LevelQuality:
    """What the levels of a curve are worth.

    saturated_fraction: share of the ROI's pixels times frames at full scale. dynamic_range_known: False where the
    default range was used. order_only: the tint could not be decoded, so levels are only known to rise and fall.
    """

    saturated_fraction: float = 0.0
    dynamic_range_known: bool = True
    order_only: bool = False


@dataclass(frozen=True, eq=False)
class BolusFit:
    """The measured bolus of one ROI.

    metrics: as reported; what a limitation refuses is None. unmasked: the same before the levels were judged, which is
    what ratios are made of. curve_au: float64 (frame,), what was fitted (bolus, offset, recirculating tail) at every
    frame, NaN where nothing was. bolus: the chosen curve, None where there is none. window_s: first and last time
    used. model_weights: Akaike weight of every candidate. correlation_s: time that carries one independent sample.
    """

    label: str
    metrics: PerfusionMetrics
    unmasked: PerfusionMetrics
    limitations: tuple[Limitation, ...]
    curve_au: NDArray[np.float64]
    bolus: BolusCurve | None = None
    window_s: tuple[float, float] | None = None
    model_weights: dict[str, float] = field(default_factory=dict)
    correlation_s: float | None = None
    levels: LevelQuality = LevelQuality()


PLAUSIBILITY_DEFAULTS = PlausibilityParameters()
LEVELS_KNOWN = LevelQuality()


def fit_bolus(
    tic: Tic,
    parameters: BolusFitParameters = FIT_DEFAULTS,
    levels: LevelQuality = LEVELS_KNOWN,
    plausibility: PlausibilityParameters = PLAUSIBILITY_DEFAULTS,
) -> BolusFit:
    """Fit one bolus to `tic`. Never raises on a curve: what cannot be answered is a limitation."""
    refusal = unmeasurable(tic, plausibility)
    if refusal is not None:
        return _refused(tic, refusal, levels)
    outline = outline_curve(tic, parameters.smoothing_s)
    if outline.flat:
        return _refused(tic, _no_enhancement(tic), levels)
    selected = fit_models(outline, parameters)
    if not np.isfinite(selected.best.deviance):
        return _refused(tic, _failed(tic), levels)
    if not has_enhancement(outline, selected, variance_floor(outline, parameters), plausibility):
        return _refused(tic, second_bolus(outline, plausibility) or _no_enhancement(tic), levels)
    limitations = (
        *extent_limitations(selected.best.curve(outline.scale_au), outline, plausibility),
        *_more_than_one_pass(tic, outline, selected, plausibility),
        *level_limitations(levels.saturated_fraction, levels.dynamic_range_known, levels.order_only, plausibility),
    )
    return _measured(tic, outline, selected, limitations, levels)


def _more_than_one_pass(
    tic: Tic, outline: CurveOutline, selected: SelectedFit, plausibility: PlausibilityParameters
) -> Iterator[Limitation]:
    again = second_bolus(outline, plausibility)
    if again is not None:
        yield again
        return
    share = selected.best.theta[-1]
    if selected.last < outline.time_s.size:
        how = f"the wash-out after {outline.time_s[selected.last - 1]:.1f} s is left out of the fit"
    elif share > 0.0:
        how = f"a tail that rises to {100.0 * share:.0f} % of the peak is taken off"
    else:
        return
    text = f"Agent recirculates in the {tic.label} curve: {how}. Its course is unknown: intervals are wider."
    names = ("TTP", "RT", "FT", "WoR", "WoAUC", "WiWoAUC", "AUC", "mTT", "mTTl")
    yield Limitation("recirculation", text, "note", names)


def _measured(
    tic: Tic,
    outline: CurveOutline,
    selected: SelectedFit,
    limitations: tuple[Limitation, ...],
    levels: LevelQuality,
) -> BolusFit:
    best = selected.best
    bolus = best.curve(outline.scale_au)
    tail_au = float(best.theta[-1]) * outline.scale_au * np.interp(tic.time_s, outline.time_s, selected.tail)
    curve_au = bolus.power_au(tic.time_s) + tail_au
    r2 = _r_squared(outline.power_au[: selected.last], curve_au[~tic.rejected][: selected.last])
    everything = PerfusionMetrics(
        model=best.model, r2=r2, quality_of_fit_percent=Estimate(100.0 * r2), **estimates(selected, outline.scale_au)
    )
    seen = _without(everything, _refused_fields(limitations, by_levels=False))
    reported = _without(_widened(seen, levels), _refused_fields(limitations, by_levels=True))
    frame_s = float(np.median(np.diff(outline.time_s)))
    return BolusFit(
        label=tic.label,
        metrics=reported,
        unmasked=seen,
        limitations=limitations,
        curve_au=curve_au,
        bolus=bolus,
        window_s=(float(outline.time_s[0]), float(outline.time_s[selected.last - 1])),
        model_weights={fit.model: weight for fit, weight in zip(selected.fits, selected.weights, strict=True)},
        correlation_s=best.correlation_frames * frame_s,
        levels=levels,
    )


def _r_squared(power: NDArray[np.float64], fitted: NDArray[np.float64]) -> float:
    """Share of the power's variance inside the fitted window that the curve explains, unweighted as the field does."""
    rest = power - fitted
    return float(1.0 - (rest @ rest) / max(float(((power - power.mean()) ** 2).sum()), 1e-300))


LEVEL_CODES = frozenset({"default_dynamic_range", "tint_unknown"})


def _refused_fields(limitations: tuple[Limitation, ...], by_levels: bool) -> frozenset[str]:
    """Fields that a refusal names, the refusals of the level scale apart from those of the curve."""
    return frozenset(
        SHORT_NAMES[name]
        for limitation in limitations
        if limitation.severity == "refused" and (limitation.code in LEVEL_CODES) == by_levels
        for name in limitation.affects
        if name in SHORT_NAMES
    )


def _without(metrics: PerfusionMetrics, fields: frozenset[str]) -> PerfusionMetrics:
    nothing: dict[str, Any] = dict.fromkeys(fields)
    return replace(metrics, **nothing)


TIMING_ERROR_OF_DEFAULT_RANGE: dict[str, tuple[float, float]] = {
    "rise_time_s": (0.10, 0.17),
    "fall_time_s": (0.10, 0.17),
    "mean_transit_time_s": (0.06, 0.12),
    "mean_transit_time_local_s": (0.10, 0.17),
}
"""Relative error, below and above, of durations when the range is wrong by 10 dB (docs/perfusion.md, section 3)."""
INSTANT_ERROR_OF_DEFAULT_RANGE = {"time_to_peak_s": 0.02, "arrival_time_s": 0.10, "model_t0_s": 0.20}
"""The same for instants, as a fraction of the rise time (time to peak: 0.02 s of a 10 s rise, taken tenfold)."""


def _widened(metrics: PerfusionMetrics, levels: LevelQuality) -> PerfusionMetrics:
    """Timing survives a wrong dynamic range, but not to the precision of the noise alone."""
    if levels.dynamic_range_known and not levels.order_only:
        return metrics
    wider: dict[str, Any] = {}
    rise = metrics.rise_time_s.value if metrics.rise_time_s is not None else 0.0
    for name, (below, above) in TIMING_ERROR_OF_DEFAULT_RANGE.items():
        estimate = getattr(metrics, name)
        if estimate is not None and estimate.low is not None and estimate.high is not None:
            wider[name] = Estimate(estimate.value, estimate.low / (1.0 + above), estimate.high / (1.0 - below))
    for name, fraction in INSTANT_ERROR_OF_DEFAULT_RANGE.items():
        estimate = getattr(metrics, name)
        if estimate is not None and estimate.low is not None and estimate.high is not None:
            wider[name] = Estimate(estimate.value, estimate.low - fraction * rise, estimate.high + fraction * rise)
    return replace(metrics, **wider)


def _refused(tic: Tic, limitation: Limitation, levels: LevelQuality) -> BolusFit:
    none = PerfusionMetrics(model="none")
    return BolusFit(tic.label, none, none, (limitation,), np.full(tic.time_s.size, np.nan), levels=levels)


def _no_enhancement(tic: Tic) -> Limitation:
    text = f"The {tic.label} curve does not rise above its own noise: no bolus is measured."
    return Limitation("no_enhancement", text, "refused", ("perfusion",))


def _failed(tic: Tic) -> Limitation:
    return Limitation("fit_failed", f"No bolus model fits the {tic.label} curve.", "refused", ("perfusion",))


def saturated_fraction(cine: Cine, roi: Roi) -> float:
    """Share of the ROI's valid pixels times frames that stood at full scale."""
    inside = roi.mask & cine.valid
    return float(cine.saturated[inside].sum() / max(int(inside.sum()) * cine.frame_times_s.size, 1))
