"""Conditions of a measurement: when, where on the patient, and under which settings, each as a name with its value.

Written into every report, one statement each, and read back from it: what a later study must know to be compared with
this one. What was not recorded has no entry; an absent entry is unknown, never equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reports.findings import Findings
from reports.model_use import ModelUse

Conditions = Mapping[str, str]

ACQUIRED_AT, UTC_OFFSET = "acquired at", "clock ahead of UTC"
PLACE = ("body part", "laterality", "view")
"""What two studies must show alike before their lesions are taken for the same one."""

SETTINGS = (
    *("scanner", "agent", "dose", "mechanical index", "gain", "dynamic range", "frequency", "depth"),
    *("protocol", "software", "models", "region drawn by"),
)
"""What must be known and equal before absolute arbitrary units are compared."""

RAREFIED_TO, ULM_LENGTH, ULM_SPEED = "rarefied to", "super-resolution length", "trackable speed"
DENSITY_TERMS = (RAREFIED_TO, ULM_LENGTH)
SUMMARY_SERIES, SUMMARY_PAGE, PANELS = "summary series", "summary page", "panels shown"
PIXEL_SPACING = "pixel spacing"
"""Where the picture of the measured region is, and how it lies on its page."""


def conditions_of(findings: Findings) -> dict[str, str]:
    """Everything that is recorded, in one fixed wording: equal conditions read equal."""
    return {name: value for name, value in _conditions(findings) if value}


def _conditions(findings: Findings) -> Iterator[tuple[str, str]]:
    source, software = findings.source, findings.software
    yield ACQUIRED_AT, "" if source.acquired_at is None else source.acquired_at.replace(tzinfo=None).isoformat()
    yield UTC_OFFSET, "" if source.utc_offset_min is None else f"{source.utc_offset_min} min"
    yield from zip(PLACE, (source.body_part, source.laterality, source.view), strict=True)
    yield "scanner", source.scanner
    yield "agent", source.agent or ""
    yield "dose", source.dose or ""
    yield "mechanical index", _number(source.mechanical_index, "", 2)
    yield "gain", _number(source.gain_db, "dB", 1)
    yield "dynamic range", _dynamic_range(findings)
    yield "frequency", _number(source.frequency_mhz, "MHz", 2)
    yield "depth", _number(source.depth_mm, "mm", 0)
    yield "protocol", software.protocol
    yield "software", f"{software.name} {software.version}"
    used = sorted(
        f"{model.id} {model.version}" for model in findings.models if model.state == "ok" and _measures(model)
    )
    yield "models", ", ".join(used) or "none"
    drawn = {roi.label: roi.drawn_by for roi in findings.rois if roi.label != "panel"}
    yield "region drawn by", ", ".join(f"{label}: {drawn_by}" for label, drawn_by in drawn.items())
    yield from _super_resolution(findings)
    yield from _picture(findings)


def _measures(model: ModelUse) -> bool:
    """A predicted response shapes no figure, and one in the shadow leaves no trace in any object."""
    return not model.id.startswith("response")


def _dynamic_range(findings: Findings) -> str:
    """The display's compression as declared; a default is nobody's statement."""
    source = findings.source
    if source.compression == "none":
        return "no compression"
    if source.compression == "table":
        return f"table of profile {findings.software.profile_digest[:12]}"
    return "" if source.dynamic_range_source == "default" else _number(source.dynamic_range_db, "dB", 1)


def _super_resolution(findings: Findings) -> Iterator[tuple[str, str]]:
    result = findings.super_resolution
    density = result.perfusion_density
    if density is not None and density.by_threshold is not None and density.by_threshold.rarefied_to is not None:
        yield RAREFIED_TO, str(density.by_threshold.rarefied_to)
    yield ULM_LENGTH, _number(result.interval_s, "s", 3)
    yield ULM_SPEED, _number(result.trackable_speed_mm_s, "mm/s", 3)


def _picture(findings: Findings) -> Iterator[tuple[str, str]]:
    panels, spacing = findings.source.contrast_panel, findings.source.pixel_spacing_mm
    if panels is not None:
        boxes = [panels.contrast] if panels.bmode is None else [panels.contrast, panels.bmode]
        yield PANELS, ";".join(",".join(str(edge) for edge in box) for box in boxes)
    if spacing is not None:
        yield PIXEL_SPACING, f"{spacing.z_mm!r},{spacing.x_mm!r}"


def _number(value: float | None, unit: str, decimals: int) -> str:
    if value is None:
        return ""
    rounded = f"{value:.{decimals}f}"
    return f"{rounded} {unit}".strip()
