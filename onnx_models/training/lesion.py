"""Training of the lesion network: windows of simulated maps, turned and shifted in gain and clock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnx_models.training.cines import Mechanism
from onnx_models.training.map_sets import PAD, MapExample, load_set
from onnx_models.training.mask_training import Drawn, Schedule, fit, turned
from onnx_models.training.networks import MaskNet, lesion_net

CROP = 192
"""Cells of a window: 48 mm, or 24 mm of a small animal."""
SCHEDULES = (
    Schedule(6000, CROP, seed=20),
    Schedule(5000, CROP, seed=21, peak_rate=2e-3),
    Schedule(5000, CROP, seed=22, peak_rate=2e-3),
)
"""Cosine cycles, the later ones at half the rate (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
ALONE: dict[Mechanism, tuple[Schedule, ...]] = {
    "perfusion field": (Schedule(5000, CROP, seed=20),),
    "bubble rim": (Schedule(5000, CROP, seed=20), Schedule(5000, CROP, seed=21, peak_rate=2e-3)),
}
"""For a network that sees one simulator only: it is measured, never shipped. The harder one takes a second cycle."""


def window(example: MapExample, crop: int, rng: np.random.Generator) -> Drawn:
    """A random window of the panel, padded with invalid cells, turned, with another gain and clock."""
    maps = np.broadcast_to(PAD, (5, crop, crop)).copy()
    lesion, valid = np.zeros((2, crop, crop), dtype=np.float32)
    source, target = [], []
    # A window that misses the lesion teaches to abstain where there is one to find: most windows hold its middle.
    middles = [np.flatnonzero(example.lesion.any(axis=1 - axis)) for axis in (0, 1)]
    aimed = middles[0].size > 0 and rng.random() < 0.85
    for extent, place_of in zip(example.lesion.shape, middles, strict=True):
        kept = min(extent, crop)
        low, high = 0, extent - kept
        if aimed:
            middle = int(place_of[place_of.size // 2])
            low, high = max(low, middle - kept + 1), min(high, middle)
        start = int(rng.integers(low, high + 1))
        place = int(rng.integers(0, crop - kept + 1))
        source.append(slice(start, start + kept))
        target.append(slice(place, place + kept))
    maps[:, target[0], target[1]] = example.maps[:, source[0], source[1]]
    lesion[target[0], target[1]] = example.lesion[source[0], source[1]]
    valid[target[0], target[1]] = example.valid[source[0], source[1]]
    inside = valid > 0
    gain_db, late = rng.normal(0, 3), rng.normal(0, 0.02)
    maps[:3] = np.where(inside, np.clip(maps[:3] + gain_db, -60, 0), maps[:3])
    arrived = inside & (maps[3] < 2)
    maps[3] = np.where(arrived, np.clip(maps[3] + late, -1, 2), maps[3])
    turn = int(rng.integers(0, 8))
    return turned(maps, turn), turned(lesion, turn), turned(valid, turn)


def train(examples: Sequence[MapExample], schedule: Schedule, start: MaskNet | None = None) -> MaskNet:
    """One cycle, from `start` if given; every example is seen once before any is seen again."""
    rng = np.random.default_rng(schedule.seed)
    order: list[int] = []

    def draw(_step: int) -> list[Drawn]:
        while len(order) < schedule.batch:
            order.extend(rng.permutation(len(examples)).tolist())
        picked = [order.pop(0) for _ in range(schedule.batch)]
        return [window(examples[k], schedule.crop, rng) for k in picked]

    return fit(lambda: start or lesion_net(), draw, schedule)


def train_from(folder: Path, mechanisms: Sequence[str], schedules: Sequence[Schedule]) -> dict[str, Any]:
    """Train on all maps in `folder`, one cycle after the other: weights, and how many cines they have seen."""
    examples = [e for mechanism in mechanisms for e in load_set(folder, mechanism, "train")]
    network: MaskNet | None = None
    for schedule in schedules:
        network = train(examples, schedule, start=network)
    if network is None:
        raise ValueError("no cycle to train")
    return {"weights": network.state_dict(), "cines": len(examples), "steps": sum(s.steps for s in schedules)}
