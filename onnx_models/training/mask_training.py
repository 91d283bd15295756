"""The one training loop of both segmentation networks: AdamW, one cosine cycle, one thread, a fixed seed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from onnx_models.training.networks import MaskNet, mask_loss

Drawn = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""Input (C, H, W), truth (H, W) and valid cells (H, W) of one example."""


@dataclass(frozen=True)
class Schedule:
    """AdamW with one cosine cycle. `crop`: cells or pixels of a training window."""

    steps: int
    crop: int
    seed: int
    batch: int = 8
    peak_rate: float = 4e-3


def turned(array: NDArray[np.float32], turn: int) -> NDArray[np.float32]:
    """One of the eight turns and mirrorings of a square, over the last two axes: tissue has no up or down, and a shadow
    from anywhere is a shadow."""
    quarter = np.rot90(array, turn % 4, (-2, -1))
    return np.ascontiguousarray(quarter[..., ::-1] if turn >= 4 else quarter)


def fit(make: Callable[[], MaskNet], draw: Callable[[int], list[Drawn]], schedule: Schedule) -> MaskNet:
    """Train what `make` builds on what `draw(step)` gives; the same seed and machine give the same weights."""
    torch.manual_seed(schedule.seed)
    torch.set_num_threads(1)
    # Channels last: the same sums in half the time on a CPU's vector units.
    network = make().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=schedule.peak_rate, weight_decay=1e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, schedule.peak_rate, schedule.steps, pct_start=0.15)
    begun, mean_loss = time.monotonic(), 0.0
    network.train()
    for step in range(schedule.steps):
        given, truth, valid = (torch.from_numpy(np.stack(part)) for part in zip(*draw(step), strict=True))
        loss = mask_loss(network(given.to(memory_format=torch.channels_last)), truth, valid)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        rates.step()
        mean_loss = 0.98 * mean_loss + 0.02 * float(loss.detach())
        if step % 100 == 99:
            spent_s = time.monotonic() - begun
            print(f"step {step + 1} of {schedule.steps} loss {mean_loss:.4f} {spent_s:.0f} s", flush=True)
    return network.to(memory_format=torch.contiguous_format).eval()
