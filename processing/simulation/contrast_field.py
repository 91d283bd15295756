"""The contrast panel as linear echo power: microbubble speckle over leaking tissue and receiver noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from processing.simulation.anatomy import Anatomy, Grid, lesion_weight, vascular_volume
from processing.simulation.breathing import Motion, displaced, interpolation_power
from processing.simulation.kinetics import FloatArray, Kinetics
from processing.simulation.speckle import ComplexArray, ElectronicNoise, PointSpread, Speckle, speckle_field

Tissue = Literal["lesion", "parenchyma"]


@dataclass(frozen=True)
class ContrastPhysics:
    """Levels of what is not contrast, and the texture. Powers are relative to full scale.

    The default noise lies 5 dB above the floor of a 50 dB display: pre-contrast frames are nearly black, and
    clipping at the floor biases a mean by less than 0.01 % of the peak. `leakage_db`: tissue signal that pulse
    inversion leaves. `attenuation_db_per_cm`: both ways, of contrast and leakage.
    """

    noise_db: float = -45.0
    leakage_db: float = -44.0
    attenuation_db_per_cm: float = 0.0
    decorrelation_s: float = 0.15
    psf_sigma_mm: tuple[float, float] = (0.25, 0.42)

    def point_spread(self, grid: Grid) -> PointSpread:
        """Never below one pixel: finer speckle could not be drawn, nor moved by interpolation."""
        z_mm, x_mm = self.psf_sigma_mm
        return PointSpread(max(z_mm / grid.spacing_mm.z_mm, 1.0), max(x_mm / grid.spacing_mm.x_mm, 1.0))


@dataclass(frozen=True, eq=False)
class ContrastField:
    """Power frames of a lesion and parenchyma with kinetics of their own.

    Mean power of a pixel = attenuation (volume (w lesion + (1 - w) parenchyma) + leakage) + noise.
    """

    grid: Grid
    anatomy: Anatomy
    physics: ContrastPhysics
    lesion: Kinetics
    parenchyma: Kinetics
    seed: int
    motion: Motion
    _volume: dict[Tissue, NDArray[np.float32]] = field(init=False, repr=False)
    _films: tuple[tuple[Speckle, ComplexArray], ...] = field(init=False, repr=False)
    _noise: ElectronicNoise = field(init=False, repr=False)

    def __post_init__(self) -> None:
        spread = self.physics.point_spread(self.grid)
        weight = lesion_weight(self.anatomy, self.grid)
        volume = vascular_volume(self.anatomy, self.grid, self.seed)
        z_cm = (np.arange(self.grid.shape[0]) - self.grid.margin_px) * self.grid.spacing_mm.z_mm / 10
        loss = 10 ** (-np.maximum(z_cm, 0) * self.physics.attenuation_db_per_cm / 10)
        within: dict[Tissue, NDArray[np.float32]] = {"lesion": weight, "parenchyma": 1 - weight}
        parts = {tissue: (loss[:, None] * volume * share).astype(np.float32) for tissue, share in within.items()}
        leak = np.sqrt(loss * 10 ** (self.physics.leakage_db / 10)).astype(np.float32)[:, None]
        # Another slice of the tissue (film 1) has the same statistics and another speckle.
        films = tuple(
            (
                Speckle(self.grid.shape, spread, self.seed * 8 + 2 * film, self.physics.decorrelation_s),
                leak * speckle_field(self.grid.shape, spread, (self.seed * 8 + 2 * film + 1, 5)),
            )
            for film in (0, 1)
        )
        noise = ElectronicNoise((self.grid.rows, self.grid.columns), spread, self.seed * 8 + 7)
        for name, value in (("_volume", parts), ("_films", films), ("_noise", noise)):
            object.__setattr__(self, name, value)

    def power(self, frame: int) -> NDArray[np.float32]:
        """Linear power of one frame, float32 (z, x)."""
        time_s = float(self.motion.times_s[frame])
        now = np.array([time_s])
        mean = self._volume["lesion"] * np.float32(self.lesion.power_au(now)[0])
        mean += self._volume["parenchyma"] * np.float32(self.parenchyma.power_au(now)[0])
        moving, static = self._films[int(self.motion.out_of_plane[frame])]
        echo = moving.at(time_s)
        echo *= np.sqrt(mean)
        echo += static
        shift = self.motion.shift_px(frame)
        shape = (self.grid.rows, self.grid.columns)
        echo = displaced(echo, shape, self.grid.margin_px, shift)
        left = interpolation_power(self.physics.point_spread(self.grid), shift)
        noise_amplitude = math.sqrt(10 ** (self.physics.noise_db / 10) * left)
        echo = echo + self._noise.at(frame) * np.float32(noise_amplitude)
        power: NDArray[np.float32] = echo.real**2
        power += echo.imag**2
        power /= np.float32(left)
        return power

    def volume(self, tissue: Tissue, mask: NDArray[np.bool_]) -> float:
        """Mean factor between the tissue's kinetics and the power of these pixels, tissue at rest."""
        return float(self.grid.panel(self._volume[tissue])[mask].mean(dtype=np.float64))

    def expected(self, mask: NDArray[np.bool_], time_s: FloatArray) -> tuple[FloatArray, float]:
        """Enhancement over time and baseline: the mean power that these pixels are made to have, tissue at rest."""
        lesion = self.volume("lesion", mask) * self.lesion.power_au(time_s)
        enhancement: FloatArray = lesion + self.volume("parenchyma", mask) * self.parenchyma.power_au(time_s)
        z_cm = np.arange(self.grid.rows) * self.grid.spacing_mm.z_mm / 10
        loss = 10 ** (-z_cm * self.physics.attenuation_db_per_cm / 10)
        leak = 10 ** (self.physics.leakage_db / 10) * float((mask * loss[:, None]).sum() / mask.sum())
        return enhancement, leak + 10 ** (self.physics.noise_db / 10)
