"""A complete set of results for the tests of this folder, from any kind of source."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from processing.cine import Box
from reports.build import MaskInputs, ReportOptions, Results, build_results
from reports.contours import polygon_mask
from reports.equipment import Equipment
from reports.findings import Findings
from reports.pictures import PictureInputs
from reports.result_object import ResultContext, dicom_bytes
from reports.segmentation import Segment
from reports.source_header import SourceHeader
from reports.uids import ResultIdentity
from tests.reports.pictures_scene import CONTRAST_BOX, picture_inputs
from tests.reports.scenes import CREATED, compared_findings
from tests.reports.sources import Kind, header, sources


def context(kind: Kind = "rgb", frame: int = 1, **attributes: object) -> ResultContext:
    headers = tuple(header(instance) for instance in sources(kind, **attributes))
    identity = ResultIdentity("a1", tuple(str(h.SOPInstanceUID) for h in headers), "5e" * 32, "0.1.0")
    return ResultContext(SourceHeader(headers), identity, Equipment("0.1.0"), CREATED, frame)


def region_masks(findings: Findings, box: Box = CONTRAST_BOX) -> MaskInputs:
    """The outlines of the findings as masks on the contrast panel, and vessels on a finer grid."""
    regions = tuple(
        Segment(
            roi.label,
            polygon_mask(tuple((x - box.x0, y - box.y0) for x, y in roi.contour_px), box.rows, box.columns),
            roi.tracking_uid,
            roi.drawn_by,
            roi.number,
            findings.models[0] if roi.drawn_by == "model" else None,
        )
        for roi in findings.rois
        if roi.label in ("lesion", "reference")
    )
    density = inputs().flow_maps["density"]
    vessels = Segment("vessels", np.isfinite(density.values), "2.25.55", "rule")
    return MaskInputs(regions, (vessels,), density.grid)


@cache
def inputs() -> PictureInputs:
    return picture_inputs(("lesion", "reference"), maps=True)


@cache
def everything(kind: Kind = "rgb") -> Results:
    """All objects of a compared lesion with super-resolution.

    Pages do not look at the kind of source: they are drawn for one of them, as are the large super-resolved maps.
    """
    findings, drawn = compared_findings(), inputs()
    if kind != "rgb":
        drawn = replace(drawn, flow_maps={}, perfusion_maps=drawn.perfusion_maps[:1])
    options = ReportOptions(pictures=kind == "rgb", response=True)
    return build_results(findings, drawn, context(kind), options, region_masks(findings))


def written(results: Results, folder: Path) -> list[Path]:
    paths = []
    for name, dataset in results.objects:
        paths.append(folder / name)
        paths[-1].write_bytes(dicom_bytes(dataset))
    return paths
