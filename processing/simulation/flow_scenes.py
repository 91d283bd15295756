"""A flow phantom on the simulated scanner's screen: single bubbles beside their B-mode twin."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from processing.cine import Box
from processing.simulation.anatomy import Anatomy, Grid
from processing.simulation.bmode_field import BmodePanel
from processing.simulation.breathing import Breathing, motion_of
from processing.simulation.display import Display, tint_table
from processing.simulation.flow_phantom import SMALL_TREE, Branch, BubbleFlow, FlowPhantom
from processing.simulation.scene import Painter, Scene, Timing, TintedPanel, describe
from processing.simulation.scenes import BMODE_DISPLAY
from processing.simulation.screen import Screen
from processing.simulation.truth import SceneTruth


@dataclass(frozen=True)
class FlowParameters:
    """Everything that makes a flow scene, apart from the seed: by default 10 s at 40 Hz, 30 mm deep, dilute bubbles."""

    screen: Screen = field(default_factory=lambda: Screen(240, 320, depth_mm=30.0, tint="grey"))
    timing: Timing = field(default_factory=lambda: Timing(60.0, 10.0, 40.0))
    tree: tuple[Branch, ...] = SMALL_TREE
    flow: BubbleFlow = field(default_factory=BubbleFlow)
    display: Display = field(default_factory=Display)
    breathing: Breathing | None = None


VESSELS = FlowParameters(
    screen=Screen(rows=360, columns=480, depth_mm=30.0, tint="grey"),
    timing=Timing(-3.0, 30.0, 30.0),
    flow=BubbleFlow(bubbles_per_s=3.0, arrive_at_s=0.0),
)
"""A dilute bolus through a vessel tree, from before its arrival, as a clinical scanner shows it: dual view, 30 Hz."""


def flow_scene(parameters: FlowParameters | None = None, seed: int = 1) -> Scene:
    """Bubbles in a vessel tree; `truth.flow` holds every position. Dilute enough to tell bubbles apart."""
    p = parameters or FlowParameters()
    screen, times_s = p.screen, p.timing.after_injection_s()
    motion = motion_of(p.breathing, times_s, screen.spacing_mm)
    shift_px = motion.displacement_mm / np.array(screen.spacing_mm)
    shape = (screen.first.rows, screen.first.columns)
    phantom = FlowPhantom(p.tree, p.flow, shape, screen.spacing_mm, times_s, seed, shift_px)
    scanned = screen.scanned()
    panel = TintedPanel(phantom, p.display, tint_table(screen.tint), scanned, times_s)
    painters: list[tuple[Box, Painter]] = [(screen.first, panel)]
    if screen.twin is not None:
        grid = Grid(*shape, motion.margin_px, screen.spacing_mm)
        twin = BmodePanel(grid, Anatomy(), BMODE_DISPLAY, seed, scanned, motion)
        painters.append((screen.twin, twin))
    truth = SceneTruth(
        contrast=screen.first,
        bmode=screen.twin,
        spacing_mm=screen.spacing_mm,
        valid=scanned,
        displacement_mm=motion.displacement_mm,
        out_of_plane=motion.out_of_plane,
        flow=phantom.truth,
    )
    return Scene(
        name="bubble flow",
        seed=seed,
        screen=screen,
        display=p.display,
        description=describe(screen, p.timing),
        times_after_injection_s=times_s,
        painters=tuple(painters),
        background=screen.background(),
        truth=truth,
        contrast=phantom,
    )
