"""The B-mode panel: static tissue speckle with vessel walls, breathing, gain and a little receiver noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from processing.simulation.anatomy import Anatomy, Grid, echogenicity_db
from processing.simulation.breathing import Motion, displaced
from processing.simulation.display import Display
from processing.simulation.screen import ImageArray
from processing.simulation.speckle import PointSpread, speckle_field


@dataclass(frozen=True, eq=False)
class BmodePanel:
    """Grey levels of the tissue. The film is drawn once in dB and then moved: speckle goes with the tissue."""

    grid: Grid
    anatomy: Anatomy
    display: Display
    seed: int
    scanned: NDArray[np.bool_]
    motion: Motion
    noise_levels: float = 3.0
    _films: tuple[NDArray[np.float32], ...] = field(init=False, repr=False)
    _noise: NDArray[np.float32] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        spread = PointSpread(max(0.18 / self.grid.spacing_mm.z_mm, 1.0), max(0.32 / self.grid.spacing_mm.x_mm, 1.0))
        echo_db = echogenicity_db(self.anatomy, self.grid)
        # Film 1 is another slice of the tissue.
        fields = [speckle_field(self.grid.shape, spread, (self.seed, 23, film)) for film in (0, 1)]
        powers = [np.maximum(f.real**2 + f.imag**2, np.float32(1e-9)) for f in fields]
        levels = [255 * (1 + (echo_db + 10 * np.log10(p)) / self.display.dynamic_range_db) for p in powers]
        object.__setattr__(self, "_films", tuple(np.maximum(level, -64.0).astype(np.float32) for level in levels))
        # Twice the panel's size: each frame reads it from a random corner.
        tile = np.random.default_rng((self.seed, 29)).standard_normal((2 * self.grid.rows, 2 * self.grid.columns))
        object.__setattr__(self, "_noise", (self.noise_levels * tile).astype(np.float32))

    def levels(self, frame: int) -> NDArray[np.uint8]:
        """uint8 (z, x) of one frame."""
        film = self._films[int(self.motion.out_of_plane[frame])]
        shift = self.motion.shift_px(frame)
        level = displaced(film, (self.grid.rows, self.grid.columns), self.grid.margin_px, shift)
        gain = 255.0 * self.display.gain_at(float(self.motion.times_s[frame])) / self.display.dynamic_range_db
        z, x = np.random.default_rng((self.seed, 31, frame)).integers(0, (self.grid.rows, self.grid.columns))
        level = level + self._noise[z : z + self.grid.rows, x : x + self.grid.columns]
        level += np.float32(gain + 0.5)
        np.clip(level, 0.0, 255.0, out=level)
        levels: NDArray[np.uint8] = level.astype(np.uint8)
        levels[~self.scanned] = 0
        return levels

    def paint(self, frame: int) -> ImageArray:
        return np.repeat(self.levels(frame)[..., None], 3, axis=-1)
