"""Scenes that are no contrast examination: a node must say so, and measure nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from processing.cine import Box
from processing.simulation.anatomy import Anatomy, Grid, Vessel, lesion_weight
from processing.simulation.bmode_field import BmodePanel
from processing.simulation.breathing import Breathing, motion_of
from processing.simulation.display import Display, tint_table
from processing.simulation.scene import Painter, Scene, Timing, describe
from processing.simulation.scenes import BMODE_DISPLAY
from processing.simulation.screen import ImageArray, Screen
from processing.simulation.speckle import PointSpread, Speckle
from processing.simulation.truth import SceneTruth


@dataclass(frozen=True)
class TissueParameters:
    """Everything that makes a scene without contrast, apart from the seed."""

    screen: Screen = field(default_factory=lambda: Screen(240, 320, "single", tint="grey", mechanical_index=1.1))
    timing: Timing = field(
        default_factory=lambda: Timing(start_s=0.0, duration_s=60.0, frame_rate_hz=10.0, time_zero="first frame")
    )
    anatomy: Anatomy = field(default_factory=Anatomy)
    display: Display = BMODE_DISPLAY
    breathing: Breathing | None = field(default_factory=lambda: Breathing(depth_mm=3.0, lateral_mm=1.0))
    colour: bool = True


GAIN_STEP = TissueParameters(display=replace(BMODE_DISPLAY, gain_step_db=6.0, gain_step_at_s=20.0))
"""A 60 s B-mode loop with breathing in which somebody turns up the gain by 6 dB after 20 s."""

DUAL_BMODE = replace(GAIN_STEP, screen=Screen(240, 320, tint="grey", mechanical_index=1.1))
"""The same with two B-mode images side by side (compound imaging on and off)."""

DOPPLER = TissueParameters(timing=Timing(start_s=0.0, duration_s=20.0, frame_rate_hz=10.0, time_zero="first frame"))
"""A colour-Doppler loop of 20 s."""

MICROFLOW = replace(DOPPLER, screen=Screen(240, 320, tint="hot", mechanical_index=0.9), breathing=Breathing(0.4, 0.1))
"""A microvascular flow loop of 20 s, dual view, tinted."""


def _tissue(parameters: TissueParameters, seed: int) -> tuple[Grid, BmodePanel, SceneTruth]:
    p, screen = parameters, parameters.screen
    motion = motion_of(p.breathing, p.timing.after_injection_s(), screen.spacing_mm)
    grid = Grid(screen.first.rows, screen.first.columns, motion.margin_px, screen.spacing_mm)
    scanned = screen.scanned()
    panel = BmodePanel(grid, p.anatomy, p.display, seed, scanned, motion)
    truth = SceneTruth(
        contrast=None,
        bmode=screen.twin or screen.first,
        spacing_mm=screen.spacing_mm,
        valid=scanned,
        displacement_mm=motion.displacement_mm,
        out_of_plane=motion.out_of_plane,
    )
    return grid, panel, truth


def _scene(name: str, p: TissueParameters, seed: int, painters: list[tuple[Box, Painter]], truth: SceneTruth) -> Scene:
    return Scene(
        name=name,
        seed=seed,
        screen=p.screen,
        display=p.display,
        description=describe(p.screen, p.timing, p.colour),
        times_after_injection_s=p.timing.after_injection_s(),
        painters=tuple(painters),
        background=p.screen.background(),
        truth=truth,
    )


def bmode_scene(parameters: TissueParameters = GAIN_STEP, seed: int = 1) -> Scene:
    """A B-mode loop; in a dual layout both panels show the same tissue."""
    _, panel, truth = _tissue(parameters, seed)
    painters: list[tuple[Box, Painter]] = [(parameters.screen.first, panel)]
    if parameters.screen.twin is not None:
        painters.append((parameters.screen.twin, panel))
    return _scene("B-mode", parameters, seed, painters, truth)


@dataclass(frozen=True, eq=False)
class _FlowOverlay:
    """Pulsating red (towards) and blue (away) over the vessels and some flash artefact, inside a colour box."""

    tissue: BmodePanel
    times_s: NDArray[np.float64]
    vessels: tuple[NDArray[np.float32], ...]
    flicker: Speckle
    heart_rate_hz: float = 1.2

    def paint(self, frame: int) -> ImageArray:
        image = self.tissue.paint(frame)
        time_s = float(self.times_s[frame])
        pulse = math.sin(math.pi * (time_s * self.heart_rate_hz % 1.0)) ** 2
        texture = np.abs(self.flicker.at(time_s))
        for index, profile in enumerate(self.vessels):
            # Arteries pulsate, the vein next to them hardly does.
            strength = (0.25 + 0.75 * pulse) if index % 2 == 0 else (0.7 + 0.1 * pulse)
            speed = profile * np.float32(strength) * np.clip(0.5 + texture / 2, 0, 1.3)
            shown = speed > 0.18
            bright = np.clip(90 + 190 * speed[shown], 0, 255)
            towards = np.stack([bright, np.clip(3 * bright - 520, 0, 255), np.zeros_like(bright)], axis=-1)
            image[shown] = (towards if index % 2 == 0 else towards[:, ::-1]).astype(np.uint8)
        return image


def doppler_scene(parameters: TissueParameters = DOPPLER, seed: int = 1) -> Scene:
    """A colour-Doppler-like loop: red and blue flow pulsates over the grey image."""
    p = parameters
    grid, panel, truth = _tissue(p, seed)
    z, x = grid.fractions()
    m = grid.margin_px
    profiles = tuple(
        np.clip(1 - v.distance(z, x)[m : m + grid.rows, m : m + grid.columns] ** 2, 0, 1).astype(np.float32)
        for v in p.anatomy.vessels
    )
    spread = PointSpread(2.0, 3.0)
    overlay = _FlowOverlay(
        panel, p.timing.after_injection_s(), profiles, Speckle((grid.rows, grid.columns), spread, seed * 8 + 3, 0.2)
    )
    return _scene("colour Doppler", p, seed, [(p.screen.first, overlay)], truth)


@dataclass(frozen=True, eq=False)
class _StiffnessOverlay:
    """A translucent colour map of stiffness in a box over the tissue; it breathes with the compression."""

    tissue: BmodePanel
    times_s: NDArray[np.float64]
    stiffness: NDArray[np.float32]
    waver: Speckle
    opacity: float = 0.5

    def paint(self, frame: int) -> ImageArray:
        image = self.tissue.paint(frame)
        time_s = float(self.times_s[frame])
        value = self.stiffness + np.float32(0.12) * self.waver.at(time_s).real
        value = np.clip(value + 0.08 * math.sin(2 * math.pi * 0.5 * time_s), 0.0, 1.0)
        # Blue (soft) over green to red (hard).
        colours = 255 * np.stack(
            [np.clip(2 * value - 1, 0, 1), 1 - np.abs(2 * value - 1), np.clip(1 - 2 * value, 0, 1)], -1
        )
        rows, columns = value.shape
        box = (slice(rows // 8, rows * 7 // 8), slice(columns // 8, columns * 7 // 8))
        mixed = (1 - self.opacity) * image[box] + self.opacity * colours[box]
        image[box] = mixed.astype(np.uint8)
        return image


def elastography_scene(parameters: TissueParameters = DOPPLER, seed: int = 1) -> Scene:
    """A strain elastography-like loop: the lesion is stiff."""
    p = parameters
    grid, panel, truth = _tissue(p, seed)
    stiffness = grid.panel(0.35 + 0.4 * lesion_weight(p.anatomy, grid))
    waver = Speckle((grid.rows, grid.columns), PointSpread(grid.rows / 25, grid.columns / 25), seed * 8 + 5, 0.5)
    overlay = _StiffnessOverlay(panel, p.timing.after_injection_s(), stiffness, waver)
    return _scene("elastography", p, seed, [(p.screen.first, overlay)], truth)


@dataclass(frozen=True, eq=False)
class _MicroflowPanel:
    """Contrast-free microvascular imaging: pulsating vessels in one tint on a suppressed background."""

    times_s: NDArray[np.float64]
    vessels: NDArray[np.float32]
    flicker: Speckle
    table: ImageArray
    heart_rate_hz: float = 1.2

    def paint(self, frame: int) -> ImageArray:
        time_s = float(self.times_s[frame])
        pulse = math.sin(math.pi * (time_s * self.heart_rate_hz % 1.0)) ** 2
        texture = np.abs(self.flicker.at(time_s))
        level = 220 * self.vessels * (0.55 + 0.45 * pulse) * (0.6 + 0.4 * texture) + 8 * texture
        image: ImageArray = self.table.take(np.clip(level, 0, 255).astype(np.uint8), axis=0)
        return image


def microflow_scene(parameters: TissueParameters = MICROFLOW, seed: int = 1) -> Scene:
    """A microflow-like loop beside its B-mode twin: looks like contrast, and nothing ever washes in."""
    p = parameters
    grid, panel, truth = _tissue(p, seed)
    z, x = grid.fractions()
    branches = [Vessel((0.7 - 0.05 * k, 0.1 + 0.09 * k), (0.25 + 0.04 * k, 0.02 + 0.12 * k), 0.010) for k in range(8)]
    vessels = np.zeros(grid.shape)
    for vessel in (*p.anatomy.vessels, *branches):
        vessels = np.maximum(vessels, np.clip(1.2 - vessel.distance(z, x) ** 2, 0, 1))
    flicker = Speckle((grid.rows, grid.columns), PointSpread(1.5, 2.5), seed * 8 + 3, 0.3)
    flow = _MicroflowPanel(
        p.timing.after_injection_s(), grid.panel(vessels).astype(np.float32), flicker, tint_table(p.screen.tint)
    )
    painters: list[tuple[Box, Painter]] = [(p.screen.first, flow)]
    if p.screen.twin is not None:
        painters.append((p.screen.twin, panel))
    return _scene("microflow", p, seed, painters, truth)
