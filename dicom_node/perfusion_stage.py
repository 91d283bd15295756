"""Perfusion of the chosen ROIs: curves, fits, lesion against reference, maps; the arithmetic is in `processing`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from processing.cine import Cine
from processing.comparison import amplitude_ratios, time_differences_s
from processing.curve_reading import read_curve
from processing.enhancement import Enhancement as EnhancementMasks
from processing.enhancement import enhancement
from processing.errors import UnfitCineError
from processing.heterogeneity import heterogeneity
from processing.limitations import Limitation
from processing.perfusion import LEVEL_CODES, BolusFit, LevelQuality, fit_bolus, saturated_fraction
from processing.perfusion_maps import PerfusionMaps, perfusion_maps
from processing.protocols import Protocol
from processing.replenishment import Flash, detect_flash, fit_replenishment
from processing.roi import Roi, RoiLabel, panel_roi
from processing.tic import Tic, time_intensity_curve
from processing.vascular_pattern import dynamic_vascular_pattern
from processing.washout import wash_out
from reports.findings import (
    Enhancement,
    Heterogeneity,
    Perfusion,
    Quantity,
    Replenishment,
    RoiPerfusion,
    VascularPattern,
    Washout,
)
from reports.pictures import Curve

SAID_BY_INTAKE = LEVEL_CODES | {"default_dynamic_range_ratios"}
"""What the intake has already said of the levels, once for the whole cine, is not said again for every ROI."""


@dataclass(frozen=True)
class Levels:
    """What the levels of the cine are worth; `refused`: short names of parameters that a limitation withholds."""

    dynamic_range_known: bool
    order_only: bool
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Terms:
    """On what terms is measured: the protocol's parameters, what the levels are worth, and when the cine was taken."""

    protocol: Protocol
    levels: Levels
    hours_since_treatment: float | None = None


@dataclass(frozen=True, eq=False)
class PerfusionOutcome:
    """Everything that was measured of perfusion, and what pictures need of it."""

    perfusion: Perfusion
    replenishment: dict[RoiLabel, Replenishment] = field(default_factory=dict)
    tics: tuple[Tic, ...] = ()
    curves: tuple[Curve, ...] = ()
    maps: PerfusionMaps | None = None
    limitations: tuple[Limitation, ...] = ()
    enhancement: EnhancementMasks | None = None


def measure_perfusion(cine: Cine, rois: tuple[Roi, ...], rejected: NDArray[np.bool_], terms: Terms) -> PerfusionOutcome:
    """Measure every ROI; a lesion and its reference also against each other. Never raises for an unfit curve."""
    whole = time_intensity_curve(cine, panel_roi(cine.valid), rejected)
    flash = detect_flash(whole.time_s, whole.power_au)
    tics = tuple(time_intensity_curve(cine, roi, rejected) for roi in rois)
    if rois[0].label == "panel":
        outcome = _panel(tics[0], terms.levels)
    else:
        outcome = _lesion(cine, rois, tuple(_before(flash, tic) for tic in tics), terms)
    return outcome if flash is None else _with_replenishment(outcome, tics, flash)


def _panel(tic: Tic, levels: Levels) -> PerfusionOutcome:
    """A panel mixes tissues: its curve is read, never fitted."""
    try:
        read = read_curve(tic)
    except UnfitCineError as error:
        return PerfusionOutcome(Perfusion(), tics=(tic,), limitations=(error.limitation,))
    metrics = replace(read.metrics, peak_enhancement_au=None) if "PE" in levels.refused else read.metrics
    curve = Curve("panel", tic.time_s, read.smoothed_au, "moving average, 1 s")
    perfusion = Perfusion(by_label={"panel": RoiPerfusion(metrics)})
    return PerfusionOutcome(perfusion, tics=(tic,), curves=(curve,), limitations=read.limitations)


def _lesion(cine: Cine, rois: tuple[Roi, ...], tics: tuple[Tic, ...], terms: Terms) -> PerfusionOutcome:
    fits = [_fit(cine, roi, tic, terms) for roi, tic in zip(rois, tics, strict=True)]
    limitations = [lim for fit in fits for lim in fit.limitations if lim.code not in SAID_BY_INTAKE]
    maps, map_limits = _maps(cine, rois[0], fits[0], tics[0].rejected, terms.protocol)
    by_label = {roi.label: RoiPerfusion(fit.metrics) for roi, fit in zip(rois, fits, strict=True) if fit.bolus}
    if maps is not None and "lesion" in by_label:
        by_label["lesion"] = replace(by_label["lesion"], heterogeneity=_heterogeneity(maps))
    curves = tuple(
        Curve(roi.label, tic.time_s, fit.curve_au, f"{fit.metrics.model} fit")
        for roi, tic, fit in zip(rois, tics, fits, strict=True)
        if fit.bolus is not None
    )
    measured = Perfusion(by_label=by_label, map_sampling=None if maps is None else maps.sampling)
    outcome = PerfusionOutcome(measured, {}, tics, curves, maps, (*limitations, *map_limits))
    if len(rois) > 1:
        outcome = _against_reference(outcome, cine, rois, terms)
        outcome = replace(
            outcome,
            perfusion=replace(
                outcome.perfusion,
                ratio={n: Quantity.of(e, "{ratio}") for n, e in amplitude_ratios(fits[0], fits[1]).items()},
                difference_s={n: Quantity.of(e, "s") for n, e in time_differences_s(fits[0], fits[1]).items()},
            ),
        )
    return outcome


def _fit(cine: Cine, roi: Roi, tic: Tic, terms: Terms) -> BolusFit:
    levels = LevelQuality(saturated_fraction(cine, roi), terms.levels.dynamic_range_known, terms.levels.order_only)
    return fit_bolus(tic, terms.protocol.fit, levels, terms.protocol.plausibility)


def _against_reference(outcome: PerfusionOutcome, cine: Cine, rois: tuple[Roi, ...], terms: Terms) -> PerfusionOutcome:
    """Wash-out, vascular pattern and enhancement: each needs the lesion and its reference, each may refuse."""
    protocol, perfusion, limitations = terms.protocol, outcome.perfusion, list(outcome.limitations)
    lesion, reference = outcome.tics[0], outcome.tics[1]
    if protocol.shows_wash_out:
        washed = wash_out(lesion, reference, cine.time_zero, protocol.wash_out)
        limitations += washed.limitations
        levels = {str(at): value for at, value in washed.level_db.items()}
        perfusion = replace(perfusion, washout=Washout(washed.onset_s, levels))
    try:
        pattern = dynamic_vascular_pattern(cine, rois[0], reference, protocol.pattern)
        perfusion = replace(perfusion, dvp=VascularPattern(pattern.dominant, pattern.fractions))
    except UnfitCineError as error:
        limitations.append(error.limitation)
    try:
        taken = enhancement(cine, rois[0], rois[1], lesion.rejected, protocol.enhancement)
    except UnfitCineError as error:
        limitations.append(error.limitation)
    else:
        limitations += taken.limitations
        outcome = replace(outcome, enhancement=taken)
        perfusion = replace(
            perfusion,
            enhancement=Enhancement(
                taken.perfused_area_percent,
                taken.non_enhancing_area_mm2,
                taken.non_enhancing_percent,
                taken.not_assessable_percent,
                terms.hours_since_treatment,
            ),
        )
    return replace(outcome, perfusion=perfusion, limitations=tuple(limitations))


def _maps(
    cine: Cine, lesion: Roi, fit: BolusFit, rejected: NDArray[np.bool_], protocol: Protocol
) -> tuple[PerfusionMaps | None, tuple[Limitation, ...]]:
    """Maps over the lesion, started from its curve."""
    try:
        maps = perfusion_maps(cine, lesion.mask, fit, rejected, protocol.maps)
    except UnfitCineError as error:
        return None, (error.limitation,)
    return maps, maps.limitations


def _heterogeneity(maps: PerfusionMaps) -> Heterogeneity | None:
    found = heterogeneity(maps.samples["PE"]) if "PE" in maps.samples else None
    return None if found is None else Heterogeneity(found.cov, found.entropy, found.quartile_coefficient)


def _before(flash: Flash | None, tic: Tic) -> Tic:
    """A bolus is followed up to the flash that destroys it."""
    if flash is None:
        return tic
    rejected = tic.rejected | (np.arange(tic.time_s.size) >= flash.first_frame)
    return replace(tic, rejected=rejected)


def _with_replenishment(outcome: PerfusionOutcome, tics: tuple[Tic, ...], flash: Flash) -> PerfusionOutcome:
    limitations = list(outcome.limitations)
    measured: dict[RoiLabel, Replenishment] = {}
    labels: tuple[RoiLabel, ...] = ("lesion", "reference", "panel")
    for label in labels:
        for tic in (tic for tic in tics if tic.label == label):
            fit = fit_replenishment(tic, flash)
            limitations += fit.limitations
            if fit.model is not None:
                measured[label] = Replenishment(
                    Quantity.of(fit.rbv_au, "[arb'U]"),
                    Quantity.of(fit.beta_per_s, "/s"),
                    Quantity.of(fit.mean_transit_time_s, "s"),
                    Quantity.of(fit.rbf_au_per_s, "[arb'U]/s"),
                    fit.model,
                    fit.r2,
                )
    return replace(outcome, replenishment=measured, limitations=tuple(limitations))
