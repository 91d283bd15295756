"""A site's own cases as a table: who, which tumour, when, which treatment, what came of it. Splits are by subject.

CSV with a header: subject, tumour, time_point ("before" or "after"), treatment, cine, mask, and either `response` (CR,
PR, SD, PD) or the diameters `baseline_mm`, `nadir_mm`, `now_mm` (sums of longest diameters). RECIST 1.1 (Eisenhauer et
al. 2009, Eur J Cancer 45:228): CR all gone; PR at least 30 % below baseline; PD at least 20 % and 5 mm above the nadir;
else SD.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

import numpy as np

from onnx_models.errors import InvalidInputError

Recist = Literal["CR", "PR", "SD", "PD"]
CLASS_OF: dict[Recist, str] = {"CR": "responsive", "PR": "responsive", "SD": "stable", "PD": "non_responsive"}
STILLS = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"}
_COLUMNS = ("subject", "tumour", "time_point", "treatment", "cine", "mask")
_PARTIAL, _PROGRESSION, _PROGRESSION_MM = 0.30, 0.20, 5.0


@dataclass(frozen=True)
class Case:
    """One cine of one tumour. `response` as RECIST says, `computed` True where it follows from the diameters."""

    subject: str
    tumour: str
    time_point: Literal["before", "after"]
    treatment: str
    cine: str
    mask: str
    response: Recist
    computed: bool

    @property
    def label(self) -> str:
        """The class that the models know."""
        return CLASS_OF[self.response]


def recist(baseline_mm: float, nadir_mm: float, now_mm: float) -> Recist:
    """RECIST 1.1 from sums of longest diameters in mm."""
    if baseline_mm <= 0 or not 0 <= nadir_mm <= baseline_mm or now_mm < 0:
        raise InvalidInputError("diameters must fulfil baseline > 0, 0 <= nadir <= baseline and now >= 0")
    if now_mm == 0:
        return "CR"
    grown_mm = now_mm - nadir_mm
    if grown_mm >= _PROGRESSION_MM and grown_mm >= _PROGRESSION * nadir_mm:
        return "PD"
    return "PR" if now_mm <= (1 - _PARTIAL) * baseline_mm else "SD"


def read_table(text: str) -> tuple[Case, ...]:
    """Cases of a CSV. Raises InvalidInputError with the line: without a subject no split is honest."""
    rows = csv.DictReader(io.StringIO(text))
    missing = [name for name in _COLUMNS if name not in (rows.fieldnames or ())]
    if missing:
        raise InvalidInputError(f"the table has no column {missing[0]}")
    return tuple(_case(row, number) for number, row in enumerate(rows, 2))


def _case(row: dict[str, str | None], number: int) -> Case:
    said = {name: (row.get(name) or "").strip() for name in (*_COLUMNS, "response", *_DIAMETERS)}
    if not said["subject"]:
        raise InvalidInputError(f"line {number} names no subject: animals and patients must not be in two splits")
    if said["time_point"] not in ("before", "after"):
        raise InvalidInputError(f'line {number}: time_point is "before" or "after", not "{said["time_point"]}"')
    if PurePath(said["cine"]).suffix.lower() in STILLS:
        text = f"line {number}: {said['cine']} is a still image; arrival and half-peak need a cine"
        raise InvalidInputError(text)
    response, computed = _response(said, number)
    return Case(
        said["subject"],
        said["tumour"],
        "before" if said["time_point"] == "before" else "after",
        said["treatment"],
        said["cine"],
        said["mask"],
        response,
        computed,
    )


_DIAMETERS = ("baseline_mm", "nadir_mm", "now_mm")


def _response(said: dict[str, str], number: int) -> tuple[Recist, bool]:
    if said["response"]:
        for known in CLASS_OF:
            if said["response"] == known:
                return known, False
        raise InvalidInputError(f"line {number}: response is CR, PR, SD or PD, not {said['response']}")
    try:
        baseline_mm, nadir_mm, now_mm = (float(said[name]) for name in _DIAMETERS)
        return recist(baseline_mm, nadir_mm, now_mm), True
    except ValueError as error:
        raise InvalidInputError(f"line {number} has neither a response nor three diameters in mm: {error}") from error


def split_by_subject(cases: Sequence[Case], share: float, seed: int) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """(train, test): `share` of the subjects are held out, with all their tumours and images."""
    subjects = sorted({case.subject for case in cases})
    if len(subjects) < 2:
        raise InvalidInputError("one subject cannot be split: at least two animals or patients are needed")
    held = max(1, round(share * len(subjects)))
    order = np.random.default_rng(seed).permutation(len(subjects))
    test = {subjects[k] for k in order[: min(held, len(subjects) - 1)]}
    return tuple(c for c in cases if c.subject not in test), tuple(c for c in cases if c.subject in test)
