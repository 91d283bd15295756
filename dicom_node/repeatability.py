"""`ceus-node repeatability`: the site's table of what varies when nothing has changed, from repeated loops.

Loops of one patient, acquired on the same day on the same place, each with one measured lesion, repeat each other;
the user vouches that nothing was done in between.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from dicom_node.errors import ConfigurationError
from processing.repeatability import repeatability_in_percent, repeatability_of_differences
from reports.changes import RepeatabilityLimit, settings_differ, told_by_difference
from reports.comparable import AMPLITUDES, COMPARED_NAMES, ComparableResult
from reports.conditions import PLACE
from reports.errors import ReportsError
from reports.read_back.earlier import earlier_result

Loops = list[ComparableResult]


def repeatability_table(paths: Iterable[Path], today: date) -> dict[str, RepeatabilityLimit]:
    """Limits by name of a change, from the reports below the paths.

    Raises ConfigurationError where no two loops repeat each other.
    """
    groups = [loops for loops in _repeated(_reports(paths)) if len(loops) > 1]
    if not groups:
        raise ConfigurationError(
            "no two reports repeat each other: they must be of one patient, day and place, each with one measured "
            "lesion (measure the loops with `ceus-node process` and name its folders)"
        )
    found = {name: _limit(name, groups, today) for name in COMPARED_NAMES}
    return {name: limit for name, limit in found.items() if limit is not None}


def _reports(paths: Iterable[Path]) -> Loops:
    files = [f for path in paths for f in (sorted(path.rglob("*.dcm")) if path.is_dir() else [path])]
    loops: dict[str, ComparableResult] = {}
    for file in files:
        try:
            header = pydicom.dcmread(file, stop_before_pixels=True)
            result = earlier_result(header)
        except (InvalidDicomError, ReportsError):
            continue  # pictures, maps, cines: whatever lies beside the reports
        loops[result.sr_sop_instance_uid] = result
    return list(loops.values())


def _repeated(loops: Loops) -> list[Loops]:
    """Loops of one patient, day and place together; every acquisition once, by its newest report."""
    groups: dict[tuple[object, ...], dict[object, ComparableResult]] = {}
    for loop in sorted(loops, key=lambda loop: loop.written_at):
        at = loop.acquired_at
        if at is not None and len(loop.lesions) == 1 and loop.patient.patient_id:
            place = tuple(loop.conditions.get(name, "") for name in PLACE)
            key = (loop.patient.patient_id, loop.patient.issuer, at.date(), *place)
            groups.setdefault(key, {})[at] = loop
    return [list(group.values()) for group in groups.values()]


def _limit(name: str, groups: Sequence[Loops], today: date) -> RepeatabilityLimit | None:
    """None where the figure was not measured twice under equal settings, or does not vary at all."""
    subjects, units = [], set()
    for loops in groups:
        if name in AMPLITUDES and any(settings_differ(loops[0], other) for other in loops[1:]):
            continue
        figures = [loop.values[name] for loop in loops if name in loop.values]
        values = [figure.value for figure in figures if figure.value is not None]
        units |= {figure.unit for figure in figures}
        if len(values) > 1:
            subjects.append(values)
    if not subjects or len(units) != 1:
        return None
    (unit,) = units
    by_difference = told_by_difference(unit)
    if not by_difference and min(min(values) for values in subjects) <= 0.0:
        return None
    found = (repeatability_of_differences if by_difference else repeatability_in_percent)(subjects)
    if found.limit <= 0.0:
        return None
    loops_used = sum(len(values) for values in subjects)
    source = f"site table of {today.isoformat()}, {loops_used} loops of {len(subjects)} patients"
    return RepeatabilityLimit(found.limit, unit if by_difference else "%", source)
