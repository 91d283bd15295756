"""A map of 50,000 curves of 300 frames against scipy's `curve_fit` in a loop.

Every curve has a level, a start, a width and a transit time of its own, as the pixels of an organ do, and noise of nine
speckles. Both fit a log-normal with offset, five parameters: ours from the fit of the mean curve, as in a map; scipy
once with the bounds that keep a fit physical (as ours has) from the outline of each curve, once without bounds, started
at the middle of what the curves were drawn from: the cheapest it can be. It fits a sample of the curves and its time is
scaled up. CPU seconds of all threads are shown too: they depend less on what else runs.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import curve_fit

from processing.bolus_fit import BolusFitParameters, bounds_of_shape
from processing.kernels.bolus import CHARACTERISTICS
from processing.kernels.bolus_map import fit_samples
from processing.perfusion import fit_bolus
from processing.tic import Tic

CURVES, FRAMES, SAMPLE = 50_000, 300, 200


def log_normal(t: np.ndarray, area: float, m: float, s: float, t0: float, offset: float) -> np.ndarray:
    x = np.maximum(t - t0, 1e-9)
    return area / (x * s * np.sqrt(2 * np.pi)) * np.exp(-((np.log(x) - m) ** 2) / (2 * s * s)) + offset


def curves(time_s: NDArray[np.float64], rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Power (curve, frame) and the true peaks (curve,)."""
    area = np.exp(rng.normal(0.0, 0.4, CURVES))
    m, s, t0 = rng.normal(2.7, 0.15, CURVES), rng.uniform(0.45, 0.65, CURVES), rng.uniform(3.0, 7.0, CURVES)
    power = np.empty((CURVES, time_s.size), np.float32)
    for k in range(CURVES):
        clean = log_normal(time_s, area[k], m[k], s[k], t0[k], 0.0005)
        power[k] = clean * rng.gamma(9.0, 1.0 / 9.0, time_s.size)
    return power, area / (s * np.sqrt(2.0 * np.pi)) * np.exp(0.5 * s * s - m)


def main() -> None:
    rng = np.random.default_rng(1)
    time_s = np.linspace(0.0, 90.0, FRAMES)
    power, peak = curves(time_s, rng)
    mean = power.mean(axis=0, dtype=np.float64)
    roi = fit_bolus(Tic(time_s, mean, np.zeros(FRAMES, np.bool_), "map"), BolusFitParameters(models=("log-normal",)))
    assert roi.bolus is not None
    lower, upper = bounds_of_shape("log-normal")
    theta = np.append(roi.bolus.theta, 0.0)
    theta[0] -= np.log(roi.bolus.characteristics()["peak_enhancement_au"])
    found, gain = np.full((CURVES, CHARACTERISTICS), np.nan), np.zeros(CURVES)

    def ours(rows: int) -> tuple[float, float]:
        begin, cpu = time.perf_counter(), time.process_time()
        ends = (2, 40, 1e-3, found[:rows], gain[:rows])
        fit_samples(0, time_s, np.zeros(FRAMES), power[:rows], 0.03**2, lower, upper, theta, *ends)
        return time.perf_counter() - begin, time.process_time() - cpu

    def scipy_loop(bounded: bool) -> tuple[float, float, float, int]:
        errors, lost = [], 0
        begin, cpu = time.perf_counter(), time.process_time()
        for row, true in zip(power[:SAMPLE].astype(np.float64), peak, strict=False):
            start, limits = (1.0, 2.9, 0.6, 4.0, 0.001), (-np.inf, np.inf)
            if bounded:
                smooth = np.convolve(row, np.ones(5) / 5, "same")
                peak_s = float(time_s[smooth.argmax()])
                start = (smooth.max() * 15.0, np.log(max(0.8 * peak_s, 1.0)) + 0.25, 0.5, 0.1 * peak_s, row[:10].mean())
                limits = ([0.0, -3.0, 0.05, -5.0, 0.0], [np.inf, 7.0, 3.0, peak_s - 0.05, row.max()])
            try:
                area, m, s, *_ = curve_fit(log_normal, time_s, row, p0=start, bounds=limits, maxfev=2000)[0]
                errors.append(area / (s * np.sqrt(2 * np.pi)) * np.exp(s * s / 2 - m) / true - 1)
            except RuntimeError:
                lost += 1
        scale = CURVES / SAMPLE
        wall, spent = (time.perf_counter() - begin) * scale, (time.process_time() - cpu) * scale
        return wall, spent, float(np.median(np.abs(errors))), lost

    ours(100)  # compiles
    wall, spent = min(ours(CURVES) for _ in range(3))
    print(f"{'':44s}{'wall s':>8s}{'CPU s':>8s}{'median |PE error|':>19s}{'lost':>10s}")
    own = float(np.nanmedian(np.abs(found[:, 0] / peak - 1)))
    print(f"{'ours':44s}{wall:8.1f}{spent:8.1f}{100 * own:18.1f}%{int((gain < 30).sum()):10d}")
    for name, bounded in (
        ("curve_fit, bounds, start from the curve", True),
        ("curve_fit, no bounds, start among truths", False),
    ):
        their_wall, their_cpu, error, lost = scipy_loop(bounded)
        print(f"{name:44s}{their_wall:8.1f}{their_cpu:8.1f}{100 * error:18.1f}%{lost:5d} of {SAMPLE}", end="")
        print(f"   ratio {their_wall / wall:.0f}x wall, {their_cpu / spent:.0f}x CPU")
    print("asked: 30x and at most 15 s on 2 cores")


if __name__ == "__main__":
    main()
