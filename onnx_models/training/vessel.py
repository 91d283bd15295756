"""Training of the vessel network, on maps that are drawn as it goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_models.tensors import density_tensor
from onnx_models.training.mask_training import Drawn, Schedule, fit, turned
from onnx_models.training.networks import MaskNet, vessel_net
from onnx_models.training.vessel_trees import SPARSE_TRACKS, draw_vessels

CROP_PX = 192
"""A window wide enough for what a few tracks tell of the vessels around them, half of the map's cost."""
TRAIN_SEED, VALIDATION_SEED = 5_000_000, 6_000_000


@dataclass(frozen=True)
class Cycle:
    """`maps` drawn maps, each seen about `epochs` times through a window."""

    maps: int
    epochs: int
    seed: int


CYCLE = Cycle(maps=1500, epochs=24, seed=60)
SPARSE_WEIGHT = 2.0
"""How much oftener a sparse map is shown than a dense one: they are the harder ones, and the ones that fell short."""


def train(cycle: Cycle = CYCLE, batch: int = 8) -> MaskNet:
    """One cosine cycle from nothing."""
    rng = np.random.default_rng(cycle.seed)
    kept: list[tuple[NDArray[np.float16], NDArray[np.bool_]]] = []
    weight: list[float] = []

    def draw(step: int) -> list[Drawn]:
        while len(kept) < min((step + 1) * batch, cycle.maps):
            example = draw_vessels(TRAIN_SEED + len(kept))
            kept.append((density_tensor(example.density).astype(np.float16), example.vessels))
            weight.append(SPARSE_WEIGHT if example.tracks < SPARSE_TRACKS else 1.0)
        picked = rng.choice(len(kept), batch, p=np.array(weight) / sum(weight))
        return [_window(*kept[int(k)], rng) for k in picked]

    steps = cycle.maps * cycle.epochs // batch
    return fit(vessel_net, draw, Schedule(steps, CROP_PX, cycle.seed, batch, averaged_steps=200, short_floats=True))


def _window(tensor: NDArray[np.float16], vessels: NDArray[np.bool_], rng: np.random.Generator) -> Drawn:
    turn = int(rng.integers(0, 8))
    z, x = rng.integers(0, tensor.shape[1] - CROP_PX + 1, 2)
    tensor, vessels = tensor[:, z : z + CROP_PX, x : x + CROP_PX], vessels[z : z + CROP_PX, x : x + CROP_PX]
    truth = turned(vessels.astype(np.float32), turn)
    return turned(tensor.astype(np.float32), turn), truth, np.ones_like(truth)
