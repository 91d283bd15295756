"""Small complete findings for the tests of this folder: one lesion with everything, one panel with little."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from processing.cine import Box, Panels, Spacing
from processing.limitations import Limitation
from processing.metrics import Estimate, MapSampling, PerfusionMetrics
from reports.findings import (
    Baseline,
    Change,
    Comparison,
    DensityByMask,
    Enhancement,
    Findings,
    FlowHeterogeneity,
    Heterogeneity,
    LesionMatch,
    Perfusion,
    PerfusionDensity,
    Quality,
    Quantity,
    Response,
    RoiFinding,
    RoiPerfusion,
    Saturation,
    Software,
    Source,
    SpeedSummary,
    SuperResolution,
    TrendPoint,
    VascularPattern,
    Vessels,
    Washout,
)
from reports.model_use import ModelUse, ShadowUse
from reports.parameters import DIFFERENCE_SYMBOLS, PERFUSION_PARAMETERS, RATIO_SYMBOLS

CREATED = datetime(2026, 11, 20, 14, 30, 5, tzinfo=UTC)
SOFTWARE = Software("ceus-node", "0.1.0", "ab" * 32, "clinic-a", "cd" * 32)
STUDY_UID = "2.25.1001"
SERIES_UID = "2.25.1002"
SOP_UID = "2.25.1003"


def around(value: float, share: float = 0.1) -> Estimate:
    return Estimate(value, value * (1 - share), value * (1 + share))


def source() -> Source:
    return Source(
        patient_key="f" * 64,
        study_instance_uid=STUDY_UID,
        series_instance_uid=SERIES_UID,
        sop_instance_uids=(SOP_UID,),
        frames=600,
        duration_s=59.9,
        frame_rate_hz=10.0,
        contrast_panel=Panels(Box(40, 60, 360, 420), Box(420, 60, 740, 420), "left", 0.93, "tint and duplicate"),
        pixel_spacing_mm=Spacing(0.15, 0.15),
        compression="log",
        dynamic_range_db=50.0,
        dynamic_range_source="profile",
        commissioned="2026-10-01",
        time_zero="bolus start",
        agent="SonoVue",
        dose="2.4 mL",
    )


def ellipse(x: float, y: float, half_width: float, half_height: float) -> tuple[tuple[float, float], ...]:
    angles = [2 * math.pi * k / 40 for k in range(40)]
    return tuple((x + half_width * math.cos(a), y + half_height * math.sin(a)) for a in angles)


def panel_findings() -> Findings:
    """What issue A's flow says: one panel curve read without a model."""
    metrics = PerfusionMetrics(model="none", peak_enhancement_au=Estimate(0.0123), time_to_peak_s=Estimate(14.2))
    return Findings(
        software=SOFTWARE,
        created=CREATED,
        source=source(),
        quality=Quality(
            contrast_found=True,
            contrast_reason="panel mean rises by 12.4 dB",
            saturated_fraction=0.0004,
            limitations=(
                Limitation(
                    "roi_is_the_panel", "No lesion was outlined: the whole panel was measured.", "note", ("PE",)
                ),
                Limitation(
                    "variance_not_assessed", "No interval is stated without a fitted model.", "degraded", ("PE",)
                ),
            ),
        ),
        rois=(RoiFinding("panel", 1, "rule", False, 2592.0, "2.25.77", ellipse(200, 240, 159.5, 179.5)),),
        perfusion=Perfusion(by_label={"panel": RoiPerfusion(metrics)}),
    )


BOLUS = {
    "PE": 0.0123,
    "AT": 6.4,
    "TTP": 14.2,
    "RT": 7.8,
    "FT": 17.3,
    "WiR": 0.00211,
    "WoR": 0.00083,
    "WiAUC": 0.0579,
    "WoAUC": 0.1122,
    "WiWoAUC": 0.1701,
    "WiPI": 0.00742,
    "AUC": 0.2307,
    "mTT": 18.9,
    "mTTl": 14.1,
}


def bolus(scale: float) -> PerfusionMetrics:
    """Plausible figures of a log-normal bolus; amplitudes and slopes times `scale`, times divided by it a little."""
    values = {}
    for p in PERFUSION_PARAMETERS:
        if p.symbol in BOLUS:
            factor = scale if p.kind == "amplitude" else scale**-0.2
            values[p.attribute] = around(factor * BOLUS[p.symbol])
    values |= {"quality_of_fit_percent": Estimate(98.7), "model_t0_s": Estimate(1.5)}
    return PerfusionMetrics(model="log-normal", r2=0.987, **values)


def super_resolution() -> SuperResolution:
    def figure(value: float, unit: str) -> Quantity:
        return Quantity(value, unit, value * 0.9, value * 1.1)

    density = DensityByMask(figure(31.5, "%"), figure(28.0, "%"), 5000)
    return SuperResolution(
        performed=True,
        reason=None,
        localizations=41234,
        tracks=2210,
        interval_s=58.2,
        trackable_speed_mm_s=12.5,
        psf_fwhm_mm=(0.42, 0.61),
        localization_precision_um=figure(21.0, "um"),
        frc_resolution_um=figure(85.0, "um"),
        perfusion_density=PerfusionDensity(density, None, figure(0.81, "/mm2/s"), figure(0.42, "mm/mm2/s")),
        saturation=Saturation(figure(61.0, "%"), figure(78.0, "%")),
        speed_mm_s=SpeedSummary(figure(5.2, "mm/s"), figure(4.4, "mm/s"), figure(11.9, "mm/s")),
        flow_heterogeneity=FlowHeterogeneity(*(figure(0.1 * n, "1") for n in range(4, 9))),
        vessels=Vessels(
            figure(42.0, "1"),
            figure(1.21, "1"),
            figure(155.0, "um"),
            figure(17.0, "1"),
            figure(1.62, "1"),
            figure(0.71, "{ratio}"),
        ),
    )


def full_findings() -> Findings:
    """What the finished product says of a lesion with its reference."""
    heterogeneity = Heterogeneity(0.41, 3.2, 0.22)
    return Findings(
        software=SOFTWARE,
        created=CREATED,
        source=source(),
        quality=Quality(
            contrast_found=True,
            contrast_reason="panel mean rises by 14.1 dB",
            saturated_fraction=0.0031,
            motion_mm_p95=1.7,
            rejected_frames=(12, 13, 14, 250, 251),
            limitations=(
                Limitation(
                    "saturation_warning",
                    "0.31 % of the pixels stand at full scale.",
                    "degraded",
                    ("PE", "AUC", "WiAUC"),
                ),
                Limitation("no_baseline", "No earlier study of this patient was found.", "note", ("comparison",)),
            ),
        ),
        rois=(
            RoiFinding("lesion", 1, "model", False, 301.6, "2.25.88", ellipse(200, 240, 60, 71)),
            RoiFinding("reference", 1, "rule", False, 88.4, "2.25.89", ellipse(90, 250, 30, 42)),
        ),
        perfusion=Perfusion(
            by_label={
                "lesion": RoiPerfusion(bolus(1.7), heterogeneity),
                "reference": RoiPerfusion(bolus(1.0)),
            },
            ratio={symbol: Quantity(1.7, "{ratio}", 1.5, 1.9) for symbol in RATIO_SYMBOLS},
            difference_s={symbol: Quantity(-2.5, "s", -3.0, -2.0) for symbol in DIFFERENCE_SYMBOLS},
            washout=Washout(31.0, {"30": -1.0, "60": -3.5, "120": None}),
            dvp=VascularPattern("hyper-then-hypo", {"hyper": 0.2, "hypo": 0.1, "hyper-then-hypo": 0.7}),
            enhancement=Enhancement(81.0, 45.0, 15.0, 4.0, 26.5),
            map_sampling=MapSampling(0.9, 2.4, 9.2, 98.5),
        ),
        super_resolution=super_resolution(),
        response=Response(
            performed=True,
            reason=None,
            state="ok",
            probabilities={"responsive": 0.71, "stable": 0.2, "non_responsive": 0.09},
            abstained=False,
            disagreement=0.26,
            label_text="predicted class: responsive (71%)",
            glass_box={"responsive": 0.45, "stable": 0.37, "non_responsive": 0.18},
            evidence="Trained on simulated data only - not clinically validated - research use",
        ),
        models=(
            ModelUse("lesion_seg", "1", "12" * 32, "CPUExecutionProvider", "ok", 0.2, 0.5, 1.1, "2.25.31"),
            ModelUse("response_cls", "1", "34" * 32, "CPUExecutionProvider", "ok", 0.4, 0.5, 1.2, "2.25.32"),
            ModelUse("response_lr", "1", "56" * 32, "CPUExecutionProvider", "abstained", 0.3, 0.5, 1.0, "2.25.33"),
        ),
        shadow_models=(ShadowUse("lesion_seg", "100", "78" * 32, "ok", 0.3, 0.91),),
    )


def compared_findings() -> Findings:
    """The full lesion, compared with a study two days earlier on other settings."""
    shares = f"{SITE}: ±25 %"
    ratio, seconds = "{ratio}", "s"

    def change(before: float, now: float, unit: str, beyond: bool | None = None, limit: str = "") -> Change:
        difference = Quantity(now - before, unit) if unit in (seconds, "%") else None
        percent = None if difference is not None else 100 * (now - before) / before
        source_words = limit or "unknown: no repeatability was stated"
        then, today = Quantity(before, unit, 0.9 * before, 1.1 * before), Quantity(now, unit, 0.9 * now, 1.1 * now)
        return Change(then, today, percent, difference, beyond, source_words)

    changes = {
        "PE_ratio": change(2.6, 1.7, ratio, True, shares),
        "WiR_ratio": change(3.1, 1.7, ratio, True, shares),
        "WiAUC_ratio": change(2.2, 1.7, ratio, False, shares),
        "AUC_ratio": change(2.5, 1.7, ratio, True, shares),
        "RT": change(6.1, 7.0, seconds, False, f"{SITE}: ±1.4 s"),
        "mTT": change(15.2, 17.0, seconds),
        "area_mm2": change(342.0, 301.6, "mm2"),
        "perfused_area_percent": change(92.0, 81.0, "%"),
        "perfusion_density_rarefied_percent": change(36.0, 28.0, "%"),
        "speed_mean_mm_s": change(6.4, 5.2, "mm/s"),
        **{
            name: Change(Quantity(0.031, unit), Quantity(0.0209, unit), reason=NOT_ALIKE)
            for name, unit in (("PE", "[arb'U]"), ("WiR", "[arb'U]/s"), ("AUC", "[arb'U].s"))
        },
    }
    comparison = Comparison(
        performed=True,
        reason=None,
        baseline=Baseline("2.25.900", "2.25.901", CREATED - timedelta(hours=49), "nearest earlier within 72 h"),
        hours_since=49.0,
        match=LesionMatch(None, False),
        remeasured=False,
        settings_differ=("dose: 2.4 mL then, 1.2 mL now", "gain not recorded", "frequency not recorded"),
        changes=changes,
        trend=tuple(
            TrendPoint(
                f"2.25.90{index}",
                CREATED - timedelta(hours=hours),
                {"PE_ratio": Quantity(ratio, "{ratio}"), "RT": Quantity(rise, "s"), "mTT": Quantity(rise * 2.4, "s")},
            )
            for index, (hours, ratio, rise) in enumerate(
                ((169, 2.9, 5.8), (97, 2.7, 6.0), (49, 2.6, 6.1), (0, 1.7, 7.0))
            )
        ),
    )
    return replace(full_findings(), comparison=comparison)


SITE = "site table of 2026-09-12, 28 loops of 14 patients"
NOT_ALIKE = "absolute a.u. between settings that are not known to be equal"
