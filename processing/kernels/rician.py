"""Refit of a spot under Rician noise, the magnitude of a complex signal: quasi-likelihood by Fisher scoring.

A magnitude is lifted near the noise floor and scatters less there: fitted as if the noise were Gaussian, a spot looks
narrower and its dark pixels count too much. Mean and variance of the Rice distribution put both right (Sijbers et al.
1998; quasi-likelihood: Wedderburn 1974). The table of both comes from the caller.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.kernels.gauss_newton import (
    AMPLITUDE,
    BACKGROUND,
    CURVE_X,
    CURVE_Z,
    PEAK_X,
    PEAK_Z,
    VAR_Z,
    X,
    Z,
    profile,
)
from processing.kernels.jit import jit

TABLE_STEP = 0.05
"""Spacing of the table in signal over noise."""
MEAN, SLOPE, INFORMATION = range(3)


@jit
def solve(matrix: NDArray[np.float64], right: NDArray[np.float64], n: int) -> bool:
    """Solve the leading n x n of a positive system in place (Gauss-Jordan); False where it is singular."""
    for k in range(n):
        pivot = matrix[k, k]
        if not pivot > 1e-300:
            return False
        for j in range(n):
            matrix[k, j] /= pivot
        right[k] /= pivot
        for i in range(n):
            if i != k:
                factor = matrix[i, k]
                for j in range(n):
                    matrix[i, j] -= factor * matrix[k, j]
                right[i] -= factor * right[k]
    return True


@jit
def refit_rician(
    image: NDArray[np.float32],
    sigma_z: float,
    sigma_x: float,
    half_z: int,
    half_x: int,
    noise: float,
    table: NDArray[np.float64],
    spot: NDArray[np.float64],
    gz: NDArray[np.float64],
    gx: NDArray[np.float64],
) -> None:
    """Move a fitted spot to its Rician optimum; VAR_* and CURVE_* follow. Unchanged where that does not converge.

    table (level, 3): mean, its slope and the information slope^2 / variance of a magnitude in units of the noise, at
    signals of 0, TABLE_STEP, ...; beyond its end the noise is Gaussian.
    """
    rows, columns = image.shape
    i0, i1 = max(int(spot[PEAK_Z]) - half_z, 0), min(int(spot[PEAK_Z]) + half_z + 1, rows)
    j0, j1 = max(int(spot[PEAK_X]) - half_x, 0), min(int(spot[PEAK_X]) + half_x + 1, columns)
    z, x, amplitude = spot[Z], spot[X], spot[AMPLITUDE]
    background = max(spot[BACKGROUND] - noise, 0.0)
    # Parameters: z, x, amplitude, background; the two widths ride along in the last pass.
    normal, right, slopes = np.empty((6, 6)), np.empty(6), np.empty(6)
    for step in range(5):
        last = step == 4
        size = 6 if last else 4
        profile(z, sigma_z, i0, i1, gz)
        profile(x, sigma_x, j0, j1, gx)
        normal[:] = 0.0
        right[:] = 0.0
        for i in range(i0, i1):
            k = i - i0
            u = (i - z) / sigma_z
            for j in range(j0, j1):
                m = j - j0
                v = (j - x) / sigma_x
                g = gz[0, k] * gx[0, m]
                signal = amplitude * g + background
                level = max(signal, 0.0) / noise
                place = level / TABLE_STEP
                low = int(place)
                if low + 1 < len(table):
                    part = place - low
                    mean = table[low, MEAN] + part * (table[low + 1, MEAN] - table[low, MEAN])
                    slope = table[low, SLOPE] + part * (table[low + 1, SLOPE] - table[low, SLOPE])
                    weight = table[low, INFORMATION] + part * (table[low + 1, INFORMATION] - table[low, INFORMATION])
                else:
                    mean, slope, weight = level + 0.5 / level, 1.0, 1.0
                slopes[0] = amplitude * gz[1, k] * gx[0, m]
                slopes[1] = amplitude * gz[0, k] * gx[1, m]
                slopes[2] = g
                slopes[3] = 1.0
                slopes[4] = amplitude * g * u * u / sigma_z
                slopes[5] = amplitude * g * v * v / sigma_x
                # weight / slope = slope / variance; the slope vanishes with the signal, and the weight as its square.
                pull = weight / max(slope, 1e-3) * (image[i, j] - mean * noise)
                for p in range(size):
                    right[p] += slopes[p] * pull
                    for q in range(size):
                        normal[p, q] += weight * slopes[p] * slopes[q]
        if last:
            break
        if not solve(normal, right, size):
            return
        z += min(max(right[0], -0.5 * sigma_z), 0.5 * sigma_z)
        x += min(max(right[1], -0.5 * sigma_x), 0.5 * sigma_x)
        amplitude += right[2]
        background = max(background + right[3], 0.0)
        if not (amplitude > 0.0 and abs(z - spot[Z]) < sigma_z and abs(x - spot[X]) < sigma_x):
            return
    for p in range(2):
        unit = np.zeros(6)
        unit[p] = 1.0
        if not solve(normal.copy(), unit, 4):
            return
        spot[VAR_Z + p] = unit[p]
    if solve(normal, right, 6):
        spot[CURVE_Z], spot[CURVE_X] = right[4], right[5]
    spot[Z], spot[X] = z, x
