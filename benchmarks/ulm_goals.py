"""Every accuracy goal of super-resolution on seeds that nothing was chosen on: mean, standard error and the goal.

Ten seeds of the issue's full size (500 frames, 15,000 bubbles each); `python -m benchmarks.ulm_goals 3` takes three.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.accuracy.ulm_readings import HELD_OUT_SEEDS, LOCALIZER_SEEDS, Reading, link_jaccard, read
from tests.accuracy.ulm_scenes import Screen, clinical_scene, link_scene, scene

Measure = Callable[[Reading], float]


@dataclass(frozen=True)
class Goal:
    """A figure of a reading and the limits it should keep."""

    name: str
    measure: Measure
    low: float = -np.inf
    high: float = np.inf

    def line(self, values: list[float]) -> str:
        mean, count = float(np.mean(values)), len(values)
        error = float(np.std(values, ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
        asked = " to ".join(f"{limit:g}" for limit in (self.low, self.high) if np.isfinite(limit))
        sign = "" if np.isfinite(self.low) and np.isfinite(self.high) else (">=" if np.isfinite(self.low) else "<=")
        met = "met" if self.low <= mean <= self.high else "MISSED"
        spread = f"{min(values):.4f} to {max(values):.4f}"
        return f"    {self.name:28s}{mean:8.4f} +- {error:.4f}   {spread}   {sign}{asked}  {met}"


def over_bound(limit: float) -> Goal:
    return Goal("RMSE over the bound", lambda r: r.over_bound, high=limit)


def jaccard(limit: float) -> Goal:
    return Goal("J at 0.25 px", lambda r: r.score.jaccard, low=limit)


def deviation() -> Goal:
    return Goal("std of z-scores", lambda r: float(r.z_scores().std()), low=0.95, high=1.05)


def precision(limit: float) -> Goal:
    return Goal("precision", lambda r: r.score.precision, low=limit)


SPOTS: dict[tuple[str, float], tuple[Goal, ...]] = {
    ("iso", 30.0): (over_bound(1.01), deviation()),
    ("iso", 20.0): (over_bound(1.01), jaccard(0.975), deviation()),
    ("iso", 15.0): (over_bound(1.02), jaccard(0.62), deviation()),
    ("iso", 10.0): (jaccard(0.23),),
    ("flow", 20.0): (jaccard(0.825), deviation()),
    ("rice", 20.0): (over_bound(1.06), jaccard(0.965), deviation()),
}
SCREENS: dict[str, tuple[Screen, float]] = {
    "8 bit, 60 dB": (Screen(60.0), 1.06),
    "8 bit, JPEG q95": (Screen(60.0, jpeg_quality=95), 1.08),
    "8 bit, 40 dB, noise below the floor": (Screen(40.0, headroom_db=10.0), 1.06),
    "8 bit, 40 dB, JPEG q95": (Screen(40.0, jpeg_quality=95), 1.08),
}


def main() -> None:
    count = int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdigit() else len(HELD_OUT_SEEDS)
    seeds = LOCALIZER_SEEDS[:count]
    for (kind, snr_db), goals in SPOTS.items():
        print(f"{kind}, {snr_db:g} dB, {len(seeds)} x 500 frames", flush=True)
        shown(goals, [read(scene(kind, snr_db, 500, seed)) for seed in seeds])
    for name, (screen, limit) in SCREENS.items():
        print(f"{name}, PSF 2 px, 30 dB, {len(seeds)} x 300 frames", flush=True)
        readings = [read(clinical_scene(screen, 300, seed), screen.floor) for seed in seeds]
        shown((over_bound(limit), precision(0.97), deviation()), readings)
    for speed_px, gate_px, limit in (((0.2, 1.5), 1.8, 0.99), ((1.0, 5.0), 5.5, 0.97)):
        print(f"links, {speed_px[0]:g} to {speed_px[1]:g} px a frame, {len(seeds)} x 1000 frames", flush=True)
        for gap in (0, 1):
            values = [link_jaccard(link_scene(1000, speed_px, seed), gap, gate_px) for seed in HELD_OUT_SEEDS[:count]]
            print(Goal(f"J of links, gaps of {gap}", lambda _: 0.0, low=limit).line(values), flush=True)


def shown(goals: tuple[Goal, ...], readings: list[Reading]) -> None:
    for goal in goals:
        print(goal.line([goal.measure(reading) for reading in readings]), flush=True)


if __name__ == "__main__":
    main()
