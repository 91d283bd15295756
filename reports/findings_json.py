"""findings.json: findings to UTF-8 JSON without NaN, and back.

Most types are written field by field under their own names; the few whose JSON differs from their Python shape
(a quantity's interval, perfusion by label, the panel's box) have a pair of functions here.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from processing.cine import Box, Panels, Spacing
from processing.metrics import Estimate, PerfusionMetrics
from processing.roi import RoiLabel
from reports.errors import InvalidFindingsError
from reports.findings import (
    SCHEMA,
    Findings,
    Heterogeneity,
    Perfusion,
    Quantity,
    RoiPerfusion,
)
from reports.parameters import PERFUSION_PARAMETERS

Json = dict[str, Any]
ROI_LABELS: tuple[RoiLabel, ...] = ("lesion", "reference", "panel")


def to_json(findings: Findings) -> str:
    """findings.json as text: two-space indent, UTF-8 letters as they are, floats in full precision."""
    encoded = encode(findings)
    # The contract names every measured label: null where no flash was found.
    encoded["replenishment"] = {roi.label: None for roi in findings.rois} | encoded["replenishment"]
    return json.dumps({"schema": encoded.pop("schema"), **encoded}, ensure_ascii=False, allow_nan=False, indent=2)


def from_json(text: str) -> Findings:
    """Read findings.json. Raises InvalidFindingsError when it is not one of ours, naming what is wrong."""
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidFindingsError(f"not JSON: {error}") from error
    if not isinstance(parsed, dict) or parsed.get("schema") != SCHEMA:
        raise InvalidFindingsError(f"the schema is not {SCHEMA}")
    parsed["replenishment"] = {k: v for k, v in (parsed.get("replenishment") or {}).items() if v is not None}
    try:
        return cast("Findings", decode(Findings, parsed))
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidFindingsError(f"findings.json lacks or misshapes {error}") from error


def encode(value: Any) -> Any:
    """JSON-ready copy of a finding of any type."""
    for kind, (encoder, _) in SPECIAL.items():
        if isinstance(value, kind):
            return encoder(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {json_name(f): encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    return value


def decode(kind: Any, value: Any) -> Any:
    """Build a value of `kind` (a type as written in `findings`) from parsed JSON."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else decode(next(a for a in arguments if a is not type(None)), value)
    if origin is tuple:
        inner = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return tuple(decode(a, item) for a, item in zip(inner, value, strict=True))
    if origin is Mapping:
        return {key: decode(arguments[1], item) for key, item in value.items()}
    if kind in SPECIAL:
        return SPECIAL[kind][1](value)
    if dataclasses.is_dataclass(kind):
        return _decode_fields(kind, value)
    return float(value) if kind is float else value


def _decode_fields(kind: Any, value: Json) -> Any:
    hints = get_type_hints(kind)
    named = {f.name: json_name(f) for f in dataclasses.fields(kind)}
    # A key that is not there keeps its default: files written before a field was added stay readable.
    return kind(**{n: decode(hints[n], value[key]) for n, key in named.items() if key in value})


def json_name(field: dataclasses.Field[Any]) -> str:
    """Its name in findings.json: `class` and the like cannot be Python names."""
    return str(field.metadata.get("json", field.name))


def _quantity(quantity: Quantity) -> Json:
    interval = None if quantity.low is None else [quantity.low, quantity.high]
    return {"value": quantity.value, "unit": quantity.unit, "ci95": interval}


def _quantity_back(value: Json) -> Quantity:
    low, high = value.get("ci95") or (None, None)
    return Quantity(value["value"], value["unit"], low, high)


def _panels(panels: Panels) -> Json:
    return {
        "box": list(panels.contrast),
        "side": panels.side,
        "confidence": panels.confidence,
        "method": panels.method,
        "bmode_box": None if panels.bmode is None else list(panels.bmode),
    }


def _panels_back(value: Json) -> Panels:
    bmode = value.get("bmode_box")
    return Panels(
        contrast=Box(*value["box"]),
        bmode=None if bmode is None else Box(*bmode),
        side=value["side"],
        confidence=value["confidence"],
        method=value["method"],
    )


def _roi_perfusion(perfusion: RoiPerfusion) -> Json:
    figures = {p.symbol: _quantity(Quantity.of(p.of(perfusion.metrics), p.unit)) for p in PERFUSION_PARAMETERS}
    return {
        "model": perfusion.metrics.model,
        "r2": perfusion.metrics.r2,
        **figures,
        "heterogeneity": encode(perfusion.heterogeneity),
    }


def _roi_perfusion_back(value: Json) -> RoiPerfusion:
    estimates: dict[str, Estimate] = {}
    for parameter in PERFUSION_PARAMETERS:
        figure = _quantity_back(value[parameter.symbol])
        if figure.value is not None:
            estimates[parameter.attribute] = Estimate(figure.value, figure.low, figure.high)
    metrics = PerfusionMetrics(model=value["model"], r2=value["r2"], **estimates)
    return RoiPerfusion(metrics, decode(Heterogeneity | None, value.get("heterogeneity")))


def _perfusion(perfusion: Perfusion) -> Json:
    shared = {f.name: encode(getattr(perfusion, f.name)) for f in dataclasses.fields(perfusion)}
    by_label = shared.pop("by_label")
    return {**by_label, **shared}


def _perfusion_back(value: Json) -> Perfusion:
    hints = get_type_hints(Perfusion)
    by_label = {label: _roi_perfusion_back(value[label]) for label in ROI_LABELS if value.get(label)}
    shared = {n: decode(hint, value[n]) for n, hint in hints.items() if n != "by_label" and n in value}
    return Perfusion(by_label=by_label, **shared)


SPECIAL: dict[Any, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    Quantity: (_quantity, _quantity_back),
    Panels: (_panels, _panels_back),
    RoiPerfusion: (_roi_perfusion, _roi_perfusion_back),
    Perfusion: (_perfusion, _perfusion_back),
    Spacing: (list, lambda value: Spacing(*value)),
    datetime: (datetime.isoformat, datetime.fromisoformat),
}
"""Types whose JSON is not their fields: how to write them, how to read them."""
