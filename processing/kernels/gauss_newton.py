"""Separable Gauss-Newton fit of one Gaussian spot, and the sweeps that part overlapping ones.

Model of the window: amplitude * gz(i - z) * gx(j - x) + background. Amplitude and background are linear and solved
exactly; the step in (z, x) is Gauss-Newton on the residual with both projected out (variable projection, Golub and
Pereyra 1973, Kaufman 1975). Every sum over the window factors into sums over rows and columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.kernels.jit import jit

Z, X, AMPLITUDE, VAR_Z, VAR_X, SCORE, NOISE, CURVE_Z, CURVE_X, OVERLAP, PEAK_Z, PEAK_X, BACKGROUND = range(13)
COLUMNS = 13
"""Columns of a spot, float64, in pixels.

VAR_Z, VAR_X: variance of the position for unit pixel noise. SCORE: amplitude over its own standard error, noise taken
from the window's residual. NOISE: pixel noise under the spot, from the residual weighted by the information it costs.
CURVE_Z, CURVE_X: what the residual asks the PSF width to grow by. OVERLAP: 1 where neighbours were subtracted.
PEAK_Z, PEAK_X: the pixel that the window is centred on.
"""


@jit
def profile(position: float, sigma: float, first: int, last: int, values: NDArray[np.float64]) -> None:
    """values[0] = exp(-(i - position)^2 / 2 sigma^2) for i in [first, last); values[1] its derivative by position.

    Two exponentials and a recurrence: g(i + 1) / g(i) falls by the constant exp(-1 / sigma^2) each step.
    """
    inverse = 1.0 / (sigma * sigma)
    offset = first - position
    value = np.exp(-0.5 * offset * offset * inverse)
    ratio = np.exp(-(offset + 0.5) * inverse)
    fall = np.exp(-inverse)
    for k in range(last - first):
        values[0, k] = value
        values[1, k] = value * (offset + k) * inverse
        value *= ratio
        ratio *= fall


@jit
def fit_spot(
    image: NDArray[np.float32],
    sigma_z: float,
    sigma_x: float,
    half_z: int,
    half_x: int,
    steps: int | np.int64,
    spot: NDArray[np.float64],
    gz: NDArray[np.float64],
    gx: NDArray[np.float64],
) -> bool:
    """Refine spot[Z], spot[X] by at most `steps` steps in the window around spot[PEAK_*]; False when it breaks down.

    Stops early once a step is below 1e-3 of the PSF width, a hundredth of the bound at 30 dB.
    """
    rows, columns = image.shape
    i0, i1 = max(int(spot[PEAK_Z]) - half_z, 0), min(int(spot[PEAK_Z]) + half_z + 1, rows)
    j0, j1 = max(int(spot[PEAK_X]) - half_x, 0), min(int(spot[PEAK_X]) + half_x + 1, columns)
    nz, nx = i1 - i0, j1 - j0
    pixels = float(nz * nx)
    if nz < 3 or nx < 3:
        return False
    total = 0.0
    for i in range(i0, i1):
        for j in range(j0, j1):
            total += image[i, j]
    z, x = spot[Z], spot[X]
    done = False
    for step in range(steps + 1):
        profile(z, sigma_z, i0, i1, gz)
        profile(x, sigma_x, j0, j1, gx)
        sz, szz, dz, gdz, ddz = 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(nz):
            sz += gz[0, k]
            szz += gz[0, k] * gz[0, k]
            dz += gz[1, k]
            gdz += gz[0, k] * gz[1, k]
            ddz += gz[1, k] * gz[1, k]
        sx, sxx, dx, gdx, ddx = 0.0, 0.0, 0.0, 0.0, 0.0
        for k in range(nx):
            sx += gx[0, k]
            sxx += gx[0, k] * gx[0, k]
            dx += gx[1, k]
            gdx += gx[0, k] * gx[1, k]
            ddx += gx[1, k] * gx[1, k]
        y_g, y_z, y_x = 0.0, 0.0, 0.0
        for k in range(nz):
            along, slope = 0.0, 0.0
            for m in range(nx):
                value = np.float64(image[i0 + k, j0 + m])
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
        if done or step == steps:
            spot[VAR_Z] = h_xx / (h * amplitude * amplitude)
            spot[VAR_X] = h_zz / (h * amplitude * amplitude)
            break
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
        done = abs(step_z) < 1e-3 * sigma_z and abs(step_x) < 1e-3 * sigma_x
    spot[Z], spot[X], spot[AMPLITUDE], spot[BACKGROUND] = z, x, amplitude, background
    return True


@jit
def judge_spot(
    image: NDArray[np.float32],
    sigma_z: float,
    sigma_x: float,
    half_z: int,
    half_x: int,
    spot: NDArray[np.float64],
    gz: NDArray[np.float64],
    gx: NDArray[np.float64],
) -> None:
    """Fill SCORE, NOISE and CURVE_* of a fitted spot from its residual.

    The residual is weighted by gz'^2 gx^2 + gz^2 gx'^2, where the information on position comes from: noise that
    depends on the signal (Rician, compressed) counts as it acts.
    """
    rows, columns = image.shape
    i0, i1 = max(int(spot[PEAK_Z]) - half_z, 0), min(int(spot[PEAK_Z]) + half_z + 1, rows)
    j0, j1 = max(int(spot[PEAK_X]) - half_x, 0), min(int(spot[PEAK_X]) + half_x + 1, columns)
    profile(spot[Z], sigma_z, i0, i1, gz)
    profile(spot[X], sigma_x, j0, j1, gx)
    amplitude, background = spot[AMPLITUDE], spot[BACKGROUND]
    pixels = float((i1 - i0) * (j1 - j0))
    rss, weighted, weights = 0.0, 0.0, 0.0
    # Sums for the width: c = derivative of the model by sigma, against g and 1.
    gg, g1, rz, rx, zz, xx, zg, xg, z1, x1 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(i0, i1):
        k = i - i0
        u = (i - spot[Z]) / sigma_z
        for j in range(j0, j1):
            m = j - j0
            v = (j - spot[X]) / sigma_x
            g = gz[0, k] * gx[0, m]
            residual = image[i, j] - amplitude * g - background
            weight = g * g * (u * u + v * v)
            rss += residual * residual
            weighted += weight * residual * residual
            weights += weight
            cz, cx = amplitude * g * u * u / sigma_z, amplitude * g * v * v / sigma_x
            gg += g * g
            g1 += g
            zz += cz * cz
            xx += cx * cx
            zg += cz * g
            xg += cx * g
            z1 += cz
            x1 += cx
            rz += cz * residual
            rx += cx * residual
    determinant = gg * pixels - g1 * g1
    zz -= (zg * (pixels * zg - g1 * z1) + z1 * (gg * z1 - g1 * zg)) / determinant
    xx -= (xg * (pixels * xg - g1 * x1) + x1 * (gg * x1 - g1 * xg)) / determinant
    freedom = max(pixels - 4.0, 1.0)
    spot[SCORE] = amplitude / np.sqrt(rss / freedom * pixels / determinant)
    spot[NOISE] = np.sqrt(weighted / weights)
    spot[CURVE_Z] = rz / zz
    spot[CURVE_X] = rx / xx


@jit
def add_spot(
    image: NDArray[np.float32],
    spot: NDArray[np.float64],
    sign: float,
    sigma_z: float,
    sigma_x: float,
    gz: NDArray[np.float64],
    gx: NDArray[np.float64],
) -> None:
    """Add (sign 1) or subtract (sign -1) the model of a spot without its background, out to 4.5 sigma."""
    rows, columns = image.shape
    reach_z, reach_x = int(4.5 * sigma_z) + 1, int(4.5 * sigma_x) + 1
    i0, i1 = max(int(spot[Z]) - reach_z, 0), min(int(spot[Z]) + reach_z + 1, rows)
    j0, j1 = max(int(spot[X]) - reach_x, 0), min(int(spot[X]) + reach_x + 1, columns)
    if i1 <= i0 or j1 <= j0:
        return
    profile(spot[Z], sigma_z, i0, i1, gz)
    profile(spot[X], sigma_x, j0, j1, gx)
    amplitude = sign * spot[AMPLITUDE]
    for i in range(i0, i1):
        scaled = amplitude * gz[0, i - i0]
        for j in range(j0, j1):
            image[i, j] += np.float32(scaled * gx[0, j - j0])
