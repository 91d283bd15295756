"""The flow phantom: bubbles are drawn where the truth says, and run as fast as it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from processing.cine import Spacing
from processing.errors import InvalidValueError
from processing.simulation.breathing import Breathing
from processing.simulation.flow_phantom import SMALL_TREE, Branch, BubbleFlow, FlowPhantom
from processing.simulation.flow_scenes import FlowParameters, flow_scene
from processing.simulation.scene import Timing
from processing.simulation.screen import Screen

SPACING = Spacing(0.15, 0.15)
STRAIGHT = (Branch(((1.0, 2.0), (20.0, 16.0)), axial_speed_mm_per_s=5.0, radius_mm=0.3),)


def phantom(tree: tuple[Branch, ...] = SMALL_TREE, **flow: float) -> FlowPhantom:
    return FlowPhantom(tree, replace(BubbleFlow(), **flow), (200, 140), SPACING, np.arange(300) / 40.0, seed=3)  # type: ignore[arg-type]


def test_a_bubble_is_the_brightest_where_the_truth_puts_it() -> None:
    scene = phantom(STRAIGHT, bubbles_per_s=0.5)
    truth = scene.truth
    alone = [f for f in np.unique(truth.frame) if (truth.frame == f).sum() == 1]
    assert len(alone) > 20
    z, x = np.indices((200, 140))
    for frame in alone[::10]:
        row = int(np.flatnonzero(truth.frame == frame)[0])
        power = scene.clean_power(int(frame)).astype(float)
        centroid = [(power * axis).sum() / power.sum() * 0.15 for axis in (z, x)]
        # Float32 power on a grid of 0.6 spot widths; bubbles at the border of the panel are cut.
        if 1.5 < truth.z_mm[row] < 28 and 1.5 < truth.x_mm[row] < 19:
            assert centroid == pytest.approx([truth.z_mm[row], truth.x_mm[row]], abs=1e-3)


def test_bubbles_run_as_fast_as_the_truth_says() -> None:
    truth = phantom().truth
    for bubble in np.unique(truth.bubble)[:40]:
        mine = truth.bubble == bubble
        frames = truth.frame[mine]
        moved = np.hypot(np.diff(truth.z_mm[mine]), np.diff(truth.x_mm[mine]))
        speed = 0.5 * (truth.speed_mm_per_s[mine][:-1] + truth.speed_mm_per_s[mine][1:])
        consecutive = np.diff(frames) == 1
        # Within a bifurcation the speed changes between two frames: hence the median, and 1 % for the curves.
        if consecutive.sum() > 5:
            assert np.median(moved[consecutive] * 40 / speed[consecutive]) == pytest.approx(1.0, abs=0.01)


def test_a_straight_vessel_shows_the_parabolic_profile() -> None:
    truth = phantom(STRAIGHT, bubbles_per_s=20.0).truth
    start, direction = np.array([1.0, 2.0]), np.array([19.0, 14.0]) / np.hypot(19.0, 14.0)
    apart = np.stack([truth.z_mm, truth.x_mm], axis=-1) - start
    offset_mm = apart[:, 0] * direction[1] - apart[:, 1] * direction[0]
    expected = 5.0 * (1 - (offset_mm / 0.3) ** 2)
    # The steps of the sampled streamline (0.02 mm) are its only approximation.
    np.testing.assert_allclose(truth.speed_mm_per_s, expected, rtol=0.01)


def test_the_tree_is_full_from_the_first_frame_on() -> None:
    truth = phantom(bubbles_per_s=20.0).truth
    count = np.bincount(truth.frame, minlength=300)
    # Bubbles come at random: a Poisson count around a constant mean.
    assert count[:100].mean() == pytest.approx(count[200:].mean(), rel=0.3)
    assert count.min() > 10


def test_no_bubble_is_there_before_the_contrast_arrives() -> None:
    truth = phantom(bubbles_per_s=20.0, arrive_at_s=2.0).truth
    assert truth.frame.min() >= 80
    first = truth.frame < 90
    # They enter at the root, 1 mm deep, and run at most 9 mm/s.
    assert truth.z_mm[first].max() < 1.0 + 9.0 * 0.25


def test_noise_has_its_mean_power_and_no_bubble_is_a_value() -> None:
    empty = phantom(bubbles_per_s=0.0, noise_au=1e-3)
    assert empty.truth.frame.size == 0
    # 28,000 exponential samples: standard error 0.6 %.
    assert empty.power(5).mean() == pytest.approx(1e-3, rel=0.03)
    assert (empty.clean_power(5) == 0).all()


def test_the_same_seed_lets_the_same_bubbles_run() -> None:
    one, two = phantom(), phantom()
    np.testing.assert_array_equal(one.truth.z_mm, two.truth.z_mm)
    np.testing.assert_array_equal(one.power(17), two.power(17))


def test_breathing_moves_the_picture_and_not_the_truth() -> None:
    calm = FlowParameters(screen=Screen(240, 320, depth_mm=30.0, tint="grey"), timing=Timing(60.0, 3.0, 40.0))
    still, moved = (flow_scene(replace(calm, breathing=b)) for b in (None, Breathing(1.5, 0.0, 4.0)))
    assert still.truth.flow is not None
    assert moved.truth.flow is not None
    np.testing.assert_array_equal(still.truth.flow.z_mm, moved.truth.flow.z_mm)
    assert isinstance(still.contrast, FlowPhantom)
    assert isinstance(moved.contrast, FlowPhantom)
    pixels = moved.truth.displacement_mm[80, 0] / moved.truth.spacing_mm.z_mm
    whole = round(pixels)
    frame = int(np.abs(moved.truth.displacement_mm[:, 0] / moved.truth.spacing_mm.z_mm - whole).argmin())
    before, after = still.contrast.clean_power(frame), moved.contrast.clean_power(frame)
    agree = [np.corrcoef(before[:150].ravel(), after[k : 150 + k].ravel())[0, 1] for k in range(whole + 5)]
    assert int(np.argmax(agree)) == whole > 5


def test_a_phantom_without_vessels_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="vessel"):
        phantom(())
