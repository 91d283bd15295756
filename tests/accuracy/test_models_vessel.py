"""The committed vessel model, measured anew without torch: on simulated trees, on real mouse brains, on noise."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
import scipy.io

from onnx_models.identity import Refusal
from onnx_models.loaded import LoadedModel
from onnx_models.registry import SHIPPED, Models
from onnx_models.segment import Segmentation, VesselInputs, segment_vessels_with
from onnx_models.training.card import render_card
from onnx_models.training.vessel_figures import FACTS, tuned_threshold, vessel_outcome, vessels_resimulated
from onnx_models.training.vessel_trees import SMALLEST_RADIUS_PX, Segment, draw_vessels, grow
from tests.datasets import mouse_brain_maps


@cache
def shipped() -> LoadedModel:
    model = Models.open().active["vessel_seg"]
    assert model.state == "ok", model.sentence
    return model


def folder_text(name: str) -> str:
    return (SHIPPED / "vessel_seg" / shipped().identity.version / name).read_text()


def test_the_committed_model_still_does_what_its_card_says() -> None:
    said = json.loads(folder_text("metrics.json"))["resimulated"]
    assert vessels_resimulated(shipped()) == pytest.approx(said, abs=0.02)


def test_the_card_is_rendered_from_the_manifest() -> None:
    assert folder_text("card.md") == render_card(json.loads(folder_text("manifest.json")))


def test_perfusion_density_errs_less_than_the_tuned_threshold() -> None:
    """The purpose of the model: 10 maps, sparse and dense, that nothing was tuned on."""
    rule = tuned_threshold([draw_vessels(5_000_000 + k) for k in range(8)])
    outcomes = [vessel_outcome(shipped(), draw_vessels(7_100_000 + k), rule) for k in range(10)]
    assert np.mean([o.model_error for o in outcomes]) < np.mean([o.threshold_error for o in outcomes])


@pytest.mark.parametrize("week", [2, 3])
def test_real_mouse_brains_are_answered_and_their_vessels_follow_the_density(week: int) -> None:
    """In vivo there is no truth; vessels must at least cover most of what was counted, and not the whole brain."""
    density = scipy.io.loadmat(mouse_brain_maps(week))["ULM_final"]["mapCounter"][0, 0].astype(np.float32)
    found = segment_vessels_with(
        shipped(), VesselInputs(np.ascontiguousarray(density[400:1040, 400:1040]), 0.005, FACTS)
    )
    assert isinstance(found, Segmentation), found
    part = density[400:1040, 400:1040]
    assert part[found.mask].sum() > 0.6 * part.sum()
    assert 0.02 < found.mask.mean() < 0.8


def test_an_empty_map_and_one_of_noise_are_refused_with_a_sentence() -> None:
    empty = segment_vessels_with(shipped(), VesselInputs(np.zeros((96, 96), np.float32), 0.02, FACTS))
    assert isinstance(empty, Refusal)
    assert (empty.state, empty.sentence) == ("not_applicable", "vessel segmentation model: no track crosses the map")
    counts = np.random.default_rng(1).poisson(20, (96, 96)).astype(np.float32)
    noise = segment_vessels_with(shipped(), VesselInputs(counts, 0.02, FACTS))
    assert isinstance(noise, Refusal)
    assert noise.state == "ood"


def test_simulated_branches_obey_murray() -> None:
    """Radii to the third power add up at every branching, down to the smallest that is drawn."""
    segments = grow(np.random.default_rng(4), 512)
    starts: dict[tuple[float, float], list[Segment]] = {}
    for segment in segments:
        tip = segment.points_px[-1]
        children = [s for s in segments if np.hypot(*(s.points_px[0] - tip)) < 1.01 and s is not segment]
        if len(children) == 2:
            starts[tuple(tip)] = children
            total = sum(child.radius_px**3 for child in children)
            assert total == pytest.approx(segment.radius_px**3, rel=1e-6)
    assert len(starts) > 3
    assert min(s.radius_px for s in segments) >= SMALLEST_RADIUS_PX
