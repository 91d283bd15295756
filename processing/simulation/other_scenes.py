"""Scenes that are no contrast examination: a node must say so, and measure nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from processing.cine import Box
from processing.simulation.anatomy import Anatomy, Grid
from processing.simulation.bmode_field import BmodePanel
from processing.simulation.breathing import Breathing
from processing.simulation.display import Display
from processing.simulation.scene import Painter, Scene, Timing, describe
from processing.simulation.scenes import BMODE_DISPLAY, motion_of
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


def _tissue(parameters: TissueParameters, seed: int) -> tuple[Grid, BmodePanel, SceneTruth]:
    p, screen = parameters, parameters.screen
    times_s = p.timing.after_injection_s()
    shift_mm, out_of_plane, margin = motion_of(p.breathing, times_s, screen)
    grid = Grid(screen.first.rows, screen.first.columns, margin, screen.spacing_mm)
    scanned = screen.scanned()
    shift_px = shift_mm / np.array(screen.spacing_mm)
    panel = BmodePanel(grid, p.anatomy, p.display, seed, scanned, times_s, shift_px, out_of_plane)
    truth = SceneTruth(
        contrast=None,
        bmode=screen.first,
        spacing_mm=screen.spacing_mm,
        valid=scanned,
        displacement_mm=shift_mm,
        out_of_plane=out_of_plane,
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
