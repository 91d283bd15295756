"""Each call of a model that should not be believed: the right state, a sentence for the report, never an exception."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnx_models.errors import InvalidInputError
from onnx_models.identity import Refusal
from onnx_models.loaded import FAILURES_TO_OPEN, ClipFacts, LoadedModel, load_model
from onnx_models.segment import LesionInputs, Segmentation, segment_lesion_with
from processing.cine import Spacing
from tests.onnx_models import tiny_onnx as tiny

FACTS = ClipFacts(frames=600, duration_s=60.0, frame_rate_hz=10.0, dynamic_range_db=50.0, pixel_mm=0.25)


def scene(maps: np.ndarray | None = None) -> LesionInputs:
    known, _ = tiny.known_scene()
    maps = known if maps is None else maps
    valid = np.ones(maps.shape[1:], bool)
    return LesionInputs(maps, valid, 0.25, (maps.shape[1], maps.shape[2]), Spacing(0.25, 0.25), FACTS)


def tiny_model(folder: Path, extra: str = "") -> LoadedModel:
    loaded = load_model(tiny.install(folder, tiny.model(tiny.lesion_graph(extra))))
    assert loaded.state == "ok", loaded.sentence
    return loaded


def refusal(answer: Segmentation | Refusal) -> Refusal:
    assert isinstance(answer, Refusal)
    limitation = answer.limitation(("rois",))
    assert limitation.code == f"model_{answer.state}"
    assert limitation.text.startswith("lesion segmentation model: ")
    assert len(limitation.text.split()) >= 6
    return answer


def test_the_lesion_found_is_the_lesion_drawn(tmp_path: Path) -> None:
    found = segment_lesion_with(tiny_model(tmp_path), scene())
    assert isinstance(found, Segmentation)
    _, lesion = tiny.known_scene()
    # 18 dB of contrast over 0.6 dB of texture: every cell is decided; half a cell of rounding at most.
    assert (found.mask ^ lesion).sum() <= 0.01 * lesion.sum()
    assert found.confidence > 0.99
    assert found.area_mm2 == pytest.approx(lesion.sum() * 0.0625, rel=0.01)
    assert found.identity.provider == "CPUExecutionProvider"
    assert not found.mask.flags.writeable
    assert [limit.code for limit in found.limitations] == ["roi_by_model"]


def test_the_contour_lands_on_the_panel_s_own_pixels(tmp_path: Path) -> None:
    """A panel of 0.1 x 0.2 mm pixels under cells of 0.25 mm: the same millimetres."""
    inputs = replace(scene(), panel_shape=(160, 120), spacing_mm=Spacing(0.1, 0.2))
    found = segment_lesion_with(tiny_model(tmp_path), inputs)
    assert isinstance(found, Segmentation)
    z, x = np.nonzero(found.mask)
    # The disc's centre lies at cell (30, 40): 30.5 and 40.5 cells of 0.25 mm from the edge.
    assert (z.mean() + 0.5) * 0.1 == pytest.approx(30.5 * 0.25, abs=0.05)
    assert (x.mean() + 0.5) * 0.2 == pytest.approx(40.5 * 0.25, abs=0.05)
    assert found.area_mm2 == pytest.approx(tiny.known_scene()[1].sum() * 0.0625, rel=0.02)


def test_the_largest_lesion_is_measured_and_the_others_are_said(tmp_path: Path) -> None:
    maps, _ = tiny.known_scene()
    maps[0, 4:13, 4:13] = -12
    found = segment_lesion_with(tiny_model(tmp_path), scene(maps))
    assert isinstance(found, Segmentation)
    assert found.other_components == 1
    assert not found.mask[4:13, 4:13].any()
    assert "1 other area looked like a lesion" in found.limitations[1].text


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_never_reaches_the_network(tmp_path: Path, bad: float) -> None:
    maps, _ = tiny.known_scene()
    maps[1, 20, 20] = bad
    answer = refusal(segment_lesion_with(tiny_model(tmp_path), scene(maps)))
    assert answer.state == "bad_contract"
    assert "finite" in answer.sentence


def test_a_wrong_number_of_maps_is_a_bad_contract(tmp_path: Path) -> None:
    maps, _ = tiny.known_scene()
    assert refusal(segment_lesion_with(tiny_model(tmp_path), scene(maps[:4].copy()))).state == "bad_contract"


def test_maps_of_another_size_than_their_valid_cells_are_the_caller_s_error() -> None:
    maps, _ = tiny.known_scene()
    with pytest.raises(InvalidInputError):
        LesionInputs(maps, np.ones((3, 3), bool), 0.25, (64, 96), Spacing(0.25, 0.25), FACTS)


def test_noise_is_unlike_anything_validated(tmp_path: Path) -> None:
    maps = np.random.default_rng(3).uniform(-60, 0, (5, 64, 96)).astype(np.float32)
    answer = refusal(segment_lesion_with(tiny_model(tmp_path), scene(maps)))
    assert answer.state == "ood"
    assert answer.ood_score is not None
    assert answer.ood_score > 8


def test_a_still_b_mode_image_instead_of_contrast_is_unlike_anything_validated(tmp_path: Path) -> None:
    """Tissue that never changes: peak equals mean, no spread in time, nothing arrives."""
    rng = np.random.default_rng(4)
    maps, _ = tiny.known_scene()
    maps[0] = maps[1] = -25 + 6 * rng.standard_normal((64, 96))
    maps[2], maps[3], maps[4] = -60, 2.0, 0.0
    assert refusal(segment_lesion_with(tiny_model(tmp_path), scene(maps))).state == "ood"


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (replace(FACTS, frames=5), "frames"),
        (replace(FACTS, duration_s=3.0), "s of clip"),
        (replace(FACTS, frame_rate_hz=0.2), "frame rate"),
        (replace(FACTS, dynamic_range_db=100.0), "dynamic range"),
        (replace(FACTS, pixel_mm=2.0), "pixel"),
    ],
)
def test_a_clip_outside_the_model_s_purpose_is_not_applicable_and_says_which_limit(
    tmp_path: Path, facts: ClipFacts, word: str
) -> None:
    answer = refusal(segment_lesion_with(tiny_model(tmp_path), replace(scene(), facts=facts)))
    assert answer.state == "not_applicable"
    assert word in answer.sentence


def test_an_undeclared_dynamic_range_is_not_judged(tmp_path: Path) -> None:
    inputs = replace(scene(), facts=replace(FACTS, dynamic_range_db=None))
    assert isinstance(segment_lesion_with(tiny_model(tmp_path), inputs), Segmentation)


def test_nothing_that_stands_out_is_an_abstention(tmp_path: Path) -> None:
    loaded = tiny_model(tmp_path)
    maps, _ = tiny.known_scene(lesion_db=-24)
    answer = refusal(segment_lesion_with(loaded, scene(maps)))
    assert answer.state == "abstained"
    assert "no lesion stands out" in answer.sentence


def test_an_implausible_area_is_an_abstention(tmp_path: Path) -> None:
    loaded = tiny_model(tmp_path)
    maps, _ = tiny.known_scene(radius=2.5)  # 21 cells, 1.3 mm2, where 2 mm2 is plausible
    answer = refusal(segment_lesion_with(loaded, scene(maps)))
    assert answer.state == "abstained"
    assert "plausible" in answer.sentence


def test_a_lesion_that_is_not_sure_enough_is_an_abstention(tmp_path: Path) -> None:
    loaded = tiny_model(tmp_path)
    maps, lesion = tiny.known_scene(lesion_db=-19)
    maps[0][lesion] = -19.8  # logit 0.2: probability 0.55, where 0.6 is needed
    answer = refusal(segment_lesion_with(loaded, scene(maps)))
    assert answer.state == "abstained"
    assert "not sure enough" in answer.sentence


def loud(maps: np.ndarray) -> np.ndarray:
    """The spoilt graphs misbehave where something never arrives (arrival 2)."""
    maps[3, 0, :8] = 2.0
    return maps


def test_a_network_that_does_not_end_is_ended(tmp_path: Path) -> None:
    loaded = tiny_model(tmp_path, "loop")
    loaded.timeout_s = 0.2
    answer = refusal(segment_lesion_with(loaded, scene(loud(tiny.known_scene()[0]))))
    assert answer.state == "timeout"
    assert "0.2 s" in answer.sentence


@pytest.mark.parametrize(("extra", "word"), [("root", "not finite"), ("gather", "runtime failed")])
def test_a_network_that_fails_is_a_runtime_error(tmp_path: Path, extra: str, word: str) -> None:
    answer = refusal(segment_lesion_with(tiny_model(tmp_path, extra), scene(loud(tiny.known_scene()[0]))))
    assert answer.state == "runtime_error"
    assert word in answer.sentence


def test_after_three_failures_in_a_row_a_model_is_left_alone(tmp_path: Path) -> None:
    loaded = tiny_model(tmp_path, "gather")
    failing, fine = scene(loud(tiny.known_scene()[0])), scene()
    for _ in range(FAILURES_TO_OPEN - 1):
        assert refusal(segment_lesion_with(loaded, failing)).state == "runtime_error"
    assert isinstance(segment_lesion_with(loaded, fine), Segmentation)  # one success closes the count
    for _ in range(FAILURES_TO_OPEN):
        assert refusal(segment_lesion_with(loaded, failing)).state == "runtime_error"
    answer = refusal(segment_lesion_with(loaded, fine))
    assert answer.state == "disabled"
    assert "3 failures in a row" in answer.sentence


def test_a_model_that_failed_a_check_answers_with_that_check(tmp_path: Path) -> None:
    folder = tiny.install(tmp_path)
    (folder / "model.onnx").write_bytes(b"damaged")
    assert refusal_of_unnamed(segment_lesion_with(load_model(folder), scene())).state == "hash_mismatch"


def refusal_of_unnamed(answer: Segmentation | Refusal) -> Refusal:
    assert isinstance(answer, Refusal)
    return answer
