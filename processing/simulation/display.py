"""How the simulated scanner draws echo power: gain, logarithmic compression to 8 bit, tint.

Level g of power P: g = 255 (1 + 10 log10(P gain) / DR), rounded and clipped; full scale P = 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from processing.errors import InvalidValueError

Tint = Literal["grey", "copper", "hot", "amber", "blue"]

_ANCHORS: dict[Tint, tuple[tuple[float, float, float, float], ...]] = {
    # position, red, green, blue; straight lines between. Copper and hot follow the maps of those names of MATLAB.
    "grey": ((0, 0, 0, 0), (1, 1, 1, 1)),
    "copper": ((0, 0, 0, 0), (0.8, 1, 0.625, 0.398), (1, 1, 0.7812, 0.4975)),
    "hot": ((0, 0.0416, 0, 0), (0.365, 1, 0, 0), (0.746, 1, 1, 0), (1, 1, 1, 1)),
    "amber": ((0, 0, 0, 0), (0.6, 0.85, 0.5, 0.05), (1, 1, 0.95, 0.7)),
    "blue": ((0, 0, 0, 0), (0.6, 0.15, 0.45, 0.85), (1, 0.85, 0.97, 1)),
}


def tint_table(tint: Tint) -> NDArray[np.uint8]:
    """The RGB colour of each of the 256 levels: uint8 (256, 3), luma rising with the level."""
    anchors = np.array(_ANCHORS[tint])
    level = np.linspace(0.0, 1.0, 256)
    channels = [np.interp(level, anchors[:, 0], anchors[:, 1 + c]) for c in range(3)]
    table: NDArray[np.uint8] = np.rint(255 * np.stack(channels, axis=-1)).astype(np.uint8)
    return table


@dataclass(frozen=True)
class Display:
    """Logarithmic compression with an optional gain step (somebody turns the knob during the loop)."""

    dynamic_range_db: float = 50.0
    gain_db: float = 0.0
    gain_step_db: float = 0.0
    gain_step_at_s: float | None = None

    def __post_init__(self) -> None:
        if self.dynamic_range_db <= 0:
            raise InvalidValueError("dynamic_range_db must be positive")

    @property
    def grey_to_db(self) -> tuple[float, ...]:
        """The 256 levels in dB below full scale."""
        return tuple((level / 255.0 - 1.0) * self.dynamic_range_db for level in range(256))

    def gain_at(self, time_s: float) -> float:
        """Total gain in dB at this time."""
        stepped = self.gain_step_at_s is not None and time_s >= self.gain_step_at_s
        return self.gain_db + (self.gain_step_db if stepped else 0.0)

    def levels(self, power: NDArray[np.float32], time_s: float = 0.0) -> NDArray[np.uint8]:
        """uint8 levels of linear power (full scale 1)."""
        scale = 255.0 / self.dynamic_range_db
        # The natural logarithm of float32 is vectorised, log10 is not. Zero power is far below any floor.
        level = np.log(np.maximum(power, np.float32(1e-30)))
        level *= np.float32(scale * 10.0 / math.log(10.0))
        level += np.float32(255.0 + scale * self.gain_at(time_s) + 0.5)
        np.clip(level, 0.0, 255.0, out=level)
        return level.astype(np.uint8)

    def power(self, levels: NDArray[np.uint8], time_s: float = 0.0) -> NDArray[np.float64]:
        """The power that a level stands for: the inverse of `levels` up to rounding."""
        level_db = (levels.astype(np.float64) / 255.0 - 1.0) * self.dynamic_range_db
        result: NDArray[np.float64] = 10.0 ** ((level_db - self.gain_at(time_s)) / 10.0)
        return result
