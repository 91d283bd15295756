"""Separable Gauss-Newton fit of one Gaussian spot.

Model of the window: amplitude * gz(i - z) * gx(j - x) + background. Amplitude and background are linear and solved
exactly; the step in (z, x) is Gauss-Newton on the residual with both projected out (variable projection, Golub and
Pereyra 1973, Kaufman 1975). Every sum over the window factors into sums over rows and columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from processing.kernels.jit import jit

Z, X, AMPLITUDE, VAR_Z, VAR_X, SCORE, NOISE, CURVE_Z, CURVE_X, OVERLAP, PEAK_Z, PEAK_X, BACKGROUND, MOVED = range(14)
COLUMNS = 14
"""Columns of a spot, float64, in pixels.

VAR_Z, VAR_X: variance of the position for unit pixel noise. SCORE: amplitude over its own standard error, noise taken
from the window's residual. NOISE: pixel noise under the spot, from the residual weighted by the information it costs.
CURVE_Z, CURVE_X: what the residual asks the PSF width to grow by. OVERLAP: 1 where neighbours were subtracted.
PEAK_Z, PEAK_X: the pixel that the window is centred on. MOVED: by how many PSF widths the last refit moved it, 1 where
it has had none since it or a neighbour came or went.
"""
SMALL_STEP = 5e-3
"""A step below this share of the PSF width is the last. Each step shrinks the error to a tenth to a third, so less than
a twentieth of the bound at 30 dB is left."""


class Workspace(NamedTuple):
    """Memory of a fit, float64: window (z, x) and what `profile` and `shape_sums` write, (5, longest)."""

    window: NDArray[np.float64]
    gz: NDArray[np.float64]
    gx: NDArray[np.float64]


@jit
def workspace_of(half_z: int, half_x: int) -> Workspace:
    """Workspace for windows of 2 half + 1 pixels; a width linear in depth never exceeds twice its median."""
    longest = 6 * max(half_z, half_x) + 16
    return Workspace(
        np.empty((2 * half_z + 1, 2 * half_x + 1)), np.empty((5, longest)), np.empty((5, longest))
    )  # fmt: skip


@jit
def profile(position: float, sigma: float, first: int, count: int, values: NDArray[np.float64]) -> None:
    """values[0] = exp(-(i - position)^2 / 2 sigma^2) for `count` pixels from `first`; values[1] its derivative.

    Three exponentials and a recurrence: g(i + 1) / g(i) falls by the constant exp(-1 / sigma^2) each step.
    """
    inverse = 1.0 / (sigma * sigma)
    offset = first - position
    value = np.exp(-0.5 * offset * offset * inverse)
    ratio = np.exp(-(offset + 0.5) * inverse)
    fall = np.exp(-inverse)
    for k in range(count):
        values[0, k] = value
        values[1, k] = value * (offset + k) * inverse
        value *= ratio
        ratio *= fall


@jit
def cut_window(image: NDArray[np.float32], i0: int, i1: int, j0: int, j1: int, window: NDArray[np.float64]) -> float:
    """Copy a window to where a fit reads it often; return its sum."""
    part = image[i0:i1, j0:j1]
    total = 0.0
    for k in range(i1 - i0):
        for m in range(j1 - j0):
            value = np.float64(part[k, m])
            window[k, m] = value
            total += value
    return total


@jit
def fit_spot(
    image: NDArray[np.float32],
    sigma_z: float,
    sigma_x: float,
    half_z: int,
    half_x: int,
    steps: int | np.int64,
    spot: NDArray[np.float64],
    work: Workspace,
) -> bool:
    """Refine spot[Z], spot[X] by at most `steps` steps in the window around spot[PEAK_*]; False when it breaks down.

    Amplitude, background and variance are those from before the last step: a small step changes them by its square.
    """
    rows, columns = image.shape
    i0, i1 = max(int(spot[PEAK_Z]) - half_z, 0), min(int(spot[PEAK_Z]) + half_z + 1, rows)
    j0, j1 = max(int(spot[PEAK_X]) - half_x, 0), min(int(spot[PEAK_X]) + half_x + 1, columns)
    nz, nx = i1 - i0, j1 - j0
    pixels = float(nz * nx)
    if nz < 3 or nx < 3:
        return False
    window, gz, gx = work
    total = cut_window(image, i0, i1, j0, j1, window)
    z, x = spot[Z], spot[X]
    for _ in range(steps):
        profile(z, sigma_z, i0, nz, gz)
        profile(x, sigma_x, j0, nx, gx)
        sz, szz, dz, gdz, ddz = 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(nz):
            sz += gz[0, k]
            szz += gz[0, k] * gz[0, k]
            dz += gz[1, k]
            gdz += gz[0, k] * gz[1, k]
            ddz += gz[1, k] * gz[1, k]
        sx, sxx, dx, gdx, ddx = 0.0, 0.0, 0.0, 0.0, 0.0
        for m in range(nx):
            sx += gx[0, m]
            sxx += gx[0, m] * gx[0, m]
            dx += gx[1, m]
            gdx += gx[0, m] * gx[1, m]
            ddx += gx[1, m] * gx[1, m]
        y_g, y_z, y_x = 0.0, 0.0, 0.0
        for k in range(nz):
            along, slope = 0.0, 0.0
            for m in range(nx):
                value = window[k, m]
                along += value * gx[0, m]
                slope += value * gx[1, m]
            y_g += gz[0, k] * along
            y_z += gz[1, k] * along
            y_x += gz[0, k] * slope
        g_g, g_1 = szz * sxx, sz * sx
        determinant = g_g * pixels - g_1 * g_1
        if not determinant > 0.0:
            return False
        amplitude = (pixels * y_g - g_1 * total) / determinant
        background = (g_g * total - g_1 * y_g) / determinant
        if not amplitude > 0.0:
            return False
        # Derivatives against (g, 1), and what of them both already explain.
        z_g, z_1, x_g, x_1 = gdz * sxx, dz * sx, szz * gdx, sz * dx
        z_a, z_b = (pixels * z_g - g_1 * z_1) / determinant, (g_g * z_1 - g_1 * z_g) / determinant
        x_a, x_b = (pixels * x_g - g_1 * x_1) / determinant, (g_g * x_1 - g_1 * x_g) / determinant
        h_zz = ddz * sxx - z_a * z_g - z_b * z_1
        h_xx = szz * ddx - x_a * x_g - x_b * x_1
        h_zx = gdz * gdx - z_a * x_g - z_b * x_1
        h = h_zz * h_xx - h_zx * h_zx
        if not h > 0.0:
            return False
        spot[VAR_Z] = h_xx / (h * amplitude * amplitude)
        spot[VAR_X] = h_zz / (h * amplitude * amplitude)
        spot[AMPLITUDE], spot[BACKGROUND] = amplitude, background
        r_z = (y_z - amplitude * z_g - background * z_1) / amplitude
        r_x = (y_x - amplitude * x_g - background * x_1) / amplitude
        step_z = (h_xx * r_z - h_zx * r_x) / h
        step_x = (h_zz * r_x - h_zx * r_z) / h
        # Half a PSF width a step keeps the first step of a poor start inside the basin.
        step_z = min(max(step_z, -0.5 * sigma_z), 0.5 * sigma_z)
        step_x = min(max(step_x, -0.5 * sigma_x), 0.5 * sigma_x)
        z += step_z
        x += step_x
        if not (abs(z - spot[PEAK_Z]) <= half_z and abs(x - spot[PEAK_X]) <= half_x):
            return False
        if abs(step_z) < SMALL_STEP * sigma_z and abs(step_x) < SMALL_STEP * sigma_x:
            break
    spot[Z], spot[X] = z, x
    return True


@jit
def shape_sums(
    position: float, sigma: float, first: int, count: int, values: NDArray[np.float64]
) -> tuple[float, float, float, float, float]:
    """Sums over one axis of g, g^2, g u^2, g^2 u^2, g^2 u^4, with u = (i - position) / sigma.

    values[0] = g as `profile` gives it, values[2] = g^2, values[3] = g u^2, values[4] = g^2 u^2.
    """
    profile(position, sigma, first, count, values)
    s1, s2, s1u, s2u, s2uu = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(count):
        u = (first + k - position) / sigma
        g, uu = values[0, k], u * u
        square = g * g
        values[2, k], values[3, k], values[4, k] = square, g * uu, square * uu
        s1 += g
        s2 += square
        s1u += g * uu
        s2u += square * uu
        s2uu += square * uu * uu
    return s1, s2, s1u, s2u, s2uu


@jit
def judge_spot(
    image: NDArray[np.float32],
    sigma_z: float,
    sigma_x: float,
    half_z: int,
    half_x: int,
    spot: NDArray[np.float64],
    work: Workspace,
) -> None:
    """Fill SCORE, NOISE and CURVE_* of a fitted spot from its residual.

    The residual is weighted by gz'^2 gx^2 + gz^2 gx'^2, where the information on position comes from: noise that
    depends on the signal (Rician, compressed) counts as it acts.
    """
    rows, columns = image.shape
    i0, i1 = max(int(spot[PEAK_Z]) - half_z, 0), min(int(spot[PEAK_Z]) + half_z + 1, rows)
    j0, j1 = max(int(spot[PEAK_X]) - half_x, 0), min(int(spot[PEAK_X]) + half_x + 1, columns)
    nz, nx = i1 - i0, j1 - j0
    window, gz, gx = work
    cut_window(image, i0, i1, j0, j1, window)
    amplitude, background, pixels = spot[AMPLITUDE], spot[BACKGROUND], float(nz * nx)
    z1, z2, z1u, z2u, z2uu = shape_sums(spot[Z], sigma_z, i0, nz, gz)
    x1, x2, x1v, x2v, x2vv = shape_sums(spot[X], sigma_x, j0, nx, gx)
    rss, weighted, r_z, r_x = 0.0, 0.0, 0.0, 0.0
    for k in range(nz):
        scaled = amplitude * gz[0, k]
        squares, with_g, with_v, along, bent = 0.0, 0.0, 0.0, 0.0, 0.0
        for m in range(nx):
            residual = window[k, m] - scaled * gx[0, m] - background
            square = residual * residual
            squares += square
            with_g += square * gx[2, m]
            with_v += square * gx[4, m]
            along += residual * gx[0, m]
            bent += residual * gx[3, m]
        rss += squares
        weighted += gz[4, k] * with_g + gz[2, k] * with_v
        r_z += gz[3, k] * along
        r_x += gz[0, k] * bent
    # The width: c = derivative of the model by sigma, with what (g, 1) explain of it projected out.
    g_g, g_1 = z2 * x2, z1 * x1
    determinant = g_g * pixels - g_1 * g_1
    to_z, to_x = amplitude / sigma_z, amplitude / sigma_x
    z_g, z_1, x_g, x_1 = to_z * z2u * x2, to_z * z1u * x1, to_x * z2 * x2v, to_x * z1 * x1v
    zz = to_z * to_z * z2uu * x2 - (z_g * (pixels * z_g - g_1 * z_1) + z_1 * (g_g * z_1 - g_1 * z_g)) / determinant
    xx = to_x * to_x * z2 * x2vv - (x_g * (pixels * x_g - g_1 * x_1) + x_1 * (g_g * x_1 - g_1 * x_g)) / determinant
    freedom = max(pixels - 4.0, 1.0)
    spot[SCORE] = amplitude / np.sqrt(rss / freedom * pixels / determinant)
    spot[NOISE] = np.sqrt(weighted / (z2u * x2 + z2 * x2v))
    spot[CURVE_Z] = to_z * r_z / zz
    spot[CURVE_X] = to_x * r_x / xx


@jit
def add_spot(
    image: NDArray[np.float32],
    spot: NDArray[np.float64],
    sign: float,
    sigma_z: float,
    sigma_x: float,
    work: Workspace,
) -> None:
    """Add (sign 1) or subtract (sign -1) the model of a spot without its background, out to 4.5 sigma."""
    rows, columns = image.shape
    reach_z, reach_x = int(4.5 * sigma_z) + 1, int(4.5 * sigma_x) + 1
    i0, i1 = max(int(spot[Z]) - reach_z, 0), min(int(spot[Z]) + reach_z + 1, rows)
    j0, j1 = max(int(spot[X]) - reach_x, 0), min(int(spot[X]) + reach_x + 1, columns)
    if i1 <= i0 or j1 <= j0:
        return
    _, gz, gx = work
    profile(spot[Z], sigma_z, i0, i1 - i0, gz)
    profile(spot[X], sigma_x, j0, j1 - j0, gx)
    amplitude = sign * spot[AMPLITUDE]
    part = image[i0:i1, j0:j1]
    for k in range(i1 - i0):
        scaled = amplitude * gz[0, k]
        for m in range(j1 - j0):
            part[k, m] += np.float32(scaled * gx[0, m])
