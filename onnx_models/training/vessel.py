"""Training of the vessel network, on maps that are drawn as it goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnx_models.tensors import density_tensor
from onnx_models.training.mask_training import Drawn, Schedule, fit, turned
from onnx_models.training.networks import MaskNet, vessel_net
from onnx_models.training.vessel_trees import draw_vessels

CROP_PX = 192
"""A window wide enough for what a few tracks tell of the vessels around them, half of the map's cost."""
TRAIN_SEED, VALIDATION_SEED = 5_000_000, 6_000_000


@dataclass(frozen=True)
class Cycle:
    """`maps` drawn maps, each seen `epochs` times through a window."""

    maps: int
    epochs: int
    seed: int


CYCLE = Cycle(maps=2000, epochs=16, seed=30)


def train(cycle: Cycle = CYCLE, batch: int = 8) -> MaskNet:
    """One cosine cycle from nothing."""
    rng = np.random.default_rng(cycle.seed)
    kept: list[tuple[NDArray[np.float16], NDArray[np.bool_]]] = []

    def draw(step: int) -> list[Drawn]:
        while len(kept) < min((step + 1) * batch, cycle.maps):
            example = draw_vessels(TRAIN_SEED + len(kept))
            kept.append((density_tensor(example.density).astype(np.float16), example.vessels))
        return [_window(*kept[int(k)], rng) for k in (step * batch + np.arange(batch)) % cycle.maps]

    return fit(vessel_net, draw, Schedule(cycle.maps * cycle.epochs // batch, CROP_PX, cycle.seed, batch))


def _window(tensor: NDArray[np.float16], vessels: NDArray[np.bool_], rng: np.random.Generator) -> Drawn:
    turn = int(rng.integers(0, 8))
    z, x = rng.integers(0, tensor.shape[1] - CROP_PX + 1, 2)
    tensor, vessels = tensor[:, z : z + CROP_PX, x : x + CROP_PX], vessels[z : z + CROP_PX, x : x + CROP_PX]
    truth = turned(vessels.astype(np.float32), turn)
    return turned(tensor.astype(np.float32), turn), truth, np.ones_like(truth)
