"""The B-mode panel: static tissue speckle with vessel walls, breathing, gain and a little receiver noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from processing.simulation.anatomy import Anatomy, Grid, echogenicity_db
from processing.simulation.breathing import displaced
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
    times_s: NDArray[np.float64]
    shift_px: NDArray[np.float64]
    out_of_plane: NDArray[np.bool_]
    noise_levels: float = 3.0
    _films: list[NDArray[np.float32]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        spread = PointSpread(max(0.18 / self.grid.spacing_mm.z_mm, 1.0), max(0.32 / self.grid.spacing_mm.x_mm, 1.0))
        echo_db = echogenicity_db(self.anatomy, self.grid)
        for film in range(2):
            speckle = speckle_field(self.grid.shape, spread, (self.seed, 23, film))
            power = np.maximum(speckle.real**2 + speckle.imag**2, np.float32(1e-9))
            level = 255.0 * (1.0 + (echo_db + 10.0 * np.log10(power)) / self.display.dynamic_range_db)
            self._films.append(np.maximum(level, -64.0).astype(np.float32))
        rng = np.random.default_rng((self.seed, 29))
        shape = (2 * self.grid.rows, 2 * self.grid.columns)
        self._films.append(self.noise_levels * rng.standard_normal(shape, dtype=np.float32))

    def levels(self, frame: int) -> NDArray[np.uint8]:
        """uint8 (z, x) of one frame."""
        film = self._films[int(self.out_of_plane[frame])]
        shift = (float(self.shift_px[frame, 0]), float(self.shift_px[frame, 1]))
        level = displaced(film, (self.grid.rows, self.grid.columns), self.grid.margin_px, shift)
        gain = 255.0 * self.display.gain_at(float(self.times_s[frame])) / self.display.dynamic_range_db
        z, x = np.random.default_rng((self.seed, 31, frame)).integers(0, (self.grid.rows, self.grid.columns))
        level = level + self._films[2][z : z + self.grid.rows, x : x + self.grid.columns]
        level += np.float32(gain + 0.5)
        np.clip(level, 0.0, 255.0, out=level)
        levels: NDArray[np.uint8] = level.astype(np.uint8)
        levels[~self.scanned] = 0
        return levels

    def paint(self, frame: int) -> ImageArray:
        return np.repeat(self.levels(frame)[..., None], 3, axis=-1)
