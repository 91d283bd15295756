"""Figures as content items of a structured report: TID 300 measurements with unit, method and 95 % interval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from highdicom.sr import (
    CodeContentItem,
    ContentSequence,
    Measurement,
    QualitativeEvaluation,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.sr.coding import Code

from processing.metrics import MapSampling
from reports import codes
from reports.findings import Findings, Quantity, RoiFinding, RoiPerfusion, SuperResolution
from reports.parameters import PERFUSION_PARAMETERS


@dataclass(frozen=True)
class Figure:
    """One reported number: concept, value with unit and interval, method, derivation, further coded properties."""

    name: Code
    quantity: Quantity
    method: Code | None = None
    derivation: Code | None = None
    properties: tuple[tuple[Code, Code], ...] = ()


def figure(
    name: Code, quantity: Quantity | None, method: Code | None, derivation: Code | None = None
) -> tuple[Figure, ...]:
    """One figure, none where the value does not exist."""
    if quantity is None or quantity.value is None:
        return ()
    return (Figure(name, quantity, method, derivation),)


def values(figures: Iterable[Figure]) -> list[Measurement]:
    """The figures as TID 300 measurements, their further properties as text; so the 95 % interval, "low to high" in
    its unit.

    TID 310 has numeric and coded properties, but TID 300 keeps every NUM below a measurement for what it was inferred
    from and every CODE for a modifier of its concept, and PixelMed's validator refuses them there.
    """
    return [_measurement(each) for each in figures]


def _measurement(figure: Figure) -> Measurement:
    quantity = figure.quantity
    item = Measurement(
        figure.name, quantity.value, codes.ucum(quantity.unit), method=figure.method, derivation=figure.derivation
    )
    measured = item[0].MeasuredValueSequence[0]
    # What a viewer prints: seven digits are read back to 1e-6; the number itself stands beside it in double precision.
    measured.NumericValue, measured.FloatingPointValue = f"{quantity.value:.7g}", float(quantity.value or 0.0)
    added = [
        TextContentItem(name, value.meaning, RelationshipTypeValues.HAS_PROPERTIES) for name, value in figure.properties
    ]
    if quantity.low is not None and quantity.high is not None:
        words = f"{quantity.low:.7g} to {quantity.high:.7g}"
        added.append(TextContentItem(codes.own("CI95"), words, RelationshipTypeValues.HAS_PROPERTIES))
    if added:
        item[0].ContentSequence = ContentSequence([*item[0].get("ContentSequence", ()), *added])
    return item


def evaluation(name: Code, value: Code) -> QualitativeEvaluation:
    """A coded statement of a measurement group."""
    return QualitativeEvaluation(name, value)


def code_item(name: Code, value: Code) -> Any:
    return CodeContentItem(name, value, RelationshipTypeValues.CONTAINS)


def text_item(name: Code, text: str) -> Any:
    return TextContentItem(name, text, RelationshipTypeValues.CONTAINS)


def perfusion_figures(findings: Findings, perfusion: RoiPerfusion) -> Iterator[Figure]:
    """Bolus parameters, R2 and heterogeneity of one ROI, each with the method that gave it."""
    method = codes.MODEL_METHODS.get(perfusion.metrics.model, codes.own("M_NONE"))
    names = dict(codes.PERFUSION_CODES)
    if findings.source.time_zero == "first frame":
        names |= codes.LOOP_TIME_CODES
    for parameter in PERFUSION_PARAMETERS:
        if parameter.symbol in names:
            value = Quantity.of(parameter.of(perfusion.metrics), parameter.unit)
            yield from figure(names[parameter.symbol], value, method)
    yield from figure(codes.R_SQUARED, Quantity(perfusion.metrics.r2, "1"), method)
    if perfusion.heterogeneity is not None:
        for attribute, name in codes.HETEROGENEITY_CODES.items():
            value = getattr(perfusion.heterogeneity, attribute)
            yield from figure(name, Quantity(value, "1"), codes.own("M_LEVELS"))


def area_figures(roi: RoiFinding) -> Iterable[Figure]:
    return figure(codes.AREA, Quantity(roi.area_mm2, "mm2"), codes.own("M_MASK"))


def replenishment_figures(findings: Findings, roi: RoiFinding) -> Iterator[Figure]:
    """Destruction-replenishment of one ROI, where a flash was found."""
    found = findings.replenishment.get(roi.label)
    if found is None:
        return
    method = codes.own("M_REPLENISH")
    yield from figure(codes.RELATIVE_BLOOD_VOLUME, found.relative_blood_volume, method)
    yield from figure(codes.own("BETA"), found.beta, method)
    yield from figure(codes.PERFUSION_CODES["mTT"], found.mean_transit_time, method)
    yield from figure(codes.RELATIVE_BLOOD_FLOW, found.relative_blood_flow, method)
    yield from figure(codes.R_SQUARED, Quantity(found.r2, "1"), method)


def relative_figures(findings: Findings) -> Iterator[Figure]:
    """Lesion against reference: ratios, differences, wash-out and enhanced area."""
    lesion = findings.perfusion.by_label.get("lesion")
    fit = codes.MODEL_METHODS.get(lesion.metrics.model if lesion else "none", codes.own("M_NONE"))
    for symbol, ratio in findings.perfusion.ratio.items():
        yield from figure(codes.own(f"R_{symbol.upper()}"), ratio, fit)
    for symbol, difference in findings.perfusion.difference_s.items():
        yield from figure(codes.own(f"D_{symbol.upper()}"), difference, fit)
    if (pattern := findings.perfusion.dvp) is not None:
        for name, share in pattern.fractions.items():
            if name in codes.VASCULAR_PATTERNS:
                yield from figure(codes.VASCULAR_PATTERNS[name][1], Quantity(share, "1"), codes.own("M_LEVELS"))
    if (washout := findings.perfusion.washout) is not None:
        method = codes.own("M_LEVELS")
        yield from figure(codes.own("WASHOUT_ONSET"), Quantity(washout.onset_s, "s"), method)
        for after, level in washout.level_db.items():
            yield from figure(codes.own(f"WASHOUT_{after}"), Quantity(level, "dB"), method)
    if (area := findings.perfusion.enhancement) is not None:
        for name, value, unit in (
            ("PERFUSED", area.perfused_area_percent, "%"),
            ("NONENH_AREA", area.non_enhancing_area_mm2, "mm2"),
            ("NONENH", area.non_enhancing_percent, "%"),
            ("NOTASSESS", area.not_assessable_percent, "%"),
        ):
            yield from figure(codes.own(name), Quantity(value, unit), codes.own("M_MASK"))
        yield from figure(codes.own("SINCE_TREATMENT"), Quantity(area.hours_since_treatment, "h"), None)


def super_resolution_figures(result: SuperResolution) -> Iterator[Figure]:
    """All super-resolution metrics; definitions: docs/super-resolution.md."""
    method = codes.own("M_ULM")
    for name, quantity in _localization_figures(result):
        yield from figure(codes.own(name), quantity, method)
    if (speed := result.speed_mm_s) is not None:
        yield from figure(codes.FLOW_VELOCITY, speed.mean, method, codes.MEAN)
        yield from figure(codes.own("SPEED_MEDIAN"), speed.median, method)
        yield from figure(codes.own("SPEED_P95"), speed.p95, method)
    if (vessels := result.vessels) is not None:
        yield from figure(codes.own("VESSELS"), vessels.count, method)
        yield from figure(codes.own("TORTUOSITY"), vessels.tortuosity_median, method, codes.MEDIAN)
        yield from figure(codes.own("DIAMETER"), vessels.diameter_um_median, method, codes.MEDIAN)
        yield from figure(codes.own("BRANCHPOINTS"), vessels.branch_points, method)
        yield from figure(codes.FRACTAL_DIMENSION, vessels.fractal_dimension, method)
        yield from figure(codes.own("CENTRE_RIM"), vessels.centre_rim_ratio, method)


def _localization_figures(result: SuperResolution) -> Iterator[tuple[str, Quantity | None]]:
    yield "LOCALIZATIONS", Quantity(result.localizations, "1")
    yield "TRACKS", Quantity(result.tracks, "1")
    yield "ULM_INTERVAL", Quantity(result.interval_s, "s")
    yield "ULM_MAXSPEED", Quantity(result.trackable_speed_mm_s, "mm/s")
    if result.psf_fwhm_mm is not None:
        yield "PSF_Z", Quantity(result.psf_fwhm_mm[0], "mm")
        yield "PSF_X", Quantity(result.psf_fwhm_mm[1], "mm")
    yield "ULM_PRECISION", result.localization_precision_um
    yield "ULM_FRC", result.frc_resolution_um
    if (density := result.perfusion_density) is not None:
        for name, mask in (("PD_THRESHOLD", density.by_threshold), ("PD_MODEL", density.by_model)):
            if mask is not None:
                yield name, mask.area_percent
                yield f"{name}_R", mask.area_percent_rarefied
        yield "PD_COUNT", density.tracks_per_mm2_s
        yield "PD_FLUX", density.flux_mm_per_mm2_s
    if result.saturation is not None:
        yield "ULM_FILLED", result.saturation.filled_percent
        yield "ULM_PLATEAU", result.saturation.plateau_percent
    if (spread := result.flow_heterogeneity) is not None:
        yield "SPEED_CV", spread.speed_cv
        yield "SPEED_QCD", spread.speed_quartile_coefficient
        yield "SPEED_ENTROPY", spread.speed_entropy
        yield "DIR_ENTROPY", spread.direction_entropy
        yield "DIR_DISPERSION", spread.direction_dispersion


def quality_figures(findings: Findings) -> Iterator[Figure]:
    """What the numbers rest on: saturation, motion, rejected frames, frame rate, duration, dynamic range, maps."""
    quality, source, method = findings.quality, findings.source, codes.own("M_LEVELS")
    saturated = None if quality.saturated_fraction is None else 100 * quality.saturated_fraction
    for name, value, unit in (
        ("SATURATED", saturated, "%"),
        ("MOTION_P95", quality.motion_mm_p95, "mm"),
        ("REJECTED", float(len(quality.rejected_frames)), "1"),
        ("FRAME_RATE", source.frame_rate_hz, "Hz"),
        ("DURATION", source.duration_s, "s"),
        ("DYN_RANGE", source.dynamic_range_db, "dB"),
        *_map_figures(findings.perfusion.map_sampling),
    ):
        yield from figure(codes.own(name), Quantity(value, unit), method)


def _map_figures(sampling: MapSampling | None) -> Iterator[tuple[str, float | None, str]]:
    if sampling is not None:
        yield "MAP_RES_Z", sampling.depth_mm, "mm"
        yield "MAP_RES_X", sampling.width_mm, "mm"
        yield "MAP_SPECKLES", sampling.speckles, "1"
        yield "MAP_FITTED", sampling.fitted_percent, "%"
