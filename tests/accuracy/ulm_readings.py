"""What the localizer and the tracker make of a scene, against its truth: shared by the tests and the benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from processing.bubbles import Localizations
from processing.cine import Spacing
from processing.localize import Calibration, LocalizationParameters, calibrate, localize
from processing.track import TrackingParameters, link
from tests.accuracy.ulm_scenes import LinkScene, Scene, Score, crlb_px, score, true_links

PIXEL = Spacing(1.0, 1.0)
HELD_OUT_SEEDS = tuple(range(9001, 9011))
"""Seeds on which nothing was ever chosen. Rules and defaults are developed on seeds below 100 only."""


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
