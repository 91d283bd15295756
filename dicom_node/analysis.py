"""The whole flow of one acquisition on one page: from files to findings.

files -> header -> profile -> examination (is it CEUS?) -> linear cine -> ROIs -> curves -> perfusion -> findings

A stage that cannot answer leaves a limitation with its reason and the flow goes on; a cine that cannot be measured at
all ends with findings that say why. Nothing here computes: the arithmetic is in `processing`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from numpy.typing import DTypeLike, NDArray

from dicom_node import version
from dicom_node.acquisition import patient_key
from dicom_node.cine_reader import CineFile, open_cine
from dicom_node.config import Settings, profile_digest, result_digest
from dicom_node.site_profiles import match_profile
from processing.cine import Cine, DisplayProfile
from processing.curve_reading import read_curve
from processing.errors import UnfitCineError
from processing.intake import Examination, Intake, examine, take_cine
from processing.limitations import Limitation
from processing.metrics import PerfusionMetrics
from processing.roi import Roi, RoiLabel, panel_roi
from processing.tic import Tic, time_intensity_curve
from reports.contours import mask_outline_px
from reports.findings import (
    Findings,
    Perfusion,
    Quality,
    Response,
    RoiFinding,
    RoiPerfusion,
    Software,
    Source,
    SuperResolution,
)
from reports.pictures import Curve
from reports.uids import ResultIdentity

Allocate = Callable[[tuple[int, ...], DTypeLike], NDArray[Any]]
Progress = Callable[[str, float], None]
"""Called with the name of the stage and the share of the whole that is done (0 to 1)."""


@dataclass(frozen=True)
class AnalysisRequest:
    """What is to be measured and how. `profile` "" = matched by the header; `now` is the job's acceptance time."""

    acquisition: str
    sop_instance_uids: tuple[str, ...]
    files: tuple[Path, ...]
    settings: Settings
    now: datetime
    allocate: Allocate
    profile: str = ""
    progress: Progress = field(default=lambda _stage, _share: None)


@dataclass(frozen=True, eq=False)
class Analysis:
    """What came out: the findings, and the arrays that pictures are drawn from (None where nothing was measured)."""

    findings: Findings
    identity: ResultIdentity
    source: CineFile
    examination: Examination | None = None
    cine: Cine | None = None
    rois: tuple[Roi, ...] = ()
    tics: tuple[Tic, ...] = ()
    curves: tuple[Curve, ...] = ()


def analyse(request: AnalysisRequest) -> Analysis:
    """Measure one acquisition.

    Raises UnreadableCineError where the files are no cine; everything less becomes a limitation of the findings.
    """
    request.progress("reading", 0.0)
    source = open_cine(request.files)
    profile, profile_limits = match_profile(request.settings, source.facts, request.profile)
    findings = _findings(request, source, profile)
    blank = Analysis(findings, _identity(request, findings), source)
    blank = _limited(blank, (*source.limitations, *profile_limits))
    try:
        examination = examine(source, profile)
    except UnfitCineError as error:
        return _limited(_reasoned(blank, False, error.limitation.text), (error.limitation,))
    examined = replace(blank, examination=examination, findings=_seen(blank.findings, examination))
    examined = _limited(examined, examination.limitations)
    if not examination.evidence.found:
        return examined
    request.progress("measuring", 0.2)
    intake = take_cine(source, examination, request.allocate)
    measured = _limited(_with_quality(replace(examined, cine=intake.cine), intake), intake.limitations)
    measured = _perfusion(measured, intake.cine)
    request.progress("done", 1.0)
    return measured


def _perfusion(analysis: Analysis, cine: Cine) -> Analysis:
    """Curves of all ROIs and what is read from them. Without a lesion contour the ROI is the whole panel."""
    rois = (panel_roi(cine.valid),)
    tics = tuple(time_intensity_curve(cine, roi) for roi in rois)
    by_label: dict[RoiLabel, RoiPerfusion] = {}
    curves = []
    for roi, tic in zip(rois, tics, strict=True):
        try:
            read = read_curve(tic)
        except UnfitCineError as error:
            analysis = _limited(analysis, (error.limitation,))
            continue
        by_label[roi.label] = RoiPerfusion(_without_unreliable(read.metrics, analysis.findings.quality.limitations))
        curves.append(Curve(roi.label, tic.time_s, read.smoothed_au, "moving average, 1 s"))
        analysis = _limited(analysis, read.limitations)
    whole_panel = Limitation(
        "whole_panel",
        "no lesion contour: the whole contrast panel was measured, lesion and surroundings together",
        "degraded",
        ("perfusion",),
    )
    analysis = _limited(analysis, (whole_panel,))
    found = tuple(_roi_finding(analysis, roi, cine) for roi in rois)
    findings = replace(analysis.findings, rois=found, perfusion=Perfusion(by_label=by_label))
    return replace(analysis, findings=findings, rois=rois, tics=tics, curves=tuple(curves))


def _roi_finding(analysis: Analysis, roi: Roi, cine: Cine) -> RoiFinding:
    return RoiFinding(
        label=roi.label,
        number=1,
        drawn_by=roi.drawn_by,
        confirmed=roi.confirmed,
        area_mm2=roi.area_mm2(cine.spacing_mm),
        tracking_uid=analysis.identity.tracking_uid(roi.label),
        contour_px=mask_outline_px(roi.mask, cine.origin_px),
    )


def _without_unreliable(metrics: PerfusionMetrics, limitations: tuple[Limitation, ...]) -> PerfusionMetrics:
    """Amplitudes that a limitation refuses become None: never a plausible number."""
    refused = {name for limitation in limitations if limitation.severity == "refused" for name in limitation.affects}
    return replace(metrics, peak_enhancement_au=None) if "PE" in refused else metrics


def _identity(request: AnalysisRequest, findings: Findings) -> ResultIdentity:
    return ResultIdentity(
        acquisition=request.acquisition,
        source_sop_instance_uids=findings.source.sop_instance_uids,
        settings_digest=findings.software.configuration_digest,
        software_version=findings.software.version,
    )


def _findings(request: AnalysisRequest, source: CineFile, profile: DisplayProfile) -> Findings:
    """Findings that know where they come from and have measured nothing yet."""
    facts, description = source.facts, source.description
    times_s = description.frame_times_s
    duration_s = float(times_s[-1] - times_s[0]) if times_s.size > 1 else None
    return Findings(
        software=Software(
            "CEUS Node",
            version.SOFTWARE_VERSION,
            result_digest(request.settings, profile.name),
            profile.name,
            profile_digest(request.settings, profile.name),
        ),
        created=request.now,
        source=Source(
            patient_key=patient_key(facts.patient_id, facts.issuer_of_patient_id, "", ""),
            study_instance_uid=facts.study_instance_uid,
            series_instance_uid=facts.series_instance_uid,
            sop_instance_uids=request.sop_instance_uids,
            frames=description.frames,
            duration_s=duration_s,
            frame_rate_hz=None if duration_s is None else (times_s.size - 1) / duration_s,
            contrast_panel=None,
            pixel_spacing_mm=None,
            compression=profile.compression,
            dynamic_range_db=profile.dynamic_range_db,
            dynamic_range_source="default" if profile.dynamic_range_db is None else "profile",
            commissioned=profile.commissioned_on,
            time_zero=description.time_zero.kind,
            agent=facts.agent or None,
            dose=None if facts.dose_ml is None else f"{facts.dose_ml:g} mL",
            mechanical_index=facts.mechanical_index,
        ),
        quality=Quality(contrast_found=False),
        super_resolution=SuperResolution(performed=False, reason="this version does not perform super-resolution yet"),
        response=Response(performed=False, reason="this version holds no response model yet"),
    )


def _seen(findings: Findings, examination: Examination) -> Findings:
    """What the examination of the pixels adds: panels, levels, evidence."""
    level_map, evidence = examination.level_map, examination.evidence
    source = replace(
        findings.source,
        contrast_panel=examination.panels,
        pixel_spacing_mm=examination.spacing_mm,
        compression=level_map.compression,
        dynamic_range_db=level_map.dynamic_range_db,
        dynamic_range_source=level_map.source,
    )
    quality = replace(findings.quality, contrast_found=evidence.found, contrast_reason=evidence.reason)
    return replace(findings, source=source, quality=quality)


def _with_quality(analysis: Analysis, intake: Intake) -> Analysis:
    quality = replace(analysis.findings.quality, saturated_fraction=intake.quality.saturated_fraction)
    return replace(analysis, findings=replace(analysis.findings, quality=quality))


def _reasoned(analysis: Analysis, found: bool, reason: str) -> Analysis:
    quality = replace(analysis.findings.quality, contrast_found=found, contrast_reason=reason)
    return replace(analysis, findings=replace(analysis.findings, quality=quality))


def _limited(analysis: Analysis, limitations: tuple[Limitation, ...]) -> Analysis:
    """Add limitations; the same one is said once."""
    quality = analysis.findings.quality
    fresh = tuple(limitation for limitation in limitations if limitation not in quality.limitations)
    quality = replace(quality, limitations=quality.limitations + fresh)
    return replace(analysis, findings=replace(analysis.findings, quality=quality))
