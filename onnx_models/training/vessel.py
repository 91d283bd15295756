"""Train the vessel model: `python -m onnx_models.training.vessel --out FILE.pt`. Maps are drawn as it goes."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from onnx_models.tensors import density_tensor
from onnx_models.training.networks import mask_loss, vessel_net
from onnx_models.training.vessel_trees import draw_vessels

CROP_PX = 128
"""A window wide enough for every vessel's surroundings, a quarter of the map's cost."""
TRAIN_SEED, VALIDATION_SEED, TEST_SEED = 5_000_000, 6_000_000, 7_000_000


def train(maps: int, epochs: int, batch: int = 8) -> torch.nn.Module:
    """`maps` drawn maps, each seen `epochs` times through a window, in the eight turns of a square."""
    torch.manual_seed(30)
    torch.set_num_threads(1)
    rng = np.random.default_rng(30)
    network = vessel_net()
    steps = maps * epochs // batch
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, steps, pct_start=0.15)
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    begun, mean_loss = time.monotonic(), 0.0
    network.train()
    for step in range(steps):
        while len(kept) < min((step + 1) * batch, maps):
            example = draw_vessels(TRAIN_SEED + len(kept))
            kept.append((density_tensor(example.density).astype(np.float16), example.vessels))
        drawn = []
        for k in (step * batch + np.arange(batch)) % maps:
            tensor, vessels = kept[int(k)]
            turns, flip = int(rng.integers(0, 4)), rng.random() < 0.5
            z, x = rng.integers(0, tensor.shape[1] - CROP_PX + 1, 2)
            tensor, vessels = tensor[:, z : z + CROP_PX, x : x + CROP_PX], vessels[z : z + CROP_PX, x : x + CROP_PX]
            tensor, vessels = np.rot90(tensor, turns, (1, 2)), np.rot90(vessels, turns)
            drawn.append((tensor[..., ::-1], vessels[:, ::-1]) if flip else (tensor, vessels))
        given = torch.from_numpy(np.stack([t.astype(np.float32) for t, _ in drawn]))
        truth = torch.from_numpy(np.stack([v.astype(np.float32) for _, v in drawn]))
        loss = mask_loss(network(given), truth, torch.ones_like(truth))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        rates.step()
        mean_loss = 0.98 * mean_loss + 0.02 * float(loss.detach())
        if step % 50 == 49:
            print(f"step {step + 1} of {steps} loss {mean_loss:.4f} {time.monotonic() - begun:.0f} s", flush=True)
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--maps", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=12)
    arguments = parser.parse_args()
    network = train(arguments.maps, arguments.epochs)
    told = {"weights": network.state_dict(), "maps": arguments.maps, "epochs": arguments.epochs}
    torch.save(told, arguments.out)


if __name__ == "__main__":
    main()
