"""Inputs that are no contrast examination, for the guard: still tissue in B-mode, noise, maps of nothing."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from onnx_models.training.anatomies import draw_plan, draw_slice
from onnx_models.training.cines import Sampling
from processing.cine import Cine, Spacing, TimeZero
from processing.model_inputs import model_inputs
from processing.simulation.display import Display
from processing.simulation.speckle import PointSpread, speckle_field

FloatArray = NDArray[np.float32]
Kind = Literal["B-mode", "receiver noise", "random maps", "B-mode, gain turned up", "receiver noise, gain turned up"]
STEADY: tuple[Kind, ...] = ("B-mode", "receiver noise", "random maps")
TURNED_UP: tuple[Kind, ...] = ("B-mode, gain turned up", "receiver noise, gain turned up")
"""By up to 12 dB while the loop runs: new noise that rises everywhere is what the first gate may take for contrast."""
KINDS = STEADY + TURNED_UP


def non_contrast_maps(seed: int, kind: Kind) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Maps (5, H, W) and valid cells of something that no contrast agent made."""
    rng = np.random.default_rng((seed, 23))
    if kind == "random maps":
        maps = rng.uniform(-60, 0, (5, 160, 160)).astype(np.float32)
        maps[3:] = rng.uniform(0, 2, (2, 160, 160))
        return maps, np.ones((160, 160), dtype=np.bool_)
    plan = draw_plan(seed)
    tissue = draw_slice(plan, 0.25)
    sampling = Sampling()
    frames = int(plan.duration_s * sampling.frame_rate_hz)
    rows, columns = tissue.scanned.shape
    spread = PointSpread(*(max(mm / 0.25, 0.8) for mm in plan.psf_mm))
    display = Display(dynamic_range_db=60.0)
    mean = 10 ** (rng.uniform(-30, -18) / 10) * tissue.volume * tissue.loss
    gain = _gain(frames, seed) if kind in TURNED_UP else np.ones(frames)
    still = speckle_field((tissue.lesion.shape[0], tissue.lesion.shape[1]), spread, (seed, 1))
    contrast = np.empty((frames, rows, columns), dtype=np.float32)
    for frame in range(frames):
        echo = still if kind.startswith("B-mode") else speckle_field(still.shape, spread, (seed, 2, frame))
        power = mean * (echo.real**2 + echo.imag**2) * gain[frame]
        z, x = tissue.margin_px + np.rint(rng.normal(0, 0.3, 2)).astype(np.intp).clip(-1, 1)
        window = power[z : z + rows, x : x + columns].astype(np.float32)
        contrast[frame] = display.power(display.levels(window))
    cine = Cine(
        contrast,
        tissue.scanned,
        np.zeros((rows, columns), dtype=np.uint32),
        float(display.power(np.zeros(1, dtype=np.uint8))[0]),
        np.arange(frames) / sampling.frame_rate_hz,
        TimeZero(),
        Spacing(0.25, 0.25),
        (0, 0),
    )
    mapped = model_inputs(cine)
    return mapped.maps, mapped.valid


def _gain(frames: int, seed: int) -> NDArray[np.float64]:
    """Power gain of each frame: a ramp that begins and ends somewhere."""
    rng = np.random.default_rng((seed, 29))
    begins, ends = np.sort(rng.uniform(0.1, 0.9, 2))
    ramp = np.clip((np.arange(frames) / frames - begins) / (ends - begins), 0, 1)
    return np.asarray(10 ** (rng.uniform(3, 12) * ramp / 10))
