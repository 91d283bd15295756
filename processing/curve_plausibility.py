"""What a curve can carry: refusals and flags by name, before and after the fit.

QOF cannot see most of this: a second pass biases AUC by 13 % with R^2 still above 0.99 (docs/perfusion.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import signal

from processing.bolus_fit import SelectedFit
from processing.bolus_models import MODELS, BolusCurve
from processing.curve_outline import CurveOutline, smoothed
from processing.kernels import bolus_fit as fit_kernel
from processing.limitations import Limitation
from processing.tic import Tic

AMPLITUDE_NAMES = ("PE", "WiR", "WoR", "WiAUC", "WoAUC", "WiWoAUC", "WiPI", "AUC")
TIME_NAMES = ("AT", "TTP", "RT", "FT", "mTT", "mTTl")


@dataclass(frozen=True)
class PlausibilityParameters:
    """When a curve is refused or flagged.

    minimum_frames: kept frames; five parameters from fewer than four samples each are not an estimate.
    enhancement_chi2: gain of the best model over a constant, in units of the noise; a constant with noise passes once
      in some 10,000 curves (chi-square of about five degrees, four models tried).
    unseen_wash_out, partial_wash_out: level at the end of the clip, as a fraction of the peak, above which AUC and mTT
      are refused, degraded: a clip of 30 s errs by 11 to 13 % there (docs/perfusion.md).
    second_prominence: rise after a fall, as a fraction of the peak, that is another bolus and no recirculation
      (recirculation is about 15 %); second_smoothing_s: over which it is looked for.
    saturation_note, saturation_unreliable: shares of 0.2 % and 1 % (docs/perfusion.md: 0.9 % costs 12 % of PE).
    """

    minimum_frames: int = 20
    enhancement_chi2: float = 30.0
    unseen_wash_out: float = 0.5
    partial_wash_out: float = 0.2
    second_prominence: float = 0.3
    second_smoothing_s: float = 3.0
    saturation_note: float = 0.002
    saturation_unreliable: float = 0.01


def unmeasurable(tic: Tic, parameters: PlausibilityParameters) -> Limitation | None:
    """Too few frames, or values that are no powers."""
    kept = ~tic.rejected
    if int(kept.sum()) < parameters.minimum_frames:
        text = f"Only {int(kept.sum())} usable frames: a bolus needs {parameters.minimum_frames}."
        return Limitation("too_few_frames", text, "refused", ("perfusion",))
    if not np.isfinite(tic.power_au[kept]).all():
        text = f"The {tic.label} curve holds values that are no echo powers."
        return Limitation("curve_not_finite", text, "refused", ("perfusion",))
    return None


def has_enhancement(
    outline: CurveOutline, selected: SelectedFit, floor: float, parameters: PlausibilityParameters
) -> bool:
    """True where the best model describes its window better than a constant does, beyond the noise."""
    power, best = outline.relative_power[: selected.last], selected.best
    level = float(power.mean())
    constant = float(np.sum(np.log(level**2 + floor) - 2.0 * power / floor**0.5 * np.arctan(level / floor**0.5)))
    time_s = outline.time_s[: selected.last]
    tail = selected.tail[: selected.last]
    bolus = fit_kernel.deviance(MODELS.index(best.model), best.theta, time_s, tail, power, floor)
    return (constant - bolus) / (best.dispersion * best.correlation_frames) > parameters.enhancement_chi2


def second_bolus(outline: CurveOutline, parameters: PlausibilityParameters) -> Limitation | None:
    """A second rise as large as a bolus, after a fall: two injections in one clip, or an undetected flash."""
    smooth = smoothed(outline.time_s, outline.power_au, parameters.second_smoothing_s)
    if outline.scale_au < 0.5 * float(smooth.max()):
        return None  # less than 3 dB of enhancement: waves of the background are no boluses
    frames = max(1.0, parameters.second_smoothing_s / float(np.median(np.diff(outline.time_s))))
    # Noise of the smoothed curve at the peak, from frame-to-frame differences (blind to anything slower).
    relative = np.diff(outline.power_au) / (0.5 * (smooth[1:] + smooth[:-1]) + 0.03 * outline.scale_au)
    noise = 1.4826 * float(np.median(np.abs(relative))) / np.sqrt(2.0 * frames) * float(smooth.max())
    prominence = max(parameters.second_prominence * outline.scale_au, 8.0 * noise)
    padded = np.concatenate([[smooth.min()], smooth, [smooth.min()]])
    peaks, _ = signal.find_peaks(padded, prominence=prominence)
    if peaks.size < 2:
        return None
    at = ", ".join(f"{outline.time_s[p - 1]:.0f} s" for p in peaks)
    text = f"The curve rises {peaks.size} times (peaks at {at}): more than one bolus, parameters describe none of them."
    return Limitation("two_boluses", text, "refused", (*AMPLITUDE_NAMES, *TIME_NAMES, "t0", "QOF"))


def extent_limitations(
    bolus: BolusCurve, outline: CurveOutline, parameters: PlausibilityParameters
) -> Iterator[Limitation]:
    """How much of the bolus the clip shows: its arrival, its peak, its wash-out."""
    first_s, last_s = float(outline.time_s[0]), float(outline.time_s[-1])
    values = bolus.characteristics()
    if values["arrival_time_s"] < first_s:
        text = "The clip begins after the agent arrived: the arrival is extrapolated, the baseline unknown."
        yield Limitation("arrival_not_seen", text, "refused", ("AT", "RT", "WiAUC", "WiWoAUC", "WiPI", "mTTl"))
    if values["time_to_peak_s"] > last_s:
        text = "The clip ends before the peak: only the arrival is measured."
        names = (*AMPLITUDE_NAMES, *TIME_NAMES[1:])
        yield Limitation("peak_not_reached", text, "refused", names)
        return
    yield from _wash_out_extent(bolus, values, last_s, parameters)


def _wash_out_extent(
    bolus: BolusCurve, values: dict[str, float], last_s: float, parameters: PlausibilityParameters
) -> Iterator[Limitation]:
    end = np.array([last_s], np.float64)
    left = float(bolus.power_au(end)[0] - bolus.offset_au) / values["peak_enhancement_au"]
    end_of_fall_s = values["time_to_peak_s"] + values["fall_time_s"]
    if left > parameters.unseen_wash_out:
        text = (
            f"The clip ends with the level at {100 * left:.0f} % of the peak: too short for AUC and mean transit time."
        )
        yield Limitation("clip_too_short", text, "refused", ("AUC", "mTT", "mTTl", "FT", "WoR", "WoAUC", "WiWoAUC"))
    elif left > parameters.partial_wash_out or end_of_fall_s > last_s:
        text = (
            f"The clip ends with the level at {100 * left:.0f} % of the peak: the rest of the wash-out is extrapolated."
        )
        yield Limitation("wash_out_extrapolated", text, "degraded", ("AUC", "mTT", "mTTl"))


def level_limitations(
    saturated_fraction: float, dynamic_range_known: bool, order_only: bool, parameters: PlausibilityParameters
) -> Iterator[Limitation]:
    """What the scale of the levels is worth."""
    percent = f"{100 * saturated_fraction:.2f} % of the ROI's pixels stood at full scale"
    if saturated_fraction > parameters.saturation_unreliable:
        text = f"{percent}: amplitudes are too low by an unknown amount."
        yield Limitation("roi_saturated", text, "degraded", (*AMPLITUDE_NAMES, "FT", "mTT"))
    elif saturated_fraction > parameters.saturation_note:
        yield Limitation("roi_saturated", f"{percent}: amplitudes read low.", "note", AMPLITUDE_NAMES)
    if order_only:
        text = "The tint of the contrast image could not be decoded: levels are only known to rise and fall."
        yield Limitation("tint_unknown", text, "refused", (*AMPLITUDE_NAMES, "ratio"))
    elif not dynamic_range_known:
        text = "Nobody declared the dynamic range: absolute amplitudes are withheld, timing has widened intervals."
        yield Limitation("default_dynamic_range", text, "refused", AMPLITUDE_NAMES)
        text = "Lesion to reference ratios rest on a default dynamic range: they may be off by 9 %."
        yield Limitation("default_dynamic_range_ratios", text, "degraded", ("ratio",))
