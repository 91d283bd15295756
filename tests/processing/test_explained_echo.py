"""How much of the echo the localized bubbles explain, and what follows where it is too little."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from processing.bubble_loop import BubbleParameters, localize_loop, no_motion
from processing.bubbles import Localizations
from processing.cine import Cine, Spacing
from processing.explained_echo import explained_share
from processing.localize import Calibration, LocalizationParameters, calibrate, localize
from processing.roi import panel_roi
from processing.simulation.flow_scenes import FlowParameters, flow_scene
from processing.simulation.scene import Timing
from processing.suitability import SuitabilityParameters, separate_interval, too_dense
from processing.super_resolution import part_of_loop, super_resolve
from tests.scene_cines import cine_of_scene

SPACING = Spacing(0.1, 0.1)


def spots(positions: list[tuple[float, float]], amplitudes: list[float]) -> np.ndarray:
    """Forty frames of 80 x 80 px, Gaussian spots of sigma 2 px, white noise of 0.01."""
    z, x = np.mgrid[:80, :80].astype(float)
    image = sum(a * np.exp(-((z - p) ** 2 + (x - q) ** 2) / 8) for (p, q), a in zip(positions, amplitudes, strict=True))
    return (image + np.random.default_rng(1).normal(0, 0.01, (40, 80, 80))).astype(np.float32)


@pytest.fixture(scope="module")
def two() -> tuple[np.ndarray, Localizations, Calibration]:
    """A bubble of amplitude 1 and, far from it, one of .5: powers as 4 to 1."""
    frames = spots([(20.3, 20.6), (58.2, 55.7)], [1.0, 0.5])
    calibration = calibrate(frames, LocalizationParameters())
    return frames, localize(frames, SPACING, calibration, LocalizationParameters()), calibration


def test_bubbles_that_were_found_explain_their_echo(two: tuple[np.ndarray, Localizations, Calibration]) -> None:
    frames, found, calibration = two
    assert len(found) == 80
    np.testing.assert_allclose(explained_share(frames, found, 0, SPACING, calibration), 1.0, atol=0.001)


def test_a_bubble_that_was_not_found_is_missing_by_its_power(
    two: tuple[np.ndarray, Localizations, Calibration],
) -> None:
    frames, found, calibration = two
    bright = found.part(found.amplitude_au > 0.75)
    # 4 of 5 parts; what of the faint one lies below 4 noise, .08 of its amplitude, is .006 of its power. A mean of 40.
    assert explained_share(frames, bright, 0, SPACING, calibration).mean() == pytest.approx(0.8, abs=0.002)


def test_frames_count_from_where_the_block_begins(two: tuple[np.ndarray, Localizations, Calibration]) -> None:
    frames, found, calibration = two
    later = replace(found, frame=found.frame + 450)
    np.testing.assert_allclose(explained_share(frames, later, 450, SPACING, calibration), 1.0, atol=0.001)


def test_nothing_to_explain_is_explained(two: tuple[np.ndarray, Localizations, Calibration]) -> None:
    _, found, calibration = two
    quiet = np.random.default_rng(2).normal(0, 0.002, (40, 80, 80)).astype(np.float32)
    none = found.part(np.zeros(len(found), dtype=bool))
    np.testing.assert_array_equal(explained_share(quiet, none, 0, SPACING, calibration), 1.0)


def test_the_interval_ends_where_bubbles_crowd() -> None:
    covered, explained = np.full(300, 0.01), np.ones(300)
    explained[200:] = 0.3
    used = separate_interval(covered, explained, 20.0, SuitabilityParameters())
    assert used.start == 0
    assert used.stop == pytest.approx(200, abs=10)  # averaged over a second
    assert separate_interval(covered, np.full(300, np.nan), 20.0, SuitabilityParameters()) == slice(0, 300)


def test_a_refusal_names_what_was_too_much() -> None:
    rules = SuitabilityParameters()
    assert "cover 20 % of the ROI" in too_dense(np.full(9, 0.2), np.full(9, 0.4), rules).text
    assert "explain 30 % of the echo, 40 % are needed" in too_dense(np.full(9, 0.01), np.full(9, 0.3), rules).text


def crowded(bubbles_per_s: float) -> Cine:
    """The simulator's tree for four seconds, filled from the start."""
    parameters = FlowParameters(timing=Timing(60.0, 4.0, 40.0))
    scene = flow_scene(replace(parameters, flow=replace(parameters.flow, bubbles_per_s=bubbles_per_s)), seed=51)
    return cine_of_scene(scene)


def test_a_vessel_full_of_bubbles_is_refused_though_few_of_them_are_found() -> None:
    """Five times the bubbles of the tree that is resolved: an eighth of them is found, and these cover 2 % only."""
    cine = crowded(14.0)
    bubbles = localize_loop(cine, cine.valid, no_motion(len(cine.contrast)), BubbleParameters())
    assert np.nanmedian(bubbles.explained) < 0.4
    refused = super_resolve(cine, panel_roi(cine.valid))
    assert not refused.performed
    assert [limitation.code for limitation in refused.limitations] == ["sr_too_dense"]
    assert "of the echo" in refused.limitations[0].text


def test_a_loop_that_is_used_in_part_says_so() -> None:
    (said,) = part_of_loop(6.6, 30.0)
    assert "6.6 of 30.0 s" in said.text
    assert part_of_loop(29.0, 30.0) == ()


def test_dilute_bubbles_explain_nearly_all_of_it() -> None:
    cine = crowded(1.0)
    bubbles = localize_loop(cine, cine.valid, no_motion(len(cine.contrast)), BubbleParameters())
    assert np.nanmedian(bubbles.explained) > 0.95
