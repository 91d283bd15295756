"""A simulated scene as the cine that measuring begins with: its true power, no display and no decoding between."""

from __future__ import annotations

import numpy as np

from processing.cine import Cine
from processing.simulation.scene import Scene


def cine_of_scene(scene: Scene) -> Cine:
    """All frames of the contrast panel, with the scene's own calibration and clock."""
    frames = np.stack([scene.linear(i) for i in range(scene.description.frames)])
    return Cine(
        contrast=frames,
        valid=np.ascontiguousarray(scene.truth.valid),
        saturated=np.zeros(frames.shape[1:], dtype=np.uint32),
        floor_au=1e-5,
        frame_times_s=scene.description.frame_times_s,
        time_zero=scene.description.time_zero,
        spacing_mm=scene.truth.spacing_mm,
        origin_px=(0, 0),
    )
