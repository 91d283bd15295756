"""The bolus fit of every sample of a map: `descend` of `kernels.bolus_fit`, started from the ROI's curve and from the
sample's own outline, in parallel over samples (each writes its own row: the result does not depend on the threads)."""

from __future__ import annotations

import math

import numpy as np
from numba import prange
from numpy.typing import NDArray

from processing.kernels.bolus import characteristics, peak_position
from processing.kernels.bolus_fit import PARAMETERS, descend, deviance, deviance_of_data, first_guess
from processing.kernels.jit import jit, parallel_jit

SKETCH = 50
"""Bins of a sample's sketch: 1.8 s each in 90 s, of which the fit of all frames leaves nothing."""
SKETCH_TOLERANCE = 0.1
"""A third of a standard error: what the sketch itself is worth."""


@jit
def binned(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Means of `width` consecutive values; what is left over at the end is dropped."""
    means = np.empty(values.size // width)
    for k in range(means.size):
        total = 0.0
        for i in range(k * width, (k + 1) * width):
            total += values[i]
        means[k] = total / width
    return means


@jit
def median_of_first(values: NDArray[np.float32], count: int) -> float:
    """Median of values[:count]: insertion into a sorted copy. A few dozen samples, and a twentieth of the time that
    compiling `np.median` takes."""
    ordered = np.empty(count)
    for i in range(count):
        value = values[i]
        j = i
        while j > 0 and ordered[j - 1] > value:
            ordered[j] = ordered[j - 1]
            j -= 1
        ordered[j] = value
    middle: float = 0.5 * (ordered[count // 2] + ordered[(count - 1) // 2])
    return middle


@jit
def outline(
    time: NDArray[np.float64], power: NDArray[np.float32], half: int, guess: NDArray[np.float64]
) -> tuple[float, int]:
    """Scale (peak above baseline of the smoothed sample, 0 where nothing rises) and index of the peak.

    guess receives (1, time of peak, arrival, baseline over scale), as `first_guess` takes it. half: samples on either
    side of the moving mean.
    """
    n = power.size
    cumulated = np.empty(n + 1)
    cumulated[0] = 0.0
    for i in range(n):
        cumulated[i + 1] = cumulated[i] + power[i]
    smooth = np.empty(n)
    peak = 0
    for i in range(n):
        low, high = max(i - half, 0), min(i + half + 1, n)
        smooth[i] = (cumulated[high] - cumulated[low]) / (high - low)
        if smooth[i] > smooth[peak]:
            peak = i
    early = max(peak // 6, 1)
    baseline = median_of_first(power, early)
    scale = smooth[peak] - baseline
    if peak < 2 or not scale > 1e-9 * abs(smooth[peak]):
        return 0.0, 0
    steep, slope = 0, 0.0
    for i in range(peak):
        rise = (smooth[i + 1] - smooth[i]) / (time[i + 1] - time[i])
        if rise > slope:
            steep, slope = i, rise
    arrival = time[0]
    if slope > 0.0:
        arrival = max(time[steep] - (smooth[steep] - baseline) / slope, time[0] - 4.0)
    guess[0], guess[1], guess[2], guess[3] = 1.0, time[peak], arrival, baseline / scale
    return scale, peak


@jit
def fit_sample(
    model: int,
    time: NDArray[np.float64],
    tail: NDArray[np.float64],
    power: NDArray[np.float32],
    floor: float,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    roi_theta: NDArray[np.float64],
    half: int,
    iterations: int,
    tolerance: float,
    out: NDArray[np.float64],
) -> float:
    """Fit one sample; out (16,) receives its characteristics in the unit of `power`.

    Returns what the model gains over a constant, as chi-square (independent samples assumed); 0 where nothing rises
    and -1 where the fit failed: no finite optimum, a peak outside the clip or a shape at its bound.
    """
    guess = np.empty(4)
    scale, peak = outline(time, power, half, guess)
    if scale == 0.0:
        return 0.0
    relative = np.empty(power.size)
    level = 0.0
    for i in range(power.size):
        relative[i] = power[i] / scale
        level += relative[i]
    level /= power.size
    theta, shared, low, high = np.empty(PARAMETERS), np.empty(PARAMETERS), np.empty(PARAMETERS), np.empty(PARAMETERS)
    for i in range(PARAMETERS):
        low[i], high[i], shared[i] = lower[i], upper[i], roi_theta[i]
    high[3] = time[peak] - 0.05
    low[3] = time[0] - 5.0
    high[4] = guess[3] + 0.1
    # The ROI's curve with this sample's height, or the same shape moved to this sample's own peak.
    shape = math.exp(roi_theta[2])
    first_guess(model, shape if model == 0 else 1.0 / math.sqrt(shape), guess, low, high, theta)
    shared[4] = guess[3]
    for i in range(PARAMETERS):
        shared[i] = min(max(shared[i], low[i]), high[i])
    # Most of the way on a sketch of the sample, which costs a fraction of it.
    width = max(power.size // SKETCH, 1)
    times, powers, tails = binned(time, width), binned(relative, width), binned(tail, width)
    if deviance(model, shared, times, tails, powers, floor) < deviance(model, theta, times, tails, powers, floor):
        theta = shared
    if width > 1:
        drawn = theta.copy()
        descend(model, times, tails, powers, floor, low, high, drawn, iterations, SKETCH_TOLERANCE)
        if low[2] < drawn[2] < high[2] and drawn[3] > low[3]:
            theta = drawn
    cost = descend(model, time, tail, relative, floor, low, high, theta, iterations, tolerance)
    peak_time = theta[3] + peak_position(model, theta[1], math.exp(theta[2]))
    at_bound = theta[2] <= low[2] or theta[2] >= high[2]
    if not math.isfinite(cost) or at_bound or peak_time > time[-1]:
        return -1.0
    root = math.sqrt(floor)
    constant = deviance_of_data(relative, floor)
    constant += relative.size * (math.log(level * level + floor) - 2.0 * level / root * math.atan(level / root))
    dispersion = max(cost, 1e-12) / max(relative.size - PARAMETERS, 1)
    theta[0] += math.log(scale)
    characteristics(model, theta, out)
    return (constant - cost) / dispersion


@parallel_jit
def fit_samples(
    model: int,
    time: NDArray[np.float64],
    tail: NDArray[np.float64],
    power: NDArray[np.float32],
    floor: float,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    roi_theta: NDArray[np.float64],
    half: int,
    iterations: int,
    tolerance: float,
    out: NDArray[np.float64],
    gain: NDArray[np.float64],
) -> None:
    """`fit_sample` for every row of power (sample, time); out (sample, 16) and gain (sample,) receive the results."""
    for row in prange(power.shape[0]):
        gain[row] = fit_sample(
            model, time, tail, power[row], floor, lower, upper, roi_theta, half, iterations, tolerance, out[row]
        )
