"""Response of a pre-treatment tumour: when it is asked at all, what the glass box sees, what an abstention is."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnx_models.classify import (
    CROP,
    METRICS,
    Classification,
    ResponseInputs,
    ResponseResult,
    Treatment,
    classify_response,
    lesion_crop,
    lesion_metrics,
)
from onnx_models.identity import Refusal
from onnx_models.loaded import ClipFacts, LoadedModel, absent, load_model
from onnx_models.registry import Models
from onnx_models.training.response_cohorts import bayes_accuracy, label_of
from onnx_models.training.response_controls import erased, only_mask
from tests.onnx_models import tiny_onnx as tiny

FACTS = ClipFacts(frames=600, duration_s=60.0, frame_rate_hz=10.0, dynamic_range_db=50.0, pixel_mm=0.1)
NAMES = ("responsive", "stable", "non_responsive")


def tumour(peak_db: float = -12.0) -> ResponseInputs:
    """A disc of known differences in a square of 60 cells: 8 dB brighter at most, 3 s earlier, a tenth unfilled."""
    z, x = np.mgrid[:60, :60]
    lesion = np.hypot(z - 30, x - 28) < 10
    maps = np.empty((5, 60, 60), np.float32)
    maps[0] = np.where(lesion, peak_db, -20)
    maps[1] = np.where(lesion, -18, -24)
    maps[2] = -30
    maps[3] = np.where(lesion, -0.1, 0.0)
    maps[4] = np.where(lesion, 0.1, 0.2)
    unfilled = np.flatnonzero(lesion)[::10]
    maps[3].ravel()[unfilled] = 2.0
    return ResponseInputs(maps, np.ones((60, 60), bool), lesion, FACTS)


def glass_box(folder: Path) -> LoadedModel:
    """Logits straight from the first parameter: (d, 0, -d) for a lesion d dB brighter than its surroundings."""
    weight = np.zeros((6, 3), np.float32)
    weight[0] = 1, 0, -1
    content = tiny.model(
        tiny.graph(
            [tiny.node("MatMul", ["metrics", "w"], ["logits"])],
            [tiny.tensor("w", weight)],
            [tiny.value("metrics", ("n", 6))],
            [tiny.value("logits", ("n", 3))],
        )
    )
    given = np.array([[1, 0, 0, 0, 0, 0]], np.float32)
    buffer = io.BytesIO()
    np.savez(buffer, input=given, output=given @ weight)
    manifest: dict[str, Any] = tiny.lesion_manifest(content, buffer.getvalue(), "1")
    manifest |= {"id": "response_lr", "task": "response_lr", "preprocessing": "named metrics 1"}
    channels = [{"name": name, "unit": "1"} for name in METRICS]
    manifest["inputs"] = [{"name": "metrics", "dtype": "float32", "shape": ["n", 6], "channels": channels}]
    manifest["outputs"] |= {
        "tensor": {"name": "logits", "dtype": "float32", "shape": ["n", 3]},
        "activation": "softmax",
        "classes": [{"name": name, "code": [name, "99TEST", name]} for name in NAMES],
        "temperature": 2.0,
        "abstain_below": 0.5,
    }
    identity = np.eye(6).tolist()
    manifest["ood"] = {
        "method": "vector statistics 1",
        "mean": [0.0] * 6,
        "inverse_covariance": identity,
        "threshold": 40,
    }
    place = folder / "response_lr" / "1"
    place.mkdir(parents=True)
    (place / "model.onnx").write_bytes(content)
    (place / "golden.npz").write_bytes(buffer.getvalue())
    (place / "manifest.json").write_text(json.dumps(manifest))
    assert hashlib.sha256(content).hexdigest() == manifest["file"]["sha256"]
    return load_model(place)


def models(folder: Path) -> Models:
    missing = absent("response_cls", "", "response_cls", "missing", "this version ships no such model")
    return Models({"response_cls": missing, "response_lr": glass_box(folder)}, {})


@pytest.mark.parametrize(("treatment", "words"), [("after", "after treatment"), ("unknown", "unknown treatment state")])
def test_a_tumour_after_treatment_or_of_unknown_state_is_not_classified(
    tmp_path: Path, treatment: Treatment, words: str
) -> None:
    result = classify_response(models(tmp_path), tumour(), treatment)
    for answer in (result.network, result.glass_box):
        assert isinstance(answer, Refusal)
        assert answer.state == "not_applicable"
        assert words in answer.sentence
    assert result.disagreement is None


def test_the_glass_box_answers_alone_where_the_network_is_missing(tmp_path: Path) -> None:
    result = classify_response(models(tmp_path), tumour(), "before")
    assert isinstance(result.network, Refusal)
    assert result.network.state == "missing"
    assert isinstance(result.glass_box, Classification)
    assert result.glass_box.label == "responsive"
    # Logits (8, 0, -8) over a temperature of 2: softmax of (4, 0, -4).
    expected = np.exp([4.0, 0, -4]) / np.exp([4.0, 0, -4]).sum()
    assert list(result.glass_box.probabilities.values()) == pytest.approx(list(expected), abs=1e-5)


def test_equal_probabilities_are_an_abstention_not_a_class(tmp_path: Path) -> None:
    answer = classify_response(models(tmp_path), tumour(peak_db=-20.0), "before").glass_box
    assert isinstance(answer, Classification)
    assert answer.abstained
    assert answer.label is None
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)


def test_a_tumour_far_from_those_validated_is_refused(tmp_path: Path) -> None:
    answer = classify_response(models(tmp_path), tumour(peak_db=0.0), "before").glass_box
    assert isinstance(answer, Refusal)
    assert answer.state == "ood"


def test_disagreement_is_the_total_variation_distance(tmp_path: Path) -> None:
    identity = glass_box(tmp_path).identity

    def said(*probabilities: float) -> Classification:
        return Classification(identity, dict(zip(NAMES, probabilities, strict=True)), None, 1.0, 0.5, 1.0)

    assert ResponseResult(said(0.6, 0.3, 0.1), said(0.1, 0.3, 0.6)).disagreement == pytest.approx(0.5)


def test_the_named_parameters_are_the_differences_that_were_put_in() -> None:
    inputs = tumour()
    named = lesion_metrics(inputs.maps, inputs.valid, inputs.lesion)
    assert named["peak_difference_db"] == pytest.approx(8)
    assert named["mean_difference_db"] == pytest.approx(6)
    assert named["arrival_difference_s"] == pytest.approx(-3, abs=1e-5)
    assert named["half_peak_difference_s"] == pytest.approx(-3, abs=1e-5)
    assert named["peak_spread_db"] == 0
    assert named["unfilled_fraction"] == pytest.approx(0.1, abs=0.005)  # every tenth of 305 cells


def test_a_lesion_that_fills_the_panel_has_no_named_parameters(tmp_path: Path) -> None:
    inputs = tumour()
    whole = ResponseInputs(inputs.maps, inputs.valid, np.ones((60, 60), bool), FACTS)
    answer = classify_response(models(tmp_path), whole, "before").glass_box
    assert isinstance(answer, Refusal)
    assert answer.state == "not_applicable"
    assert "peak_difference_db" in answer.sentence


def test_the_crop_shows_the_lesion_in_its_middle_and_the_panel_s_end_as_unscanned() -> None:
    inputs = tumour()
    crop = lesion_crop(inputs.maps, inputs.lesion)
    assert crop.shape == (6, CROP, CROP)
    z, x = np.nonzero(crop[5] > 0.5)
    assert (z.mean(), x.mean()) == pytest.approx((CROP / 2 - 0.5, CROP / 2 - 0.5), abs=0.6)
    # A disc of 19 cells in a window 1.5 times as wide covers pi/4 / 1.5^2 of it.
    assert (crop[5] > 0.5).mean() == pytest.approx(np.pi / 4 / 1.5**2, rel=0.1)
    aside = np.roll(inputs.lesion, -28, axis=1)
    aside[:, 40:] = False
    assert (lesion_crop(inputs.maps, aside)[0, :, 0] == -60).all()


def test_the_erased_control_leaves_nothing_of_the_lesion_but_its_outline() -> None:
    inputs = tumour()
    crop = lesion_crop(inputs.maps, inputs.lesion)[None]
    gone = erased(crop)
    assert (gone[0, 0] <= -19.9).all()
    assert (gone[0, 5] == crop[0, 5]).all()
    assert not only_mask(crop)[0, :5].any()


def test_the_bayes_limit_is_what_a_reader_of_the_phenotype_scores() -> None:
    """Closed form by quadrature against 20,000 drawn tumours: standard error 0.003."""
    rng = np.random.default_rng(8)
    latent = rng.normal(size=20_000)
    labels = np.array([label_of(k, float(g)) for k, g in enumerate(latent)])
    best = np.where(latent > 0.45, 0, np.where(latent < -0.45, 2, 1))
    # The best cut for a noisy label lies near, not at, the thirds; any cut scores at most the limit plus chance.
    assert (best == labels).mean() <= bayes_accuracy() + 0.01
    assert (best == labels).mean() > bayes_accuracy() - 0.02
    assert np.bincount(labels) / labels.size == pytest.approx([1 / 3] * 3, abs=0.015)
