"""Maps, vessels and figures on tracks whose answers are known in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from processing.bubbles import Tracks
from processing.cine import Spacing
from processing.flow_metrics import FlowMetricParameters, entropy, field_of, filling, flow_metrics
from processing.fourier_ring import resolution_um
from processing.super_resolution_maps import flow_maps, grid_over, mask_on_grid, visits_of
from processing.vascular_bed import BedParameters, vascular_bed
from processing.vessels import VesselParameters, box_dimension, centre_rim_ratio, measure_vessels, path_and_chord

SPACING = Spacing(0.1, 0.1)
PANEL = (100, 100)


def tracks_along(paths: list[np.ndarray], rate_hz: float = 50.0, first_frame: list[int] | None = None) -> Tracks:
    """Paths (row, 2) in mm walked one row a frame."""
    lengths = [len(p) for p in paths]
    begin = first_frame or [0] * len(paths)
    points = np.vstack(paths)
    velocity = np.vstack([np.gradient(p, axis=0) * rate_hz for p in paths])
    frame = np.concatenate([np.arange(n) + b for n, b in zip(lengths, begin, strict=True)]).astype(np.int64)
    return Tracks(
        localization=np.arange(len(points), dtype=np.int64),
        frame=frame,
        time_s=frame / rate_hz,
        z_mm=points[:, 0].copy(),
        x_mm=points[:, 1].copy(),
        vz_mm_per_s=velocity[:, 0].copy(),
        vx_mm_per_s=velocity[:, 1].copy(),
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        confidence=np.ones(len(paths), dtype=np.float32),
        counts_as=np.ones(len(paths)),
        alone=np.ones((len(paths), 2), dtype=np.bool_),
        trackable_speed_mm_per_s=50.0,
    )


def straight(a: tuple[float, float], b: tuple[float, float], rows: int = 41) -> np.ndarray:
    return np.linspace(a, b, rows)


WHOLE = np.ones(PANEL, dtype=np.bool_)


def test_a_straight_track_colours_its_pixels_once_with_its_speed() -> None:
    tracks = tracks_along([straight((5.0, 1.0), (5.0, 9.0))])
    grid = grid_over(PANEL, SPACING, 0.05)
    maps = flow_maps(tracks, visits_of(tracks, grid), grid)
    row = maps.density[100]
    assert maps.density.sum() == row.sum() == 161  # 8 mm at 50 um, both ends
    assert np.nanmean(maps.speed_mm_per_s) == pytest.approx(10.0, rel=1e-6)  # 0.2 mm a frame at 50 Hz
    assert np.nanmax(np.abs(maps.direction_rad)) == pytest.approx(0.0, abs=1e-6)
    assert np.isnan(maps.speed_mm_per_s[0, 0])
    assert np.isnan(maps.speed_error_mm_per_s[100, 100])  # one track has no scatter


def test_direction_is_towards_the_transducer_for_rising_bubbles() -> None:
    tracks = tracks_along([straight((9.0, 5.0), (1.0, 5.0))])
    grid = grid_over(PANEL, SPACING, 0.05)
    assert np.nanmedian(flow_maps(tracks, visits_of(tracks, grid), grid).direction_rad) == pytest.approx(np.pi / 2)


def test_opposite_tracks_disperse_in_direction_and_scatter_in_speed() -> None:
    there, back = straight((5.0, 1.0), (5.0, 9.0), 41), straight((5.0, 9.0), (5.0, 1.0), 21)
    tracks = tracks_along([there, back])
    grid = grid_over(PANEL, SPACING, 0.05)
    maps = flow_maps(tracks, visits_of(tracks, grid), grid)
    assert np.nanmedian(maps.dispersion) == pytest.approx(1.0, abs=1e-6)
    assert np.nanmedian(maps.speed_mm_per_s) == pytest.approx(15.0)
    assert np.nanmedian(maps.speed_error_mm_per_s) == pytest.approx(5.0)  # |10 - 20| / 2


def test_a_track_that_leaves_the_panel_is_cut() -> None:
    tracks = tracks_along([straight((5.0, 5.0), (5.0, 15.0))])
    grid = grid_over(PANEL, SPACING, 0.05)
    visits = visits_of(tracks, grid)
    assert visits.pixel.max() < grid.size
    assert len(visits.pixel) == 100


def field_scene(count: int = 60) -> tuple[Tracks, FlowMetricParameters]:
    paths = [straight((0.5 + 9 * k / count, 1.0), (0.5 + 9 * k / count, 9.0)) for k in range(count)]
    starts = [7 * k for k in range(count)]
    return tracks_along(paths, first_frame=starts), FlowMetricParameters(rarefied_to=500)


def test_figures_follow_their_definitions() -> None:
    tracks, parameters = field_scene()
    grid = grid_over(PANEL, SPACING, 0.05)
    inside = mask_on_grid(WHOLE, SPACING, grid)
    metrics = flow_metrics(field_of(tracks, visits_of(tracks, grid), grid, inside, 10.0), parameters)
    assert metrics is not None
    area = inside.sum() * 0.05**2
    assert metrics.tracks == 60
    assert metrics.tracks_per_mm2_s.value == pytest.approx(60 / (area * 10))
    assert metrics.flux_mm_per_mm2_s.value == pytest.approx(60 * 8.0 / (area * 10))
    assert metrics.area_percent.value == pytest.approx(100 * 60 * 161 / inside.sum())
    # One track a pixel: rarefying to a share of the localizations leaves that share of the pixels.
    rarefied = metrics.area_percent_rarefied
    assert rarefied is not None
    assert rarefied.value == pytest.approx(metrics.area_percent.value * 500 / (60 * 41))
    assert metrics.speed_mean_mm_per_s.value == pytest.approx(10.0)
    assert metrics.speed_cv.value == pytest.approx(0.0, abs=1e-9)
    assert metrics.direction_entropy.value == 0.0
    # Nothing was crossed twice: there is no dispersion to state.
    assert metrics.direction_dispersion is None


def test_ways_that_end_in_a_merged_image_go_on_unseen() -> None:
    """Ways of 2 to 8 mm; half of the bubbles are lost on the way, where others merge with them: a sixth of all ways."""
    rng, paths, alone, whole = np.random.default_rng(8), [], [], []
    for _ in range(400):
        z, way, lost = rng.uniform(0.5, 9.5), rng.uniform(2.0, 8.0), rng.exponential(8.0)
        whole.append(way)
        paths.append(straight((z, 1.0), (z, 1.0 + min(way, lost)), 30))
        alone.append((True, way <= lost))
    tracks = replace(tracks_along(paths), alone=np.array(alone))
    grid = grid_over(PANEL, SPACING, 0.05)
    field = field_of(tracks, visits_of(tracks, grid), grid, mask_on_grid(WHOLE, SPACING, grid), 10.0)
    metrics = flow_metrics(field, FlowMetricParameters())
    assert metrics is not None
    assert field.way_mm.sum() < 0.85 * sum(whole)
    # 400 ways tell their mean to 2 %.
    assert metrics.flux_mm_per_mm2_s.value * field.area_mm2 * 10.0 == pytest.approx(sum(whole), rel=0.05)


def test_intervals_cover_the_value_they_estimate() -> None:
    """Repeat draws of 60 tracks from one population: 95 % intervals of the mean speed must hold it in most."""
    rng = np.random.default_rng(5)
    grid = grid_over(PANEL, SPACING, 0.05)
    inside = mask_on_grid(WHOLE, SPACING, grid)
    hits = 0
    for _ in range(40):
        paths = []
        for _ in range(60):
            z, step = rng.uniform(0.5, 9.5), rng.uniform(0.05, 0.25)
            paths.append(np.column_stack([np.full(20, z), 1.0 + step * np.arange(20)]))
        tracks = tracks_along(paths)
        field = field_of(tracks, visits_of(tracks, grid), grid, inside, 10.0)
        metrics = flow_metrics(field, FlowMetricParameters(resamples=60))
        assert metrics is not None
        mean = metrics.speed_mean_mm_per_s
        assert mean.low is not None
        assert mean.high is not None
        hits += mean.low <= 7.5 <= mean.high
    # Binomial(40, .95): 33 or more with 99.7 %.
    assert hits >= 33


def test_too_few_tracks_give_no_figures() -> None:
    tracks, parameters = field_scene(19)
    grid = grid_over(PANEL, SPACING, 0.05)
    inside = mask_on_grid(WHOLE, SPACING, grid)
    assert flow_metrics(field_of(tracks, visits_of(tracks, grid), grid, inside, 10.0), parameters) is None


def test_filling_grows_with_each_new_track() -> None:
    tracks, _ = field_scene()
    grid = grid_over(PANEL, SPACING, 0.05)
    inside = mask_on_grid(WHOLE, SPACING, grid)
    time_s, filled = filling(field_of(tracks, visits_of(tracks, grid), grid, inside, 10.0))
    assert (np.diff(filled) >= 0).all()
    assert time_s[0] == 0
    assert filled[-1] == pytest.approx(100 * 60 * 161 / inside.sum())


def test_entropy_runs_from_one_bin_to_uniform() -> None:
    assert entropy(np.array([0, 50, 0, 0])) == 0.0
    assert entropy(np.full(32, 100)) == pytest.approx(1.0, abs=1e-12)
    # Half of four bins: ln 2 of ln 4.
    assert entropy(np.array([7, 0, 7, 0])) == pytest.approx(0.5, abs=1e-12)


def drawn(
    height: int, width: int, lines: list[tuple[tuple[float, float], tuple[float, float]]], radius: float
) -> np.ndarray:
    """Mask of thick lines, from the distance to each segment."""
    z, x = np.mgrid[:height, :width].astype(float)
    mask = np.zeros((height, width), dtype=np.bool_)
    for (z0, x0), (z1, x1) in lines:
        dz, dx = z1 - z0, x1 - x0
        t = np.clip(((z - z0) * dz + (x - x0) * dx) / (dz * dz + dx * dx), 0, 1)
        mask |= np.hypot(z - z0 - t * dz, x - x0 - t * dx) <= radius
    return mask


def test_a_fork_has_three_vessels_and_one_branch_point() -> None:
    mask = drawn(200, 200, [((20, 100), (100, 100)), ((100, 100), (180, 40)), ((100, 100), (180, 160))], 4.0)
    vessels = measure_vessels(mask, 0.025, VesselParameters())
    assert len(vessels) == 3
    assert vessels.branch_points == 1
    # Straight pieces; the skeleton bends by a pixel or two at the fork.
    assert np.all(vessels.tortuosity < 1.06)
    # Width 8 px of 25 um; a pixel grid leaves half a pixel either way.
    assert vessels.diameter_um == pytest.approx(np.full(3, 200.0), abs=25.0)


def test_a_half_circle_is_as_tortuous_as_half_a_circle() -> None:
    angle = np.linspace(0, np.pi, 200)
    z, x = np.mgrid[:120, :220].astype(float)
    way = np.column_stack([10 + 90 * np.sin(angle), 110 + 90 * np.cos(angle)])
    mask = np.zeros((120, 220), dtype=np.bool_)
    for p in way:
        mask |= np.hypot(z - p[0], x - p[1]) <= 3
    vessels = measure_vessels(mask, 0.025, VesselParameters())
    assert len(vessels) == 1
    assert vessels.tortuosity[0] == pytest.approx(np.pi / 2, rel=0.04)


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, 1.1])
def test_the_length_of_a_line_does_not_depend_on_its_direction(angle: float) -> None:
    steps = np.linspace(0, 100, 400)
    mask = np.zeros((120, 120), dtype=np.bool_)
    mask[np.round(5 + steps * np.sin(angle)).astype(int), np.round(5 + steps * np.cos(angle)).astype(int)] = True
    # Dorst and Smeulders: unbiased on average over directions, at worst 5.2 % off along an axis.
    assert path_and_chord(mask)[0] == pytest.approx(100.0, rel=0.06)


def test_box_dimension_of_a_line_and_of_a_filled_square() -> None:
    line = np.zeros((256, 256), dtype=np.bool_)
    line[128] = True
    assert box_dimension(line) == pytest.approx(1.0, abs=0.02)
    assert box_dimension(np.ones((256, 256), dtype=np.bool_)) == pytest.approx(2.0, abs=0.02)
    assert box_dimension(np.zeros((256, 256), dtype=np.bool_)) is None


def test_centre_and_rim_weigh_equal_areas() -> None:
    roi = np.zeros((100, 100), dtype=np.bool_)
    roi[10:90, 10:90] = True
    assert centre_rim_ratio(roi, roi) == pytest.approx(1.0)
    core = np.zeros_like(roi)
    core[45:55, 45:55] = True
    assert centre_rim_ratio(core, roi) is None
    rim_only = roi & ~np.pad(np.ones((60, 60), dtype=np.bool_), 20)
    assert centre_rim_ratio(rim_only, roi) == 0.0


@pytest.mark.parametrize("blur_px", [2.0, 4.0])
def test_ring_correlation_sees_the_precision_of_the_positions(blur_px: float) -> None:
    """Points scattered by sigma around thin vessels: the two halves agree up to about 2 pi sigma / sqrt(ln(7)...)."""
    rng = np.random.default_rng(6)
    halves = []
    lines = [rng.uniform(40, 216, 2) for _ in range(30)]
    for _ in range(2):
        image = np.zeros((256, 256))
        for z, x in lines:
            at = np.array([z, x]) + blur_px * rng.standard_normal((400, 2))
            np.add.at(image, tuple(np.clip(np.round(at), 0, 255).astype(int).T), 1)
        halves.append(image)
    resolved = resolution_um(halves[0], halves[1], 0.01)
    assert resolved is not None
    # FRC = S / (S + N): with n = 400 points a source, S/N = n exp(-(2 pi sigma f)^2) reaches 1/6 where
    # 2 pi sigma f = sqrt(ln(6 n)), that is resolution = 2 pi sigma / 2.79.
    assert resolved == pytest.approx(2 * np.pi * blur_px * 10 / np.sqrt(np.log(6 * 400)), rel=0.15)


def test_unrelated_halves_have_no_resolution() -> None:
    rng = np.random.default_rng(7)
    a, b = (rng.poisson(0.01, (128, 128)).astype(float) for _ in range(2))
    assert resolution_um(a, b, 0.01) is None


def test_the_bed_of_a_roi_is_the_same_twice() -> None:
    tracks, parameters = field_scene()
    beds = [vascular_bed(tracks, WHOLE, SPACING, 10.0, BedParameters(metrics=parameters)) for _ in range(2)]
    assert beds[0] is not None
    assert beds[1] is not None
    assert beds[0].metrics == beds[1].metrics
    assert beds[0].vessel_figures == beds[1].vessel_figures
