"""The site's repeatability table: a CSV of `name,limit,unit,source`, written by `ceus-node repeatability`."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from dicom_node.errors import ConfigurationError
from reports.changes import RepeatabilityLimit
from reports.comparable import COMPARED_NAMES

COLUMNS = ("name", "limit", "unit", "source")


def read_table(path: Path | None) -> dict[str, RepeatabilityLimit]:
    """Limits by name of a change; empty without a table.

    Raises ConfigurationError naming the row that is no limit: an unknown name, no positive number, or no source.
    """
    if path is None:
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as opened:
            rows = list(csv.DictReader(opened))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(f"comparison.repeatability: {path.name} cannot be read ({error})") from error
    return dict(_limit(path, number, row) for number, row in enumerate(rows, 2))


def _limit(path: Path, number: int, row: dict[str, str]) -> tuple[str, RepeatabilityLimit]:
    name, written, unit, source = (str(row.get(column) or "").strip() for column in COLUMNS)
    try:
        limit = float(written)
    except ValueError:
        limit = math.nan
    if name not in COMPARED_NAMES or not limit > 0 or not math.isfinite(limit) or not unit or not source:
        raise ConfigurationError(
            f"comparison.repeatability: row {number} of {path.name} must be name,limit,unit,source with a name of "
            f"comparison.changes, a positive limit, its unit and where it comes from"
        )
    return name, RepeatabilityLimit(limit, unit, source)


def write_table(path: Path, limits: dict[str, RepeatabilityLimit]) -> None:
    """Write the table, in the order in which changes are said."""
    with path.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(COLUMNS)
        for name in (name for name in COMPARED_NAMES if name in limits):
            writer.writerow((name, f"{limits[name].limit:.6g}", limits[name].unit, limits[name].source))
