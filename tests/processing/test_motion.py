"""Motion against displacements that are known to a fraction of a pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from processing.cine import Cine
from processing.errors import InvalidValueError
from processing.local_motion import LocalMotion
from processing.motion import (
    Motion,
    MotionFollower,
    MotionParameters,
    apply_motion,
    candidate_frames,
    estimate_motion,
)
from tests.processing.moving_tissue import bent, bmode_levels, cine_of, moved, stretch_and_turn, tissue

SHAPE = (160, 192)


def breathing(frames: int, amplitude_px: float) -> NDArray[np.float64]:
    phase = (0.5 * (1.0 - np.cos(2.0 * np.pi * np.arange(frames) / 20.0))) ** 2
    return np.stack([amplitude_px * phase, 0.3 * amplitude_px * phase], axis=1)


def breathing_cine(displacement: NDArray[np.float64], lost: tuple[int, ...], seed: int = 0) -> Cine:
    """Both panels show the same moving tissue; `lost` frames show another slice."""
    rng = np.random.default_rng(seed)
    slice_, other = tissue(SHAPE, rng), tissue(SHAPE, rng)
    fields = [moved(other if k in lost else slice_, *d) for k, d in enumerate(displacement)]
    bmode = np.stack([bmode_levels(field) for field in fields])
    contrast = np.stack([np.abs(field) ** 2 for field in fields]).astype(np.float32)
    return cine_of(contrast, bmode)


def relative(motion_px: NDArray[np.float32], truth: NDArray[np.float64], reference: int) -> NDArray[np.float64]:
    return motion_px - (truth - truth[reference])


def test_breathing_is_followed_to_a_tenth_of_a_pixel() -> None:
    truth = breathing(40, 25.0)
    motion = estimate_motion(breathing_cine(truth, ()))
    error = relative(motion.displacement_px, truth, motion.reference_frame)
    assert motion.estimated_on == "B-mode"
    assert not motion.rejected.any()
    # Half resolution, parabola through the peak: an eighth of a reduced pixel at worst, over 25 px of a panel of 160.
    assert np.abs(error).max() < 0.25
    assert np.sqrt((error**2).mean()) < 0.1


def test_frames_that_left_the_plane_are_rejected_and_no_others() -> None:
    lost = (5, 17, 18, 33)
    motion = estimate_motion(breathing_cine(breathing(40, 12.0), lost))
    assert tuple(np.flatnonzero(motion.rejected)) == lost
    assert [limitation.code for limitation in motion.limitations] == ["out_of_plane_frames"]


def test_the_most_frequent_position_is_the_reference() -> None:
    truth = np.zeros((32, 2))
    truth[::4, 0] = 15.0 + np.arange(8)
    motion = estimate_motion(breathing_cine(truth, ()), MotionParameters(candidates=32))
    assert truth[motion.reference_frame, 0] == 0.0


def test_the_corrected_cine_stands_still_and_shows_only_what_was_seen() -> None:
    truth = np.rint(breathing(20, 12.0))
    cine = breathing_cine(truth, ())
    motion = estimate_motion(cine)
    still = apply_motion(cine, motion)
    spread = still.contrast[:, still.valid].std(axis=0) / still.contrast[:, still.valid].mean(axis=0)
    # Whole-pixel motion undone by whole pixels: the same echoes, to rounding.
    assert spread.max() < 1e-4
    assert 0.6 < still.valid.mean() < 1.0
    assert still.bmode is not None
    assert motion.p95_mm == pytest.approx(motion.p95_px * 0.2)


def test_a_cine_can_be_corrected_in_place() -> None:
    truth = np.rint(breathing(20, 12.0))
    cine = breathing_cine(truth, ())
    motion = estimate_motion(cine)
    buffer = cine.contrast.copy()
    in_place = apply_motion(
        Cine(buffer, cine.valid, cine.saturated, 1e-6, cine.frame_times_s, cine.time_zero, cine.spacing_mm, (0, 0)),
        motion,
        out=buffer,
    )
    np.testing.assert_array_equal(in_place.contrast, apply_motion(cine, motion).contrast)


def test_without_bmode_the_contrast_panel_is_followed_through_enhancement() -> None:
    """The level rises by 20 dB while the tissue moves: the rise must not be taken for motion."""
    truth = breathing(40, 10.0)
    cine = breathing_cine(truth, ())
    gain = 10.0 ** (2.0 * np.clip((np.arange(40) - 10.0) / 15.0, 0.0, 1.0))
    brightened = cine_of((cine.contrast * 1e-3 * gain[:, None, None]).astype(np.float32), None)
    motion = estimate_motion(brightened)
    assert motion.estimated_on == "contrast"
    assert np.abs(relative(motion.displacement_px, truth, motion.reference_frame)).max() < 0.3
    assert not motion.rejected.any()


def test_a_dark_panel_does_not_move() -> None:
    motion = estimate_motion(cine_of(np.full((6, 40, 48), 1e-6, np.float32), None))
    assert not motion.displacement_px.any()
    assert not motion.rejected.any()
    assert np.isnan(motion.correlation).all()


def test_phase_selection_keeps_the_resting_phase_and_states_its_share() -> None:
    truth = breathing(60, 20.0)
    motion = estimate_motion(breathing_cine(truth, ()), MotionParameters(phase_selected=True))
    kept = truth[~motion.rejected, 0]
    assert motion.phase_kept_fraction == pytest.approx(1.0 - motion.rejected.mean())
    # cos-squared breathing rests at exhalation: half of the time within a fifth of the amplitude.
    assert kept.max() < 0.35 * 20.0
    assert 0.3 < motion.phase_kept_fraction < 0.7


def test_masked_furniture_does_not_hold_the_tissue() -> None:
    """A bright legend that stays on the screen is outside `valid` and must not vote for standing still."""
    truth = breathing(20, 10.0)
    cine = breathing_cine(truth, ())
    assert cine.bmode is not None
    bmode, valid = cine.bmode.copy(), cine.valid.copy()
    bmode[:, :30, :60] = 255 * (np.indices((30, 60)).sum(axis=0) // 4 % 2)
    valid[:30, :60] = False
    masked = Cine(
        cine.contrast, valid, cine.saturated, 1e-6, cine.frame_times_s, cine.time_zero, cine.spacing_mm, (0, 0), bmode
    )
    motion = estimate_motion(masked)
    assert np.abs(relative(motion.displacement_px, truth, motion.reference_frame)).max() < 0.3


def bending_cine(phase: NDArray[np.float64], stretch: float = 0.05, turn: float = 0.03, seed: int = 0) -> Cine:
    """Tissue that moves 8 px down and is stretched and turned in step; both panels show it."""
    slice_ = tissue(SHAPE, np.random.default_rng(seed))
    full = stretch_and_turn(SHAPE, stretch, turn)
    fields = [bent(slice_, p * (full + np.array([8.0, 0.0])[:, None, None])) for p in phase]
    contrast = np.stack([np.abs(field) ** 2 for field in fields]).astype(np.float32)
    return cine_of(contrast, np.stack([bmode_levels(field) for field in fields]))


def test_tissue_that_bends_is_followed_in_its_parts() -> None:
    phase = (0.5 * (1.0 - np.cos(2.0 * np.pi * np.arange(30) / 15.0))) ** 2
    motion = estimate_motion(bending_cine(phase))
    assert motion.local is not None
    assert [limitation.code for limitation in motion.limitations] == ["local_motion"]
    full = stretch_and_turn(SHAPE, 0.05, 0.03) + np.array([8.0, 0.0])[:, None, None]
    worst = []
    for frame in range(phase.size):
        z, x = motion.local.field_px(frame)
        found = motion.displacement_px[frame][:, None, None] + np.stack([z, x])
        # The truth is told for points of the moved picture; where they come from is one step of iteration away.
        at = np.indices(SHAPE) + found
        truth = np.stack([ndimage.map_coordinates(phase[frame] * f, at, order=1, mode="nearest") for f in full])
        error = np.hypot(*(found - truth + phase[motion.reference_frame] * full))
        worst.append(np.percentile(error[16:-16, 16:-16], 95.0))
    # Stretch and turn move the corners by 5 px; what is left stays below the pixel to which pictures are moved.
    assert np.percentile(worst, 90.0) < 0.7
    still = apply_motion(bending_cine(phase), motion)
    rigid = apply_motion(bending_cine(phase), replace(motion, local=None))
    spread = [
        float(np.median(cine.contrast[:, cine.valid].std(axis=0) / cine.contrast[:, cine.valid].mean(axis=0)))
        for cine in (still, rigid)
    ]
    # Whole pixels leave a quarter of a pixel of a speckle that is 2 px wide.
    assert spread[0] < 0.6 * spread[1]


def test_tissue_that_moves_as_one_is_not_followed_in_parts() -> None:
    """Noise of the windows' shifts alone must not be followed, whatever the decorrelation."""
    rng = np.random.default_rng(4)
    cine = breathing_cine(breathing(30, 20.0), ())
    assert cine.bmode is not None
    noisy = np.clip(cine.bmode + rng.normal(0.0, 25.0, cine.bmode.shape), 0, 255).astype(np.uint8)
    for bmode in (cine.bmode, noisy):
        motion = estimate_motion(cine_of(cine.contrast.copy(), bmode))
        assert motion.local is None
        assert motion.limitations == ()


def test_a_cine_followed_block_by_block_moves_as_the_whole_does() -> None:
    cine = breathing_cine(breathing(40, 12.0), (5, 17))
    assert cine.bmode is not None
    follower = MotionFollower({index: cine.bmode[index] for index in candidate_frames(40)}, cine.valid)
    for first in range(0, 40, 16):
        follower.take(cine.bmode[first : first + 16])
    online, whole = follower.motion(cine), estimate_motion(cine)
    np.testing.assert_array_equal(online.displacement_px, whole.displacement_px)
    np.testing.assert_array_equal(online.rejected, whole.rejected)
    assert online.reference_frame == whole.reference_frame


def test_a_cine_of_which_frames_were_missed_has_no_motion() -> None:
    cine = breathing_cine(breathing(10, 12.0), ())
    assert cine.bmode is not None
    follower = MotionFollower({index: cine.bmode[index] for index in candidate_frames(10)}, cine.valid)
    follower.take(cine.bmode[:9])
    with pytest.raises(InvalidValueError):
        follower.motion(cine)


def motion_of(rejected: list[bool], displacement: list[tuple[float, float]], local: LocalMotion | None) -> Motion:
    frames = len(rejected)
    return Motion(
        displacement_px=np.array(displacement, np.float32),
        rejected=np.array(rejected),
        correlation=np.ones(frames, np.float32),
        reference_frame=0,
        estimated_on="B-mode",
        p95_px=0.0,
        p95_mm=None,
        phase_kept_fraction=None,
        limitations=(),
        local=local,
    )


def test_no_tissue_lies_farther_away_than_the_motion_says() -> None:
    random = np.random.default_rng(3)
    coefficients = random.normal(0.0, 1.0, (4, 2, 6)).astype(np.float32)
    local = LocalMotion(coefficients, (40, 30), 0.5, 0.7, 2.0)
    displacement = [(float(z), float(x)) for z, x in random.normal(0.0, 2.0, (4, 2))]
    motion = motion_of([False] * 4, displacement, local)
    for frame, (dz, dx) in enumerate(displacement):
        field_z, field_x = local.field_px(frame)
        assert np.hypot(dz + field_z, dx + field_x).max() <= motion.reach_px[frame]


def test_frames_that_bend_by_less_than_a_pixel_are_still_whatever_the_gate_keeps() -> None:
    barely = np.zeros((3, 2, 6), np.float32)
    barely[1, 0, 1] = 0.3
    local = LocalMotion(barely, (40, 30), 0.5, 0.7, 0.3)
    away = [(0.0, 0.0), (0.4, 0.0), (3.0, 0.0)]
    assert motion_of([False, False, False], away, local).still.tolist() == [True, True, False]
    assert motion_of([True, True, False], away, local).still.tolist() == [True, True, False], "where outlines lie"
    far = [(2.0, 0.0), (0.0, 5.0), (3.0, 0.0)]
    assert motion_of([False, True, False], far, None).still.tolist() == [True, False, False], "as near as any"
