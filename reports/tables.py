"""The CSV files beside findings.json: tic.csv, localizations.csv, summary.csv.

All return text with "\\n" line ends; the caller writes it. An empty cell is a value that does not exist.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processing.tic import Tic
from reports.errors import InvalidFindingsError
from reports.findings import Findings, Quantity
from reports.parameters import PERFUSION_PARAMETERS, RATIO_SYMBOLS


def tic_csv(tics: Sequence[Tic]) -> str:
    """`time_s,<label>_au...,rejected`: a row a frame, a column a ROI; rejected is 1 where no fit used the frame."""
    if not tics:
        raise InvalidFindingsError("tic.csv needs at least one curve")
    first = tics[0]
    if any(not np.array_equal(tic.time_s, first.time_s) for tic in tics):
        raise InvalidFindingsError("the curves of one acquisition share their times")
    rejected = np.any([tic.rejected for tic in tics], axis=0)
    rows = zip(first.time_s, *(tic.power_au for tic in tics), rejected, strict=True)
    header = ["time_s", *(f"{tic.label}_au" for tic in tics), "rejected"]
    return _csv(header, ([*(float(x) for x in row[:-1]), int(row[-1])] for row in rows))


def localizations_csv(columns: dict[str, NDArray[Any]]) -> str:
    """`frame,time_s,z_mm,x_mm,amplitude_au,sigma_mm,track`; track -1 = none.

    Positions count from the centre of the contrast panel's top-left pixel, in motion-corrected coordinates.
    """
    header = ["frame", "time_s", "z_mm", "x_mm", "amplitude_au", "sigma_mm", "track"]
    whole = {"frame", "track"}
    listed = [columns[name].astype(int if name in whole else float).tolist() for name in header]
    return _csv(header, zip(*listed, strict=True))


SUMMARY_HEADER = (
    "acquisition",
    "study_instance_uid",
    "series_instance_uid",
    "contrast_found",
    "label",
    "model",
    "r2",
    *(p.symbol for p in PERFUSION_PARAMETERS),
    *(f"{symbol}_ratio" for symbol in RATIO_SYMBOLS),
    "limitations",
)


def summary_csv(acquisitions: Sequence[tuple[str, Findings]]) -> str:
    """One row an acquisition and ROI label: (name of its folder, findings) in, in order."""
    return _csv(SUMMARY_HEADER, (row for name, findings in acquisitions for row in _summary_rows(name, findings)))


def _summary_rows(name: str, findings: Findings) -> list[list[Any]]:
    head = [name, findings.source.study_instance_uid, findings.source.series_instance_uid]
    contrast = findings.quality.contrast_found
    codes = " ".join(limitation.code for limitation in findings.quality.limitations)
    width = len(PERFUSION_PARAMETERS) + len(RATIO_SYMBOLS)
    rows: list[list[Any]] = []
    for label, perfusion in findings.perfusion.by_label.items():
        values = [Quantity.of(p.of(perfusion.metrics), p.unit).value for p in PERFUSION_PARAMETERS]
        ratios = findings.perfusion.ratio if label == "lesion" else {}
        rows.append(
            [*head, contrast, label, perfusion.metrics.model, perfusion.metrics.r2, *values]
            + [ratios[symbol].value if symbol in ratios else None for symbol in RATIO_SYMBOLS]
            + [codes]
        )
    return rows or [[*head, contrast, None, None, None, *[None] * width, codes]]


def _csv(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    # repr keeps every digit of a float: the CSV and findings.json agree to the last bit.
    writer.writerows([repr(cell) if isinstance(cell, float) else cell for cell in row] for row in rows)
    return text.getvalue()
