"""Loops that are no contrast examination and look enough like one to pass the first gate: the guard's own work."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from processing.simulation.other_scenes import TissueParameters, bmode_scene
from processing.simulation.scene import Scene, Timing
from processing.simulation.screen import Screen
from processing.simulation.speckle import PointSpread, Speckle

SHAPE = Screen(120, 160, "single", depth_mm=50.0, tint="grey")
TIMING = Timing(start_s=0.0, duration_s=36.0, frame_rate_hz=5.0, time_zero="first frame")


@dataclass(frozen=True, eq=False)
class RisingPanel:
    """Speckle that is new `renewed_s` later, over still brightness (dB), which somebody turns up by `rise_db`."""

    echo_db: NDArray[np.float32]
    renewed_s: float
    rise_db: float
    seed: int

    def paint(self, frame: int) -> NDArray[np.uint8]:
        time_s = frame / TIMING.frame_rate_hz
        grain = PointSpread(1.0, 1.6)
        shape = (self.echo_db.shape[0], self.echo_db.shape[1])
        field = Speckle(shape, grain, self.seed, self.renewed_s).at(time_s)
        turned_db = self.rise_db * np.clip((time_s - 8) / 6, 0, 1)
        level_db = self.echo_db + turned_db + 10 * np.log10(np.abs(field) ** 2 + 1e-6)
        level = np.clip(255 * (1 + level_db / 50.0), 0, 255).astype(np.uint8)
        return np.repeat(level[..., None], 3, axis=-1)


def receiver_noise(rise_db: float = 0.0, seed: int = 1) -> Scene:
    """No echo at all: noise of the receiver alike everywhere, its gain turned up by `rise_db` meanwhile."""
    box = SHAPE.first
    return _scene(RisingPanel(np.full((box.rows, box.columns), -36, np.float32), 0.05, rise_db, seed))


def swept_tissue(seed: int = 1) -> Scene:
    """B-mode while the probe is swept along: no pattern stays, and the tissue grows brighter with better contact."""
    box = SHAPE.first
    z, x = np.mgrid[: box.rows, : box.columns]
    layers = 3.0 * np.sin(z / 9.0) + 2.0 * np.sin(x / 17.0 + 1.0) - 6.0 * z / box.rows
    return _scene(RisingPanel((layers - 22).astype(np.float32), 0.4, 10.0, seed))


def _scene(panel: RisingPanel) -> Scene:
    plain = bmode_scene(TissueParameters(screen=SHAPE, timing=TIMING, breathing=None))
    return replace(plain, painters=((SHAPE.first, panel),))
