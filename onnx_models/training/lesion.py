"""Train the lesion model: `python -m onnx_models.training.lesion --maps DIR --out FILE.pt [--mechanisms ...]`.

Makes the maps that are missing, trains with one thread and a fixed seed, writes weights.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from onnx_models.training.cines import MECHANISMS
from onnx_models.training.map_sets import PAD, MapExample, load_set
from onnx_models.training.networks import MaskNet, lesion_net, mask_loss


@dataclass(frozen=True)
class Schedule:
    """AdamW with one cosine cycle. `crop`: cells of a training window (0.25 mm each)."""

    steps: int = 6000
    batch: int = 8
    crop: int = 192
    peak_rate: float = 4e-3
    seed: int = 20


def window(
    example: MapExample, crop: int, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """A random window of the panel, padded with invalid cells, flipped, with another gain and clock."""
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
    if rng.random() < 0.5:
        maps, lesion, valid = maps[..., ::-1].copy(), lesion[:, ::-1].copy(), valid[:, ::-1].copy()
    return maps, lesion, valid


def train(examples: Sequence[MapExample], schedule: Schedule, start: Path | None = None) -> MaskNet:
    """One training run, from `start`'s weights if given; the same seed and machine give the same weights."""
    torch.manual_seed(schedule.seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(schedule.seed)
    network = lesion_net()
    if start is not None:
        network.load_state_dict(torch.load(start, weights_only=True)["weights"])
    optimiser = torch.optim.AdamW(network.parameters(), lr=schedule.peak_rate, weight_decay=1e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, schedule.peak_rate, schedule.steps, pct_start=0.15)
    order: list[int] = []
    begun, mean_loss = time.monotonic(), 0.0
    network.train()
    for step in range(schedule.steps):
        while len(order) < schedule.batch:
            order.extend(rng.permutation(len(examples)).tolist())
        picked, order = order[: schedule.batch], order[schedule.batch :]
        drawn = [window(examples[k], schedule.crop, rng) for k in picked]
        maps, truth, valid = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
        loss = mask_loss(network(maps), truth, valid)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        rates.step()
        mean_loss = 0.98 * mean_loss + 0.02 * float(loss.detach())
        if step % 100 == 99:
            print(f"step {step + 1} loss {mean_loss:.4f} {time.monotonic() - begun:.0f} s", flush=True)
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mechanisms", nargs="+", default=list(MECHANISMS))
    parser.add_argument("--steps", type=int, default=Schedule().steps)
    parser.add_argument("--start", type=Path, help="weights of an earlier run to go on from")
    arguments = parser.parse_args()
    examples = [e for mechanism in arguments.mechanisms for e in load_set(arguments.maps, mechanism, "train")]
    print(f"{len(examples)} cines", flush=True)
    network = train(examples, Schedule(steps=arguments.steps), arguments.start)
    going_on = f" --start FILE ({arguments.start.stem})" if arguments.start else ""
    command = f"python -m onnx_models.training.lesion --maps DIR --out FILE --steps {arguments.steps}{going_on}"
    stored = {"weights": network.state_dict(), "cines": len(examples), "steps": arguments.steps, "command": command}
    torch.save(stored, arguments.out)


if __name__ == "__main__":
    main()
