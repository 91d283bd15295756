"""One engine for the curve of a ROI and for every pixel of a map: bounded Levenberg-Marquardt on a quasi-likelihood.

Speckle makes the noise of linear power grow with the power itself: variance proportional to F^2 + floor, where F is the
model with its offset. Weights that follow the fit are iteratively reweighted least squares; their fixed point is the
minimum of the quasi-deviance (Wedderburn 1974, Biometrika 61:439)

    D = 2 sum over samples of the integral from F to y of (y - v) / (v^2 + floor) dv

which is what is minimised here, in one loop, with its Fisher information as the curvature: no outer reweighting, and a
step is accepted only if it lowers a single, fixed objective. What recirculates enters as a given course `tail` in a
free, non-negative amount (zero bounds switch it off). Marquardt 1963 (damping); a bound that the step would
leave holds its parameter for that step.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from processing.kernels.bolus import constants, location_of_peak, sample
from processing.kernels.jit import jit

PARAMETERS = 6
"""Those of the curve and the amount of `tail`."""
FIRST_DAMPING = 1e-3
"""A step damped no more is a Gauss-Newton step: what it promises is what the optimum still holds."""


@jit
def deviance(
    model: int,
    theta: NDArray[np.float64],
    time: NDArray[np.float64],
    tail: NDArray[np.float64],
    power: NDArray[np.float64],
    floor: float,
) -> float:
    """Quasi-deviance, up to a constant of the data."""
    k0, k1, k2, k3 = constants(model, theta)
    root = math.sqrt(floor)
    turned, logarithms, product = 0.0, 0.0, 1.0
    for i in range(time.size):
        x = time[i] - theta[3]
        fitted = theta[4] + theta[5] * tail[i]
        if x > 0.0:
            fitted += sample(model, k0, k1, k2, k3, x)[0]
        turned += power[i] * math.atan(fitted / root)
        product *= fitted * fitted + floor
        if i & 7 == 7:
            logarithms += math.log(product)
            product = 1.0
    return logarithms + math.log(product) - 2.0 / root * turned


@jit
def deviance_of_data(power: NDArray[np.float64], floor: float) -> float:
    """The constant that `deviance` leaves out, so that the sum of both is zero for a perfect fit."""
    root = math.sqrt(floor)
    turned, logarithms, product = 0.0, 0.0, 1.0
    for i in range(power.size):
        turned += power[i] * math.atan(power[i] / root)
        product *= power[i] * power[i] + floor
        if i & 7 == 7:
            logarithms += math.log(product)
            product = 1.0
    return 2.0 / root * turned - logarithms - math.log(product)


@jit
def normal_equations(
    model: int,
    theta: NDArray[np.float64],
    time: NDArray[np.float64],
    tail: NDArray[np.float64],
    power: NDArray[np.float64],
    floor: float,
    matrix: NDArray[np.float64],
    right: NDArray[np.float64],
) -> float:
    """Fisher information (6, 6) and score (6,) of half the quasi-deviance, and `deviance` itself, in one pass."""
    k0, k1, k2, k3 = constants(model, theta)
    root = math.sqrt(floor)
    turned, logarithms, product = 0.0, 0.0, 1.0
    h00 = h01 = h02 = h03 = h04 = h11 = h12 = h13 = h14 = h22 = h23 = h24 = h33 = h34 = h44 = 0.0
    h05 = h15 = h25 = h35 = h45 = h55 = 0.0
    r0 = r1 = r2 = r3 = r4 = r5 = 0.0
    for i in range(time.size):
        x = time[i] - theta[3]
        fitted = theta[4] + theta[5] * tail[i]
        f = d1 = d2 = d3 = 0.0
        if x > 0.0:
            f, d1, d2, d3 = sample(model, k0, k1, k2, k3, x)
            fitted += f
        variance = fitted * fitted + floor
        turned += power[i] * math.atan(fitted / root)
        product *= variance
        if i & 7 == 7:
            logarithms += math.log(product)
            product = 1.0
        weight = 1.0 / variance
        residual = weight * (power[i] - fitted)
        back = tail[i]
        h44 += weight
        r4 += residual
        if f > 0.0:
            w0, w1, w2, w3 = weight * f, weight * d1, weight * d2, weight * d3
            h00 += w0 * f
            h01 += w0 * d1
            h02 += w0 * d2
            h03 += w0 * d3
            h04 += w0
            h11 += w1 * d1
            h12 += w1 * d2
            h13 += w1 * d3
            h14 += w1
            h22 += w2 * d2
            h23 += w2 * d3
            h24 += w2
            h33 += w3 * d3
            h34 += w3
            r0 += residual * f
            r1 += residual * d1
            r2 += residual * d2
            r3 += residual * d3
        if back > 0.0:
            wb = weight * back
            h05 += wb * f
            h15 += wb * d1
            h25 += wb * d2
            h35 += wb * d3
            h45 += wb
            h55 += wb * back
            r5 += residual * back
    matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3], matrix[0, 4] = h00, h01, h02, h03, h04
    matrix[1, 1], matrix[1, 2], matrix[1, 3], matrix[1, 4] = h11, h12, h13, h14
    matrix[2, 2], matrix[2, 3], matrix[2, 4] = h22, h23, h24
    matrix[3, 3], matrix[3, 4] = h33, h34
    matrix[4, 4] = h44
    matrix[0, 5], matrix[1, 5], matrix[2, 5], matrix[3, 5] = h05, h15, h25, h35
    matrix[4, 5], matrix[5, 5] = h45, h55
    for i in range(PARAMETERS):
        for j in range(i):
            matrix[i, j] = matrix[j, i]
    right[0], right[1], right[2], right[3], right[4], right[5] = r0, r1, r2, r3, r4, r5
    return logarithms + math.log(product) - 2.0 / root * turned


@jit
def damped_step(
    matrix: NDArray[np.float64],
    right: NDArray[np.float64],
    free: NDArray[np.bool_],
    damping: float,
    work: NDArray[np.float64],
    step: NDArray[np.float64],
) -> bool:
    """Solve (matrix + damping diag) step = right over the free parameters by Cholesky; False where it is singular."""
    n = right.size
    for i in range(n):
        for j in range(i + 1):
            work[i, j] = matrix[i, j] if free[i] and free[j] else 0.0
        work[i, i] = matrix[i, i] * (1.0 + damping) + 1e-30 if free[i] else 1.0
        step[i] = right[i] if free[i] else 0.0
    for i in range(n):
        for j in range(i + 1):
            total = work[i, j]
            for k in range(j):
                total -= work[i, k] * work[j, k]
            if i == j:
                if not total > 0.0:
                    return False
                work[i, i] = math.sqrt(total)
            else:
                work[i, j] = total / work[j, j]
    for i in range(n):
        for k in range(i):
            step[i] -= work[i, k] * step[k]
        step[i] /= work[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            step[i] -= work[k, i] * step[k]
        step[i] /= work[i, i]
    return True


@jit
def descend(
    model: int,
    time: NDArray[np.float64],
    tail: NDArray[np.float64],
    power: NDArray[np.float64],
    floor: float,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    theta: NDArray[np.float64],
    iterations: int,
    tolerance: float,
) -> float:
    """Move theta to the minimum of the quasi-deviance inside the bounds; returns it (inf where no start is finite).

    Stops when a step lowers the deviance, or promises to, by less than `tolerance` of the deviance a sample: when it
    moves the parameters by less than about sqrt(tolerance) of their standard error.
    """
    matrix, tried_matrix = np.empty((PARAMETERS, PARAMETERS)), np.empty((PARAMETERS, PARAMETERS))
    right, tried_right = np.empty(PARAMETERS), np.empty(PARAMETERS)
    work = np.empty((PARAMETERS, PARAMETERS))
    step = np.empty(PARAMETERS)
    trial = np.empty(PARAMETERS)
    free = np.empty(PARAMETERS, dtype=np.bool_)
    constant = deviance_of_data(power, floor)
    cost = constant + normal_equations(model, theta, time, tail, power, floor, matrix, right)
    if not math.isfinite(cost):
        return math.inf
    damping = FIRST_DAMPING
    for _ in range(iterations):
        for i in range(PARAMETERS):
            free[i] = not ((theta[i] <= lower[i] and right[i] < 0.0) or (theta[i] >= upper[i] and right[i] > 0.0))
        enough = tolerance * cost / time.size
        accepted, settled = False, False
        gain = 0.0
        while damping < 1e9:
            if damped_step(matrix, right, free, damping, work, step):
                # No step of more than a factor e in area, scale or shape: the models are that far from linear.
                longest = max(abs(step[0]), abs(step[1]), abs(step[2]), 1.0)
                promised = 0.0
                whole = longest == 1.0 and damping <= FIRST_DAMPING
                for i in range(PARAMETERS):
                    wanted = theta[i] + step[i] / longest
                    trial[i] = min(max(wanted, lower[i]), upper[i])
                    whole = whole and trial[i] == wanted
                    promised += step[i] * right[i]
                if whole and promised <= enough:
                    # A Gauss-Newton step that no bound cuts, and not worth a look at every sample: the last one.
                    settled = True
                    for i in range(PARAMETERS):
                        theta[i] = trial[i]
                    break
                tried = constant + normal_equations(model, trial, time, tail, power, floor, tried_matrix, tried_right)
                if tried < cost:
                    accepted = True
                    gain = cost - tried
                    cost = tried
                    for i in range(PARAMETERS):
                        theta[i] = trial[i]
                    matrix, tried_matrix = tried_matrix, matrix
                    right, tried_right = tried_right, right
                    damping = max(damping * 0.1, 1e-12)
                    break
            damping *= 8.0
        if settled or not accepted or gain <= enough:
            break
        damping = min(damping, 1e6)
    return cost


@jit
def first_guess(
    model: int,
    width: float,
    guess: NDArray[np.float64],
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    theta: NDArray[np.float64],
) -> None:
    """A start of relative width `width` from what the smoothed curve shows.

    guess: (peak above baseline, time of peak, arrival, baseline). t0 lies 10 % before the arrival's distance to the
    peak, shape follows from the curvature over ln x at the peak (1/width^2 for all four models).
    """
    height, t_peak, arrival, baseline = guess[0], guess[1], guess[2], guess[3]
    shape = width if model == 0 else max(1.0 / (width * width), 1.2)
    x_peak = max(t_peak - arrival, 0.3) * 1.1
    theta[1] = location_of_peak(model, x_peak, shape)
    theta[2] = math.log(shape)
    theta[3] = t_peak - x_peak
    theta[4] = baseline
    theta[5] = 0.0
    theta[0] = 0.0
    k0, k1, k2, k3 = constants(model, theta)
    theta[0] = math.log(height / sample(model, k0, k1, k2, k3, x_peak)[0])
    for i in range(PARAMETERS):
        theta[i] = min(max(theta[i], lower[i]), upper[i])


@jit
def fit_curve(
    model: int,
    time: NDArray[np.float64],
    tail: NDArray[np.float64],
    power: NDArray[np.float64],
    floor: float,
    lower: NDArray[np.float64],
    upper: NDArray[np.float64],
    guess: NDArray[np.float64],
    widths: NDArray[np.float64],
    theta: NDArray[np.float64],
    iterations: int,
    tolerance: float,
) -> float:
    """Best of the descents from every start width; theta receives the winner, the return value is its deviance."""
    best = math.inf
    start = np.empty(PARAMETERS)
    for width in widths:
        first_guess(model, width, guess, lower, upper, start)
        cost = descend(model, time, tail, power, floor, lower, upper, start, iterations, tolerance)
        if cost < best:
            best = cost
            for i in range(PARAMETERS):
                theta[i] = start[i]
    return best
