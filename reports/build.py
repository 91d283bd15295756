"""All result objects and pictures of one acquisition, in one call of the flow; nothing here touches a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from reports import codes
from reports.cine_capture import cine_capture, first_picture
from reports.comparison_page import comparison_page
from reports.derived_grid import Grid
from reports.enhancement_page import enhancement_page, when
from reports.findings import Findings, Response
from reports.map_pages import perfusion_maps_page, super_resolution_page
from reports.model_use import ModelUse
from reports.page import png_bytes
from reports.parametric_map import parametric_map
from reports.pictures import PictureInputs
from reports.presentation_state import presentation_state
from reports.quantity_maps import QuantityMap
from reports.response_groups import is_response_model
from reports.response_page import response_page
from reports.result_object import ResultContext
from reports.secondary_capture import secondary_capture
from reports.segmentation import Segment, segmentation
from reports.structured_report import SrClass, structured_report
from reports.summary_page import no_contrast_page, summary_page

PageDrawer = Callable[[Findings, PictureInputs, ResultContext], NDArray[np.uint8]]


@dataclass(frozen=True)
class ReportOptions:
    """What the site wants made. sr_class: some PACS take only Comprehensive or Enhanced SR.

    response: a predicted response goes into the objects; otherwise it stays in the findings (the shadow).
    """

    sr_class: SrClass = "comprehensive 3d"
    structured_report: bool = True
    pictures: bool = True
    segmentation: bool = True
    parametric_maps: bool = True
    presentation_state: bool = True
    response: bool = False


@dataclass(frozen=True, eq=False)
class MaskInputs:
    """Masks to store. regions: on the contrast panel, as `Roi.mask`. vessels: on `vessel_grid`."""

    regions: tuple[Segment, ...] = ()
    vessels: tuple[Segment, ...] = ()
    vessel_grid: Grid | None = None


@dataclass(frozen=True, eq=False)
class Results:
    """Objects and PNG files by the name they have in the result folder."""

    objects: tuple[tuple[str, Dataset], ...]
    pictures: tuple[tuple[str, bytes], ...]


def build_results(
    findings: Findings,
    inputs: PictureInputs,
    context: ResultContext,
    options: ReportOptions | None = None,
    masks: MaskInputs | None = None,
) -> Results:
    """SR, SEG, maps, presentation state, pages as SC and PNG. Equal arguments give equal bytes.

    A cine without contrast gives its honest report and page only. Maps need a calibration: without one they are drawn
    but not stored.
    """
    options, masks = options or ReportOptions(), masks or MaskInputs()
    if not options.response:
        findings = _without_response(findings)
    if findings.source.time_zero == "first frame":
        inputs = replace(inputs, perfusion_maps=tuple(map(_counted_from_first_frame, inputs.perfusion_maps)))
    objects: list[tuple[str, Dataset]] = []
    pictures: list[tuple[str, bytes]] = []
    if findings.quality.contrast_found:
        objects += _data_objects(findings, inputs, context, options, masks)
    if options.structured_report:
        evidence = tuple(dataset for _, dataset in objects)
        objects.insert(0, ("sr.dcm", structured_report(findings, context, options.sr_class, evidence)))
    if options.pictures:
        for index, (name, title, draw) in enumerate(_pages(findings, inputs)):
            shown = findings if name == "response" else replace(findings, models=_others(findings))
            rgb = draw(shown, inputs, context)
            objects.append((f"sc_{name}.dcm", secondary_capture(rgb, title, shown, context, index)))
            pictures.append((f"sc_{name}.png", png_bytes(rgb)))
        if inputs.cine is not None and findings.quality.contrast_found:
            objects.append(("sc_cine.dcm", cine_capture(inputs.cine, findings, context)))
            pictures.append(("sc_cine.png", png_bytes(first_picture(inputs.cine, findings, context.disclaimer))))
    return Results(tuple(objects), tuple(pictures))


def _data_objects(
    findings: Findings, inputs: PictureInputs, context: ResultContext, options: ReportOptions, masks: MaskInputs
) -> Iterator[tuple[str, Dataset]]:
    panel, pixel_mm = findings.source.contrast_panel, findings.source.pixel_spacing_mm
    if options.segmentation and masks.regions and panel is not None:
        grid = Grid.over_box(panel.contrast, masks.regions[0].mask.shape, pixel_mm)
        yield "seg.dcm", segmentation(masks.regions, grid, findings, context)
    if options.segmentation and masks.vessels and masks.vessel_grid is not None:
        yield "seg_vessels.dcm", segmentation(masks.vessels, masks.vessel_grid, findings, context, 1)
    if options.parametric_maps and pixel_mm is not None:
        stored = [*inputs.perfusion_maps, *inputs.flow_maps.values()]
        for index, quantity in enumerate(stored):
            if quantity.range is not None:
                yield f"pm_{quantity.name.lower()}.dcm", parametric_map(quantity, context, index)
    if options.presentation_state and (state := presentation_state(findings, context)) is not None:
        yield "csps.dcm", state


def _without_response(findings: Findings) -> Findings:
    """Nothing of a prediction in the shadow reaches the archive, not even which model would have said it."""
    return replace(findings, response=Response(reason="not reported by this site"), models=_others(findings))


def _others(findings: Findings) -> tuple[ModelUse, ...]:
    """The models that predict no response: only its own page names those that do."""
    return tuple(model for model in findings.models if not is_response_model(model))


def _counted_from_first_frame(quantity: QuantityMap) -> QuantityMap:
    """AT and TTP counted from the first frame are never called by the standard's names."""
    concept = codes.LOOP_TIME_CODES.get(quantity.name)
    return quantity if concept is None else replace(quantity, concept=concept, meaning=concept.meaning)


def _pages(findings: Findings, inputs: PictureInputs) -> Iterator[tuple[str, str, PageDrawer]]:
    if not findings.quality.contrast_found:
        yield "summary", "No contrast enhancement found", no_contrast_page
        return
    yield "summary", "CEUS perfusion summary", summary_page
    if inputs.enhancement is not None and findings.perfusion.enhancement is not None:
        yield "enhancement", f"{inputs.enhancement.title}. {when(findings)}", enhancement_page
    if inputs.perfusion_maps:
        yield "maps", "CEUS perfusion maps", perfusion_maps_page
    if findings.super_resolution.performed and inputs.flow_maps:
        yield "super_resolution", "Super-resolution ultrasound", super_resolution_page
    if findings.response.performed:
        yield "response", "Predicted response (research)", response_page
    if findings.comparison.performed:
        yield "comparison", "Before and after", comparison_page
