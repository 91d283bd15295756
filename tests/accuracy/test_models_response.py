"""The committed response models measured anew, without torch: their cards, their controls, and when they keep quiet."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from onnx_models.loaded import LoadedModel
from onnx_models.registry import SHIPPED, Models
from onnx_models.training.card import render_card
from onnx_models.training.response_controls import resimulated

TASKS = ("response_cls", "response_lr")


@cache
def models() -> Models:
    return Models.open()


def shipped(task: str) -> LoadedModel:
    model = next(m for name, m in models().active.items() if name == task)
    assert model.state == "ok", model.sentence
    return model


def folder_of(task: str) -> Path:
    return SHIPPED / task / shipped(task).identity.version


@pytest.mark.parametrize("task", TASKS)
def test_the_committed_model_still_does_what_its_card_says(task: str) -> None:
    """The same tumours drawn again: the simulation is exact, the runtime's arithmetic differs in the last digits."""
    said = json.loads((folder_of(task) / "metrics.json").read_text())["resimulated"]
    for mechanism, value in resimulated(shipped(task)).items():
        assert value == pytest.approx(said[mechanism], abs=0.02)  # the figure


@pytest.mark.parametrize("task", TASKS)
def test_card_and_metrics_are_rendered_from_the_manifest(task: str) -> None:
    manifest = json.loads((folder_of(task) / "manifest.json").read_text())
    assert (folder_of(task) / "card.md").read_text() == render_card(manifest)
    assert json.loads((folder_of(task) / "metrics.json").read_text()) == manifest["metrics"]


def test_the_controls_on_the_card_pass() -> None:
    """models.md section 5: an erased lesion is chance, an outline is chance, dose is followed, nuisance is not."""
    rows = json.loads((folder_of("response_cls") / "metrics.json").read_text())["table"]
    judged = [row for row in rows if row.get("asked", "").startswith((">=", "<="))]
    controls = [row for row in judged if row["what"].startswith(("control", "dose-response", "score sd"))]
    assert len(controls) >= 7
    for row in controls:
        sign, limit = row["asked"].split()
        assert row["value"] <= float(limit) if sign == "<=" else row["value"] >= float(limit), row["what"]
