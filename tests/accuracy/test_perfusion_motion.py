"""Breathing of 8 mm with a tenth of the frames out of plane, and tissue that bends: the error without correction, and
what correction leaves of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from processing.cine import Cine, Spacing, TimeZero
from processing.comparison import amplitude_ratios
from processing.motion import apply_motion, estimate_motion
from processing.perfusion import fit_bolus
from processing.roi import Roi
from processing.tic import time_intensity_curve
from tests.accuracy.bolus_scenes import TrueCurve, density, frame_times, speckled
from tests.processing.moving_tissue import bent, bmode_levels, moved, stretch_and_turn, tissue

SHAPE, SPACING_MM = (176, 160), 0.25
AMPLITUDE_MM, PERIOD_S = 8.0, 4.3
LESION = TrueCurve("log-normal", 3.0, 4.0, density("log-normal", 8.0, 0.5), 0.0)
LIVER = TrueCurve("log-normal", 2.0, 6.0, density("log-normal", 13.0, 0.6), 0.0)
Z, X = np.indices(SHAPE)
NAMES = ("TTP", "RT", "FT", "mTT", "PE ratio", "AUC ratio")


def breathing_px(time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rests at exhalation; downwards with a third of it sideways."""
    depth = AMPLITUDE_MM / SPACING_MM * np.sin(np.pi * time_s / PERIOD_S) ** 4
    return np.stack([depth, depth / 3.0], axis=1)


def scene(seed: int, rate_hz: float = 5.0, duration_s: float = 60.0) -> tuple[Cine, NDArray[np.bool_], tuple[Roi, Roi]]:
    """A round lesion of 20 mm beside liver; every tenth frame shows another slice without the lesion."""
    rng = np.random.default_rng(seed)
    time_s = frame_times(rate_hz, duration_s)
    shift = breathing_px(time_s)
    lost = np.zeros(time_s.size, np.bool_)
    lost[rng.choice(time_s.size, time_s.size // 10, replace=False)] = True
    centre, radius = (70, 55), 40.0
    inside = (np.hypot(Z - centre[0], X - centre[1]) < radius).astype(np.float32)
    slice_, other = tissue(SHAPE, rng), tissue(SHAPE, rng)
    one, two = LESION.power(time_s), LIVER.power(time_s)
    power = np.empty((time_s.size, *SHAPE), np.float32)
    bmode = np.empty((time_s.size, *SHAPE), np.uint8)
    for k, displacement in enumerate(shift):
        weight = 0.0 if lost[k] else ndimage.shift(inside, displacement, order=1)
        power[k] = (1.6 if lost[k] else 1.0) * (weight * one[k] + (1.0 - weight) * two[k]) + 3e-4
        bmode[k] = bmode_levels(moved(other if lost[k] else slice_, *displacement))
    cine = Cine(
        contrast=speckled(power, rng),
        valid=np.ones(SHAPE, np.bool_),
        saturated=np.zeros(SHAPE, np.uint32),
        floor_au=1e-5,
        frame_times_s=time_s,
        time_zero=TimeZero("bolus start"),
        spacing_mm=Spacing(SPACING_MM, SPACING_MM),
        origin_px=(0, 0),
        bmode=bmode,
    )
    lesion = np.hypot(Z - centre[0], X - centre[1]) < radius - 4
    reference = (np.abs(Z - centre[0]) < 35) & (centre[1] + radius + 10 < X) & (X < 140)
    return cine, lost, (Roi(lesion, "lesion", "file"), Roi(reference, "reference", "file"))


def errors_percent(cine: Cine, rejected: NDArray[np.bool_] | None, rois: tuple[Roi, Roi]) -> dict[str, float]:
    lesion, liver = (fit_bolus(time_intensity_curve(cine, roi, rejected)) for roi in rois)
    one, two = LESION.truth(), LIVER.truth()
    found = lesion.metrics
    assert found.time_to_peak_s is not None
    assert found.rise_time_s is not None
    assert found.fall_time_s is not None
    assert found.mean_transit_time_s is not None
    ratios = amplitude_ratios(lesion, liver)
    measured = {
        "TTP": found.time_to_peak_s.value / one["TTP"],
        "RT": found.rise_time_s.value / one["RT"],
        "FT": found.fall_time_s.value / one["FT"],
        "mTT": found.mean_transit_time_s.value / one["mTT"],
        "PE ratio": ratios["PE"].value / (one["PE"] / two["PE"]),
        "AUC ratio": ratios["AUC"].value / (one["AUC"] / two["AUC"]),
    }
    return {name: 100.0 * (value - 1.0) for name, value in measured.items()}


@pytest.mark.parametrize("seeds", [2, pytest.param(20, marks=pytest.mark.full)])
def test_breathing_and_lost_frames_leave_timing_and_ratios(seeds: int) -> None:
    corrected, uncorrected = [], []
    for seed in range(seeds):
        cine, lost, rois = scene(seed)
        motion = estimate_motion(cine)
        # Which frames left the plane is known exactly.
        assert np.array_equal(motion.rejected, lost)
        # ROIs are drawn on the reference frame, which lies where exhalation rests.
        still = apply_motion(cine, motion)
        corrected.append(errors_percent(still, motion.rejected, rois))
        uncorrected.append(errors_percent(cine, None, rois))
    print()
    for name in NAMES:
        with_, without = (np.percentile(np.abs([e[name] for e in found]), 95) for found in (corrected, uncorrected))
        print(f"  breathing 8 mm, 10 % lost: {name:10s} p95 |error| {with_:5.1f} % corrected, {without:5.1f} % not")
        # Issue: timing 4 %, ratios 6 %.
        assert with_ <= (6.0 if "ratio" in name else 4.0), name


def bending_scene(seed: int, rate_hz: float = 2.5) -> tuple[Cine, Roi]:
    """A lesion of 10 mm near a corner; each breath moves all by 4 mm, stretches depth by 6 % and turns by 3 degrees.

    The contrast panel has no speckle, so that whatever its curve does besides the bolus is motion."""
    rng = np.random.default_rng(seed)
    time_s = frame_times(rate_hz, 60.0)
    full = stretch_and_turn(SHAPE, 0.06, -0.05) + np.array([16.0, 0.0])[:, None, None]
    centre, radius = (45, 35), 20.0
    inside = (np.hypot(Z - centre[0], X - centre[1]) < radius).astype(np.float32)
    slice_ = tissue(SHAPE, rng)
    power = np.empty((time_s.size, *SHAPE), np.float32)
    bmode = np.empty((time_s.size, *SHAPE), np.uint8)
    one, two = LESION.power(time_s), LIVER.power(time_s)
    for k, phase in enumerate(np.sin(np.pi * time_s / PERIOD_S) ** 4):
        weight = ndimage.map_coordinates(inside, np.indices(SHAPE) - phase * full, order=1)
        power[k] = weight * one[k] + (1.0 - weight) * two[k] + 3e-4
        bmode[k] = bmode_levels(bent(slice_, phase * full))
    cine = replace(scene(seed, rate_hz, 1.0)[0], contrast=power, frame_times_s=time_s, bmode=bmode)
    return cine, Roi(np.hypot(Z - centre[0], X - centre[1]) < radius - 1, "lesion", "file")


def imprint_percent(cine: Cine, roi: Roi) -> float:
    """Rms deviation of the ROI's curve from the lesion's own, while it is bright: what motion prints on it."""
    true = LESION.power(cine.frame_times_s) + 3e-4
    bright = true > 0.3 * true.max()
    deviation = time_intensity_curve(cine, roi).power_au[bright] / true[bright] - 1.0
    return 100.0 * float(np.sqrt((deviation**2).mean()))


@pytest.mark.parametrize("seeds", [1, pytest.param(8, marks=pytest.mark.full)])
def test_a_lesion_that_bending_tissue_carries_is_followed_better_in_parts(seeds: int) -> None:
    imprints = []
    for seed in range(seeds):
        cine, roi = bending_scene(seed)
        motion = estimate_motion(cine)
        assert motion.local is not None
        assert motion.local.local_correlation > motion.local.rigid_correlation + 0.05
        rigid = apply_motion(cine, replace(motion, local=None))
        imprints.append([imprint_percent(c, roi) for c in (apply_motion(cine, motion), rigid, cine)])
    in_parts, as_one, not_at_all = np.max(imprints, axis=0)
    said = f"{in_parts:.1f} % in parts, {as_one:.1f} % rigid, {not_at_all:.1f} % not at all"
    print(f"\n  bending 6 %, 3 degrees: the curve is off by {said}")
    # Half a pixel of rounding at the edge of a lesion of 20 px leaves about a percent.
    assert in_parts < 0.5 * as_one
    assert as_one < not_at_all
