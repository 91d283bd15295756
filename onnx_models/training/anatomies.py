"""Random slices for training: lesions of many shapes in several organs, shadows and probe geometries, in mm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from processing.simulation.speckle import PointSpread, speckle_field

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Contrast = Literal["hyper", "hypo", "timing", "rim", "ablation", "iso", "none"]
CONTRASTS: tuple[Contrast, ...] = ("hyper", "hypo", "timing", "rim", "ablation", "iso", "none")
_CONTRAST_ODDS = (0.30, 0.22, 0.14, 0.10, 0.08, 0.08, 0.08)


@dataclass(frozen=True)
class Plan:
    """What one simulated examination is like. Millimetres, seconds, dB; every number drawn from the seed."""

    seed: int
    contrast: Contrast
    small_animal: bool
    size_mm: tuple[float, float]
    lesion_mm: float
    sector: bool
    dynamic_range_db: float
    duration_s: float
    motion_mm: float
    level_db: float
    difference_db: float
    difference_s: float
    jpeg_quality: int | None
    psf_mm: tuple[float, float]
    phenotype: float | None = None
    """Latent perfusion phenotype (standard normal) of a tumour whose response is simulated; None = not simulated."""
    view: int = 0
    """Another image of the same tissue: other speckle, bubbles, noise and motion."""


def draw_plan(seed: int) -> Plan:
    """A plan from its seed: domain randomisation, wide on purpose."""
    rng = np.random.default_rng((seed, 7))
    small = bool(rng.random() < 0.25)
    contrast = CONTRASTS[int(rng.choice(len(CONTRASTS), p=_CONTRAST_ODDS))]
    height = rng.uniform(12, 24) if small else rng.uniform(36, 72)
    width = rng.uniform(12, 24) if small else rng.uniform(32, 64)
    limit = 0.62 * min(height, width)
    lesion = min(rng.uniform(3, 10) if small else math.exp(rng.uniform(math.log(7), math.log(40))), limit)
    frequency = rng.uniform(0.35, 0.7) if small else rng.uniform(0.8, 1.5)
    return Plan(
        seed=seed,
        contrast=contrast,
        small_animal=small,
        size_mm=(height, width),
        lesion_mm=lesion,
        sector=bool(not small and rng.random() < 0.4),
        dynamic_range_db=float(rng.uniform(40, 65)),
        duration_s=float(rng.uniform(30, 75)),
        motion_mm=float(abs(rng.normal(0, 0.1 if small else 0.6))),
        level_db=float(rng.uniform(-26, -12)),
        difference_db=float(rng.uniform(1.5, 12)),
        difference_s=float(rng.uniform(1.5, 7)),
        jpeg_quality=int(rng.integers(75, 98)) if rng.random() < 0.6 else None,
        psf_mm=(0.3 * frequency, 0.5 * frequency * rng.uniform(0.8, 1.4)),
    )


@dataclass(frozen=True, eq=False)
class Slice:
    """The plan on a pixel grid with a margin that motion may bring into view.

    lesion, core, rim: bool (z, x); core is necrotic (never perfused). volume: relative vascular volume outside.
    vessel: 0 to 1. loss: power factor of attenuation and shadow. scanned: pixels of the panel (without margin).
    """

    pixel_mm: float
    margin_px: int
    lesion: BoolArray
    core: BoolArray
    rim: BoolArray
    depth_px: FloatArray
    volume: FloatArray
    vessel: FloatArray
    loss: FloatArray
    scanned: BoolArray


def draw_slice(plan: Plan, pixel_mm: float) -> Slice:
    """Draw the tissue of a plan; the same plan gives the same tissue at every pixel size, up to sampling."""
    rng = np.random.default_rng((plan.seed, 11))
    rows, columns = (round(mm / pixel_mm) for mm in plan.size_mm)
    margin = math.ceil(2.5 * plan.motion_mm / pixel_mm) + 1
    z_mm = (np.arange(-margin, rows + margin) + 0.5)[:, None] * pixel_mm
    x_mm = (np.arange(-margin, columns + margin) + 0.5)[None, :] * pixel_mm
    lesion = _blob(plan, z_mm, x_mm, rng)
    depth_px = distance_transform_edt(lesion).astype(np.float32)
    deepest = float(depth_px.max()) if lesion.any() else 1.0
    core = np.zeros_like(lesion)
    if rng.random() < 0.3 and plan.contrast in ("hyper", "rim", "timing"):
        core = depth_px > rng.uniform(0.45, 0.8) * deepest
    if plan.phenotype is not None:
        # The poorer the perfusion, the larger the part that is never reached.
        core = depth_px > (1.0 - 0.45 / (1 + math.exp(1.5 * plan.phenotype + rng.normal(0, 0.5)))) * deepest
    if plan.contrast == "ablation":
        core = depth_px > max(0.12 * deepest, 0.6 / pixel_mm)
    rim = lesion & (depth_px <= max(0.3 * deepest, 0.8 / pixel_mm))
    shape = lesion.shape
    return Slice(
        pixel_mm=pixel_mm,
        margin_px=margin,
        lesion=lesion,
        core=core,
        rim=rim,
        depth_px=depth_px,
        volume=_uneven(shape, plan, pixel_mm, rng),
        vessel=_vessels(plan, z_mm, x_mm, rng) * ~lesion,
        loss=_loss(plan, z_mm, x_mm, rng),
        scanned=_scanned(plan, z_mm, x_mm)[margin : margin + rows, margin : margin + columns],
    )


def _blob(plan: Plan, z_mm: FloatArray, x_mm: FloatArray, rng: np.random.Generator) -> BoolArray:
    """An irregular outline: an ellipse whose radius carries five random harmonics."""
    height, width = plan.size_mm
    aspect = math.exp(rng.normal(0, 0.22))
    semi = 0.5 * plan.lesion_mm * np.array([math.sqrt(aspect), 1 / math.sqrt(aspect)])
    low = np.minimum(semi.max() + 1.0, 0.5 * np.array([height, width]))
    centre = rng.uniform(low, np.array([height, width]) - low)
    if plan.sector:
        centre[1] = width / 2 + 0.6 * (centre[1] - width / 2)
    turn = rng.uniform(0, math.pi)
    dz, dx = z_mm - centre[0], x_mm - centre[1]
    u, v = dz * math.cos(turn) + dx * math.sin(turn), dx * math.cos(turn) - dz * math.sin(turn)
    angle = np.arctan2(u / semi[0], v / semi[1])
    outline = np.ones_like(angle)
    rough = rng.uniform(0.0, 0.12)
    for order in range(2, 7):
        outline += rough / math.sqrt(order) * rng.normal() * np.cos(order * angle + rng.uniform(0, 2 * math.pi))
    inside: BoolArray = np.hypot(u / semi[0], v / semi[1]) < outline
    return inside if plan.contrast != "none" else np.zeros_like(inside)


def _uneven(shape: tuple[int, ...], plan: Plan, pixel_mm: float, rng: np.random.Generator) -> FloatArray:
    """Vascular volume uneven over several scales, log-normal around 1."""
    scale = 0.3 if plan.small_animal else 1.0
    total = np.zeros(shape)
    for size_mm, spread in ((6.0 * scale, rng.uniform(0.02, 0.18)), (1.8 * scale, rng.uniform(0.0, 0.15))):
        coarse = PointSpread(size_mm / pixel_mm, size_mm / pixel_mm)
        total += (
            spread * math.sqrt(2) * speckle_field((shape[0], shape[1]), coarse, (plan.seed, int(size_mm * 10))).real
        )
    result: FloatArray = np.exp(total).astype(np.float32)
    return result


def _vessels(plan: Plan, z_mm: FloatArray, x_mm: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Straight vessels across the slice, none to five."""
    height, width = plan.size_mm
    total = np.zeros((z_mm.size, x_mm.size), dtype=np.float32)
    for _ in range(rng.integers(0, 6)):
        start, angle = rng.uniform((0, 0), (height, width)), rng.uniform(0, math.pi)
        along = (z_mm - start[0]) * math.sin(angle) + (x_mm - start[1]) * math.cos(angle)
        across = (z_mm - start[0]) * math.cos(angle) - (x_mm - start[1]) * math.sin(angle)
        radius = rng.uniform(0.15, 0.5) if plan.small_animal else rng.uniform(0.4, 2.2)
        part = rng.uniform(0.3, 1.2) * max(height, width)
        gate = np.where((along > 0) & (along < part), 0.0, 9.0)
        total = np.maximum(total, np.exp(-((across / radius) ** 2) - gate).astype(np.float32))
    return total


def _loss(plan: Plan, z_mm: FloatArray, x_mm: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Attenuation left after time-gain compensation, a near-field gradient, and up to two shadows below ribs or gas."""
    height, width = plan.size_mm
    db = rng.normal(0, 3.0) * (z_mm / height - 0.5) + rng.normal(0, 1.5) * (x_mm / width - 0.5)
    for _ in range(rng.choice(3, p=(0.6, 0.3, 0.1))):
        middle, half = rng.uniform(0, width), rng.uniform(0.03, 0.12) * width
        slant = rng.normal(0, 0.15)
        away = np.abs(x_mm - middle - slant * z_mm) / half
        top = rng.uniform(0, 0.5) * height
        db = db - rng.uniform(6, 20) / (1 + np.exp(np.clip(6 * (away - 1), -40, 40))) * (z_mm > top)
    result: FloatArray = (10 ** (db / 10)).astype(np.float32)
    return result


def _scanned(plan: Plan, z_mm: FloatArray, x_mm: FloatArray) -> BoolArray:
    height, width = plan.size_mm
    if not plan.sector:
        return np.ones((z_mm.size, x_mm.size), dtype=np.bool_)
    # A fan whose apex lies above the panel; the lesion's centre was drawn towards the middle for it.
    apex = 0.35 * height
    angle = np.arctan2(x_mm - width / 2, z_mm + apex)
    reach = np.hypot(z_mm + apex, x_mm - width / 2)
    fan: BoolArray = (np.abs(angle) < np.deg2rad(30)) & (reach > 1.05 * apex) & (reach < height + 0.99 * apex)
    return fan
