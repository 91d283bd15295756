"""The one training loop of both segmentation networks: AdamW, one cosine cycle, averaged weights, one thread, a fixed
seed."""

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
    """AdamW with one cosine cycle. `crop`: cells or pixels of a training window.

    `averaged_steps`: over how many steps the weights are averaged (0 = the last ones), which stands in for the quiet
    end of further cycles. `short_floats`: convolutions in bfloat16 of weights in float32, where the processor has it:
    measured, a step of the lesion network takes 78 instead of 128 ms.
    """

    steps: int
    crop: int
    seed: int
    batch: int = 8
    peak_rate: float = 4e-3
    averaged_steps: int = 0
    short_floats: bool = False


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
    mean = _Average(network, schedule.averaged_steps) if schedule.averaged_steps else None
    # On a processor without it, bfloat16 is imitated, which is slower than float32.
    short = schedule.short_floats and torch.cpu._is_avx512_bf16_supported()
    begun, mean_loss = time.monotonic(), 0.0
    network.train()
    for step in range(schedule.steps):
        given, truth, valid = (torch.from_numpy(np.stack(part)) for part in zip(*draw(step), strict=True))
        with torch.autocast("cpu", torch.bfloat16, enabled=short):
            # Given as it lies: units are brought to one faster plane by plane, the first convolution turns the order.
            logits = network(given)
        loss = mask_loss(logits.float(), truth, valid)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        rates.step()
        if mean is not None:
            mean.take(step)
        mean_loss = 0.98 * mean_loss + 0.02 * float(loss.detach())
        if step % 100 == 99:
            spent_s = time.monotonic() - begun
            print(f"step {step + 1} of {schedule.steps} loss {mean_loss:.4f} {spent_s:.0f} s", flush=True)
    if mean is not None:
        mean.give()
    return network.to(memory_format=torch.contiguous_format).eval()


class _Average:
    """The running mean of a network's weights and of its normalisations' statistics (Polyak and Juditsky 1992)."""

    def __init__(self, network: MaskNet, steps: int) -> None:
        self._own = [t for t in network.state_dict().values() if t.is_floating_point()]
        self._mean = [t.clone() for t in self._own]
        self._steps = steps

    def take(self, step: int) -> None:
        """Add the weights after `step`; early on the mean is over what there is."""
        share = 1 / min(self._steps, 1 + step / 10)
        for mean, own in zip(self._mean, self._own, strict=True):
            mean.lerp_(own, share)

    def give(self) -> None:
        """Put the mean into the network."""
        for mean, own in zip(self._mean, self._own, strict=True):
            own.copy_(mean)
