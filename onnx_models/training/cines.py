"""Simulated cines of a plan by either mechanism, drawn through a scanner's display and linearised again.

`pixel_mm` and `frame_rate_hz` choose the size: 0.25 mm and 2 Hz make a training example in a tenth of a second;
0.15 to 0.4 mm and 6 Hz or more make the cines that models are judged by. Both go through `model_inputs`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnx_models.training.anatomies import BoolArray, FloatArray, Plan, Slice, draw_plan, draw_slice
from processing.cine import Cine, Spacing, TimeZero
from processing.simulation.bubble_rim import BubbleRimField, Front, Tissue
from processing.simulation.display import Display
from processing.simulation.kinetics import LogNormal
from processing.simulation.speckle import PointSpread, speckle_field

Mechanism = Literal["perfusion field", "bubble rim"]
MECHANISMS: tuple[Mechanism, ...] = ("perfusion field", "bubble rim")
PowerAt = Callable[[int], FloatArray]
VIEW_STRIDE = 50_000_000
"""Apart from every seed of a plan, so that no view is another tumour's."""


@dataclass(frozen=True, eq=False)
class Example:
    """A simulated cine and the lesion that a model should find in it (empty where the answer is to abstain)."""

    plan: Plan
    mechanism: Mechanism
    cine: Cine
    lesion: BoolArray


@dataclass(frozen=True)
class Sampling:
    """How finely a plan is drawn. `looks`: independent speckles averaged in a frame that stands for several."""

    pixel_mm: float = 0.25
    frame_rate_hz: float = 2.0
    looks: int = 2


def simulate(seed: int, mechanism: Mechanism, sampling: Sampling) -> Example:
    """One examination, from its seed alone."""
    return simulate_plan(draw_plan(seed), mechanism, sampling)


def simulate_plan(plan: Plan, mechanism: Mechanism, sampling: Sampling) -> Example:
    """The examination of a plan."""
    seed = plan.seed
    tissue = draw_slice(plan, sampling.pixel_mm)
    start_s = float(np.random.default_rng((seed, 3)).uniform(-6, -2))
    times_s = start_s + np.arange(int(plan.duration_s * sampling.frame_rate_hz)) / sampling.frame_rate_hz
    draw = _perfusion_field if mechanism == "perfusion field" else _bubble_rim
    power_at = draw(plan, tissue, times_s, sampling)
    m, (rows, columns) = tissue.margin_px, tissue.scanned.shape
    display = Display(dynamic_range_db=plan.dynamic_range_db)
    contrast = np.empty((times_s.size, rows, columns), dtype=np.float32)
    table = display.power(np.arange(256, dtype=np.uint8)).astype(np.float32)
    saturated = np.zeros((rows, columns), dtype=np.uint32)
    for frame in range(times_s.size):
        levels = _compressed(display.levels(power_at(frame)), plan)
        saturated += levels == 255
        contrast[frame] = table[levels]
    lesion = tissue.lesion[m : m + rows, m : m + columns] & tissue.scanned
    cine = Cine(
        contrast=contrast,
        valid=tissue.scanned,
        saturated=saturated,
        floor_au=float(table[0]),
        frame_times_s=times_s,
        time_zero=TimeZero("bolus start", start_s),
        spacing_mm=Spacing(sampling.pixel_mm, sampling.pixel_mm),
        origin_px=(0, 0),
    )
    answer = lesion if plan.contrast not in ("iso", "none") else np.zeros_like(lesion)
    return Example(plan, mechanism, cine, answer)


def _compressed(levels: NDArray[np.uint8], plan: Plan) -> NDArray[np.uint8]:
    if plan.jpeg_quality is None:
        return levels
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=plan.jpeg_quality)
    return np.asarray(Image.open(buffer))


def _shift_px(plan: Plan, times_s: NDArray[np.float64], pixel_mm: float) -> NDArray[np.intp]:
    """Breathing and drift, whole pixels (frame, 2): what is left of motion after correction, or all of it."""
    rng = np.random.default_rng((plan.seed, 5, plan.view))
    period_s, phase = rng.uniform(2.5, 6), rng.uniform(0, 2 * math.pi)
    breath = np.sin(2 * math.pi * times_s / period_s + phase)
    drift = np.cumsum(rng.normal(0, 0.05, times_s.size))
    path = plan.motion_mm * np.clip(breath + drift, -2.4, 2.4)
    direction = rng.uniform(-0.5, 0.5)
    return np.rint(np.stack([path, direction * path], axis=1) / pixel_mm).astype(np.intp)


def _noise_db(plan: Plan) -> tuple[float, float]:
    """Receiver noise and leakage in dB of full scale, around the floor of the display."""
    rng = np.random.default_rng((plan.seed, 6))
    return -plan.dynamic_range_db + rng.uniform(-3, 8), plan.level_db - rng.uniform(14, 30)


@dataclass(frozen=True)
class _Courses:
    """Peak (power) and times of background, lesion and vessels; shared by both mechanisms through the plan."""

    background: tuple[float, float, float]
    lesion: tuple[float, float, float]
    vessel: tuple[float, float, float]


def _courses(plan: Plan) -> _Courses:
    """(peak, start, rise) of each tissue. Differences are as the plan says; an iso lesion differs by less than
    1 dB and 1 s in everything."""
    rng = np.random.default_rng((plan.seed, 9))
    peak, start, rise = 10 ** (plan.level_db / 10), rng.uniform(4, 12), rng.uniform(6, 16)
    sign = 1 if rng.random() < 0.6 else -1
    gain, shift, stretch = 0.0, 0.0, 1.0
    if plan.contrast in ("hyper", "rim"):
        gain, shift = plan.difference_db, rng.uniform(-4, 3)
    elif plan.contrast in ("hypo", "ablation"):
        gain, shift = -plan.difference_db, rng.uniform(-2, 5)
    elif plan.contrast == "timing":
        gain, shift = rng.uniform(-1, 1), -sign * plan.difference_s
        stretch = rng.uniform(0.45, 0.8) if sign > 0 else rng.uniform(1.2, 1.8)
    elif plan.contrast == "iso":
        gain, shift = rng.uniform(-0.4, 0.4), rng.uniform(-0.4, 0.4)
    if plan.phenotype is not None:
        # Latent phenotype: more, earlier and faster blood; each with a spread of its own that is no phenotype.
        gain = 1.5 + 2.0 * plan.phenotype + rng.normal(0, 1.0)
        shift = -0.6 * plan.phenotype + rng.normal(0, 0.5)
        stretch = math.exp(-0.12 * plan.phenotype + rng.normal(0, 0.08))
    lesion = (peak * 10 ** (gain / 10), max(start + shift, 0.5), rise * stretch)
    vessel = (peak * 10 ** (rng.uniform(0, 8) / 10), start - rng.uniform(0, 3), rise * rng.uniform(0.5, 1.0))
    return _Courses((peak, start, rise), lesion, vessel)


@cache
def _bank(spread_key: tuple[int, int], looks: int, bank: int) -> FloatArray:
    """Periodic speckle of unit mean power, float32 (tile, 320, 320): drawn once, read at random places after."""
    spread = PointSpread(spread_key[0] / 10, spread_key[1] / 10)
    tiles = np.empty((12, 320, 320), dtype=np.float32)
    for tile in range(12):
        draws = [speckle_field((320, 320), spread, (bank, tile, look)) for look in range(looks)]
        tiles[tile] = np.mean([u.real**2 + u.imag**2 for u in draws], axis=0)
    return tiles


def _speckle(tiles: FloatArray, shape: tuple[int, int], rng: np.random.Generator) -> FloatArray:
    tile = tiles[rng.integers(tiles.shape[0])]
    z, x = rng.integers(0, 320, 2)
    tile = np.roll(tile, (z, x), axis=(0, 1))
    if rng.random() < 0.5:
        tile = tile[:, ::-1]
    return np.tile(tile, (-(-shape[0] // 320), -(-shape[1] // 320)))[: shape[0], : shape[1]]


def _perfusion_field(plan: Plan, s: Slice, times_s: NDArray[np.float64], sampling: Sampling) -> PowerAt:
    """The first mechanism: vascular volume times closed-form kinetics, times speckle (`contrast_field`)."""
    rng = np.random.default_rng((plan.seed, 13, plan.view))
    courses = _courses(plan)
    sigma = rng.uniform(0.4, 0.75)

    def curve(course: tuple[float, float, float]) -> FloatArray:
        peak, start, rise = course
        bolus = LogNormal.from_peak(peak_au=peak, time_to_peak_s=start + rise, start_s=start, sigma=sigma)
        tail = 0.12 * peak / (1 + np.exp(-(times_s - start - 1.5 * rise) / 4))
        return (bolus.power_au(times_s) + tail).astype(np.float32)

    lesion = (s.rim if plan.contrast == "rim" else s.lesion) & ~s.core
    centre = s.lesion & ~lesion
    dim = 0.15 if plan.contrast == "rim" else 0.01
    parts = [
        (s.volume * ~s.lesion * (1 - s.vessel) * s.loss, curve(courses.background)),
        (s.volume * (lesion + dim * centre) * s.loss, curve(courses.lesion)),
        (s.vessel * s.loss, curve(courses.vessel)),
    ]
    noise_db, leak_db = _noise_db(plan)
    shape = s.scanned.shape
    px = tuple(max(round(10 * mm / s.pixel_mm), 8) for mm in plan.psf_mm)
    tiles = _bank((px[0], px[1]), sampling.looks, (plan.seed + plan.view) % 5)
    static = (10 ** (leak_db / 10) * _speckle(tiles, s.lesion.shape, rng) * s.loss).astype(np.float32)
    shifts = _shift_px(plan, times_s, s.pixel_mm)

    def power_at(frame: int) -> FloatArray:
        z, x = s.margin_px + shifts[frame]
        window = (slice(z, z + shape[0]), slice(x, x + shape[1]))
        mean = np.zeros(shape, dtype=np.float32)
        for weight, level in parts:
            mean += weight[window] * level[frame]
        power: FloatArray = mean * _speckle(tiles, shape, rng) + static[window]
        power += np.float32(10 ** (noise_db / 10)) * _speckle(tiles, shape, rng)
        return power

    return power_at


def _bubble_rim(plan: Plan, s: Slice, times_s: NDArray[np.float64], _sampling: Sampling) -> PowerAt:
    """The second mechanism: single bubbles flowing in from the rim (`processing.simulation.bubble_rim`)."""
    noise_db, leak_db = _noise_db(plan)
    field = BubbleRimField(
        shape=(s.lesion.shape[0], s.lesion.shape[1]),
        tissues=_bubbly_tissues(plan, s),
        spread=PointSpread(*(max(mm / s.pixel_mm, 0.8) for mm in plan.psf_mm)),
        seed=plan.seed + VIEW_STRIDE * plan.view,
        frame_times_s=times_s,
        attenuation=s.loss,
        leakage_au=10 ** (leak_db / 10),
        noise_au=10 ** (noise_db / 10),
    )
    shifts = _shift_px(plan, times_s, s.pixel_mm)
    rows, columns = s.scanned.shape

    def power_at(frame: int) -> FloatArray:
        z, x = s.margin_px + shifts[frame]
        return field.power(frame)[z : z + rows, x : x + columns]

    return power_at


def _bubbly_tissues(plan: Plan, s: Slice) -> tuple[Tissue, ...]:
    """Parenchyma, lesion and vessels as places where bubbles come and go; empty ones are left out."""
    rng = np.random.default_rng((plan.seed, 17))
    courses = _courses(plan)
    density = rng.uniform(0.3, 2.0) * (s.pixel_mm / 0.25) ** 2

    def tissue(inside: BoolArray, course: tuple[float, float, float], flows: bool) -> Tissue:
        peak, start, rise = course
        # Gamma arrivals blurred by the stay: about half of all bubbles are in the slice at once.
        return Tissue(
            inside=inside,
            front=Front(start, 0.7 * rise, shape=float(rng.uniform(1.5, 3.0))),
            bubbles_per_px=density,
            brightness=peak / (0.5 * density),
            transit_s=1.2 * rise,
            depth=s.depth_px if flows else None,
            clumping=float(rng.uniform(0.0, 0.5)),
        )

    lesion = (s.rim if plan.contrast == "rim" else s.lesion) & ~s.core
    outside = ~s.lesion & (rng.random(s.lesion.shape) < np.clip(s.volume / 1.5, 0, 1) + s.vessel)
    # Bubbles are drawn in two of three pixels of the parenchyma; each is brighter for it.
    around = tissue(outside & (s.vessel < 0.4), (courses.background[0] * 1.5, *courses.background[1:]), False)
    inside = tissue(lesion, courses.lesion, plan.contrast != "iso")
    vessels = tissue(s.vessel >= 0.4, courses.vessel, False)
    return tuple(t for t in (around, inside, vessels) if t.inside.any())
