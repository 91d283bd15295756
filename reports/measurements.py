"""Figures as content items of a structured report: TID 300 measurements with unit, method and 95 % interval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from highdicom.sr import (
    CodeContentItem,
    ContentSequence,
    Measurement,
    NumContentItem,
    QualitativeEvaluation,
    RelationshipTypeValues,
    TextContentItem,
)
from pydicom.sr.coding import Code

from reports import codes
from reports.findings import Findings, Quantity, RoiFinding, RoiPerfusion, SuperResolution
from reports.parameters import PERFUSION_PARAMETERS


def measurement(
    name: Code, quantity: Quantity | None, method: Code | None, derivation: Code | None = None
) -> list[Measurement]:
    """One TID 300 measurement, none where the value does not exist.

    The interval is written as TID 310's upper and lower measurement uncertainty, in the unit of the value (highdicom
    0.28 would write them without unit).
    """
    if quantity is None or quantity.value is None:
        return []
    item = Measurement(
        name=name, value=quantity.value, unit=codes.ucum(quantity.unit), method=method, derivation=derivation
    )
    if quantity.low is not None and quantity.high is not None:
        bounds = []
        for concept, width in (
            (codes.UPPER_UNCERTAINTY, quantity.high - quantity.value),
            (codes.LOWER_UNCERTAINTY, quantity.value - quantity.low),
        ):
            bound = NumContentItem(
                concept, width, codes.ucum(quantity.unit), None, RelationshipTypeValues.HAS_PROPERTIES
            )
            bounds.append(bound)
        item[0].ContentSequence = ContentSequence([*item[0].get("ContentSequence", ()), *bounds])
    return [item]


def evaluation(name: Code, value: Code) -> QualitativeEvaluation:
    """A coded statement of a measurement group."""
    return QualitativeEvaluation(name, value)


def code_item(name: Code, value: Code) -> Any:
    return CodeContentItem(name, value, RelationshipTypeValues.CONTAINS)


def text_item(name: Code, text: str) -> Any:
    return TextContentItem(name, text, RelationshipTypeValues.CONTAINS)


def perfusion_measurements(findings: Findings, perfusion: RoiPerfusion) -> Iterator[Measurement]:
    """Bolus parameters, R2 and heterogeneity of one ROI, each with the method that gave it."""
    method = codes.MODEL_METHODS.get(perfusion.metrics.model, codes.own("M_NONE"))
    names = dict(codes.PERFUSION_CODES)
    if findings.source.time_zero == "first frame":
        names |= codes.LOOP_TIME_CODES
    for parameter in PERFUSION_PARAMETERS:
        if parameter.symbol in names:
            figure = Quantity.of(parameter.of(perfusion.metrics), parameter.unit)
            yield from measurement(names[parameter.symbol], figure, method)
    yield from measurement(codes.R_SQUARED, Quantity(perfusion.metrics.r2, "1"), method)
    if perfusion.heterogeneity is not None:
        for attribute, name in codes.HETEROGENEITY_CODES.items():
            value = getattr(perfusion.heterogeneity, attribute)
            yield from measurement(name, Quantity(value, "1"), codes.own("M_LEVELS"))


def area_measurements(roi: RoiFinding) -> Iterable[Measurement]:
    return measurement(codes.AREA, Quantity(roi.area_mm2, "mm2"), codes.own("M_MASK"))


def replenishment_measurements(findings: Findings, roi: RoiFinding) -> Iterator[Measurement]:
    """Destruction-replenishment of one ROI, where a flash was found."""
    found = findings.replenishment.get(roi.label)
    if found is None:
        return
    method = codes.own("M_REPLENISH")
    yield from measurement(codes.RELATIVE_BLOOD_VOLUME, found.relative_blood_volume, method)
    yield from measurement(codes.own("BETA"), found.beta, method)
    yield from measurement(codes.PERFUSION_CODES["mTT"], found.mean_transit_time, method)
    yield from measurement(codes.RELATIVE_BLOOD_FLOW, found.relative_blood_flow, method)
    yield from measurement(codes.R_SQUARED, Quantity(found.r2, "1"), method)


def relative_measurements(findings: Findings) -> Iterator[Measurement]:
    """Lesion against reference: ratios, differences, wash-out and enhanced area."""
    lesion = findings.perfusion.by_label.get("lesion")
    fit = codes.MODEL_METHODS.get(lesion.metrics.model if lesion else "none", codes.own("M_NONE"))
    for symbol, ratio in findings.perfusion.ratio.items():
        yield from measurement(codes.own(f"R_{symbol.upper()}"), ratio, fit)
    for symbol, difference in findings.perfusion.difference_s.items():
        yield from measurement(codes.own(f"D_{symbol.upper()}"), difference, fit)
    if (washout := findings.perfusion.washout) is not None:
        method = codes.own("M_LEVELS")
        yield from measurement(codes.own("WASHOUT_ONSET"), Quantity(washout.onset_s, "s"), method)
        for after, level in washout.level_db.items():
            yield from measurement(codes.own(f"WASHOUT_{after}"), Quantity(level, "dB"), method)
    if (area := findings.perfusion.enhancement) is not None:
        for name, value, unit in (
            ("PERFUSED", area.perfused_area_percent, "%"),
            ("NONENH_AREA", area.non_enhancing_area_mm2, "mm2"),
            ("NONENH", area.non_enhancing_percent, "%"),
            ("NOTASSESS", area.not_assessable_percent, "%"),
        ):
            yield from measurement(codes.own(name), Quantity(value, unit), codes.own("M_MASK"))


def super_resolution_measurements(result: SuperResolution) -> Iterator[Measurement]:
    """All super-resolution metrics; definitions: docs/super-resolution.md."""
    method = codes.own("M_ULM")
    for name, figure in _super_resolution_figures(result):
        yield from measurement(codes.own(name), figure, method)
    if (speed := result.speed_mm_s) is not None:
        yield from measurement(codes.FLOW_VELOCITY, speed.mean, method, codes.MEAN)
        yield from measurement(codes.FLOW_VELOCITY, speed.median, method, codes.MEDIAN)
        yield from measurement(codes.own("SPEED_P95"), speed.p95, method)
    if (vessels := result.vessels) is not None:
        yield from measurement(codes.own("VESSELS"), vessels.count, method)
        yield from measurement(codes.own("TORTUOSITY"), vessels.tortuosity_median, method, codes.MEDIAN)
        yield from measurement(codes.own("DIAMETER"), vessels.diameter_um_median, method, codes.MEDIAN)
        yield from measurement(codes.own("BRANCHPOINTS"), vessels.branch_points, method)
        yield from measurement(codes.FRACTAL_DIMENSION, vessels.fractal_dimension, method)
        yield from measurement(codes.own("CENTRE_RIM"), vessels.centre_rim_ratio, method)


def _super_resolution_figures(result: SuperResolution) -> Iterator[tuple[str, Quantity | None]]:
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


def quality_measurements(findings: Findings) -> Iterator[Measurement]:
    """What the numbers rest on: saturation, motion, rejected frames, frame rate, duration, dynamic range."""
    quality, source, method = findings.quality, findings.source, codes.own("M_LEVELS")
    saturated = None if quality.saturated_fraction is None else 100 * quality.saturated_fraction
    for name, value, unit in (
        ("SATURATED", saturated, "%"),
        ("MOTION_P95", quality.motion_mm_p95, "mm"),
        ("REJECTED", float(len(quality.rejected_frames)), "1"),
        ("FRAME_RATE", source.frame_rate_hz, "Hz"),
        ("DURATION", source.duration_s, "s"),
        ("DYN_RANGE", source.dynamic_range_db, "dB"),
    ):
        yield from measurement(codes.own(name), Quantity(value, unit), method)
