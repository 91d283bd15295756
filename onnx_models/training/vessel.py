"""Train the vessel model: `python -m onnx_models.training.vessel --out FILE.pt`. Maps are drawn as it goes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onnx_models.tensors import density_tensor
from onnx_models.training.mask_training import Drawn, Schedule, fit
from onnx_models.training.networks import MaskNet, vessel_net
from onnx_models.training.vessel_trees import draw_vessels

CROP_PX = 128
"""A window wide enough for every vessel's surroundings, a quarter of the map's cost."""
TRAIN_SEED, VALIDATION_SEED, TEST_SEED = 5_000_000, 6_000_000, 7_000_000
SEED = 30


def train(maps: int, epochs: int, batch: int = 8) -> MaskNet:
    """`maps` drawn maps, each seen `epochs` times through a window, in the eight turns of a square."""
    rng = np.random.default_rng(SEED)
    kept: list[tuple[NDArray[np.float16], NDArray[np.bool_]]] = []

    def draw(step: int) -> list[Drawn]:
        while len(kept) < min((step + 1) * batch, maps):
            example = draw_vessels(TRAIN_SEED + len(kept))
            kept.append((density_tensor(example.density).astype(np.float16), example.vessels))
        return [_window(*kept[int(k)], rng) for k in (step * batch + np.arange(batch)) % maps]

    return fit(vessel_net, draw, Schedule(maps * epochs // batch, CROP_PX, SEED, batch))


def _window(tensor: NDArray[np.float16], vessels: NDArray[np.bool_], rng: np.random.Generator) -> Drawn:
    turns, flip = int(rng.integers(0, 4)), rng.random() < 0.5
    z, x = rng.integers(0, tensor.shape[1] - CROP_PX + 1, 2)
    tensor, vessels = tensor[:, z : z + CROP_PX, x : x + CROP_PX], vessels[z : z + CROP_PX, x : x + CROP_PX]
    tensor, vessels = np.rot90(tensor, turns, (1, 2)), np.rot90(vessels, turns)
    if flip:
        tensor, vessels = tensor[..., ::-1], vessels[:, ::-1]
    truth = vessels.astype(np.float32)
    return tensor.astype(np.float32), truth, np.ones_like(truth)


MAPS, EPOCHS = 200, 32


def train_from(maps: int = MAPS, epochs: int = EPOCHS) -> dict[str, Any]:
    """Train: weights, and how many maps they have seen."""
    return {"weights": train(maps, epochs).state_dict(), "maps": maps, "epochs": epochs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    torch.save(train_from(), parser.parse_args().out)


if __name__ == "__main__":
    main()
