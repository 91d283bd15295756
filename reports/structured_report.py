"""The structured report: TID 1500 as Comprehensive 3D, Comprehensive or Enhanced SR.

root > language > device observer > procedure > image library > imaging measurements > qualitative evaluations.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Literal

from highdicom.sr import (
    Comprehensive3DSR,
    ComprehensiveSR,
    ContainerContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    MeasurementReport,
    ObservationContext,
    ObserverContext,
    RelationshipTypeValues,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as standard

from reports import codes
from reports.comparison_groups import comparison_statements
from reports.conditions import SUMMARY_PAGE, SUMMARY_SERIES, conditions_of
from reports.equipment import MANUFACTURER, MODEL_NAME
from reports.findings import Findings
from reports.measurement_groups import measurement_groups, quality_group
from reports.measurements import code_item, text_item
from reports.result_object import ResultContext, finish

SrClass = Literal["comprehensive 3d", "comprehensive", "enhanced"]
CLASSES = {"comprehensive 3d": Comprehensive3DSR, "comprehensive": ComprehensiveSR, "enhanced": EnhancedSR}
DYNAMIC_RANGE_SOURCES = {"pixel value table": "DR_TABLE", "profile": "DR_PROFILE", "default": "DR_DEFAULT"}
TIME_ZEROS = {"bolus start": "TZ_BOLUS", "event timer": "TZ_TIMER", "first frame": "TZ_FRAME"}


def structured_report(
    findings: Findings,
    context: ResultContext,
    sr_class: SrClass = "comprehensive 3d",
    evidence: tuple[Dataset, ...] = (),
) -> Dataset:
    """Findings as an SR document. `evidence`: result objects (SEG, maps) that belong to it.

    A cine without contrast gets the honest document: no measurement, the measured reason in words.
    """
    found = findings.quality.contrast_found
    groups = measurement_groups(findings, context) if found else [quality_group(findings, context)]
    sources = context.source.evidence()
    report = MeasurementReport(
        observation_context=_observer(context),
        procedure_reported=codes.IMAGING_PROCEDURE,
        imaging_measurements=groups,
        title=standard.DCM.ImagingMeasurementReport,
        referenced_images=sources,
    )
    report[0].ContentSequence.append(_evaluations(findings, context))
    with warnings.catch_warnings():
        # highdicom warns that a reader may not know our coding scheme; the document identifies it.
        warnings.simplefilter("ignore", UserWarning)
        document: Dataset = CLASSES[sr_class](
            evidence=[*sources, *evidence],
            content=report,
            is_complete=True,
            is_final=False,
            is_verified=False,
            previous_versions=None if context.predecessor is None else [context.predecessor.dataset()],
            **context.series_arguments("sr", "CEUS measurements (research)"),
        )
    finish(document, context, findings.models)
    return document


def _observer(context: ResultContext) -> ObservationContext:
    device = DeviceObserverIdentifyingAttributes(
        uid=context.equipment.device_uid,
        name=context.equipment.station_name or MODEL_NAME,
        manufacturer_name=MANUFACTURER,
        model_name=MODEL_NAME,
        serial_number=context.equipment.serial_number,
    )
    return ObservationContext(observer_device_context=ObserverContext(standard.DCM.Device, device))


def _evaluations(findings: Findings, context: ResultContext) -> ContainerContentItem:
    """TID 1500's Qualitative Evaluations: use, contrast, where numbers come from, and every limitation by name."""
    container = ContainerContentItem(
        name=codes.QUALITATIVE_EVALUATIONS, relationship_type=RelationshipTypeValues.CONTAINS
    )
    container.ContentSequence = ContentSequence()
    container.ContentSequence.extend([text_item(codes.own("RESEARCH"), context.disclaimer), *_statements(findings)])
    if findings.quality.contrast_found:
        container.ContentSequence.extend(_conditions(findings, context))
    return container


def _conditions(findings: Findings, context: ResultContext) -> Iterator[Any]:
    """What a later study must know to be compared with this one, and where its picture is."""
    page = {SUMMARY_SERIES: context.identity.uid("series-sc"), SUMMARY_PAGE: context.identity.uid("sc")}
    for name, value in (conditions_of(findings) | page).items():
        yield text_item(codes.own("CONDITION"), f"{name}: {value}")


def _statements(findings: Findings) -> Iterator[Any]:
    quality, source, software = findings.quality, findings.source, findings.software
    if not quality.contrast_found:
        reason = quality.contrast_reason or "no reason recorded"
        yield text_item(codes.own("CONTRAST"), f"No contrast enhancement found: {reason}")
    elif quality.contrast_reason:
        yield text_item(codes.own("CONTRAST"), f"Contrast enhancement found: {quality.contrast_reason}")
    if quality.contrast_found:
        yield code_item(codes.own("TIME_ZERO"), codes.own(TIME_ZEROS[source.time_zero]))
        yield code_item(codes.own("DYN_RANGE_SRC"), codes.own(DYNAMIC_RANGE_SOURCES[source.dynamic_range_source]))
        yield text_item(codes.own("COMMISSIONED"), source.commissioned or "never: amplitudes were not checked")
    yield text_item(codes.own("PROFILE"), f"{software.profile} (sha256 {software.profile_digest})")
    yield text_item(
        codes.own("SETTINGS"), f"{software.name} {software.version}, sha256 {software.configuration_digest}"
    )
    for model in findings.models:
        yield text_item(codes.own("MODEL_STATE"), f"{model.id} {model.version}: {model.state} (sha256 {model.sha256})")
    if quality.contrast_found:
        for name, stage in (
            ("Super-resolution", findings.super_resolution),
            ("Response prediction", findings.response),
            ("Comparison with an earlier study", findings.comparison),
        ):
            if not stage.performed:
                yield text_item(codes.own("NOT_PERFORMED"), f"{name}: {stage.reason or 'no reason recorded'}")
    for name, words in comparison_statements(findings.comparison):
        yield text_item(codes.own(name), words)
    for limitation in quality.limitations:
        affected = f" [{', '.join(limitation.affects)}]" if limitation.affects else ""
        yield text_item(
            codes.own("LIMITATION"), f"{limitation.severity}: {limitation.text} ({limitation.code}){affected}"
        )
