"""The networks: small enough for one core in milliseconds, plain enough for the default operators of ONNX."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


class _Block(nn.Module):
    """Convolution, normalisation, rectifier; `convolutions` of them."""

    def __init__(self, inward: int, outward: int, convolutions: int = 2) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for k in range(convolutions):
            layers += [
                nn.Conv2d(inward if k == 0 else outward, outward, 3, padding=1, bias=False),
                nn.BatchNorm2d(outward),
                nn.ReLU(inplace=True),
            ]
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layers(x)
        return result


class MaskNet(nn.Module):
    """U-shaped (Ronneberger et al. 2015), its first level on every second cell; logits on every cell.

    (N, channels, H, W), sides multiples of 32 -> (N, 1, H, W). `centre` and `scale` bring each channel's unit to about
    one inside the graph, so there is no second place where they could differ.
    """

    def __init__(self, centre: tuple[float, ...], scale: tuple[float, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        channels = len(centre)
        self.register_buffer("centre", torch.tensor(centre).view(1, channels, 1, 1))
        self.register_buffer("scale", torch.tensor(scale).view(1, channels, 1, 1))
        self.stem = nn.Conv2d(channels, widths[0], 4, stride=2, padding=1)
        self.down = nn.ModuleList([_Block(widths[0], widths[0], 1)])
        for above, here in pairwise(widths):
            self.down.append(_Block(above, here))
        self.up = nn.ModuleList([_Block(widths[k] + widths[k + 1], widths[k], 1) for k in range(len(widths) - 1)])
        self.head = nn.ConvTranspose2d(widths[0], 1, 4, stride=2, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        x = functional.relu(self.stem((maps - self.centre) / self.scale))
        kept: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else functional.max_pool2d(x, 2))
            kept.append(x)
        for level in range(len(self.up) - 1, -1, -1):
            wide = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.up[level](torch.cat([wide, kept[level]], dim=1))
        result: Tensor = self.head(x)
        return result


def lesion_net() -> MaskNet:
    """On `processing.model_inputs`: levels of 0.5 mm to 8 mm, 0.34 million weights. Three levels in dB, two times in
    units of 30 s."""
    return MaskNet((-25.0, -30.0, -32.0, 0.1, 0.25), (10.0, 10.0, 10.0, 0.3, 0.3), (8, 16, 32, 64, 96))


def vessel_net() -> MaskNet:
    """On the super-resolved density and its smoothed twin, both log(1 + tracks)."""
    return MaskNet((0.3, 0.3), (0.6, 0.4), (16, 32, 48, 64, 64))


def mask_loss(logits: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Cross entropy plus soft Dice over valid cells; an empty truth is learned by cross entropy alone.

    logits (N, 1, H, W); truth, valid (N, H, W) of 0 and 1.
    """
    logits = logits[:, 0]
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, weight=valid, reduction="sum") / valid.sum()
    probability = torch.sigmoid(logits) * valid
    overlap = (probability * truth).sum(dim=(1, 2))
    total = probability.sum(dim=(1, 2)) + truth.sum(dim=(1, 2))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    filled = (truth.sum(dim=(1, 2)) > 0).float()
    return entropy + (dice * filled).sum() / filled.sum().clamp(min=1)
