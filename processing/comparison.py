"""Lesion against reference: amplitudes as ratios, times as differences.

Absolute a.u. are not comparable between settings, absolute times not between injections (docs/perfusion.md, section 1).
What one side refused has no ratio; the keys are those of findings.json.
"""

from __future__ import annotations

import math

from processing.bolus_models import SHORT_NAMES
from processing.metrics import Estimate
from processing.perfusion import BolusFit

RATIO_NAMES = ("PE", "WiR", "WoR", "WiAUC", "WoAUC", "WiWoAUC", "WiPI", "AUC")
DIFFERENCE_NAMES = ("AT", "TTP", "RT", "FT", "mTT")

RATIO_ERROR_OF_DEFAULT_RANGE = 0.09
"""A dynamic range wrong by 10 dB moves the PE ratio by 9 % (docs/perfusion.md, section 3)."""


def amplitude_ratios(lesion: BolusFit, reference: BolusFit) -> dict[str, Estimate]:
    """Lesion over reference for every amplitude and slope that both sides carry; empty where levels are only ordered.

    The two curves come from different pixels, so their errors add as independent ones (of the logarithm).
    """
    if lesion.levels.order_only or reference.levels.order_only:
        return {}
    known = lesion.levels.dynamic_range_known and reference.levels.dynamic_range_known
    systematic = 1.0 if known else 1.0 + RATIO_ERROR_OF_DEFAULT_RANGE
    ratios: dict[str, Estimate] = {}
    for name in RATIO_NAMES:
        above, below = _pair(name, lesion, reference)
        if above is None or below is None or below.value <= 0.0:
            continue
        value = above.value / below.value
        spread = _hypot(_log_reach(above), _log_reach(below))
        if spread is None:
            ratios[name] = Estimate(value)
        else:
            ratios[name] = Estimate(
                value, value * math.exp(-spread) / systematic, value * math.exp(spread) * systematic
            )
    return ratios


def time_differences_s(lesion: BolusFit, reference: BolusFit) -> dict[str, Estimate]:
    """Lesion minus reference, s, for every time that both sides carry."""
    differences: dict[str, Estimate] = {}
    for name in DIFFERENCE_NAMES:
        one, other = _pair(name, lesion, reference)
        if one is None or other is None:
            continue
        value = one.value - other.value
        spread = _hypot(_reach(one), _reach(other))
        differences[name] = Estimate(value) if spread is None else Estimate(value, value - spread, value + spread)
    return differences


def _pair(name: str, lesion: BolusFit, reference: BolusFit) -> tuple[Estimate | None, Estimate | None]:
    field = SHORT_NAMES[name]
    # Ratios outlive the refusal of absolute amplitudes; times carry the widening of an undeclared range.
    if name in RATIO_NAMES:
        return getattr(lesion.unmasked, field), getattr(reference.unmasked, field)
    return getattr(lesion.metrics, field), getattr(reference.metrics, field)


def _reach(estimate: Estimate) -> float | None:
    return None if estimate.low is None or estimate.high is None else 0.5 * (estimate.high - estimate.low)


def _log_reach(estimate: Estimate) -> float | None:
    if estimate.low is None or estimate.high is None or estimate.low <= 0.0:
        return None
    return 0.5 * math.log(estimate.high / estimate.low)


def _hypot(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else math.hypot(one, other)
