"""Localizers side by side on the benchmark scene: trackpy, Picasso, ulmtools and ours, same data, same run.

Needs the group `bench` of pyproject.toml; a peer that is not installed is named and left out. Thresholds of the peers
are tuned with the truth (best J on the first frames); ours sets its own from the data. Rates are frames per second of
processor time (all threads summed), which other work on the machine disturbs least, and of wall time.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray

from processing.cine import Spacing
from processing.localize import Calibration, LocalizationParameters, calibrate, localize
from tests.accuracy.ulm_scenes import Scene, crlb_px, scene, score

Finder = Callable[[NDArray[np.float32], float], NDArray[np.float64]]
TUNING_FRAMES = 40


def ulmtools_gaussian(frames: NDArray[np.float32], threshold: float) -> NDArray[np.float64]:
    import ulmtools

    found = []
    for number, frame in enumerate(frames):
        points, _ = ulmtools.detect_peaks(
            frame, threshold=threshold, min_distance=2.0, localization_method="gaussian_fitting",
            localization_window_size=5, max_n_peaks_per_frame=200,
        )  # fmt: skip
        found.append(np.column_stack([np.full(len(points), number), points]))
    return np.concatenate(found)


def trackpy_numba(frames: NDArray[np.float32], threshold: float) -> NDArray[np.float64]:
    import trackpy

    trackpy.quiet()
    table = trackpy.batch(frames, 7, minmass=4 * threshold, separation=4, engine="numba", processes=1)
    return np.asarray(table[["frame", "y", "x"]].to_numpy())


def picasso_lsq(frames: NDArray[np.float32], threshold: float) -> NDArray[np.float64]:
    from picasso import gausslq
    from picasso import localize as picasso

    movie = (1000 * frames + 1000).astype(np.float32)
    camera = {"Baseline": 0, "Sensitivity": 1, "Gain": 1, "Qe": 1, "Pixelsize": 100}
    spots = picasso.identify(movie, 4000 * threshold, 7, threaded=False, return_info=False)
    cut = picasso.get_spots(movie, spots, 7, camera)
    table = gausslq.locs_from_fits(spots, gausslq.fit_spots(cut, spherical=True), 7, False, spherical=True)
    return np.asarray(table[["frame", "y", "x"]].to_numpy())


PEERS: dict[str, tuple[str, Finder, int]] = {
    "ulmtools, Gaussian, window 5": ("ulmtools", ulmtools_gaussian, 500),
    "Picasso, LSQ spherical, box 7": ("picasso", picasso_lsq, 100),
    "trackpy, numba": ("trackpy", trackpy_numba, 100),
}


def rates(call: Callable[[], object], frames: int, repeats: int = 5) -> tuple[float, float]:
    """Frames per second of processor and of wall time, best of `repeats` after one call that compiles."""
    call()
    cpu, wall = [], []
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        call()
        cpu.append(time.process_time() - used)
        wall.append(time.perf_counter() - start)
    return frames / min(cpu), frames / min(wall)


def tuned(find: Finder, made: Scene) -> float:
    """Threshold of the best J on the first frames, chosen with the truth."""
    some = made.frames[:TUNING_FRAMES]
    truth = made.truth[made.truth[:, 0] < TUNING_FRAMES]
    levels = (0.25, 0.35, 0.45, 0.55, 0.65)
    return max(levels, key=lambda level: score(find(some, level), truth).jaccard)


def quality(found: NDArray[np.float64], made: Scene) -> str:
    result = score(found, made.truth[made.truth[:, 0] <= found[:, 0].max()])
    return f"RMSE/CRLB {result.rmse_px / crlb_px(made.noise):.3f}  J {result.jaccard:.3f}"


def ours(made: Scene, calibration: Calibration, parameters: LocalizationParameters) -> NDArray[np.float64]:
    found = localize(made.frames, Spacing(1.0, 1.0), calibration, parameters)
    return np.column_stack([found.frame, found.z_mm, found.x_mm])


def main() -> None:
    parameters = LocalizationParameters()
    for kind in ("iso", "flow"):
        made = scene(kind, 20.0, 500, seed=1)
        print(f"{kind}, 20 dB, 500 frames of 143 x 84, 30 bubbles a frame")
        calibration = calibrate(made.frames, parameters)
        mine = 0.0
        for threads in (1, 2):
            numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
            cpu, wall = rates(lambda made=made, c=calibration: ours(made, c, parameters), 500, 15)
            mine = max(mine, cpu)
            line = quality(ours(made, calibration, parameters), made)
            print(f"  ours, {threads} thread(s): {cpu:7.0f} /cpu s  {wall:7.0f} /s  {line}")
        for name, (module, find, frames) in PEERS.items():
            if importlib.util.find_spec(module) is None:
                print(f"  {name}: not installed")
                continue
            threshold = tuned(find, made)
            part = made.frames[:frames]
            cpu, wall = rates(lambda f=find, p=part, t=threshold: f(p, t), frames, 3)
            line = quality(find(part, threshold), made)
            print(f"  {name}: {cpu:7.0f} /cpu s  {wall:7.0f} /s  {line}  ours is {mine / cpu:.1f} x a thread")


if __name__ == "__main__":
    main()
