"""Gain steps, flashes, saturation and clipping are found in a loop where they were put, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from processing.cine import DisplayProfile
from processing.intake import Intake, examine, take_cine
from processing.simulation.flow_scenes import VESSELS, flow_scene
from processing.simulation.scene import Scene, Timing
from processing.simulation.scenes import SMALL_BOLUS, TINY_BOLUS, bolus_scene, replenishment_scene

DECLARED = DisplayProfile(name="simulated", dynamic_range_db=50.0)


def taken(scene: Scene) -> Intake:
    return take_cine(scene, examine(scene, DECLARED))


def codes(intake: Intake) -> set[str]:
    return {limitation.code for limitation in intake.limitations}


def test_a_calm_bolus_has_no_gain_step_and_no_flash() -> None:
    intake = taken(bolus_scene(TINY_BOLUS, seed=4))
    assert not codes(intake) & {"gain_step", "flash", "saturated"}


def test_a_turned_knob_is_found_with_its_size_and_time() -> None:
    display = replace(SMALL_BOLUS.display, gain_step_db=3.0, gain_step_at_s=26.0)
    scene = bolus_scene(replace(SMALL_BOLUS, display=display), seed=4)
    intake = taken(scene)
    assert intake.quality.gain_step_db is not None
    # Speckle of a panel mean is below 0.1 dB; wash-out takes away up to 0.5 dB within the ten frames compared.
    assert intake.quality.gain_step_db == pytest.approx(3.0, abs=0.7)
    assert intake.quality.gain_step_frame is not None
    assert scene.description.frame_times_s[intake.quality.gain_step_frame] == pytest.approx(26.0, abs=0.11)
    (said,) = [limitation for limitation in intake.limitations if limitation.code == "gain_step"]
    # One loop's level cannot tell the receiver's gain from the transmitted power: both are named.
    assert "gain or the mechanical index" in said.text
    assert "PE" in said.affects


def test_a_knob_that_is_turned_before_contrast_comes_is_found() -> None:
    """Noise alone stands in the panel then: it is lifted as everything is."""
    display = replace(SMALL_BOLUS.display, gain_step_db=3.0, gain_step_at_s=-1.0)
    scene = bolus_scene(replace(SMALL_BOLUS, display=display, timing=Timing(-5.0, 20.0, 10.0)), seed=4)
    assert taken(scene).quality.gain_step_db == pytest.approx(3.0, abs=0.7)


def test_the_first_bubble_in_an_empty_panel_is_no_turned_knob() -> None:
    """It comes in at once and lifts the mean of the panel by 3.5 dB."""
    scene = flow_scene(replace(VESSELS, timing=Timing(-3.0, 6.0, 30.0)), seed=1)
    assert "gain_step" not in codes(taken(scene))


def test_the_flash_of_a_replenishment_is_found() -> None:
    scene = replenishment_scene(seed=3)
    intake = taken(scene)
    assert intake.quality.flash_frames
    times_s = scene.description.frame_times_s[list(intake.quality.flash_frames)]
    # The flash starts 3 s after the first frame and is drawn for a few frames.
    first_s = float(scene.description.frame_times_s[0])
    assert ((times_s - first_s > 2.8) & (times_s - first_s < 4.0)).all()
    assert "flash" in codes(intake)


def test_too_much_gain_saturates_and_is_said() -> None:
    display = replace(SMALL_BOLUS.display, gain_db=14.0)
    timing = Timing(-5.0, 40.0, 4.0)
    intake = taken(bolus_scene(replace(SMALL_BOLUS, display=display, timing=timing), seed=4))
    assert intake.quality.saturated_fraction > 0.01
    (said,) = [limitation for limitation in intake.limitations if limitation.code == "saturated"]
    assert said.severity == "degraded"
    assert "PE" in said.affects
    assert intake.cine.saturated.max() > 0
