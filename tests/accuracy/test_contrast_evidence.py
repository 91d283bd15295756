"""Is it CEUS? Every kind of contrast loop is found, and nothing that is no contrast ever passes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processing.errors import UnfitCineError
from processing.intake import examine
from processing.simulation.flow_scenes import flow_scene
from processing.simulation.kinetics import LogNormal
from processing.simulation.other_scenes import DUAL_BMODE, GAIN_STEP, bmode_scene, doppler_scene
from processing.simulation.scene import Scene
from processing.simulation.scenes import SMALL_BOLUS, bolus_scene, replenishment_scene
from tests.accuracy.clips_without_contrast import FAMILIES, random_clip
from tests.datasets import bundled
from tests.dicom_node.mistaken_scenes import receiver_noise, swept_tissue

SCREEN, TIMING = SMALL_BOLUS.screen, SMALL_BOLUS.timing
CONTRAST = {
    "a bolus beside its B-mode twin": lambda: bolus_scene(SMALL_BOLUS, 2),
    "a bolus on a single panel": lambda: bolus_scene(replace(SMALL_BOLUS, screen=replace(SCREEN, layout="single")), 2),
    "a bolus nobody timed": lambda: bolus_scene(
        replace(SMALL_BOLUS, timing=replace(TIMING, time_zero="first frame", duration_s=30.0)), 2
    ),
    "destruction and replenishment": lambda: replenishment_scene(seed=1),
    "a late loop of a timed injection": lambda: bolus_scene(
        replace(SMALL_BOLUS, timing=replace(TIMING, start_s=30.0, duration_s=30.0)), 2
    ),
    "single bubbles of a timed injection": lambda: flow_scene(seed=1),
}
NO_CONTRAST = {
    "breathing and a gain step": lambda: bmode_scene(GAIN_STEP),
    "two B-mode images and a gain step": lambda: bmode_scene(DUAL_BMODE),
    "colour Doppler": doppler_scene,
}


@pytest.mark.parametrize("name", CONTRAST)
def test_contrast_is_found_in(name: str) -> None:
    scene: Scene = CONTRAST[name]()
    examination = examine(scene)
    assert examination.evidence.found, examination.evidence.reason
    assert examination.panels.contrast == scene.truth.contrast
    arrives = "bolus" in name
    assert ("no_pre_contrast" in {limit.code for limit in examination.limitations}) is not arrives


def test_a_loop_that_begins_in_the_wash_in_has_no_baseline() -> None:
    """12 s after the injection the parenchyma stands at a quarter of its peak: the arrival is missing."""
    timing = replace(TIMING, start_s=12.0, duration_s=30.0, time_zero="first frame")
    examination = examine(bolus_scene(replace(SMALL_BOLUS, timing=timing), 2))
    assert examination.evidence.found
    assert not examination.evidence.before_contrast
    assert "no_pre_contrast" in {limit.code for limit in examination.limitations}


def test_a_lesion_that_enhances_alone_is_contrast() -> None:
    """A fifth of the panel: the arterial phase of a loop that was stopped before the parenchyma filled."""
    dark = LogNormal.from_peak(peak_au=1e-5, time_to_peak_s=18.5, start_s=8.5, sigma=0.45)
    evidence = examine(bolus_scene(replace(SMALL_BOLUS, parenchyma=dark), 2)).evidence
    assert evidence.found, evidence.reason
    assert evidence.risen_fraction < 0.25


@pytest.mark.parametrize("name", NO_CONTRAST)
def test_no_contrast_is_found_in(name: str) -> None:
    evidence = examine(NO_CONTRAST[name](), agent_recorded=True).evidence
    assert not evidence.found
    assert "rose by" in evidence.reason  # the reason is measured


@pytest.mark.parametrize("seed", range(5))
def test_what_somebody_turns_up_is_no_contrast_though_its_speckle_is_always_new(seed: int) -> None:
    rise_db = 8.0 + 2.0 * seed
    for scene in (receiver_noise(rise_db, seed), swept_tissue(seed)):
        evidence = examine(scene, agent_recorded=seed % 2 == 1).evidence
        assert not evidence.found, evidence.reason
        assert "everywhere alike" in evidence.reason


def assert_not_contrast(seed: int) -> None:
    clip = random_clip(seed)
    for agent_recorded in (False, True):
        try:
            evidence = examine(clip, agent_recorded=agent_recorded).evidence
        except UnfitCineError:
            return
        assert not evidence.found, f"{clip.family}, seed {seed}, agent {agent_recorded}: {evidence.reason}"


@pytest.mark.parametrize("seed", range(8))
def test_a_clip_without_contrast_never_passes(seed: int) -> None:
    assert FAMILIES[seed % 4]
    assert_not_contrast(seed)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(8, 208))
def test_two_hundred_clips_without_contrast_never_pass(seed: int) -> None:
    assert_not_contrast(seed)


def test_the_bundled_real_cine_is_no_contrast_and_the_reason_is_measured() -> None:
    from dicom_node.cine_reader import open_cine

    examination = examine(open_cine(bundled("examples_ybr_color")))
    evidence = examination.evidence
    assert examination.panels.bmode is None  # one apical view, not two panels edge to edge
    assert not evidence.found
    # 30 frames at 33.3 ms; read off the loop by eye: an apical view, one and a half heart beats.
    assert "rose by 2." in evidence.reason
    assert "1.0 s" in evidence.reason
