"""The second simulator: single bubbles that enter tissue with the blood and flow through it, summed as echoes.

Where `contrast_field` multiplies a perfusion field by closed-form kinetics, nothing here knows a kinetic model: an
arterial front injects bubbles; in a lesion they come in at its rim and run inwards along curved paths, in parenchyma
they appear at the end of arterioles everywhere; each has a speed, a path length and a life. Enhancement, delay of the
centre, wash-out and heterogeneity follow from that. What both simulators share is a latent phenotype, nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import fft2, ifft2

from processing.simulation.speckle import PointSpread

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Front:
    """When bubbles reach a tissue: arrival times are gamma distributed, later than `start_s`, mean `spread_s`.

    `recirculating` of them come a second time, `recirculation_s` later and blurred.
    """

    start_s: float
    spread_s: float
    shape: float = 2.0
    recirculating: float = 0.15
    recirculation_s: float = 25.0

    def times_s(self, count: int, rng: np.random.Generator) -> FloatArray:
        times = self.start_s + rng.gamma(self.shape, self.spread_s / self.shape, count)
        again = rng.random(count) < self.recirculating
        return np.where(again, times + self.recirculation_s + rng.gamma(2.0, 5.0, count), times)


@dataclass(frozen=True, eq=False)
class Tissue:
    """Bubbles of one tissue. inside: bool (z, x), where they may be. depth: float32 (z, x) in pixels from the rim,
    whose gradient the bubbles follow; None = they stay where they appear.

    `brightness` is the mean power of one bubble on full scale; `transit_s` the mean time they stay in the slice.
    `reach_px`: how deep they get on average (a necrotic core is what they never reach).
    """

    inside: NDArray[np.bool_]
    front: Front
    bubbles_per_px: float
    brightness: float
    transit_s: float
    depth: NDArray[np.float32] | None = None
    reach_px: float = math.inf
    clumping: float = 0.0


@dataclass(frozen=True, eq=False)
class Bubbles:
    """All bubbles of one tissue: where and when each appears, how it moves (px/s), when it leaves, its echo."""

    z_px: FloatArray
    x_px: FloatArray
    speed_z_px_per_s: FloatArray
    speed_x_px_per_s: FloatArray
    enters_s: FloatArray
    leaves_s: FloatArray
    echo: NDArray[Any]


def bubbles_of(tissue: Tissue, seed: int) -> Bubbles:
    """Draw the bubbles of a tissue."""
    rng = np.random.default_rng((seed, 41))
    z, x = np.nonzero(tissue.inside)
    count = rng.poisson(tissue.bubbles_per_px * z.size)
    odds = _clumped(tissue, rng)[z, x] if z.size else np.empty(0)
    chosen = rng.choice(z.size, count, p=odds / odds.sum()) if z.size else np.empty(0, dtype=np.intp)
    z_px, x_px = z[chosen] + rng.random(count) - 0.5, x[chosen] + rng.random(count) - 0.5
    enters_s = tissue.front.times_s(count, rng)
    stay_s = rng.gamma(2.0, tissue.transit_s / 2.0, count)
    speed_z, speed_x = np.zeros(count), np.zeros(count)
    if tissue.depth is not None and count:
        # A bubble seen here has come from the rim: it is later by the path it took, and goes on inwards.
        gradient_z, gradient_x = np.gradient(tissue.depth, axis=0), np.gradient(tissue.depth, axis=1)
        path_px: FloatArray = np.maximum(tissue.depth[z[chosen], x[chosen]].astype(np.float64), 0.0)
        speed = path_px.mean() / max(0.3 * tissue.transit_s, 0.1) * rng.lognormal(0.0, 0.5, count)
        enters_s = enters_s + path_px / np.maximum(speed, 1e-3)
        turn = rng.normal(0.0, 0.5, count)
        gz, gx = gradient_z[z[chosen], x[chosen]], gradient_x[z[chosen], x[chosen]]
        speed_z = 0.1 * speed * (gz * np.cos(turn) - gx * np.sin(turn))
        speed_x = 0.1 * speed * (gz * np.sin(turn) + gx * np.cos(turn))
        kept = rng.random(count) < np.exp(-np.maximum(path_px / tissue.reach_px - 1.0, 0.0) * 4.0)
        stay_s = np.where(kept, stay_s, 0.0)
    echo = math.sqrt(tissue.brightness / 2) * (rng.standard_normal(count) + 1j * rng.standard_normal(count))
    return Bubbles(z_px, x_px, speed_z, speed_x, enters_s, enters_s + stay_s, echo)


def _clumped(tissue: Tissue, rng: np.random.Generator) -> FloatArray:
    """Where bubbles appear: everywhere alike, or crowded along a random set of streaks (vessels in the slice)."""
    shape = tissue.inside.shape
    if tissue.clumping <= 0:
        return np.ones(shape)
    white = rng.standard_normal(shape)
    fz, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])[None, :]
    angle, length, width = rng.uniform(0, math.pi), 20.0, 3.0
    along, across = fz * math.cos(angle) + fx * math.sin(angle), fx * math.cos(angle) - fz * math.sin(angle)
    streaks = np.real(ifft2(fft2(white) * np.exp(-20 * ((along * length) ** 2 + (across * width) ** 2) / 2)))
    odds: FloatArray = np.exp(tissue.clumping * streaks / max(float(streaks.std()), 1e-12))
    return odds


@dataclass(frozen=True, eq=False)
class BubbleRimField:
    """Linear echo power of flowing bubbles over static leakage and noise; drawn for any time, any frame alone.

    shape: (rows, columns). attenuation: float32 (z, x), power factor. The mean power of a pixel is its bubble density
    times their brightness: the point spread conserves energy.
    """

    shape: tuple[int, int]
    tissues: tuple[Tissue, ...]
    spread: PointSpread
    seed: int
    frame_times_s: FloatArray
    attenuation: NDArray[np.float32]
    leakage_au: float = 0.0
    noise_au: float = 0.0
    shift_px: FloatArray | None = None
    _drawn: list[Bubbles] = field(default_factory=list, repr=False)
    _transfer: list[NDArray[np.complex64]] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self._drawn.extend(bubbles_of(t, self.seed * 16 + k) for k, t in enumerate(self.tissues))
        z = np.exp(-2 * (math.pi * self.spread.z_px * np.fft.fftfreq(self.shape[0])) ** 2)
        x = np.exp(-2 * (math.pi * self.spread.x_px * np.fft.fftfreq(self.shape[1])) ** 2)
        # Unit energy: the sum of |h|^2 over pixels is 1, so mean power = density times brightness.
        energy = float((z**2).mean()) * float((x**2).mean())
        self._transfer.append((z[:, None] * x[None, :] / math.sqrt(energy)).astype(np.complex64))
        static = self._white(np.random.default_rng((self.seed, 43)))
        self._transfer.append(math.sqrt(self.leakage_au) * static)

    def _white(self, rng: np.random.Generator) -> NDArray[np.complex64]:
        draws = rng.standard_normal((*self.shape, 2), dtype=np.float32)
        white: NDArray[np.complex64] = draws.view(np.complex64)[..., 0] * np.float32(math.sqrt(0.5))
        return white

    def power(self, frame: int) -> NDArray[np.float32]:
        """Linear power of one frame, float32 (z, x)."""
        time_s = float(self.frame_times_s[frame])
        shift_z, shift_x = (0.0, 0.0) if self.shift_px is None else self.shift_px[frame]
        scatter = self._transfer[1].copy()
        rows, columns = self.shape
        flat = scatter.reshape(-1)
        for bubbles in self._drawn:
            here = np.flatnonzero((bubbles.enters_s <= time_s) & (bubbles.leaves_s > time_s))
            age_s = time_s - bubbles.enters_s[here]
            z = np.rint(bubbles.z_px[here] + bubbles.speed_z_px_per_s[here] * age_s + shift_z).astype(np.intp)
            x = np.rint(bubbles.x_px[here] + bubbles.speed_x_px_per_s[here] * age_s + shift_x).astype(np.intp)
            seen = (z >= 0) & (z < rows) & (x >= 0) & (x < columns)
            place, echo = z[seen] * columns + x[seen], bubbles.echo[here][seen]
            # Each bubble's phase turns with its motion; a random turn a frame is its limit above half a wavelength.
            echo = echo * np.exp(2j * math.pi * np.random.default_rng((self.seed, 44, frame)).random(echo.size))
            flat += np.bincount(place, echo.real, rows * columns) + 1j * np.bincount(place, echo.imag, rows * columns)
        field_now = ifft2(fft2(scatter) * self._transfer[0])
        noise = self._white(np.random.default_rng((self.seed, 45, frame)))
        power: NDArray[np.float32] = np.abs(field_now) ** 2 * self.attenuation + self.noise_au * np.abs(noise) ** 2
        return power.astype(np.float32, copy=False)
