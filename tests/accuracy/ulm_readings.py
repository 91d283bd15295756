"""What the localizer and the tracker make of a scene, against its truth: shared by the tests and the benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from processing.bubbles import Localizations, Tracks
from processing.cine import Spacing
from processing.flow_metrics import FlowMetricParameters, field_of, pixel_figures, step_figures
from processing.localize import Calibration, LocalizationParameters, calibrate, localize
from processing.simulation.truth import FlowTruth
from processing.super_resolution_maps import grid_over, mask_on_grid, visits_of
from processing.track import TrackingParameters, link, track
from tests.accuracy.ulm_scenes import (
    LinkScene,
    Scene,
    Score,
    add_gaussian,
    crlb_px,
    noise_of,
    render,
    score,
    true_links,
)

PIXEL = Spacing(1.0, 1.0)
HELD_OUT_SEEDS = tuple(range(9001, 9011))
"""Seeds on which nothing was ever chosen. Rules and defaults are developed on seeds below 100 only."""
LOCALIZER_SEEDS = tuple(range(9201, 9211))
"""The same for the localizer, whose readings of the first ones had been seen when it was last changed."""


@dataclass(frozen=True, eq=False)
class Reading:
    localizations: Localizations
    calibration: Calibration
    score: Score
    bound_px: float

    @property
    def over_bound(self) -> float:
        return self.score.rmse_px / self.bound_px

    def z_scores(self) -> np.ndarray:
        sigma = self.localizations.sigma_mm[self.score.pairs[:, 0]]
        return self.score.errors_px / sigma[:, None]


def read(made: Scene, floor_au: float = 0.0, sweeps: int = 6) -> Reading:
    """Calibrate on the scene and localize it."""
    parameters = LocalizationParameters(sweeps=sweeps)
    calibration = calibrate(made.frames, parameters, floor_au)
    found = localize(made.frames, PIXEL, calibration, parameters)
    positions = np.column_stack([found.frame, found.z_mm, found.x_mm])
    return Reading(found, calibration, score(positions, made.truth), crlb_px(made.noise, made.sigma_px))


def link_jaccard(made: LinkScene, gap: int, gate_px: float) -> float:
    """Share of links that are right, over all that were made or should have been."""
    rows = made.detections
    one = np.ones(len(rows), dtype=np.float32)
    found = Localizations(
        rows[:, 0].astype(np.int64), rows[:, 1].copy(), rows[:, 2].copy(), one, np.float32(made.sigma_px) * one
    )
    parameters = TrackingParameters(max_speed_mm_per_s=gate_px, gap_frames=gap)
    links = link(found, made.frames, 1.0, float(np.prod(made.shape)), parameters)
    linked = set(zip(links.earlier.tolist(), links.later.tolist(), strict=True))
    truth = true_links(rows, gap)
    return len(linked & truth) / len(linked | truth)


@dataclass(frozen=True)
class ParallelVessels:
    """What is seen of two parallel vessels `gap_px` apart: tracks in the valley between, at either peak, and where each
    vessel's tracks lie."""

    valley: int
    peaks: tuple[int, int]
    upper_px: float
    lower_px: float

    @property
    def resolved(self) -> bool:
        """Between two peaks of like height the profile falls to half (Rayleigh asks for a quarter less)."""
        return self.valley < 0.5 * min(self.peaks) and min(self.peaks) > 0.4 * max(self.peaks)


def parallel_vessels(gap_px: float, snr_db: float, seed: int, sigma_px: float = 2.0) -> ParallelVessels:
    """Bubbles pass one at a time, alternating between two vessels; rows are counted from the middle between them."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(30):
        z = 30.0 + (gap_px / 2 if number % 2 else -gap_px / 2)
        rows += [(20 * number + step, z, 8.0 + 2.3 * step, 1.0, number) for step in range(20)]
    frames = 600
    stack = add_gaussian(render(np.array(rows), frames, (60, 64), sigma_px), noise_of(snr_db), rng)
    parameters = LocalizationParameters()
    found = localize(stack, PIXEL, calibrate(stack, parameters), parameters)
    tracks = track(found, np.arange(frames) / 1.0, 3840.0, TrackingParameters(max_speed_mm_per_s=5.0))
    inside = (tracks.x_mm > 12) & (tracks.x_mm < 48)
    z = tracks.z_mm[inside] - 30.0
    profile, edges = np.histogram(z, bins=np.arange(-5, 5, gap_px / 7))
    centre = (edges[:-1] + edges[1:]) / 2
    return ParallelVessels(
        valley=int(profile[np.abs(centre) < gap_px / 5].max()),
        peaks=(max(int(profile[centre < 0].max()), 1), max(int(profile[centre > 0].max()), 1)),
        upper_px=float(np.median(z[z < 0])) if (z < 0).any() else float("nan"),
        lower_px=float(np.median(z[z > 0])) if (z > 0).any() else float("nan"),
    )


def true_figures(
    truth: FlowTruth, frame_times_s: np.ndarray, roi: np.ndarray, spacing: Spacing, seconds: float
) -> dict[str, float]:
    """What the figures of a loop are when every bubble is followed on its true way from its first frame to its last."""
    order = np.lexsort((truth.frame, truth.bubble))
    bubble, frame, z, x = (v[order] for v in (truth.bubble, truth.frame, truth.z_mm, truth.x_mm))
    # A bubble of one frame has no way.
    ways = [way for way in np.split(np.arange(len(frame)), np.flatnonzero(np.diff(bubble)) + 1) if len(way) > 1]
    row = np.concatenate(ways)
    time_s = frame_times_s[frame[row]]
    starts = np.concatenate([[0], np.cumsum([len(way) for way in ways])]).astype(np.int64)
    vz, vx = (np.concatenate([np.gradient(v[way], frame_times_s[frame[way]]) for way in ways]) for v in (z, x))
    scale = truth.speed_mm_per_s[order][row] / np.maximum(np.hypot(vz, vx), 1e-9)
    tracks = Tracks(
        row, frame[row], time_s, z[row], x[row], vz * scale, vx * scale, starts,
        np.ones(len(ways), dtype=np.float32), np.ones(len(ways)), np.ones((len(ways), 2), dtype=np.bool_), 50.0,
    )  # fmt: skip
    grid = grid_over((roi.shape[0], roi.shape[1]), spacing, 0.025)
    field = field_of(tracks, visits_of(tracks, grid), grid, mask_on_grid(roi, spacing, grid), seconds)
    once = np.zeros(field.tracks)
    once[field.present] = 1.0
    return step_figures(field, once) | pixel_figures(field, once, FlowMetricParameters())
