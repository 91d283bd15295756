"""Training of the vessel network, on maps that are drawn as it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_models.tensors import density_tensor
from onnx_models.training.mask_training import Drawn, Schedule, fit, turned
from onnx_models.training.networks import MaskNet, vessel_net
from onnx_models.training.vessel_trees import draw_vessels

CROP_PX = 192
"""A window wide enough for what a few tracks tell of the vessels around them, half of the map's cost."""
TRAIN_SEED, VALIDATION_SEED, TEST_SEED = 5_000_000, 6_000_000, 7_000_000


@dataclass(frozen=True)
class Cycle:
    """`maps` drawn maps, each seen `epochs` times through a window; those that no cycle has seen come first."""

    maps: int
    epochs: int
    seed: int
    peak_rate: float = 4e-3


CYCLES = (Cycle(maps=2000, epochs=16, seed=30), Cycle(maps=4000, epochs=8, seed=31, peak_rate=2e-3))


def train(cycles: Sequence[Cycle] = CYCLES, batch: int = 8) -> MaskNet:
    """One cosine cycle after the other, from nothing."""
    network, kept = vessel_net(), list[_Map]()
    for cycle in cycles:
        network = _train_on(network, cycle, kept, batch)
    return network


_Map = tuple[NDArray[np.float16], NDArray[np.bool_]]


def _train_on(network: MaskNet, cycle: Cycle, kept: list[_Map], batch: int) -> MaskNet:
    rng = np.random.default_rng(cycle.seed)
    begins = len(kept)

    def draw(step: int) -> list[Drawn]:
        places = (begins + step * batch + np.arange(batch)) % cycle.maps
        while len(kept) <= min(int(places.max()), cycle.maps - 1):
            example = draw_vessels(TRAIN_SEED + len(kept))
            kept.append((density_tensor(example.density).astype(np.float16), example.vessels))
        return [_window(*kept[int(k)], rng) for k in places]

    schedule = Schedule(cycle.maps * cycle.epochs // batch, CROP_PX, cycle.seed, batch, cycle.peak_rate)
    return fit(lambda: network, draw, schedule)


def _window(tensor: NDArray[np.float16], vessels: NDArray[np.bool_], rng: np.random.Generator) -> Drawn:
    turn = int(rng.integers(0, 8))
    z, x = rng.integers(0, tensor.shape[1] - CROP_PX + 1, 2)
    tensor, vessels = tensor[:, z : z + CROP_PX, x : x + CROP_PX], vessels[z : z + CROP_PX, x : x + CROP_PX]
    truth = turned(vessels.astype(np.float32), turn)
    return turned(tensor.astype(np.float32), turn), truth, np.ones_like(truth)
