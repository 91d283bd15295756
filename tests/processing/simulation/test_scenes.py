"""Whole scenes: the frames show what the truth says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from processing.cine import FRAMES_PER_BLOCK, FrameSource
from processing.errors import InvalidValueError
from processing.simulation.breathing import Breathing
from processing.simulation.contrast_field import ContrastPhysics
from processing.simulation.display import Display, Tint, tint_table
from processing.simulation.kinetics import LogNormal, WithRecirculation
from processing.simulation.other_scenes import (
    DOPPLER,
    DUAL_BMODE,
    GAIN_STEP,
    bmode_scene,
    doppler_scene,
    elastography_scene,
    microflow_scene,
)
from processing.simulation.scene import Scene, Timing
from processing.simulation.scenes import (
    LESION,
    PARENCHYMA,
    SMALL_BOLUS,
    TINY_BOLUS,
    bolus_scene,
    replenishment_scene,
)
from processing.simulation.screen import Screen

TINTS: tuple[Tint, ...] = ("grey", "copper", "hot", "amber", "blue")


def levels_of(scene: Scene, frames: range) -> np.ndarray:
    """The levels behind the tinted contrast panel, found by their colour."""
    assert scene.truth.contrast is not None
    table = tint_table(scene.screen.tint).astype(np.int64) @ (1 << 16, 1 << 8, 1)
    order = np.argsort(table, kind="stable")
    shown = scene.sample(frames)[(slice(None), *scene.truth.contrast.slices)].astype(np.int64) @ (1 << 16, 1 << 8, 1)
    return order[np.searchsorted(table[order], shown)].astype(np.uint8)


@pytest.mark.parametrize("dynamic_range_db", [40.0, 50.0, 70.0])
def test_a_displayed_level_gives_its_power_back(dynamic_range_db: float) -> None:
    display = Display(dynamic_range_db, gain_db=3.0, gain_step_db=-5.0, gain_step_at_s=10.0)
    power = np.geomspace(10 ** (-(dynamic_range_db - 1) / 10), 0.4, 1000).astype(np.float32)
    for time_s in (0.0, 10.0):
        levels = display.levels(power, time_s)
        inside = (levels > 0) & (levels < 255)
        assert inside.mean() > 0.8
        error_db = 10 * np.log10(display.power(levels[inside], time_s) / power[inside])
        # Half a level, and rounding of float32.
        assert np.abs(error_db).max() <= 0.5 * dynamic_range_db / 255 + 1e-3
    assert display.levels(np.array([0.0, 1e9], dtype=np.float32)).tolist() == [0, 255]


@pytest.mark.parametrize("tint", TINTS)
def test_the_luma_of_every_tint_rises_with_the_level(tint: Tint) -> None:
    luma = tint_table(tint).astype(float) @ (0.299, 0.587, 0.114)
    assert (np.diff(luma) >= 0).all()
    assert luma[-1] - luma[0] > 150


def test_the_panel_mean_of_the_drawn_power_follows_the_truth() -> None:
    scene = bolus_scene(SMALL_BOLUS, seed=4)
    truth = scene.truth.panel
    assert truth is not None
    drawn = np.array([scene.linear(f).mean() for f in range(0, 600, 5)])
    # About 1,700 speckles, weighted by a bright lesion: 2.5 % a frame; 120 frames average to 0.3 %.
    ratio = drawn / truth.power_au[::5]
    assert ratio.std() < 0.04
    assert ratio.mean() == pytest.approx(1.0, abs=0.012)


@pytest.mark.parametrize("label", ["panel", "lesion", "reference"])
def test_levels_on_the_screen_linearise_to_the_truth(label: str) -> None:
    scene = bolus_scene(SMALL_BOLUS, seed=2)
    truth = getattr(scene.truth, label)
    mask = scene.truth.valid if label == "panel" else getattr(scene.truth, f"{label}_mask")
    peak = int(np.abs(truth.time_s - truth.time_to_peak_s).argmin())
    frames = range(peak - 10, peak + 11)
    levels = levels_of(scene, frames)[:, mask]
    measured = scene.display.power(levels).mean()
    # Rounding to 8 bit biases by 0.02 %, saturation by less than 0.1 %: what remains are 21 frames of speckle,
    # of which some 10 are independent, with 200 speckles in the lesion: 2.2 %.
    assert measured == pytest.approx(truth.power_au[frames.start : frames.stop].mean(), rel=0.05)
    assert (levels == 255).mean() < 1e-3


def test_the_truth_of_a_curve_counts_from_the_time_zero_of_its_cine() -> None:
    injected = bolus_scene(TINY_BOLUS)
    unknown = bolus_scene(replace(TINY_BOLUS, timing=replace(TINY_BOLUS.timing, time_zero="first frame")))
    assert injected.truth.lesion is not None
    assert unknown.truth.lesion is not None
    # The lesion's soft edge holds some parenchyma, which peaks later.
    assert injected.truth.lesion.time_to_peak_s == pytest.approx(15.0, abs=0.05)
    assert unknown.truth.lesion.time_to_peak_s == pytest.approx(18.0, abs=0.05)
    assert injected.description.time_zero.offset_s == injected.description.frame_times_s[0] == -3.0
    assert unknown.description.frame_times_s[0] == 0.0
    np.testing.assert_array_equal(injected.frame(40)[20:], unknown.frame(40)[20:])


def test_the_lesion_peaks_as_its_kinetics_say_and_is_brighter_than_the_reference() -> None:
    truth = bolus_scene(SMALL_BOLUS).truth
    assert truth.lesion is not None
    assert truth.reference is not None
    assert truth.lesion.bolus is not None
    assert truth.lesion.bolus.fall_time_s == LESION.truth().fall_time_s
    # Parenchyma adds less than 1 % at the edge of the lesion.
    assert truth.lesion.bolus.peak_enhancement_au == pytest.approx(truth.lesion.peak_enhancement_au, rel=0.005)
    assert truth.lesion.bolus.time_to_peak_s == pytest.approx(truth.lesion.time_to_peak_s, abs=0.02)
    # The vascular volume varies by 15 % over centimetres: the mean of the lesion by less than that.
    assert truth.lesion.peak_enhancement_au == pytest.approx(LESION.peak_au, rel=0.15)
    assert truth.lesion.peak_enhancement_au > 2 * truth.reference.peak_enhancement_au
    assert truth.lesion_mask is not None
    assert truth.reference_mask is not None
    assert not (truth.lesion_mask & truth.reference_mask).any()


def test_attenuation_darkens_deep_tissue_and_its_truth() -> None:
    physics = ContrastPhysics(attenuation_db_per_cm=1.0)
    scene = bolus_scene(replace(SMALL_BOLUS, physics=physics, breathing=None))
    assert scene.truth.panel is not None
    frames = range(200, 300, 10)
    power = np.mean([scene.linear(f) for f in frames], axis=0)
    assert power.mean() == pytest.approx(scene.truth.panel.power_au[200:300:10].mean(), rel=0.05)
    assert power[-40:].mean() < 0.4 * power[:40].mean()


def test_samples_and_blocks_show_the_same_frames() -> None:
    scene = bolus_scene(replace(TINY_BOLUS, breathing=Breathing(out_of_plane=(70,))))
    source: FrameSource = scene
    blocks = list(source.blocks())
    assert [b.first_frame for b in blocks] == list(range(0, scene.description.frames, FRAMES_PER_BLOCK))
    whole = np.concatenate([b.pixels for b in blocks])
    assert whole.shape == (scene.description.frames, 120, 160, 3)
    chosen = [150, 3, 70]
    np.testing.assert_array_equal(bolus_scene(TINY_BOLUS).sample([3]), whole[[3]])
    np.testing.assert_array_equal(scene.sample(chosen), whole[chosen])


def test_an_out_of_plane_frame_shows_other_tissue() -> None:
    calm = replace(TINY_BOLUS, breathing=Breathing(0.0, 0.0))
    scene = bolus_scene(replace(calm, breathing=Breathing(0.0, 0.0, out_of_plane=(5,))))
    assert scene.truth.bmode is not None
    assert scene.truth.out_of_plane.nonzero()[0].tolist() == [5]
    grey = scene.sample([4, 5, 6])[(slice(None), *scene.truth.bmode.slices)][..., 0].astype(float)
    near, far = np.corrcoef(grey[0].ravel(), grey[2].ravel())[0, 1], np.corrcoef(grey[0].ravel(), grey[1].ravel())[0, 1]
    assert near > 0.95
    assert far < 0.8


def test_both_panels_move_together_as_the_truth_says() -> None:
    scene = bmode_scene(replace(GAIN_STEP, display=Display(60.0), breathing=Breathing(3.0, 0.0, 4.0)))
    box, pitch = scene.truth.bmode, scene.truth.spacing_mm.z_mm
    assert box is not None
    rest, moved = scene.sample([0, 20])[(slice(None), *box.slices)][..., 0].astype(float)
    pixels = round(scene.truth.displacement_mm[20, 0] / pitch)
    agree = [np.corrcoef(rest[:150].ravel(), moved[k : 150 + k].ravel())[0, 1] for k in range(15)]
    assert int(np.argmax(agree)) == pixels > 5


def test_a_gain_step_brightens_the_tissue_by_its_decibels() -> None:
    scene = bmode_scene(GAIN_STEP)
    assert scene.truth.contrast is None
    before, after = scene.sample([160, 240])[:, 60:120, 120:140, 0].astype(float).mean(axis=(1, 2))
    # Same phase of breathing (period 4 s); 6 dB of 60 dB are a tenth of 255.
    assert after - before == pytest.approx(25.5, abs=2)
    with pytest.raises(InvalidValueError, match="no contrast"):
        scene.linear(0)


def test_an_elastogram_colours_the_stiff_lesion_red() -> None:
    scene = elastography_scene()
    assert scene.truth.bmode is not None
    panel = scene.frame(30)[scene.truth.bmode.slices].astype(int)
    rows, columns = panel.shape[:2]
    lesion = panel[int(0.4 * rows) : int(0.5 * rows), int(0.45 * columns) : int(0.6 * columns)].mean(axis=(0, 1))
    around = panel[int(0.15 * rows) : int(0.22 * rows), int(0.2 * columns) : int(0.8 * columns)].mean(axis=(0, 1))
    assert lesion[0] - lesion[2] > 20
    assert around[2] - around[0] > 5


def test_microflow_pulsates_and_never_washes_in() -> None:
    scene = microflow_scene()
    box = scene.screen.first
    means = scene.sample(range(0, 200, 3))[(slice(None), *box.slices)].mean(axis=(1, 2, 3))
    assert means.std() > 0.05 * means.mean()
    assert means[:33].mean() == pytest.approx(means[33:].mean(), rel=0.1)


def test_a_doppler_loop_is_grey_but_for_pulsating_flow() -> None:
    scene = doppler_scene(DOPPLER)
    assert scene.truth.bmode is not None
    frames = scene.sample(range(0, 12))[(slice(None), *scene.truth.bmode.slices)].astype(int)
    coloured = np.ptp(frames, axis=-1) > 30
    assert 0.005 < coloured.mean() < 0.15
    assert np.ptp(coloured.sum(axis=(1, 2))) > 0.1 * coloured.sum(axis=(1, 2)).mean()
    red, blue = (frames[..., 0] > frames[..., 2] + 30), (frames[..., 2] > frames[..., 0] + 30)
    assert red.any()
    assert blue.any()


@pytest.mark.parametrize("layout", ["contrast left", "contrast right", "single"])
@pytest.mark.parametrize("aperture", ["linear", "convex"])
def test_panels_and_regions_lie_where_the_truth_says(layout: str, aperture: str) -> None:
    screen = Screen(rows=240, columns=320, layout=layout, aperture=aperture)  # type: ignore[arg-type]
    scene = bolus_scene(replace(SMALL_BOLUS, screen=screen))
    box = scene.truth.contrast
    assert box is not None
    assert scene.truth.valid.shape == (box.rows, box.columns)
    assert len(scene.description.regions) == (1 if layout == "single" else 2)
    assert box in [region.box for region in scene.description.regions]
    assert scene.truth.spacing_mm.z_mm * box.rows == pytest.approx(80.0)
    panel = scene.frame(200)[box.slices]
    assert (panel[~scene.truth.valid] == 0).all()
    assert (panel[scene.truth.valid].max(axis=-1) > 0).mean() > 0.99
    if layout != "single":
        assert scene.truth.bmode is not None
        assert (scene.truth.bmode.x0 > box.x0) == (layout == "contrast left")


def test_pre_contrast_frames_are_nearly_black_beside_the_grey_twin() -> None:
    scene = bolus_scene(SMALL_BOLUS)
    assert scene.truth.contrast is not None
    assert scene.truth.bmode is not None
    frame = scene.frame(5).astype(float)
    assert frame[scene.truth.contrast.slices].mean() < 0.3 * frame[scene.truth.bmode.slices].mean()


def test_recirculation_and_a_vector_of_times_reach_the_cine() -> None:
    timing = replace(TINY_BOLUS.timing, increments="vector")
    tail = WithRecirculation(LogNormal.from_peak(0.02, 15.0, 8.0, 0.4), fraction=0.15)
    scene = bolus_scene(replace(TINY_BOLUS, timing=timing, parenchyma=tail, lesion=PARENCHYMA))
    steps = np.diff(scene.description.frame_times_s)
    assert scene.description.frame_times_source == "frame time vector"
    assert sorted({round(float(s), 6) for s in steps}) == [0.16, 0.24]
    assert scene.truth.reference is not None
    assert scene.truth.reference.bolus is not None
    assert scene.truth.reference.bolus.rise_time_s == tail.truth().rise_time_s


def test_a_flash_empties_the_panel() -> None:
    scene = replenishment_scene()
    flash, after, late = (np.mean([scene.linear(f).mean() for f in r]) for r in ([31, 32], [35], range(200, 210)))
    assert flash > 4 * late > 20 * after
    assert scene.truth.lesion is not None
    truth = scene.truth.lesion.replenishment
    assert truth is not None
    assert (truth.rate_per_s, truth.flash_end_s) == (0.6, 3.4)
    # 20 s after the flash the lesion is full but for exp(-12); 1 % of the other tissue may lie at its edge.
    assert truth.plateau_au == pytest.approx(scene.truth.lesion.power_au[-1] - scene.truth.lesion.baseline_au, rel=0.01)
    assert truth.flow_au_per_s == pytest.approx(0.6 * truth.plateau_au)


def test_a_scene_without_duration_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="duration_s"):
        Timing(duration_s=0)


def test_two_bmode_images_side_by_side_are_the_same() -> None:
    scene = bmode_scene(DUAL_BMODE)
    left, right = (scene.frame(7)[region.box.slices] for region in scene.description.regions)
    np.testing.assert_array_equal(left, right)
