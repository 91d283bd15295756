"""A whole loop, 1,800 frames of 512 x 512 (60 s at 30 Hz): from the linear panel in memory to maps and figures.

Motion is estimated on the B-mode panel at half resolution, blocks of at most 450 frames go through the singular value
filter (forced here: `slow_cine_hz` = 0), bubbles are localized, followed and drawn. Goal: 20 s on two cores.
As in the node, the panel is corrected in place.

Beside the stages stand two floors. Memory: the loop is larger than any cache, and each pass over it (correction,
alignment, subtraction: read and written; product, localization: read) costs what a copy costs. Arithmetic: the
symmetric product X X' of each block, measured on the cores that numba uses.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from threadpoolctl import threadpool_limits

from processing import bubble_loop, super_resolution
from processing.bubble_loop import BubbleParameters, FrameMotion, Progress
from processing.cine import Cine, Spacing, TimeZero
from processing.clutter import ClutterParameters, block_starts, gram_matrix
from processing.kernels.jit import side_by_side
from processing.motion import apply_motion, estimate_motion
from processing.roi import panel_roi
from processing.super_resolution import SuperResolutionParameters, super_resolve

SIDE, SIGMA_PX, BUBBLES = 512, 2.0, 60
STAGES = (
    (bubble_loop, "aligned_amplitude"),
    (bubble_loop, "filter_block"),
    (bubble_loop, "calibrate"),
    (bubble_loop, "localize"),
    (super_resolution, "track"),
    (super_resolution, "vascular_bed"),
)
READ_AND_WRITTEN, READ = 3, 2
"""Passes over the whole loop."""


def loop(frames: int) -> tuple[Cine, NDArray[np.float32]]:
    """Bubbles on straight vessels under Rician noise, tissue that breathes, its B-mode twin; the panel, writable."""
    rng = np.random.default_rng(1)
    sway = np.rint(np.column_stack([4 * np.sin(np.arange(frames) / 20), 2 * np.cos(np.arange(frames) / 27)])).astype(
        int
    )
    speckle = gaussian_filter(rng.standard_normal((2, SIDE + 32, SIDE + 32)), (0, 1.2, 2.0))
    level = 20 * np.log10(np.hypot(*speckle))
    grey = np.clip(255 + 4.25 * (level - level.max()), 0, 255).astype(np.uint8)
    contrast, bmode = np.empty((frames, SIDE, SIDE), np.float32), np.empty((frames, SIDE, SIDE), np.uint8)
    vessel = rng.uniform(30, SIDE - 30, (40, 2))
    angle = rng.uniform(0, 2 * np.pi, 40)
    born, on = rng.integers(0, 60, BUBBLES), rng.integers(0, 40, BUBBLES)
    window = np.arange(-8, 9)
    for f in range(frames):
        noise = rng.standard_normal((2, SIDE, SIDE), dtype=np.float32) * np.float32(0.01)
        amplitude = noise[0]
        age = (f - born) % 60
        for k in range(BUBBLES):
            at = vessel[(on[k] + (f - born[k]) // 60 * 7) % 40]
            way = angle[(on[k] + (f - born[k]) // 60 * 7) % 40]
            z, x = at + 1.2 * age[k] * np.array([np.sin(way), np.cos(way)]) + sway[f]
            i, j = round(z), round(x)
            if 8 <= i < SIDE - 8 and 8 <= j < SIDE - 8:
                gz, gx = (np.exp(-((window + n - p) ** 2) / (2 * SIGMA_PX**2)) for n, p in ((i, z), (j, x)))
                amplitude[i - 8 : i + 9, j - 8 : j + 9] += (0.3 * gz[:, None] * gx).astype(np.float32)
        contrast[f] = amplitude**2 + noise[1] ** 2
        dz, dx = 16 - sway[f]
        bmode[f] = grey[dz : dz + SIDE, dx : dx + SIDE]
    cine = Cine(
        contrast=contrast,
        valid=np.ones((SIDE, SIDE), np.bool_),
        saturated=np.zeros((SIDE, SIDE), np.uint32),
        floor_au=1e-6,
        frame_times_s=np.arange(frames) / 30.0,
        time_zero=TimeZero(),
        spacing_mm=Spacing(0.1, 0.1),
        origin_px=(0, 0),
        bmode=bmode,
    )
    return cine, contrast


Spent = dict[str, tuple[float, float]]
"""Wall and processor time of each stage in s, all blocks summed."""


def timed(spent: Spent, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, noting its time."""

    def run(*given: Any) -> Any:
        wall, used = time.perf_counter(), time.process_time()
        result = work(*given)
        before = spent.get(name, (0.0, 0.0))
        spent[name] = before[0] + time.perf_counter() - wall, before[1] + time.process_time() - used
        return result

    return run


def floors(panel: NDArray[np.float32]) -> str:
    """What memory and the symmetric products alone would take, measured on this machine now."""
    starts = block_starts(len(panel), ClutterParameters())
    target = np.empty_like(panel[: starts[1]])

    def copied(_: int = 0) -> float:
        begin = time.perf_counter()
        side_by_side(lambda k: np.copyto(target[k], panel[k]), range(len(target)))
        return time.perf_counter() - begin

    copy_s = min(copied() for _ in range(3)) * len(panel) / len(target)
    strips = np.array_split(target, 16, axis=1)
    with threadpool_limits(1, user_api="blas"):
        begin = time.perf_counter()
        side_by_side(gram_matrix, strips)
        product_s = (time.perf_counter() - begin) * (len(starts) - 1)
    memory_s = (READ_AND_WRITTEN + 0.5 * READ) * copy_s
    return (
        f"  floors: memory {memory_s:.1f} s ({READ_AND_WRITTEN} passes read and written, {READ} read; "
        f"{2e-9 * panel.nbytes / copy_s:.0f} GB/s), arithmetic {product_s:.1f} s (products X X')"
    )


def main() -> None:
    frames = int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdigit() else 1800
    parameters = SuperResolutionParameters(BubbleParameters(ClutterParameters(slow_cine_hz=0.0)))
    small, _ = loop(80)
    super_resolve(small, panel_roi(small.valid), None, parameters)  # compiles
    estimate_motion(small)
    cine, panel = loop(frames)
    spent: Spent = {}
    for module, name in STAGES:
        setattr(module, name, timed(spent, name, getattr(module, name)))
    begin, used = time.perf_counter(), time.process_time()
    motion = timed(spent, "estimate_motion", estimate_motion)(cine)
    cine = timed(spent, "apply_motion", apply_motion)(cine, motion, panel)
    blocks: list[str] = []

    def told(done: Progress) -> None:
        blocks.append(f"{done.frames_done}: {done.localizations} bubbles after {time.perf_counter() - begin:.1f} s")

    rest = motion.displacement_px - np.rint(motion.displacement_px)
    result = super_resolve(
        cine, panel_roi(cine.valid), FrameMotion(rest.astype(float), motion.rejected), parameters, told
    )
    wall, cpu = time.perf_counter() - begin, time.process_time() - used
    print(f"{frames} frames of {SIDE} x {SIDE}: {wall:.1f} s wall, {cpu:.1f} s processor (goal 20 s on two cores)")
    for name, (stage_wall, stage_cpu) in spent.items():
        rate = 1e3 * stage_wall / frames
        print(f"  {name:20s}{stage_wall:7.2f} s wall {stage_cpu:7.2f} s processor {rate:7.2f} ms a frame")
    print(floors(panel))
    tracks = 0 if result.tracks is None else len(result.tracks)
    print(f"  {len(result.localizations)} localizations, {tracks} tracks: {result.reason or 'performed'}")
    print("  " + "; ".join(blocks))


if __name__ == "__main__":
    main()
