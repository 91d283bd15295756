"""Super-resolution of the report's first ROI, and its figures as findings; the arithmetic is in `processing`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dicom_node.config import Settings
from dicom_node.model_room import clip_facts, models_for, use_of
from dicom_node.shadow_models import shadow_of_vessels
from onnx_models.identity import Refusal
from onnx_models.segment import VesselInputs, segment_vessels
from processing.bubble_loop import FrameMotion, Progress
from processing.cine import Cine
from processing.flow_metrics import FlowMetrics
from processing.limitations import Limitation
from processing.metrics import Estimate
from processing.motion import Motion
from processing.roi import Roi
from processing.super_resolution import SuperResolution as Measured
from processing.super_resolution import super_resolve
from processing.vascular_bed import VascularBed
from reports.findings import (
    DensityByMask,
    FlowHeterogeneity,
    PerfusionDensity,
    Quantity,
    Saturation,
    SpeedSummary,
    SuperResolution,
    Vessels,
)
from reports.model_use import ModelUse, ShadowUse


@dataclass(frozen=True, eq=False)
class SuperResolutionOutcome:
    """Findings and, where it was performed, the maps; `measured` None: switched off by the configuration."""

    findings: SuperResolution
    measured: Measured | None = None
    limitations: tuple[Limitation, ...] = ()
    models: tuple[ModelUse, ...] = ()
    shadows: tuple[ShadowUse, ...] = ()


@dataclass(frozen=True)
class SuperResolutionTerms:
    """What goes with the cine. `progress` is called with words and the share of this stage that is done (0 to 1)."""

    settings: Settings
    dynamic_range_db: float | None
    progress: Callable[[str, float], None] = lambda _words, _share: None


def super_resolve_roi(cine: Cine, roi: Roi, motion: Motion, terms: SuperResolutionTerms) -> SuperResolutionOutcome:
    """Super-resolve one ROI of a motion-corrected cine. Never raises for an unfit cine."""
    settings = terms.settings
    if not settings.analysis.super_resolution:
        return SuperResolutionOutcome(SuperResolution(reason="switched off: [analysis] super_resolution = false"))
    measured = super_resolve(cine, roi, rest_of(motion), None, _teller(terms.progress))
    findings = SuperResolution(
        performed=measured.performed,
        reason=measured.reason,
        localizations=len(measured.localizations),
        interval_s=measured.interval_s,
        trackable_speed_mm_s=measured.trackable_speed_mm_per_s,
        psf_fwhm_mm=measured.psf_fwhm_mm,
        localization_precision_um=_figure(measured.localization_precision_um, "um"),
    )
    if measured.bed is None:
        return SuperResolutionOutcome(findings, measured, measured.limitations)
    limitations = (*measured.limitations, *_below_resolution(measured.bed))
    outcome = SuperResolutionOutcome(_with_bed(findings, measured.bed), measured, limitations)
    return _with_vessel_model(outcome, cine, measured.bed, settings, terms.dynamic_range_db)


def _teller(progress: Callable[[str, float], None]) -> Callable[[Progress], None]:
    """Frames a second and bubbles found, block by block."""
    began_s = time.monotonic()

    def told(done: Progress) -> None:
        rate = done.frames_done / max(time.monotonic() - began_s, 1e-3)
        words = f"{done.frames_done} of {done.frames} frames, {done.localizations} bubbles, {rate:.0f} frames/s"
        progress(words, done.frames_done / done.frames)

    return told


def csv_columns(cine: Cine, measured: Measured) -> dict[str, NDArray[np.generic]]:
    """The columns of localizations.csv."""
    found = measured.localizations
    none = np.full(len(found), -1, np.int64)
    tracks = none if measured.tracks is None else measured.tracks.track_of_localization(len(found))
    return {
        "frame": found.frame,
        "time_s": cine.frame_times_s[found.frame],
        "z_mm": found.z_mm,
        "x_mm": found.x_mm,
        "amplitude_au": found.amplitude_au,
        "sigma_mm": found.sigma_mm,
        "track": tracks,
    }


def rest_of(motion: Motion) -> FrameMotion:
    """What the correction by whole pixels left over: bubbles are placed to a fraction of one. Where parts of the panel
    were followed, each pixel was rounded by itself, and the limitation of that says half a pixel."""
    if motion.local is not None:
        return FrameMotion(np.zeros(motion.displacement_px.shape), motion.rejected)
    displacement = np.nan_to_num(motion.displacement_px.astype(np.float64))
    return FrameMotion(displacement - np.rint(displacement), motion.rejected)


def _figure(estimate: Estimate | None, unit: str) -> Quantity:
    return Quantity.of(estimate, unit)


def _with_bed(findings: SuperResolution, bed: VascularBed) -> SuperResolution:
    metrics, vessels = bed.metrics, bed.vessel_figures
    return replace(
        findings,
        tracks=metrics.tracks,
        frc_resolution_um=_figure(bed.frc_resolution_um, "um"),
        perfusion_density=PerfusionDensity(
            by_threshold=DensityByMask(
                _figure(metrics.area_percent, "%"), _figure(metrics.area_percent_rarefied, "%"), metrics.rarefied_to
            ),
            tracks_per_mm2_s=_figure(metrics.tracks_per_mm2_s, "/mm2/s"),
            flux_mm_per_mm2_s=_figure(metrics.flux_mm_per_mm2_s, "mm/mm2/s"),
        ),
        saturation=Saturation(_figure(metrics.filled_percent, "%"), _figure(metrics.plateau_percent, "%")),
        speed_mm_s=SpeedSummary(
            _figure(metrics.speed_mean_mm_per_s, "mm/s"),
            _figure(metrics.speed_median_mm_per_s, "mm/s"),
            _figure(metrics.speed_p95_mm_per_s, "mm/s"),
        ),
        flow_heterogeneity=_heterogeneity(metrics),
        vessels=Vessels(
            Quantity(float(vessels.count), "1"),
            _figure(vessels.tortuosity_median, "1"),
            _figure(None if vessels.diameter_below_um is not None else vessels.diameter_um_median, "um"),
            Quantity(float(vessels.branch_points), "1"),
            Quantity(vessels.fractal_dimension, "1"),
            _figure(vessels.centre_rim_ratio, "{ratio}"),
        ),
    )


def _below_resolution(bed: VascularBed) -> tuple[Limitation, ...]:
    below_um = bed.vessel_figures.diameter_below_um
    if below_um is None:
        return ()
    text = f"the median vessel diameter lies below the measured resolution: < {below_um:.0f} um"
    return (Limitation("diameter_below_resolution", text, "refused", ("diameter_um_median",)),)


def _heterogeneity(metrics: FlowMetrics) -> FlowHeterogeneity:
    return FlowHeterogeneity(
        _figure(metrics.speed_cv, "1"),
        _figure(metrics.speed_quartile_coefficient, "1"),
        _figure(metrics.speed_entropy, "1"),
        _figure(metrics.direction_entropy, "1"),
        _figure(metrics.direction_dispersion, "1"),
    )


def _with_vessel_model(
    outcome: SuperResolutionOutcome,
    cine: Cine,
    bed: VascularBed,
    settings: Settings,
    dynamic_range_db: float | None,
) -> SuperResolutionOutcome:
    """The density of the model's vessel mask beside the threshold's; a refusal is a limitation."""
    density = bed.maps.density.astype(np.float32)
    inputs = VesselInputs(density, bed.maps.pixel_mm.z_mm, clip_facts(cine, dynamic_range_db))
    found = segment_vessels(models_for(settings), inputs)
    outcome = replace(outcome, shadows=shadow_of_vessels(inputs, found, settings))
    if isinstance(found, Refusal):
        limits = (*outcome.limitations, found.limitation(("perfusion_density.by_model",)))
        return replace(outcome, limitations=limits, models=(use_of(found),))
    share = Quantity(100.0 * float(found.mask[bed.roi_on_grid].mean()), "%")
    earlier = outcome.findings.perfusion_density
    by_model = DensityByMask(share, Quantity(None, "%"))
    density_findings = None if earlier is None else replace(earlier, by_model=by_model)
    return replace(
        outcome,
        findings=replace(outcome.findings, perfusion_density=density_findings),
        limitations=(*outcome.limitations, *found.limitations),
        models=(use_of(found),),
    )
