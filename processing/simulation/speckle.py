"""Fully developed speckle: circular complex Gaussian fields of unit mean power, shaped by a point spread function.

The intensity of such a field is exponentially distributed (Goodman 1976, J Opt Soc Am 66:1145). In time the field
turns from one independent realisation to the next, u(t) = cos(a) U_k + sin(a) U_(k+1) with a from 0 to pi/2: its
mean power is 1 at every moment, any frame can be drawn without its predecessors, and the amplitude correlation,
averaged over phase, is rho(v) = (1 - v/2) cos(pi v/2) + sin(pi v/2)/pi for a lag of v intervals, v <= 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from processing.errors import InvalidValueError

ComplexArray = NDArray[np.complex64]

INTERVALS_TO_DECORRELATE = 0.9387
"""Lag, in intervals, at which rho above has fallen to 1/e (solved numerically)."""


@dataclass(frozen=True)
class PointSpread:
    """Gaussian point spread of the echo amplitude: standard deviations in pixels."""

    z_px: float
    x_px: float

    def correlation(self, dz_px: float, dx_px: float) -> float:
        """Correlation of the speckle amplitude between two points so far apart."""
        return math.exp(-((dz_px / (2 * self.z_px)) ** 2) - (dx_px / (2 * self.x_px)) ** 2)


def speckle_field(shape: tuple[int, int], spread: PointSpread, seed: tuple[int, ...]) -> ComplexArray:
    """One realisation, complex64 (z, x), expected power 1, periodic at its borders."""
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    z = np.exp(-2 * (math.pi * spread.z_px * np.fft.fftfreq(shape[0])) ** 2)
    x = np.exp(-2 * (math.pi * spread.x_px * np.fft.fftfreq(shape[1])) ** 2)
    # White noise is white in the Fourier domain too, so one inverse transform is enough. Its power is 2 a sample.
    scale = math.sqrt(shape[0] * shape[1] / (2 * float((z**2).sum()) * float((x**2).sum())))
    transfer = (scale * math.sqrt(shape[0] * shape[1]) * z[:, None] * x[None, :]).astype(np.float32)
    result: ComplexArray = np.fft.ifft2(white * transfer).astype(np.complex64, copy=False)
    return result


@dataclass(frozen=True, eq=False)
class Speckle:
    """Speckle of moving scatterers that can be drawn at any time. `decorrelation_s`: amplitude correlation 1/e."""

    shape: tuple[int, int]
    spread: PointSpread
    seed: int
    decorrelation_s: float
    _drawn: dict[int, ComplexArray] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.decorrelation_s <= 0:
            raise InvalidValueError("decorrelation_s must be positive; a static field is `speckle_field`")

    def at(self, time_s: float) -> ComplexArray:
        position = time_s * INTERVALS_TO_DECORRELATE / self.decorrelation_s
        first = math.floor(position)
        angle = 0.5 * math.pi * (position - first)
        mixed = self._realisation(first) * np.float32(math.cos(angle))
        mixed += self._realisation(first + 1) * np.float32(math.sin(angle))
        return mixed

    def _realisation(self, index: int) -> ComplexArray:
        if index not in self._drawn:
            # Two neighbours are enough for frames that come in order; older ones would fill the memory.
            for old in [k for k in self._drawn if abs(k - index) > 1]:
                del self._drawn[old]
            # Seeds are unsigned: realisations before the injection count from the other side.
            self._drawn[index] = speckle_field(self.shape, self.spread, (self.seed, index & 0xFFFFFFFF))
        return self._drawn[index]


@dataclass(frozen=True, eq=False)
class ElectronicNoise:
    """Noise of the receiver: independent in every frame, band-limited like the echo, fixed on the screen."""

    shape: tuple[int, int]
    spread: PointSpread
    seed: int
    _tile: ComplexArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # The field is periodic: four copies hold every cyclic shift of it.
        object.__setattr__(self, "_tile", np.tile(speckle_field(self.shape, self.spread, (self.seed, 0)), (2, 2)))

    def at(self, frame: int) -> ComplexArray:
        """Expected power 1: the tile read from a random corner, which is cheap, and independent enough."""
        z, x = np.random.default_rng((self.seed, 1, frame)).integers(0, self.shape)
        return self._tile[z : z + self.shape[0], x : x + self.shape[1]]
