"""Training of the lesion network: windows of simulated maps, turned and shifted in gain and clock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_models.training.cines import Mechanism
from onnx_models.training.map_sets import NOISE, PAD, MapExample, load_set
from onnx_models.training.mask_training import Drawn, Schedule, fit, turned
from onnx_models.training.networks import MaskNet, lesion_net

CROP, FIRST_CROP = 192, 160
"""Cells of a window: 48 mm, or 24 mm of a small animal; smaller ones through the first half of a cycle cost a third
less and hold what is learned there."""
SCHEDULES = (Schedule(13000, CROP, seed=50, averaged_steps=300, short_floats=True),)
ALONE: dict[Mechanism, tuple[Schedule, ...]] = {
    "perfusion field": (Schedule(5000, CROP, seed=51, averaged_steps=300, short_floats=True),),
    "bubble rim": (Schedule(6000, CROP, seed=52, averaged_steps=300, short_floats=True),),
}
"""For a network that sees one simulator only: it is measured, never shipped."""
ZOOM = (0.75, 1.3)
"""How much a window is stretched along either axis: tumours of more sizes and outlines than were drawn."""


def window(example: MapExample, crop: int, rng: np.random.Generator) -> Drawn:
    """A random window of the panel, padded with invalid cells, turned, stretched, with another gain and clock."""
    maps = np.broadcast_to(PAD, (5, crop, crop)).copy()
    lesion, valid = np.zeros((2, crop, crop), dtype=np.float32)
    cells, place = _taken(example, crop, rng)
    maps[:, place[0], place[1]] = example.maps[:, cells[0], cells[1]]
    lesion[place] = example.lesion[cells]
    valid[place] = example.valid[cells]
    inside = valid > 0
    # Attenuation that the time-gain compensation left: as many dB across the window as the simulators draw.
    across = np.linspace(-0.5, 0.5, crop, dtype=np.float32)
    gain_db = rng.normal(0, 3) + rng.normal(0, 2) * across[:, None] + rng.normal(0, 2) * across[None, :]
    maps[:3] = np.where(inside, np.clip(maps[:3] + gain_db.astype(np.float32), -60, 0), maps[:3])
    arrived = inside & (maps[3] < 2)
    maps[3] = np.where(arrived, np.clip(maps[3] + rng.normal(0, 0.02), -1, 2), maps[3])
    turn = int(rng.integers(0, 8))
    return turned(maps, turn), turned(lesion, turn), turned(valid, turn)


def _taken(
    example: MapExample, crop: int, rng: np.random.Generator
) -> tuple[tuple[NDArray[np.intp], ...], tuple[slice, ...]]:
    """Cells of the panel, as an index along each axis, and where in the window they go."""
    cells, place = [], []
    # A window that misses the lesion teaches to abstain where there is one to find: most windows hold its middle.
    middles = [np.flatnonzero(example.lesion.any(axis=1 - axis)) for axis in (0, 1)]
    aimed = middles[0].size > 0 and rng.random() < 0.85
    zooms = rng.uniform(*ZOOM, 2) if rng.random() < 0.5 else (1.0, 1.0)
    for extent, place_of, zoom in zip(example.lesion.shape, middles, zooms, strict=True):
        kept = min(extent, int(crop / zoom))
        low, high = 0, extent - kept
        if aimed:
            middle = int(place_of[place_of.size // 2])
            low, high = max(low, middle - kept + 1), min(high, middle)
        start = int(rng.integers(low, high + 1))
        shown = min(int(kept * zoom), crop)
        # The nearest cell, not a mean of two: between "arrived" and "never" there is nothing.
        cells.append(start + np.minimum(((np.arange(shown) + 0.5) / zoom).astype(np.intp), kept - 1))
        first = int(rng.integers(0, crop - shown + 1))
        place.append(slice(first, first + shown))
    return np.ix_(*cells), tuple(place)


def train(examples: Sequence[MapExample], schedule: Schedule, start: MaskNet | None = None) -> MaskNet:
    """One cycle, from `start` if given; every example is seen once before any is seen again."""
    rng = np.random.default_rng(schedule.seed)
    order: list[int] = []

    def draw(step: int) -> list[Drawn]:
        while len(order) < schedule.batch:
            order.extend(rng.permutation(len(examples)).tolist())
        picked = [order.pop(0) for _ in range(schedule.batch)]
        crop = schedule.crop if 2 * step >= schedule.steps else min(FIRST_CROP, schedule.crop)
        return [window(examples[k], crop, rng) for k in picked]

    return fit(lambda: start or lesion_net(), draw, schedule)


def train_from(folder: Path, mechanisms: Sequence[str], schedules: Sequence[Schedule]) -> dict[str, Any]:
    """Train on all maps in `folder`, one cycle after the other: weights, and how many cines they have seen."""
    examples = [e for mechanism in (*mechanisms, NOISE) for e in load_set(folder, mechanism, "train")]
    network: MaskNet | None = None
    for schedule in schedules:
        network = train(examples, schedule, start=network)
    if network is None:
        raise ValueError("no cycle to train")
    return {"weights": network.state_dict(), "cines": len(examples), "steps": sum(s.steps for s in schedules)}
