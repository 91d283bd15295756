"""Named scenes with contrast: a bolus in a lesion and in parenchyma, and destruction-replenishment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from processing.cine import Box
from processing.simulation.anatomy import Anatomy, Grid, lesion_weight
from processing.simulation.bmode_field import BmodePanel
from processing.simulation.breathing import Breathing, motion_of
from processing.simulation.contrast_field import ContrastField, ContrastPhysics
from processing.simulation.display import Display, tint_table
from processing.simulation.kinetics import Bolus, Kinetics, LogNormal, Replenishment, WithRecirculation
from processing.simulation.scene import Painter, Scene, Timing, TintedPanel, describe
from processing.simulation.screen import Screen
from processing.simulation.truth import CurveTruth, SceneTruth

BMODE_DISPLAY = Display(dynamic_range_db=60.0)

LESION = LogNormal.from_peak(peak_au=0.080, time_to_peak_s=15.0, start_s=8.0, sigma=0.45)
PARENCHYMA = LogNormal.from_peak(peak_au=0.022, time_to_peak_s=18.5, start_s=8.5, sigma=0.45)
"""Arterial hyperenhancement before the parenchyma, as in a hepatocellular carcinoma. The lesion's peak lies 11 dB
below full scale: less than 0.01 % of its exponentially distributed pixels then saturate."""


@dataclass(frozen=True)
class ContrastParameters:
    """Everything that makes a contrast scene, apart from the seed.

    `declares_levels`: the header carries the display's table of levels in dB with the contrast region.
    """

    screen: Screen = field(default_factory=Screen)
    timing: Timing = field(default_factory=Timing)
    lesion: Kinetics = LESION
    parenchyma: Kinetics = PARENCHYMA
    anatomy: Anatomy = field(default_factory=Anatomy)
    physics: ContrastPhysics = field(default_factory=ContrastPhysics)
    display: Display = field(default_factory=Display)
    breathing: Breathing | None = field(default_factory=Breathing)
    declares_levels: bool = False


DEMO_BOLUS = ContrastParameters()
"""The demonstration cine: 60 s, 15 Hz, 800x600, dual view, injection 5 s after the first frame."""

SMALL_BOLUS = ContrastParameters(screen=Screen(rows=240, columns=320), timing=Timing(frame_rate_hz=10.0))
"""The same bolus for tests: 60 s, 10 Hz, 320x240."""

TINY_BOLUS = ContrastParameters(
    screen=Screen(rows=120, columns=160), timing=Timing(start_s=-3.0, duration_s=36.0, frame_rate_hz=5.0)
)
"""A sketch of it for tests of transport: 36 s, 5 Hz, 160x120."""

_SMALL_INFUSION = Replenishment(plateau_au=0.05, rate_per_s=0.35, flash_at_s=3.0)
SMALL_REPLENISHMENT = replace(
    SMALL_BOLUS,
    timing=Timing(start_s=0.0, duration_s=25.0, frame_rate_hz=10.0, time_zero="first frame"),
    lesion=replace(_SMALL_INFUSION, plateau_au=0.06, rate_per_s=0.6),
    parenchyma=_SMALL_INFUSION,
)
"""Steady infusion with a flash after 3 s, 320x240."""


def contrast_scene(parameters: ContrastParameters, seed: int, name: str) -> Scene:
    """A scene with a contrast panel and, unless the layout is single, its B-mode twin."""
    p, screen = parameters, parameters.screen
    times_s = p.timing.after_injection_s()
    motion = motion_of(p.breathing, times_s, screen.spacing_mm)
    grid = Grid(screen.first.rows, screen.first.columns, motion.margin_px, screen.spacing_mm)
    contrast = ContrastField(grid, p.anatomy, p.physics, p.lesion, p.parenchyma, seed, motion)
    scanned = screen.scanned()
    panel = TintedPanel(contrast, p.display, tint_table(screen.tint), scanned, times_s)
    painters: list[tuple[Box, Painter]] = [(screen.first, panel)]
    if screen.twin is not None:
        twin = BmodePanel(grid, p.anatomy, BMODE_DISPLAY, seed, scanned, motion)
        painters.append((screen.twin, twin))
    return Scene(
        name=name,
        seed=seed,
        screen=screen,
        display=p.display,
        description=describe(screen, p.timing, grey_to_db=p.display.grey_to_db if p.declares_levels else None),
        times_after_injection_s=times_s,
        painters=tuple(painters),
        background=screen.background(),
        truth=_contrast_truth(p, contrast, scanned),
        contrast=contrast,
    )


def _contrast_truth(p: ContrastParameters, contrast: ContrastField, scanned: NDArray[np.bool_]) -> SceneTruth:
    grid = contrast.grid
    weight = grid.panel(lesion_weight(p.anatomy, grid))
    z, x = grid.fractions()
    distance = grid.panel(p.anatomy.lesion.depth(z, x))
    same_depth = (
        np.abs(z[grid.margin_px : grid.margin_px + grid.rows] - p.anatomy.lesion.z) < p.anatomy.lesion.half_height
    )
    # Two ROIs as a careful reader draws them: inside the soft edge, and parenchyma at the depth of the lesion.
    lesion = (weight > 0.99) & scanned
    reference = (weight < 0.001) & (distance > 1.25) & same_depth & scanned
    return SceneTruth(
        contrast=p.screen.first,
        bmode=p.screen.twin,
        spacing_mm=p.screen.spacing_mm,
        valid=scanned,
        displacement_mm=contrast.motion.displacement_mm,
        out_of_plane=contrast.motion.out_of_plane,
        lesion_mask=lesion,
        reference_mask=reference,
        panel=_curve_truth("panel", p, contrast, scanned),
        lesion=_tissue_truth("lesion", p, contrast, lesion),
        reference=_tissue_truth("reference", p, contrast, reference),
    )


def _curve_truth(label: str, p: ContrastParameters, contrast: ContrastField, mask: NDArray[np.bool_]) -> CurveTruth:
    times_s = contrast.motion.times_s
    enhancement, baseline = contrast.expected(mask, times_s)
    fine_s = np.arange(times_s[0], times_s[-1], 1e-3)
    fine, _ = contrast.expected(mask, fine_s)
    peak = int(fine.argmax())
    return CurveTruth(
        label=label,
        time_s=times_s - p.timing.zero_s,
        power_au=enhancement + baseline,
        baseline_au=baseline,
        peak_enhancement_au=float(fine[peak]),
        time_to_peak_s=float(fine_s[peak]) - p.timing.zero_s,
    )


def _tissue_truth(
    label: Literal["lesion", "reference"], p: ContrastParameters, contrast: ContrastField, mask: NDArray[np.bool_]
) -> CurveTruth | None:
    """The truth of pixels that show one tissue (the other adds less than 1 % at the lesion's edge)."""
    if not mask.any():
        return None
    curve = _curve_truth(label, p, contrast, mask)
    kinetics = p.lesion if label == "lesion" else p.parenchyma
    scale = contrast.volume("lesion" if label == "lesion" else "parenchyma", mask)
    if isinstance(kinetics, Replenishment):
        return replace(curve, replenishment=kinetics.truth(scale, p.timing.zero_s))
    if isinstance(kinetics, Bolus | WithRecirculation):
        return replace(curve, bolus=kinetics.truth().seen(scale, p.timing.zero_s))
    return curve


def bolus_scene(parameters: ContrastParameters = SMALL_BOLUS, seed: int = 1) -> Scene:
    """A bolus through a lesion and parenchyma."""
    return contrast_scene(parameters, seed, "bolus")


def replenishment_scene(parameters: ContrastParameters = SMALL_REPLENISHMENT, seed: int = 1) -> Scene:
    """Steady infusion, a flash that destroys the bubbles, and their return."""
    return contrast_scene(parameters, seed, "replenishment")
