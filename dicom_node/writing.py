"""What an analysis leaves on disk: findings.json, tic.csv, DICOM objects and their pictures (docs/operations.md)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from dicom_node.analysis import Analysis
from dicom_node.config import Settings
from dicom_node.corrected_cine import corrected_cine
from dicom_node.data_folder import DataFolder
from dicom_node.jobs import JobBook
from dicom_node.measuring_order import MeasuringOrder
from dicom_node.results import ResultFolder
from dicom_node.super_resolution_stage import csv_columns
from processing.cine import Box
from processing.protocols import protocol_named
from processing.vascular_bed import VascularBed
from reports.build import MaskInputs, ReportOptions, build_results
from reports.derived_grid import Grid
from reports.equipment import Equipment
from reports.findings_json import to_json
from reports.pictures import EnhancementView, PanelView, PictureInputs
from reports.quantity_maps import QuantityMap, flow_quantity_maps, perfusion_map
from reports.result_object import EarlierReport, ResultContext
from reports.segmentation import Segment
from reports.source_header import SourceHeader
from reports.structured_report import SrClass
from reports.tables import localizations_csv, tic_csv

SR_CLASSES: dict[str, SrClass] = {
    "comprehensive_3d": "comprehensive 3d",
    "comprehensive": "comprehensive",
    "enhanced": "enhanced",
}
SHOWN_MAPS = ("PE", "WiR", "TTP", "mTT", "AUC", "RT")
"""The maps of the picture page and the parametric maps; the others stay in the engine."""


def write_results(analysis: Analysis, order: MeasuringOrder, folder: Path) -> None:
    """Write everything that this analysis gives into `folder`.

    A cine without contrast leaves its findings only, unless `[report] non_contrast` asks for an honest report.
    """
    findings, settings = analysis.findings, order.settings
    if findings.quality.contrast_found or settings.report.non_contrast:
        context = _context(analysis, order)
        results = build_results(findings, _pictures(analysis, settings), context, _options(settings), _masks(analysis))
        for name, dataset in results.objects:
            dataset.save_as(folder / name, enforce_file_format=True)
        for name, content in results.pictures:
            (folder / name).write_bytes(content)
    if analysis.super_resolution is not None and analysis.cine is not None:
        columns = csv_columns(analysis.cine, analysis.super_resolution)
        (folder / "localizations.csv").write_text(localizations_csv(columns), encoding="utf-8")
    if analysis.tics:
        (folder / "tic.csv").write_text(tic_csv(analysis.tics), encoding="utf-8")
    # Last: a folder with findings is a complete one.
    (folder / "findings.json").write_text(to_json(findings), encoding="utf-8")


def _context(analysis: Analysis, order: MeasuringOrder) -> ResultContext:
    job, settings = order.job, order.settings
    headers = tuple(pydicom.dcmread(path, stop_before_pixels=True) for path in analysis.source.paths)
    return ResultContext(
        source=SourceHeader(headers),
        identity=analysis.identity,
        equipment=Equipment(
            software_version=analysis.findings.software.version,
            serial_number=DataFolder(settings.node.data_dir).serial_number,
        ),
        now=analysis.findings.created,
        reference_frame=reference_frame(analysis),
        disclaimer=settings.report.disclaimer,
        revision=job.revision if job.revision > 1 else 0,
        revision_reason=job.reason,
        predecessor=earlier_report(order),
    )


def earlier_report(order: MeasuringOrder) -> EarlierReport | None:
    """The report of the latest earlier revision that made one."""
    job = order.job
    if job.revision <= 1:
        return None
    revisions = (other for other in JobBook(order.folder.jobs).all() if other.acquisition == job.acquisition)
    earlier = sorted((other for other in revisions if other.revision < job.revision), key=lambda other: other.revision)
    for other in reversed(earlier):
        file = ResultFolder(order.folder.results, other.acquisition, other.name).path / "sr.dcm"
        if file.is_file():
            report = pydicom.dcmread(file, stop_before_pixels=True)
            uids = (report.SOPClassUID, report.SOPInstanceUID, report.SeriesInstanceUID, report.StudyInstanceUID)
            return EarlierReport(*map(str, uids))
    return None


def _options(settings: Settings) -> ReportOptions:
    reported = settings.analysis.response == "report"
    return ReportOptions(sr_class=SR_CLASSES[settings.report.sr_class], response=reported)


def reference_frame(analysis: Analysis) -> int:
    """The frame that contours and pictures lie on: the brightest of the first curve among the still ones."""
    if analysis.still is None or not analysis.curves:
        return analysis.source.description.frames // 2
    power = analysis.curves[0].power_au
    return int(np.argmax(np.where(analysis.still & np.isfinite(power), power, -np.inf)))


def _pictures(analysis: Analysis, settings: Settings) -> PictureInputs:
    frame = reference_frame(analysis)
    times_s = analysis.source.description.frame_times_s
    panels = analysis.findings.source.contrast_panel
    pixels = analysis.source.sample([frame])[0]
    whole = Box(0, 0, pixels.shape[1], pixels.shape[0])
    return PictureInputs(
        contrast=_view(pixels, whole if panels is None else panels.contrast),
        bmode=None if panels is None or panels.bmode is None else _view(pixels, panels.bmode),
        tics=analysis.tics,
        curves=analysis.curves,
        frame_time_s=float(times_s[frame]) if times_s.size else None,
        perfusion_maps=_perfusion_maps(analysis),
        flow_maps=_flow_maps(analysis),
        baseline=analysis.baseline,
        cine=corrected_cine(analysis) if settings.report.cine else None,
        enhancement=_enhancement(analysis, settings),
    )


def _enhancement(analysis: Analysis, settings: Settings) -> EnhancementView | None:
    """What does not enhance is a result of its own where the protocol says so."""
    protocol = protocol_named(settings.analysis.protocol)
    if not protocol.shows_enhancement or analysis.enhancement is None:
        return None
    taken, thresholds = analysis.enhancement, protocol.enhancement
    return EnhancementView(
        title=protocol.title,
        classes=(taken.perfused + 2 * taken.non_enhancing + 3 * taken.not_assessable).astype(np.uint8),
        rise_db=thresholds.rise_db,
        below_reference_db=thresholds.below_reference_db,
    )


def _flow_maps(analysis: Analysis) -> dict[str, QuantityMap]:
    bed, panels = _bed(analysis), analysis.findings.source.contrast_panel
    spacing = analysis.findings.source.pixel_spacing_mm
    if bed is None or panels is None or spacing is None:
        return {}
    return flow_quantity_maps(bed.maps, panels.contrast, spacing)


def _bed(analysis: Analysis) -> VascularBed | None:
    return None if analysis.super_resolution is None else analysis.super_resolution.bed


def _perfusion_maps(analysis: Analysis) -> tuple[QuantityMap, ...]:
    panels = analysis.findings.source.contrast_panel
    if analysis.maps is None or panels is None:
        return ()
    spacing, values = analysis.findings.source.pixel_spacing_mm, analysis.maps.values
    sampling = analysis.findings.perfusion.map_sampling
    edges = "" if sampling is None else sampling.edges
    return tuple(perfusion_map(n, values[n], panels.contrast, spacing, edges) for n in SHOWN_MAPS if n in values)


def _masks(analysis: Analysis) -> MaskInputs:
    """Lesion and reference; the whole panel is no structure of the patient."""
    model = next((use for use in analysis.findings.models if use.state == "ok"), None)
    segments = tuple(
        Segment(roi.label, roi.mask, found.tracking_uid, roi.drawn_by, model=model if roi.drawn_by == "model" else None)
        for roi, found in zip(analysis.rois, analysis.findings.rois, strict=True)
        if roi.label != "panel"
    )
    bed, panels = _bed(analysis), analysis.findings.source.contrast_panel
    spacing = analysis.findings.source.pixel_spacing_mm
    if bed is None or panels is None or spacing is None:
        return MaskInputs(regions=segments)
    vessels = Segment("vessels", bed.vessels.mask, analysis.identity.tracking_uid("vessels"), "rule")
    return MaskInputs(segments, (vessels,), Grid.of_flow_maps(bed.maps, panels.contrast, spacing))


def _view(pixels: NDArray[np.uint8], box: Box) -> PanelView:
    """A copy of the panel: the rest of the frame, where names may be burned in, goes with this function's end."""
    return PanelView(pixels[box.slices].copy(), box)
