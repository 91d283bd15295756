"""A site's own cases: the worked example of docs/models.md at its smallest, read, judged and refused by name."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from dicom_node.config import Settings, load_settings
from dicom_node.errors import ConfigurationError
from dicom_node.model_commands import EvaluationOrder, FineTuneOrder, evaluate_model, fine_tune_model
from dicom_node.model_room import models_for
from dicom_node.offline import OfflineOrder, process_paths
from dicom_node.simulated_mice import MOUSE, draw_mouse, write_mice
from dicom_node.site_cases import read_site_cases
from onnx_models.training.evaluation import dice
from onnx_models.training.site_evaluation import SiteCase, evaluate
from processing.simulation.scene import Timing
from processing.simulation.screen import Screen
from tests.onnx_models.tiny_response import CLASSES, install_response

MICE, SEED = 4, 2
SKETCH = replace(
    MOUSE,
    screen=Screen(rows=120, columns=160, depth_mm=18.0),
    timing=Timing(start_s=-3.0, duration_s=33.0, frame_rate_hz=3.0),
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mice(tmp_path_factory.mktemp("mice"), MICE, seed=SEED, parameters=SKETCH)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    root = tmp_path_factory.mktemp("models")
    install_response(root, "response_cls")
    profile = {"simulated": {"manufacturer": "CEUS Node Simulation", "dynamic_range_db": 50.0}}
    return load_settings(None, profile=profile, models={"dir": str(root)}, analysis={"protocol": "small_animal"})


@pytest.fixture(scope="module")
def read(table: Path, settings: Settings) -> tuple[SiteCase, ...]:
    cases, left_out = read_site_cases(table, settings)
    assert left_out == ()
    return cases


def changed(table: Path, name: str, **fields: str) -> Path:
    """The table with the first mouse's fields changed, beside it."""
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    rows[0] |= fields
    path = table.with_name(name)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_the_example_is_read_as_the_node_itself_would_measure_it(read: tuple[SiteCase, ...]) -> None:
    assert [c.case.subject for c in read] == [f"mouse-{k:02d}" for k in range(1, MICE + 1)]
    for number, c in enumerate(read, 1):
        baseline_mm, _, now_mm = draw_mouse(number, SEED).diameters_mm
        # RECIST's limits, applied by hand to the diameters that were drawn.
        truth = "responsive" if now_mm <= 0.7 * baseline_mm else "non_responsive" if now_mm >= 1.2 * baseline_mm else ""
        assert (c.case.label, c.case.computed) == (truth or "stable", True)
        # The outline on the maps' cells has the outline's area: half a cell around a tumour of 25 cells or more.
        pixel_mm2 = c.inputs.spacing_mm.z_mm * c.inputs.spacing_mm.x_mm
        assert c.cells.sum() * c.inputs.cell_mm**2 == pytest.approx(c.lesion.sum() * pixel_mm2, rel=0.08)


def test_a_model_is_judged_by_subject_and_every_case_is_told(table: Path, settings: Settings, tmp_path: Path) -> None:
    """The tiny network says "responsive" with 0.67 to all: its accuracy is the share of responsive mice."""
    evaluate_model(settings, EvaluationOrder("response_cls", table, out=tmp_path / "figures.json"))
    said = json.loads((tmp_path / "figures.json").read_text())
    labels = [case["truth"] for case in said["cases"]]
    figures = {row["what"]: row for row in said["table"]}
    accuracy = figures["accuracy where an answer was given"]
    assert accuracy["value"] == pytest.approx(labels.count("responsive") / MICE)
    assert accuracy["subjects"] == MICE
    assert figures["recall of responsive"]["value"] == 1.0
    assert {case["state"] for case in said["cases"]} == {"ok"}
    assert all(sum(case[f"p_{name}"] for name in CLASSES) == pytest.approx(1, abs=1e-3) for case in said["cases"])


def test_the_lesion_model_is_judged_on_the_same_cases(read: tuple[SiteCase, ...], settings: Settings) -> None:
    report = evaluate(models_for(settings).active["lesion_seg"], read)
    overlaps = [case["dice"] for case in report.cases]
    assert report.table[0]["value"] == pytest.approx(np.mean(overlaps), abs=1e-4)
    assert all(case["state"] == "ok" or case["dice"] == 0 for case in report.cases)


def test_a_case_without_its_animal_ends_the_whole_evaluation(table: Path, settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="line 2 names no subject"):
        read_site_cases(changed(table, "nameless.csv", subject=""), settings)


def test_a_still_image_is_refused_by_name(table: Path, settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="still image"):
        read_site_cases(changed(table, "still.csv", cine="mouse-01.png"), settings)


def test_a_case_that_cannot_be_measured_is_left_out_by_name(table: Path, settings: Settings) -> None:
    Image.fromarray(np.zeros((120, 160), np.uint8)).save(table.with_name("empty.png"))
    cases, left_out = read_site_cases(changed(table, "empty.csv", mask="empty.png"), settings)
    assert len(cases) == MICE - 1
    assert len(left_out) == 1
    assert "marks nothing on the contrast panel" in left_out[0]


def test_the_outline_may_be_the_segmentation_of_an_earlier_result(
    table: Path, settings: Settings, read: tuple[SiteCase, ...], tmp_path: Path
) -> None:
    cine, drawn = table.with_name("mouse-01.dcm"), table.with_name("mouse-01.png")
    process_paths(OfflineOrder(settings, (cine,), tmp_path, drawn), Console(quiet=True))
    shutil.copy(tmp_path / "seg.dcm", table.with_name("mouse-01.seg.dcm"))
    cases, left_out = read_site_cases(changed(table, "seg.csv", mask="mouse-01.seg.dcm"), settings)
    assert left_out == ()
    assert dice(cases[0].lesion, read[0].lesion) == 1.0


def test_fine_tuning_without_torch_says_what_to_install(
    table: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "onnx_models.training.fine_tune", raising=False)
    with pytest.raises(ConfigurationError, match="extra `train`"):
        fine_tune_model(settings, FineTuneOrder("response_cls", table, "100"))
