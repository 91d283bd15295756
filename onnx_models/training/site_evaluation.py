"""A model judged on a site's own cases, through the run-time and with its guards; intervals are over subjects.

Several tumours and images of one animal or patient are no independent evidence: shares and means are drawn anew by
subject, so a table of ten images of one mouse has an interval from one mouse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_models.classify import Classification, ResponseInputs, glass_box_answer, network_answer
from onnx_models.errors import InvalidInputError
from onnx_models.identity import Refusal
from onnx_models.loaded import LoadedModel
from onnx_models.segment import LesionInputs, segment_lesion_with
from onnx_models.training.data_table import Case
from onnx_models.training.evaluation import RESAMPLES, dice, expected_calibration_error, share_figure

CLASSES = ("responsive", "stable", "non_responsive")


@dataclass(frozen=True, eq=False)
class SiteCase:
    """A measured case. lesion: bool (z, x) on the panel's pixels; cells: the same on the maps' cells (H, W)."""

    case: Case
    inputs: LesionInputs
    lesion: NDArray[np.bool_]
    cells: NDArray[np.bool_]


@dataclass(frozen=True)
class SiteReport:
    """Lines of figures, and what became of every case (cine, state or class, truth)."""

    table: tuple[dict[str, Any], ...]
    cases: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]


def evaluate(model: LoadedModel, cases: Sequence[SiteCase]) -> SiteReport:
    """Figures of one model on the cases. Raises InvalidInputError where there is none it could be asked about."""
    task = model.identity.task
    if task == "lesion_seg":
        return _lesions(model, cases)
    if task in ("response_cls", "response_lr"):
        return _responses(model, cases)
    raise InvalidInputError(f"{task} is judged on super-resolved maps, which a table of cines does not hold")


def by_subject(values: Sequence[float], subjects: Sequence[str], what: str, asked: str = "") -> dict[str, Any]:
    """A mean with its 95 % interval over subjects (bootstrap of whole subjects; Wilson's where nothing or all was
    hit, of which a bootstrap knows no doubt)."""
    found, names = np.asarray(values, dtype=np.float64), np.asarray(subjects)
    unique = np.unique(names)
    told: dict[str, Any] = {"what": what, "n": int(found.size), "subjects": int(unique.size), "asked": asked}
    if not found.size:
        return {**told, "value": None}
    if np.ptp(found) == 0 and found[0] in (0.0, 1.0):
        sure = share_figure(int(found[0]) * unique.size, unique.size)
        return {**told, "value": float(found[0]), "ci95": [round(sure.low, 4), round(sure.high, 4)]}
    groups = [found[names == name] for name in unique]
    rng = np.random.default_rng(6)
    means = [np.concatenate([groups[k] for k in rng.integers(0, unique.size, unique.size)]).mean() for _ in _DRAWS]
    low, high = np.percentile(means, (2.5, 97.5))
    return {**told, "value": round(float(found.mean()), 4), "ci95": [round(float(low), 4), round(float(high), 4)]}


_DRAWS = range(RESAMPLES)


def _lesions(model: LoadedModel, cases: Sequence[SiteCase]) -> SiteReport:
    if not cases:
        raise InvalidInputError("the table holds no case that could be measured")
    told, overlaps = [], []
    for c in cases:
        answer = segment_lesion_with(model, c.inputs)
        overlap = 0.0 if isinstance(answer, Refusal) else dice(answer.mask, c.lesion)
        state = answer.state if isinstance(answer, Refusal) else "ok"
        told.append({"cine": c.case.cine, "subject": c.case.subject, "state": state, "dice": round(overlap, 4)})
        overlaps.append(overlap)
    subjects = [c.case.subject for c in cases]
    answered = [k for k, line in enumerate(told) if line["state"] == "ok"]
    return SiteReport(
        (
            by_subject(overlaps, subjects, "Dice, refusals as 0", ">= 0.75"),
            by_subject([overlaps[k] for k in answered], [subjects[k] for k in answered], "Dice where it answered"),
            by_subject([float(v < 0.5) for v in overlaps], subjects, "share with Dice below 0.5", "< 0.03"),
        ),
        tuple(told),
        (),
    )


def _responses(model: LoadedModel, cases: Sequence[SiteCase]) -> SiteReport:
    before = [c for c in cases if c.case.time_point == "before"]
    if not before:
        raise InvalidInputError("no case before treatment: the response models are made for those alone")
    ask = network_answer if model.identity.task == "response_cls" else glass_box_answer
    told, right, sure, subjects, labels = [], [], [], [], []
    for c in before:
        answer = ask(model, ResponseInputs(c.inputs.maps, c.inputs.valid, c.cells, c.inputs.facts))
        line: dict[str, Any] = {
            "cine": c.case.cine,
            "subject": c.case.subject,
            "truth": c.case.label,
            "recist": c.case.response,
        }
        line["recist_computed"] = c.case.computed
        if isinstance(answer, Refusal):
            told.append({**line, "state": answer.state})
            continue
        told.append({**line, "state": "abstained" if answer.abstained else "ok", **_said(answer)})
        right.append(float(_likeliest(answer) == c.case.label))
        sure.append(max(answer.probabilities.values()))
        subjects.append(c.case.subject)
        labels.append(c.case.label)
    table = [by_subject(right, subjects, "accuracy where an answer was given")]
    for name in CLASSES:
        of_class = [k for k, label in enumerate(labels) if label == name]
        table.append(by_subject([right[k] for k in of_class], [subjects[k] for k in of_class], f"recall of {name}"))
    if right:
        error = expected_calibration_error(np.array(sure), np.array(right) > 0.5)
        table.append({"what": "calibration error", "value": round(error, 4), "n": len(right), "asked": "<= 0.05"})
    share = [float(line["state"] not in ("ok", "abstained")) for line in told]
    table.append(by_subject(share, [c.case.subject for c in before], "share refused by a guard"))
    notes = (f"{len(cases) - len(before)} cases after treatment were left out",) if len(before) < len(cases) else ()
    return SiteReport(tuple(table), tuple(told), notes)


def _likeliest(answer: Classification) -> str:
    return max(answer.probabilities, key=lambda name: answer.probabilities[name])


def _said(answer: Classification) -> dict[str, Any]:
    return {"label": answer.label, **{f"p_{name}": round(p, 4) for name, p in answer.probabilities.items()}}
