"""The whole flow of one acquisition on one page: from files to findings.

files -> header -> profile -> examination (is it CEUS?) -> linear cine -> motion -> ROIs -> perfusion
-> super-resolution -> response -> findings

A stage that cannot answer leaves a limitation with its reason and the flow goes on; a cine that cannot be measured at
all ends with findings that say why. Nothing here computes: the arithmetic is in `processing`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dicom_node.arriving_maps import Audience, arriving_maps
from dicom_node.cine_reader import CineFile, open_cine
from dicom_node.config import Settings
from dicom_node.first_findings import first_findings, with_examination
from dicom_node.perfusion_stage import Levels, PerfusionOutcome, Terms, measure_perfusion
from dicom_node.reader_contours import NO_CONTOURS, ContourFiles, reader_rois
from dicom_node.response_stage import ResponseOutcome, ResponseTerms, predict_response
from dicom_node.roi_choice import NO_MASKS, ChosenRois, GivenMasks, choose_rois
from dicom_node.site_profiles import match_profile
from dicom_node.super_resolution_stage import SuperResolutionOutcome, SuperResolutionTerms, super_resolve_roi
from dicom_node.treatment import hours_since_treatment, treatment_state
from processing.bubbles import FlowMaps
from processing.cine import Cine
from processing.enhancement import Enhancement
from processing.errors import UnfitCineError
from processing.intake import NOBODY, Examination, Intake, Watch, bmode_frames, examine, take_cine
from processing.limitations import Limitation
from processing.motion import (
    Motion,
    MotionFollower,
    MotionParameters,
    apply_motion,
    candidate_frames,
    estimate_motion,
)
from processing.perfusion_maps import PerfusionMaps
from processing.protocols import protocol_named
from processing.roi import Roi
from processing.super_resolution import SuperResolution
from processing.tic import Tic
from reports.contours import mask_outline_px
from reports.findings import Findings, RoiFinding
from reports.pictures import BaselineView, Curve
from reports.uids import ResultIdentity

Allocate = Callable[[tuple[int, ...], DTypeLike], NDArray[Any]]
Progress = Callable[[str, float], None]
"""Called with the name of the stage and the share of the whole that is done (0 to 1)."""


@dataclass(frozen=True)
class AnalysisRequest:
    """What is to be measured and how. `profile` "" = matched by the header; `now` is the job's acceptance time.

    `provisional` is shown maps of the bubbles found so far while frames still decode.
    """

    acquisition: str
    sop_instance_uids: tuple[str, ...]
    files: tuple[Path, ...]
    settings: Settings
    now: datetime
    allocate: Allocate
    profile: str = ""
    given: GivenMasks = NO_MASKS
    contours: ContourFiles = NO_CONTOURS
    progress: Progress = field(default=lambda _stage, _share: None)
    provisional: Callable[[FlowMaps], None] = field(default=lambda _maps: None)


@dataclass(frozen=True, eq=False)
class Analysis:
    """What came out: the findings, and the arrays that pictures are drawn from (None where nothing was measured).

    still: bool (frame,), frames that show the tissue where the ROIs lie.
    """

    findings: Findings
    identity: ResultIdentity
    source: CineFile
    examination: Examination | None = None
    cine: Cine | None = None
    still: NDArray[np.bool_] | None = None
    motion: Motion | None = None
    rois: tuple[Roi, ...] = ()
    tics: tuple[Tic, ...] = ()
    curves: tuple[Curve, ...] = ()
    maps: PerfusionMaps | None = None
    enhancement: Enhancement | None = None
    super_resolution: SuperResolution | None = None
    baseline: BaselineView | None = None


def analyse(request: AnalysisRequest) -> Analysis:
    """Measure one acquisition.

    Raises UnreadableCineError where the files are no cine, ConfigurationError where a given mask does not fit,
    UnreadableObjectError where a reader's contour does not;
    everything less becomes a limitation of the findings.
    """
    request.progress("reading", 0.0)
    source = open_cine(request.files)
    profile, profile_limits = match_profile(request.settings, source.facts, request.profile)
    findings = first_findings(request.settings, source, profile, request.now, request.sop_instance_uids)
    analysis = Analysis(findings, _identity(request, findings), source)
    analysis = _limited(analysis, (*source.limitations, *profile_limits))
    try:
        examination = examine(source, profile, agent_recorded=bool(source.facts.agent))
    except UnfitCineError as error:
        return _limited(_reasoned(analysis, error.limitation.text), (error.limitation,))
    analysis = replace(analysis, examination=examination, findings=with_examination(analysis.findings, examination))
    analysis = _limited(analysis, examination.limitations)
    if not examination.evidence.found:
        return analysis
    return _measure(request, analysis, examination)


def _measure(request: AnalysisRequest, analysis: Analysis, examination: Examination) -> Analysis:
    """The stages of a cine that shows contrast."""
    request.progress("decoding", 0.1)
    memory = _Memory(request.allocate)
    protocol = protocol_named(request.settings.analysis.protocol)
    follower = _follower(analysis.source, examination, protocol.motion)
    watch = _watch(request, analysis.source, examination, follower)
    intake = take_cine(analysis.source, examination, memory.allocate, watch)
    analysis = _limited(_with_quality(analysis, intake), intake.limitations)
    request.progress("motion", 0.3)
    motion = estimate_motion(intake.cine, protocol.motion) if follower is None else follower.motion(intake.cine)
    cine = apply_motion(intake.cine, motion, memory.panel) if motion.moved.any() else intake.cine
    analysis = _limited(_with_motion(replace(analysis, cine=cine), motion), motion.limitations)
    rejected = _rejected(motion, intake)
    request.progress("segmentation", 0.5)
    dynamic_range_db = examination.level_map.dynamic_range_db
    given = request.given
    if request.contours.objects:
        drawn = reader_rois(request.contours, analysis.source, examination.panels, cine, motion)
        given = replace(given, reader=drawn)
    chosen = choose_rois(cine, rejected, given, request.settings, dynamic_range_db)
    analysis = _limited(_with_rois(analysis, chosen, cine), chosen.limitations)
    request.progress("perfusion", 0.6)
    hours = hours_since_treatment(analysis.source.facts, request.settings.analysis)
    perfusion = measure_perfusion(cine, chosen.rois, rejected, Terms(protocol, _levels(analysis), hours))
    analysis = _limited(_with_perfusion(analysis, perfusion), perfusion.limitations)
    request.progress("super-resolution", 0.8)
    resolved = super_resolve_roi(cine, chosen.rois[0], motion, _resolving(request, dynamic_range_db))
    analysis = _limited(_with_super_resolution(analysis, resolved), resolved.limitations)
    treatment = treatment_state(analysis.source.facts, request.settings.analysis)
    terms = ResponseTerms(request.settings, treatment, dynamic_range_db)
    analysis = _with_response(analysis, predict_response(cine, rejected, chosen, terms), request.settings)
    request.progress("done", 1.0)
    return analysis


def _follower(source: CineFile, examination: Examination, parameters: MotionParameters) -> MotionFollower | None:
    """Follows the tissue while the cine is decoded, where a B-mode panel shows it."""
    candidates = candidate_frames(source.description.frames, parameters)
    shown = bmode_frames(source, examination, candidates)
    if shown is None:
        return None
    return MotionFollower(dict(zip(candidates, shown, strict=True)), ~examination.furniture, parameters)


def _watch(
    request: AnalysisRequest, source: CineFile, examination: Examination, follower: MotionFollower | None
) -> Watch:
    """Motion and provisional maps while the cine is decoded, which is a fifth of the whole."""
    audience = Audience(
        lambda words, share: request.progress(f"decoding: {words}", 0.1 + 0.2 * share), request.provisional
    )
    wanted = request.settings.analysis.super_resolution
    maps = arriving_maps(source, examination, audience) if wanted else None
    return Watch(
        NOBODY.bmode if follower is None else follower.take,
        NOBODY.contrast if maps is None else maps.take,
    )


def _resolving(request: AnalysisRequest, dynamic_range_db: float | None) -> SuperResolutionTerms:
    """Its own progress is a fifth of the whole."""
    return SuperResolutionTerms(
        request.settings,
        dynamic_range_db,
        lambda words, share: request.progress(f"super-resolution: {words}", 0.8 + 0.2 * share),
    )


class _Memory:
    """Remembers the linear panel that the intake allocated, so that motion is corrected in place: held once."""

    def __init__(self, allocate: Allocate) -> None:
        self._allocate = allocate
        self.panel: NDArray[np.float32] | None = None

    def allocate(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        made = self._allocate(shape, dtype)
        if made.dtype == np.float32 and made.ndim == 3:  # (frame, z, x)
            self.panel = made
        return made


def _rejected(motion: Motion, intake: Intake) -> NDArray[np.bool_]:
    """Frames that no fit may use: out of plane, or flashed."""
    rejected = motion.rejected.copy()
    rejected[list(intake.quality.flash_frames)] = True
    return rejected


def _levels(analysis: Analysis) -> Levels:
    limitations = analysis.findings.quality.limitations
    return Levels(
        dynamic_range_known=analysis.findings.source.dynamic_range_source != "default",
        order_only=any(limitation.code == "tint_unknown" for limitation in limitations),
        refused=frozenset(name for lim in limitations if lim.severity == "refused" for name in lim.affects),
    )


def _identity(request: AnalysisRequest, findings: Findings) -> ResultIdentity:
    return ResultIdentity(
        acquisition=request.acquisition,
        source_sop_instance_uids=findings.source.sop_instance_uids,
        settings_digest=findings.software.configuration_digest,
        software_version=findings.software.version,
    )


def _with_rois(analysis: Analysis, chosen: ChosenRois, cine: Cine) -> Analysis:
    """ROIs and the models that drew them are part of what a result is: another model or mask, other UIDs."""
    shas = tuple(model.sha256 for model in chosen.models if model.state == "ok")
    identity = replace(analysis.identity, model_sha256s=shas, roi_digest=chosen.digest)
    rois = tuple(
        RoiFinding(
            label=roi.label,
            number=1,
            drawn_by=roi.drawn_by,
            confirmed=roi.confirmed,
            area_mm2=roi.area_mm2(cine.spacing_mm),
            tracking_uid=identity.tracking_uid(roi.label),
            contour_px=mask_outline_px(roi.mask, cine.origin_px),
        )
        for roi in chosen.rois
    )
    findings = replace(analysis.findings, rois=rois, models=chosen.models, shadow_models=chosen.shadows)
    return replace(analysis, identity=identity, findings=findings, rois=chosen.rois)


def _with_perfusion(analysis: Analysis, outcome: PerfusionOutcome) -> Analysis:
    findings = replace(analysis.findings, perfusion=outcome.perfusion, replenishment=outcome.replenishment)
    measured = replace(analysis, findings=findings, tics=outcome.tics, curves=outcome.curves, maps=outcome.maps)
    return replace(measured, enhancement=outcome.enhancement)


def _with_super_resolution(analysis: Analysis, outcome: SuperResolutionOutcome) -> Analysis:
    shas = tuple(model.sha256 for model in outcome.models if model.state == "ok")
    identity = replace(analysis.identity, model_sha256s=(*analysis.identity.model_sha256s, *shas))
    models = (*analysis.findings.models, *outcome.models)
    shadows = (*analysis.findings.shadow_models, *outcome.shadows)
    findings = replace(analysis.findings, super_resolution=outcome.findings, models=models, shadow_models=shadows)
    return replace(analysis, identity=identity, findings=findings, super_resolution=outcome.measured)


def _with_response(analysis: Analysis, outcome: ResponseOutcome, settings: Settings) -> Analysis:
    """A prediction in the shadow stays out of every object, so its models are no part of their identity."""
    reported = settings.analysis.response == "report"
    shas = tuple(model.sha256 for model in outcome.models if reported and model.state in ("ok", "abstained"))
    identity = replace(analysis.identity, model_sha256s=(*analysis.identity.model_sha256s, *shas))
    models = (*analysis.findings.models, *outcome.models)
    shadows = (*analysis.findings.shadow_models, *outcome.shadows)
    findings = replace(analysis.findings, response=outcome.findings, models=models, shadow_models=shadows)
    return replace(analysis, identity=identity, findings=findings)


def _with_quality(analysis: Analysis, intake: Intake) -> Analysis:
    quality = replace(analysis.findings.quality, saturated_fraction=intake.quality.saturated_fraction)
    return replace(analysis, findings=replace(analysis.findings, quality=quality))


def _with_motion(analysis: Analysis, motion: Motion) -> Analysis:
    rejected = tuple(int(frame) for frame in np.flatnonzero(motion.rejected))
    quality = replace(analysis.findings.quality, motion_mm_p95=motion.p95_mm, rejected_frames=rejected)
    findings = replace(analysis.findings, quality=quality)
    return replace(analysis, findings=findings, still=motion.still, motion=motion)


def _reasoned(analysis: Analysis, reason: str) -> Analysis:
    quality = replace(analysis.findings.quality, contrast_found=False, contrast_reason=reason)
    return replace(analysis, findings=replace(analysis.findings, quality=quality))


def _limited(analysis: Analysis, limitations: tuple[Limitation, ...]) -> Analysis:
    """Add limitations; the same one is said once."""
    quality = analysis.findings.quality
    fresh = tuple(limitation for limitation in limitations if limitation not in quality.limitations)
    quality = replace(quality, limitations=quality.limitations + fresh)
    return replace(analysis, findings=replace(analysis.findings, quality=quality))
