"""The figures of the experiment as the tables of docs/response-classification.md, so that its text cannot drift."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULT = Path(__file__).with_name("published_response.json")
LIMITS = {
    "lesion erased": "chance + 2 SE",
    "outline only": "<= 0.38",
    "shuffled labels": "<= 0.38",
    "dose-response on the other simulator (Spearman)": ">= 0.9",
    "score sd under nuisance": "<= 0.12",
}


def stored() -> dict[str, Any]:
    """The committed figures."""
    result: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8"))
    return result


def tables(result: Mapping[str, Any]) -> str:
    """Arms, the view through 57 images, cross-validation and controls as Markdown."""
    return "\n".join(
        [*_arms(result["arms"]), "", *_few(result["through 57 images"]), "", *_folds(result), "", *_controls(result)]
    )


def _arms(arms: Mapping[str, Any]) -> Iterator[str]:
    head = (
        "trained on",
        "images",
        "accuracy (95 %)",
        "recall: resp. / stable / non-resp.",
        "calibration",
        "minus real",
    )
    yield f"| {' | '.join(head)} |"
    yield "|---|---|---|---|---|---|"
    for name, row in arms.items():
        recall = " / ".join(f"{row['recall'][c]:.2f}" for c in ("responsive", "stable", "non_responsive"))
        apart = _interval(row["minus_real"], signed=True) if "minus_real" in row else "–"
        accuracy = _interval([row["accuracy"], *row["ci95"]])
        yield f"| {name} | {row['images']} | {accuracy} | {recall} | {row['calibration_error']:.3f} | {apart} |"


def _few(views: Mapping[str, Any]) -> Iterator[str]:
    yield "| against real alone, on 57 images | mean gain | 95 % of studies | 3 or more better | 3 or more worse |"
    yield "|---|---|---|---|---|"
    for name, view in views.items():
        low, high = view["gain_95"]
        better, worse = view["share_at_least_published_gain"], view["share_at_least_as_much_worse"]
        yield f"| {name} | {view['mean_gain']:+.1f} images | {low:+d} to {high:+d} | {better:.0%} | {worse:.0%} |"


def _folds(result: Mapping[str, Any]) -> Iterator[str]:
    yield "| cross-validation within the real images | accuracy (95 %) |"
    yield "|---|---|"
    for name, values in result["cross-validation of the real images"].items():
        yield f"| {name} | {_interval(values)} |"


def _controls(result: Mapping[str, Any]) -> Iterator[str]:
    yield "| control (trained on real images alone) | measured (95 %) | asked | |"
    yield "|---|---|---|---|"
    controls = result["controls"]
    for name, limit in LIMITS.items():
        value, most = controls[name][0], controls["lesion erased, limit"]
        asked = f"<= {most:.3f} ({limit})" if name == "lesion erased" else limit
        bound = most if name == "lesion erased" else float(limit.split()[-1])
        passed = value >= bound if limit.startswith(">=") else value <= bound
        yield f"| {name} | {_interval(controls[name])} | {asked} | {'passed' if passed else '**failed**'} |"


def _interval(values: Sequence[float], signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{values[0]:{sign}.3f} ({values[1]:{sign}.3f} to {values[2]:{sign}.3f})"
