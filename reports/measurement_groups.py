"""Measurement groups of TID 1500: planar ROIs (TID 1410) where an outline exists, general groups (TID 1501) else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from highdicom.sr import (
    AlgorithmIdentification,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    TrackingIdentifier,
)

from reports import codes
from reports.comparison_groups import comparison_groups
from reports.findings import Findings, RoiFinding
from reports.group_parts import FINDING, image_region, source_image, tracking
from reports.measurements import (
    area_figures,
    evaluation,
    perfusion_figures,
    quality_figures,
    relative_figures,
    replenishment_figures,
    super_resolution_figures,
    values,
)
from reports.response_groups import response_groups
from reports.result_object import ResultContext

DRAWN_BY = {"model": "BY_MODEL", "reader": "BY_READER", "file": "BY_FILE", "rule": "BY_RULE"}


def measurement_groups(findings: Findings, context: ResultContext) -> list[Any]:
    """All groups of a contrast cine's report, in the order a reader wants them."""
    groups = [group for roi in findings.rois for group in _roi_groups(findings, roi, context)]
    lesion = findings.roi("lesion")
    if lesion is not None:
        groups += _relative_groups(findings, lesion, context)
    groups += _super_resolution_groups(findings, context)
    groups += response_groups(findings, context)
    if lesion is not None:
        groups += comparison_groups(findings.comparison, tracking(lesion), source_image(context.frame))
    groups.append(quality_group(findings, context))
    return groups


def quality_group(findings: Findings, context: ResultContext) -> Any:
    """The group of the acquisition itself; of a cine without contrast it states just that, without a number.

    It lies on the contrast panel: PixelMed's validator takes a report with exactly one outlined group for one in which
    every group must have an outline.
    """
    found, panel = findings.quality.contrast_found, findings.source.contrast_panel
    shared: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(context.identity.tracking_uid("acquisition"), "Acquisition"),
        "finding_type": codes.own("QUALITY"),
        "measurements": values(quality_figures(findings)) if found else None,
        "qualitative_evaluations": [
            evaluation(codes.own("CONTRAST"), codes.own("CONTRAST_YES" if found else "CONTRAST_NO"))
        ],
    }
    if not found or panel is None:
        return MeasurementsAndQualitativeEvaluations(source_images=[source_image(context.frame)], **shared)
    box = panel.contrast
    corners = ((box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1))
    outline = tuple((x - 0.5, y - 0.5) for x, y in corners)
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        referenced_region=image_region(outline, context.frame), **shared
    )


def perfusion_algorithm(findings: Findings) -> AlgorithmIdentification:
    """The measuring software with what its numbers depend on (TID 4019)."""
    source, software = findings.source, findings.software
    stated = "not stated" if source.dynamic_range_db is None else f"{source.dynamic_range_db:g} dB"
    return AlgorithmIdentification(
        name=f"{software.name} perfusion",
        version=software.version,
        parameters=[
            f"compression={source.compression}",
            f"dynamic range={stated} ({source.dynamic_range_source})",
            f"profile={software.profile} sha256={software.profile_digest}",
            f"configuration sha256={software.configuration_digest}",
        ],
    )


def _roi_groups(findings: Findings, roi: RoiFinding, context: ResultContext) -> Iterator[Any]:
    perfusion = findings.perfusion.by_label.get(roi.label)
    figures = [
        *area_figures(roi),
        *(perfusion_figures(findings, perfusion) if perfusion is not None else ()),
        *replenishment_figures(findings, roi),
    ]
    shared: dict[str, Any] = {
        "tracking_identifier": tracking(roi),
        "finding_type": FINDING[roi.label],
        "algorithm_id": perfusion_algorithm(findings),
        "measurements": values(figures),
        "qualitative_evaluations": [evaluation(codes.own("DRAWN_BY"), codes.own(DRAWN_BY[roi.drawn_by]))],
    }
    if len(roi.contour_px) < 3:
        yield MeasurementsAndQualitativeEvaluations(source_images=[source_image(context.frame)], **shared)
    else:
        region = image_region(roi.contour_px, context.frame)
        yield PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=region, **shared)


def _relative_groups(findings: Findings, lesion: RoiFinding, context: ResultContext) -> Iterator[Any]:
    figures = list(relative_figures(findings))
    evaluations = []
    pattern = findings.perfusion.dvp
    if pattern is not None and pattern.dominant in codes.VASCULAR_PATTERNS:
        evaluations = [evaluation(codes.own("DVP_CLASS"), codes.VASCULAR_PATTERNS[pattern.dominant][0])]
    if figures or evaluations:
        yield MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking(lesion),
            finding_type=codes.LESION,
            algorithm_id=perfusion_algorithm(findings),
            source_images=[source_image(context.frame)],
            measurements=values(figures) or None,
            qualitative_evaluations=evaluations or None,
        )


def _super_resolution_groups(findings: Findings, context: ResultContext) -> Iterator[Any]:
    roi = findings.roi("lesion") or findings.roi("panel")
    if findings.super_resolution.performed and roi is not None:
        figures = list(super_resolution_figures(findings.super_resolution))
        yield MeasurementsAndQualitativeEvaluations(
            tracking_identifier=tracking(roi),
            finding_type=codes.BLOOD_VESSEL,
            algorithm_id=AlgorithmIdentification(
                name=f"{findings.software.name} super-resolution", version=findings.software.version
            ),
            source_images=[source_image(context.frame)],
            measurements=values(figures),
        )
