"""A whole loop, 1,800 frames of 512 x 512 (60 s at 30 Hz): from the linear panel in memory to maps and figures.

Motion is estimated on the B-mode panel at half resolution, blocks of at most 450 frames go through the singular value
filter (forced here: `slow_cine_hz` = 0), bubbles are localized, followed and drawn. Goal: 20 s on two cores.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from scipy.ndimage import gaussian_filter

from processing.bubble_loop import BubbleParameters, FrameMotion, Progress
from processing.cine import Cine, Spacing, TimeZero
from processing.clutter import ClutterParameters
from processing.motion import apply_motion, estimate_motion
from processing.roi import panel_roi
from processing.super_resolution import SuperResolutionParameters, super_resolve

SIDE, SIGMA_PX, BUBBLES = 512, 2.0, 60


def loop(frames: int) -> Cine:
    """Bubbles on straight vessels under Rician noise, tissue that breathes, and its B-mode twin."""
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
    return Cine(
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


def main() -> None:
    frames = int(sys.argv[1]) if sys.argv[1:] and sys.argv[1].isdigit() else 1800
    parameters = SuperResolutionParameters(BubbleParameters(ClutterParameters(slow_cine_hz=0.0)))
    small = loop(80)
    super_resolve(small, panel_roi(small.valid), None, parameters)  # compiles
    cine = loop(frames)
    begin, used = time.perf_counter(), time.process_time()
    motion = estimate_motion(cine)
    at_motion = time.perf_counter()
    cine = apply_motion(cine, motion)
    at_loop = time.perf_counter()
    blocks: list[str] = []

    def told(done: Progress) -> None:
        blocks.append(f"{done.frames_done}: {done.localizations} bubbles after {time.perf_counter() - at_loop:.1f} s")

    rest = motion.displacement_px - np.rint(motion.displacement_px)
    result = super_resolve(
        cine, panel_roi(cine.valid), FrameMotion(rest.astype(float), motion.rejected), parameters, told
    )
    wall, cpu = time.perf_counter() - begin, time.process_time() - used
    print(
        f"{frames} frames of {SIDE} x {SIDE}: {wall:.1f} s wall, {cpu:.1f} s of processor time (goal 20 s on two cores)"
    )
    print(
        f"  motion {at_motion - begin:.1f} s, its correction {at_loop - at_motion:.1f} s, "
        f"the rest {wall - at_loop + begin:.1f} s"
    )
    print(f"  {len(result.localizations)} localizations, performed: {result.performed} {result.reason or ''}")
    print("  " + "; ".join(blocks))


if __name__ == "__main__":
    main()
