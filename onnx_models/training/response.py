"""The response models: a small network on maps, and a multinomial logistic glass box on named parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

BATCH, RATE = 32, 2e-3


@dataclass(frozen=True)
class Run:
    """One training: its seed, its number of updates, and whether rare classes weigh more."""

    seed: int
    steps: int = 1000
    weighted: bool = False
    rate: float = RATE


class ResponseNet(nn.Module):
    """Five maps and the mask around the lesion (N, 6, 48, 48) -> logits (N, 3). Units are scaled inside the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor([-25.0, -30.0, -32.0, 0.1, 0.25, 0.5]).view(1, 6, 1, 1))
        self.register_buffer("scale", torch.tensor([10.0, 10.0, 10.0, 0.3, 0.3, 0.5]).view(1, 6, 1, 1))
        widths = (6, 16, 32, 48)
        layers: list[nn.Module] = []
        for inward, outward in zip(widths[:-1], widths[1:], strict=True):  # noqa: RUF007 - pairs of a tuple
            layers += [nn.Conv2d(inward, outward, 3, stride=2, padding=1), nn.BatchNorm2d(outward), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], 3)

    def forward(self, roi: Tensor) -> Tensor:
        result: Tensor = self.head(self.layers((roi - self.centre) / self.scale).mean(dim=(2, 3)))
        return result


class GlassBox(nn.Module):
    """One weight for each named parameter and class: metrics (N, 6) in their units -> logits (N, 3)."""

    def __init__(self, centre: NDArray[np.float64], scale: NDArray[np.float64]) -> None:
        super().__init__()
        self.register_buffer("centre", torch.tensor(centre, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.head = nn.Linear(centre.size, 3)

    def forward(self, metrics: Tensor) -> Tensor:
        result: Tensor = self.head((metrics - self.centre) / self.scale)
        return result


def train_network(
    crops: NDArray[np.float32], labels: NDArray[np.intp], run: Run, start: ResponseNet | None = None
) -> ResponseNet:
    """One run; gain is turned at random (the phenotype is a difference), flips leave perfusion as it is."""
    torch.manual_seed(run.seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(run.seed)
    network = start or ResponseNet()
    weight = None
    if run.weighted:
        share = np.bincount(labels, minlength=3) / len(labels)
        weight = torch.tensor(1 / (3 * share), dtype=torch.float32)
    optimiser = torch.optim.AdamW(network.parameters(), lr=run.rate, weight_decay=3e-2)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, run.rate, run.steps)
    network.train()
    for _ in range(run.steps):
        picked = rng.integers(0, len(labels), BATCH)
        batch = crops[picked].copy()
        batch[:, :3] = np.clip(batch[:, :3] + rng.normal(0, 3, (BATCH, 1, 1, 1)), -60, 0)
        if rng.random() < 0.5:
            batch = batch[..., ::-1].copy()
        if rng.random() < 0.5:
            batch = batch[..., ::-1, :].copy()
        loss = functional.cross_entropy(network(torch.from_numpy(batch)), torch.from_numpy(labels[picked]), weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        rates.step()
    return network.eval()


def train_glass_box(metrics: NDArray[np.float64], labels: NDArray[np.intp], start: GlassBox | None = None) -> GlassBox:
    """Maximum likelihood with a little weight decay: convex, so no seed. From `start`, a few cases bend its weights as
    far as their number allows, and no further."""
    glass = start or GlassBox(metrics.mean(axis=0), metrics.std(axis=0) + 1e-6)
    if start is None:
        nn.init.zeros_(glass.head.weight)
        nn.init.zeros_(glass.head.bias)
    anchor, pull = glass.head.weight.detach().clone(), 1e-3 if start is None else 1.0 / max(len(labels), 1)
    given, truth = torch.tensor(metrics, dtype=torch.float32), torch.from_numpy(labels)
    optimiser = torch.optim.LBFGS(glass.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = functional.cross_entropy(glass(given), truth) + pull * (glass.head.weight - anchor).square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    return glass.eval()


def logits_of(network: nn.Module, given: NDArray[np.floating]) -> NDArray[np.float64]:
    """Logits (n, 3) of all inputs."""
    with torch.no_grad():
        return network(torch.from_numpy(np.asarray(given, dtype=np.float32))).numpy().astype(np.float64)


def fitted_temperature(logits: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """The one temperature of highest likelihood on validation tumours (Guo et al. 2017)."""
    candidates = np.geomspace(0.3, 5, 80)

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        scaled = scaled - scaled.max(axis=1, keepdims=True)
        return float((np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(labels)), labels]).mean())

    return round(float(min(candidates, key=loss)), 4)
