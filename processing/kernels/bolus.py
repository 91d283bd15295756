"""The curves of the field, four of a bolus and two of replenishment: value, analytic gradient, what is read off them.

A model is a number (LOG_NORMAL, GAMMA_VARIATE, LDRW, FPT, EXPONENTIAL, S_SHAPED) and five parameters theta: ln area,
location, ln shape, t0, offset. Location is m (log-normal), ln x_p (gamma variate), ln u (LDRW, FPT); shape is s, a, l,
l. x = t - t0 > 0:

    log-normal     A / (x s sqrt(2 pi)) exp(-(ln x - m)^2 / (2 s^2))              Strouthos 2010, TUFFC 57:1296
    gamma variate  A b^-(a+1) / Gamma(a+1) x^a exp(-x/b),  b = x_p / a            Thompson 1964
    LDRW           A sqrt(l / (2 pi u x)) exp(-(l/2)(x/u + u/x - 2))              Mischi 2003
    FPT            A sqrt(l u / (2 pi x^3)) exp(-(l/2)(x/u + u/x - 2))            Wise 1966 (inverse Gaussian)

Two curves of destruction and replenishment share the engine (A is the plateau, ln A its parameter):

    exponential    A (1 - exp(-x / tau)),  location ln tau, no shape                 Wei 1998, Circulation 97:473
    S-shaped       A Phi((ln x - m) / s),  location m, shape s                       Arditi 2006, TUFFC 53:1118

All boluses start flat at t0 (shape bounds of the caller keep a > 1), so the gradient is continuous there.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from processing.kernels.jit import jit

LOG_NORMAL, GAMMA_VARIATE, LDRW, FPT, EXPONENTIAL, S_SHAPED = range(6)
LN_AREA, LOCATION, LN_SHAPE, T0, OFFSET = 0, 1, 2, 3, 4

(
    PEAK,
    ARRIVAL,
    TIME_TO_PEAK,
    RISE,
    FALL,
    WASH_IN_RATE,
    WASH_OUT_RATE,
    WASH_IN_AUC,
    WASH_OUT_AUC,
    WASH_IN_OUT_AUC,
    WASH_IN_INDEX,
    AREA,
    MEAN_TRANSIT,
    MEAN_TRANSIT_LOCAL,
    START,
    OUTFLOW_SLOPE_TIME,
) = range(16)
CHARACTERISTICS = 16

LN_2PI = math.log(2.0 * math.pi)
SQRT_HALF = math.sqrt(0.5)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)
NODES, WEIGHTS = _NODES.copy(), _WEIGHTS.copy()
"""24 Gauss-Legendre nodes: a partial area between arrival, peak and end errs below 1e-9 of itself."""


@jit
def digamma(x: float) -> float:
    """Derivative of ln Gamma for x > 0: recurrence up to 8, then the asymptotic series (error < 1e-12)."""
    total = 0.0
    while x < 8.0:
        total -= 1.0 / x
        x += 1.0
    r = 1.0 / (x * x)
    return (
        total + math.log(x) - 0.5 / x - r * (1.0 / 12 - r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r / 132))))
    )


@jit
def constants(model: int, theta: NDArray[np.float64]) -> tuple[float, float, float, float]:
    """What does not depend on time: log of the prefactor, and what `sample` needs besides."""
    ln_area, location, ln_shape = theta[0], theta[1], theta[2]
    shape = math.exp(ln_shape)
    if model == 0:
        return ln_area - ln_shape - 0.5 * LN_2PI, location, 1.0 / shape, 0.0
    if model == 1:
        ln_b = location - ln_shape
        ln_front = ln_area - (shape + 1.0) * ln_b - math.lgamma(shape + 1.0)
        return ln_front, shape, math.exp(-location), -ln_b + (shape + 1.0) / shape - digamma(shape + 1.0)
    if model >= 4:
        return math.exp(ln_area), location, 1.0 / shape, math.exp(-location)
    sign = -1.0 if model == 2 else 1.0
    return ln_area + 0.5 * (ln_shape - LN_2PI + sign * location), shape, math.exp(location), math.exp(-location)


@jit
def sample(model: int, k0: float, k1: float, k2: float, k3: float, x: float) -> tuple[float, float, float, float]:
    """Value at x > 0 and its derivatives by location, ln shape and t0 (that by ln area is the value itself)."""
    ln_x = math.log(x)
    if model == 0:
        z = (ln_x - k1) * k2
        f = math.exp(k0 - ln_x - 0.5 * z * z)
        return f, f * z * k2, f * (z * z - 1.0), f * (1.0 + z * k2) / x
    if model == 1:
        relative = x * k2
        f = math.exp(k0 + k1 * (ln_x - relative))
        return f, f * (k1 * relative - k1 - 1.0), f * k1 * (k3 + ln_x - relative), f * k1 * (k2 - 1.0 / x)
    if model == 4:
        decay = k0 * math.exp(-x * k3)
        return k0 - decay, -decay * x * k3, 0.0, -decay * k3
    if model == 5:
        z = (ln_x - k1) * k2
        normal = k0 * math.exp(-0.5 * z * z - 0.5 * LN_2PI)
        return 0.5 * k0 * math.erfc(-z * SQRT_HALF), -normal * k2, -normal * z, -normal * k2 / x
    up, down = x * k3, k2 / x
    spread = 0.5 * k1 * (up + down - 2.0)
    skew = 0.5 * k1 * (up - down)
    power = 0.5 if model == 2 else 1.5
    f = math.exp(k0 - power * ln_x - spread)
    return f, f * (skew + (power - 1.0)), f * (0.5 - spread), f * (power + skew) / x


@jit
def curve(model: int, theta: NDArray[np.float64], time: NDArray[np.float64], value: NDArray[np.float64]) -> None:
    """The model with its offset at every time."""
    k0, k1, k2, k3 = constants(model, theta)
    for i in range(time.size):
        x = time[i] - theta[3]
        value[i] = theta[4]
        if x > 0.0:
            value[i] += sample(model, k0, k1, k2, k3, x)[0]


@jit
def curve_and_gradient(
    model: int,
    theta: NDArray[np.float64],
    time: NDArray[np.float64],
    value: NDArray[np.float64],
    gradient: NDArray[np.float64],
) -> None:
    """The model with its offset at every time, and its gradient (time, 5 or more: the first five are written)."""
    k0, k1, k2, k3 = constants(model, theta)
    for i in range(time.size):
        x = time[i] - theta[3]
        value[i] = theta[4]
        gradient[i, 0] = gradient[i, 1] = gradient[i, 2] = gradient[i, 3] = 0.0
        gradient[i, 4] = 1.0
        if x > 0.0:
            f, d_location, d_shape, d_t0 = sample(model, k0, k1, k2, k3, x)
            value[i] += f
            gradient[i, 0] = f
            gradient[i, 1] = d_location
            gradient[i, 2] = d_shape
            gradient[i, 3] = d_t0


@jit
def peak_position(model: int, location: float, shape: float) -> float:
    """x of the maximum, after t0."""
    if model == 0:
        return math.exp(location - shape * shape)
    if model == 1:
        return math.exp(location)
    h = (1.0 if model == 2 else 3.0) / (2.0 * shape)
    # u (sqrt(1 + h^2) - h), written without the cancellation for large h
    return math.exp(location) / (math.sqrt(1.0 + h * h) + h)


@jit
def location_of_peak(model: int, x_peak: float, shape: float) -> float:
    """The location whose curve of this shape has its maximum at `x_peak`: the inverse of `peak_position`."""
    if model == 0:
        return math.log(x_peak) + shape * shape
    if model == 1:
        return math.log(x_peak)
    h = (1.0 if model == 2 else 3.0) / (2.0 * shape)
    return math.log(x_peak * (math.sqrt(1.0 + h * h) + h))


@jit
def curvature_sign(model: int, shape: float, u: float, x: float) -> float:
    """f''/f of LDRW or FPT at x: its zeros are the steepest points."""
    power = 0.5 if model == 2 else 1.5
    slope = -power / x - 0.5 * shape * (1.0 / u - u / (x * x))
    return slope * slope + power / (x * x) - shape * u / (x * x * x)


@jit
def steepest(model: int, location: float, shape: float, x_peak: float, direction: float) -> float:
    """x of the steepest rise (direction -1) or fall (+1)."""
    if model == 0:
        root = math.sqrt(1.0 + 4.0 / (shape * shape))
        w = 0.5 * (direction * root - 1.0)
        return math.exp(location + shape * shape * (w - 1.0))
    if model == 1:
        return x_peak * (1.0 + direction / math.sqrt(shape))
    u = math.exp(location)
    inner = math.log(x_peak)
    outer = inner
    step = 0.25
    for _ in range(60):
        outer = inner + direction * step
        if curvature_sign(model, shape, u, math.exp(outer)) > 0.0:
            break
        inner = outer
        step *= 1.5
    for _ in range(50):
        middle = 0.5 * (inner + outer)
        if curvature_sign(model, shape, u, math.exp(middle)) > 0.0:
            outer = middle
        else:
            inner = middle
    return math.exp(0.5 * (inner + outer))


@jit
def partial_area(model: int, k0: float, k1: float, k2: float, k3: float, low: float, high: float) -> float:
    """Area between two positions after t0 by Gauss-Legendre quadrature (the curve is smooth there)."""
    half = 0.5 * (high - low)
    total = 0.0
    for i in range(NODES.size):
        total += WEIGHTS[i] * sample(model, k0, k1, k2, k3, low + half * (NODES[i] + 1.0))[0]
    return total * half


@jit
def characteristics(model: int, theta: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Everything read off a fitted curve, in the order of the names above (amplitudes without the offset)."""
    k0, k1, k2, k3 = constants(model, theta)
    location, shape, t0 = theta[1], math.exp(theta[2]), theta[3]
    x_peak = peak_position(model, location, shape)
    x_in = steepest(model, location, shape, x_peak, -1.0)
    x_out = steepest(model, location, shape, x_peak, 1.0)
    f_in, _, _, slope_in = sample(model, k0, k1, k2, k3, x_in)
    f_out, _, _, slope_out = sample(model, k0, k1, k2, k3, x_out)
    start = x_in + f_in / slope_in  # the derivative by t0 is minus the slope
    end = x_out + f_out / slope_out
    area = math.exp(theta[0])
    if model == 0:
        transit = math.exp(location + 0.5 * shape * shape)
    elif model == 1 or model == 2:
        transit = math.exp(location) * (1.0 + 1.0 / shape)
    else:
        transit = math.exp(location)
    out[0] = sample(model, k0, k1, k2, k3, x_peak)[0]
    out[1] = t0 + start
    out[2] = t0 + x_peak
    out[3] = x_peak - start
    out[4] = end - x_peak
    out[5] = -slope_in
    out[6] = slope_out
    out[7] = partial_area(model, k0, k1, k2, k3, start, x_peak)
    out[8] = partial_area(model, k0, k1, k2, k3, x_peak, end)
    out[9] = out[7] + out[8]
    out[10] = out[7] / out[3]
    out[11] = area
    out[12] = transit
    out[13] = transit - start
    out[14] = t0
    out[15] = t0 + x_out
