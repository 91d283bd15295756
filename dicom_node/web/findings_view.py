"""findings.json as tables for the job's page: what was measured, with units and intervals, and what limits it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reports.parameters import DIFFERENCE_SYMBOLS, PERFUSION_PARAMETERS

Json = Mapping[str, Any]

_SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Wash-out against the reference", ("perfusion", "washout")),
    ("Dynamic vascular pattern", ("perfusion", "dvp")),
    ("Enhancement", ("perfusion", "enhancement")),
    ("Heterogeneity, lesion", ("perfusion", "lesion", "heterogeneity")),
    ("Heterogeneity, reference", ("perfusion", "reference", "heterogeneity")),
    ("Replenishment after flash", ("replenishment",)),
    ("Super-resolution", ("super_resolution",)),
    ("Predicted response", ("response",)),
    ("Comparison with the baseline", ("comparison",)),
)
_UNITS = (
    *(("_per_mm2_s", "/(mm²·s)"), ("_mm_s", "mm/s"), ("_mm2", "mm2"), ("_mm", "mm"), ("_um", "µm")),
    *(("_percent", "%"), ("percent", "%"), ("_db", "dB"), ("_s", "s")),
    *(("hours_since", "h"), ("hours_since_treatment", "h")),
)
"""Plain numbers carry their unit in their name (house rule): the first ending that fits."""
_SEVERITIES = ("refused", "degraded", "note")


@dataclass(frozen=True)
class Figure:
    """A value with its unit (UCUM) and 95 % interval."""

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Row:
    """One named line of a table: a figure or a word a column, None where the column has none."""

    symbol: str
    meaning: str
    figures: tuple[Figure | str | None, ...]


@dataclass(frozen=True)
class Table:
    """A table of figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    without_value: tuple[str, ...] = ()


@dataclass(frozen=True)
class LimitationLine:
    """A limitation; `severity` refused, degraded or note."""

    severity: str
    text: str
    affects: tuple[str, ...]


@dataclass(frozen=True)
class FindingsView:
    """Everything the page shows of findings.json."""

    facts: tuple[tuple[str, str], ...]
    tables: tuple[Table, ...]
    not_performed: tuple[tuple[str, str], ...]
    limitations: tuple[LimitationLine, ...]


def findings_view(findings: Json) -> FindingsView:
    """The view of one findings.json; a part that is absent leaves its place empty."""
    return FindingsView(
        facts=tuple(_facts(findings)),
        tables=tuple(_tables(findings)),
        not_performed=tuple(_not_performed(findings)),
        limitations=_limitations(findings.get("quality") or {}),
    )


def _facts(findings: Json) -> Iterator[tuple[str, str]]:
    source, quality = findings.get("source") or {}, findings.get("quality") or {}
    found = "yes" if quality.get("contrast_found") else "no"
    reason = quality.get("contrast_reason")
    yield "Contrast enhancement", f"{found}: {reason}" if reason else found
    frames, rate_hz, duration_s = source.get("frames"), source.get("frame_rate_hz"), source.get("duration_s")
    yield (
        "Cine",
        ", ".join(
            part
            for part in (
                f"{frames} frames" if frames else "",
                f"{rate_hz:.3g} Hz" if rate_hz else "",
                f"{duration_s:.1f} s" if duration_s else "",
            )
            if part
        ),
    )
    panel = source.get("contrast_panel") or {}
    yield "Contrast panel", f"{panel.get('side', '')}, found by {panel.get('method', '')}" if panel else "none found"
    yield "Dynamic range", _dynamic_range(source)
    spacing = source.get("pixel_spacing_mm")
    yield "Pixel spacing", " × ".join(f"{step:.3g}" for step in spacing) + " mm" if spacing else "not calibrated"
    yield "Time zero", str(source.get("time_zero") or "not known")
    yield "Agent", ", ".join(str(v) for v in (source.get("agent"), source.get("dose")) if v) or "not recorded"
    yield from _quality_facts(source, quality)
    yield from _software_facts(findings)


def _quality_facts(source: Json, quality: Json) -> Iterator[tuple[str, str]]:
    index = source.get("mechanical_index")
    yield "Mechanical index", "not recorded" if index is None else f"{index:g}"
    saturated = quality.get("saturated_fraction")
    if saturated is not None:
        yield "Saturated pixels", f"{100 * saturated:.2g} %"
    motion_mm = quality.get("motion_mm_p95")
    if motion_mm is not None:
        yield "Motion (95th percentile)", f"{motion_mm:.2g} mm"
    rejected = quality.get("rejected_frames") or []
    if rejected:
        yield "Rejected frames", str(len(rejected))


def _software_facts(findings: Json) -> Iterator[tuple[str, str]]:
    software = findings.get("software") or {}
    yield "Software", f"{software.get('name', '')} {software.get('version', '')}".strip()
    yield "Profile", str(software.get("profile") or "default")
    for model in findings.get("models") or ():
        yield "Model", f"{model.get('id')} {model.get('version')} ({model.get('state')})"
    for shadow in findings.get("shadow_models") or ():
        agreement = shadow.get("agreement")
        alike = "" if agreement is None else f", agrees by {agreement:.2f}"
        yield "Model in the shadow", f"{shadow.get('id')} {shadow.get('version')} ({shadow.get('state')}{alike})"


def _dynamic_range(source: Json) -> str:
    span_db, origin = source.get("dynamic_range_db"), source.get("dynamic_range_source")
    compression = source.get("compression") or "?"
    range_db = "unknown" if span_db is None else f"{span_db:g} dB"
    return f"{range_db}, from {origin}; compression {compression}"


def _tables(findings: Json) -> Iterator[Table]:
    yield from _perfusion(findings.get("perfusion") or {})
    for title, part in _parts(findings):
        if part.get("performed", True):
            rows = [Row("", _words(path), (leaf,)) for path, leaf in _leaves(part)]
            if rows:
                yield _table(title, (), rows)
    yield from _changes((findings.get("comparison") or {}).get("changes") or {})


def _parts(findings: Json) -> Iterator[tuple[str, Json]]:
    for title, path in _SECTIONS:
        part: Any = findings
        for name in path:
            part = (part or {}).get(name)
        if isinstance(part, Mapping):
            yield title, part


def _table(title: str, columns: tuple[str, ...], rows: Sequence[Row]) -> Table:
    """A table of the rows that hold a value; the others are only named."""
    empty = [row for row in rows if all(_is_empty(leaf) for leaf in row.figures)]
    names = tuple(row.symbol or row.meaning for row in empty)
    return Table(title, columns, tuple(row for row in rows if row not in empty), names)


def _is_empty(leaf: Figure | str | None) -> bool:
    return not leaf or (isinstance(leaf, Figure) and leaf.value is None)


def _perfusion(perfusion: Json) -> Iterator[Table]:
    labels = [label for label in ("lesion", "reference", "panel") if perfusion.get(label)]
    ratio, difference_s = perfusion.get("ratio") or {}, perfusion.get("difference_s") or {}
    if not labels:
        return
    compared = bool(ratio or difference_s)
    rows = []
    for parameter in PERFUSION_PARAMETERS:
        figures = [_figure(perfusion[label].get(parameter.symbol)) for label in labels]
        if compared:
            from_both = difference_s if parameter.symbol in DIFFERENCE_SYMBOLS else ratio
            figures.append(_figure(from_both.get(parameter.symbol)))
        rows.append(Row(parameter.symbol, parameter.meaning, tuple(figures)))
    columns = (*labels, "lesion to reference") if compared else tuple(labels)
    models = sorted({str(perfusion[label].get("model")) for label in labels})
    yield _table(f"Perfusion (model: {', '.join(models)})", columns, rows)


def _changes(changes: Json) -> Iterator[Table]:
    """Before and after, a line each; what may not be compared says why where its change would stand."""
    rows = []
    for name, change in changes.items():
        percent = change.get("percent")
        told = _figure(change.get("difference")) or (None if percent is None else Figure(percent, "%"))
        verdict = {True: "beyond variability", False: "within variability"}.get(
            change.get("beyond_variability"), "" if change.get("reason") else "variability unknown"
        )
        both = _figure(change.get("baseline")), _figure(change.get("now"))
        rows.append(Row("", _words((name,)), (*both, told or change.get("reason"), verdict)))
    if rows:
        yield _table("Changes", ("before", "now", "change", "against variability"), rows)


def _not_performed(findings: Json) -> Iterator[tuple[str, str]]:
    for title, part in _parts(findings):
        if not part.get("performed", True):
            yield title, str(part.get("reason") or "not performed")


def _leaves(part: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Figure | str]]:
    """Everything said below `part` with the names that lead to it. UIDs stay out: they lead to patients."""
    for key, value in part.items():
        if key in ("performed", "reason", "trend", "changes") or key.endswith(("_uid", "_uids")):
            continue
        leaf = _figure(value) or _leaf(value, (*path, key))
        if leaf is not None:
            yield (*path, key), leaf
        elif isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))


def _leaf(value: Any, path: tuple[str, ...]) -> Figure | str | None:
    """A plain value as the page shows it; None for what is absent or has parts of its own."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        return Figure(float(value), _unit_of(path))
    if isinstance(value, Sequence) and not isinstance(value, str):
        if value and all(isinstance(item, (int, float)) for item in value):
            return " × ".join(f"{item:.3g}" for item in value) + f" {_unit_of(path)}"
        return ", ".join(str(item) for item in value) or None
    return value if isinstance(value, str) and value else None


def _unit_of(path: tuple[str, ...]) -> str:
    return next((unit for name in reversed(path) for ending, unit in _UNITS if name.endswith(ending)), "")


def _figure(value: Any) -> Figure | None:
    if not isinstance(value, Mapping) or "value" not in value or "unit" not in value:
        return None
    low, high = value.get("ci95") or (None, None)
    return Figure(value["value"], str(value["unit"]), low, high)


def _words(path: Sequence[str]) -> str:
    return " · ".join(_without_unit(name).replace("_", " ") for name in path)


def _without_unit(name: str) -> str:
    """The unit stands with the figure."""
    ending = next((ending for ending, _ in _UNITS if ending.startswith("_") and name.endswith(ending)), "")
    return name.removesuffix(ending)


def _limitations(quality: Json) -> tuple[LimitationLine, ...]:
    """The gravest first."""
    lines = [
        LimitationLine(str(item.get("severity")), str(item.get("text")), tuple(item.get("affects") or ()))
        for item in quality.get("limitations") or ()
    ]
    return tuple(
        sorted(lines, key=lambda line: _SEVERITIES.index(line.severity) if line.severity in _SEVERITIES else 9)
    )
