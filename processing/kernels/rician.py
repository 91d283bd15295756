"""Refit of a spot under Rician noise, the magnitude of a complex signal: maximum likelihood by Fisher scoring.

A magnitude is lifted near the noise floor and scatters less there: fitted as if the noise were Gaussian, a spot looks
narrower and its dark pixels count too much. The likelihood of a magnitude r around a signal s, both in units of the
noise, has the slope r A(r s) - s with A = I1 / I0 (Rice 1944; Sijbers et al. 1998, IEEE TMI 17:357). A and the
information on s come as a table from the caller.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.kernels.gauss_newton import (
    AMPLITUDE,
    BACKGROUND,
    CURVE_X,
    CURVE_Z,
    NOISE,
    PEAK_X,
    PEAK_Z,
    SMALL_STEP,
    VAR_X,
    VAR_Z,
    Workspace,
    X,
    Z,
    cut_window,
    profile,
)
from processing.kernels.jit import jit

TABLE_STEP = 0.05
"""Spacing of the table in units of the noise."""
BESSEL_RATIO, INFORMATION = range(2)
STEPS = 5


@jit
def table_value(table: NDArray[np.float64], at: float, column: int) -> float:
    """Linear between the entries of the table; `at` must lie within it."""
    place = at / TABLE_STEP
    low = int(place)
    part = place - low
    value: float = table[low, column] + part * (table[low + 1, column] - table[low, column])
    return value


@jit
def eliminate(system: NDArray[np.float64], n: int | np.int64, width: int | np.int64) -> bool:
    """Gauss-Jordan on the leading n rows of a positive system with its right sides behind; False where singular."""
    for k in range(n):
        pivot = system[k, k]
        if not pivot > 1e-300:
            return False
        for j in range(width):
            system[k, j] /= pivot
        for i in range(n):
            if i != k:
                factor = system[i, k]
                for j in range(width):
                    system[i, j] -= factor * system[k, j]
    return True


@jit
def fill_system(
    system: NDArray[np.float64], normal: NDArray[np.float64], right: NDArray[np.float64], n: int | np.int64
) -> None:
    """The leading n x n of an upper triangle, made symmetric, with `right` and the first two unit vectors behind."""
    for i in range(n):
        for j in range(n):
            system[i, j] = normal[min(i, j), max(i, j)]
        system[i, n] = right[i]
        system[i, n + 1] = 1.0 if i == 0 else 0.0
        system[i, n + 2] = 1.0 if i == 1 else 0.0


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
    work: Workspace,
) -> None:
    """Move a fitted spot to its Rician optimum; VAR_*, NOISE and CURVE_* follow. Unchanged where it does not converge.

    NOISE: the noise of one part that the slopes of the likelihood scatter by, over the information they should have:
    VAR_* times its square is then the error of the position whatever the noise (Huber 1967; White 1982).

    table (level, 2): I1 / I0, and the information on a signal, both at 0, TABLE_STEP, ...; beyond its end the ratio is
    1 - 1 / 2x - 1 / 8x^2 - 1 / 8x^3 and the information 1.
    """
    rows, columns = image.shape
    i0, i1 = max(int(spot[PEAK_Z]) - half_z, 0), min(int(spot[PEAK_Z]) + half_z + 1, rows)
    j0, j1 = max(int(spot[PEAK_X]) - half_x, 0), min(int(spot[PEAK_X]) + half_x + 1, columns)
    nz, nx = i1 - i0, j1 - j0
    window, gz, gx = work
    cut_window(image, i0, i1, j0, j1, window)
    z, x, amplitude = spot[Z], spot[X], spot[AMPLITUDE]
    background = max(spot[BACKGROUND] - noise, 0.0)
    end = (len(table) - 2) * TABLE_STEP
    # Parameters: z, x, amplitude, background; the two widths ride along in the last pass.
    normal, right, slopes, system = np.empty((6, 6)), np.empty(6), np.empty(6), np.empty((6, 9))
    last, scattered, informed = False, 0.0, 0.0
    for step in range(STEPS + 1):
        last = last or step == STEPS
        size = 6 if last else 4
        profile(z, sigma_z, i0, nz, gz)
        profile(x, sigma_x, j0, nx, gx)
        for p in range(6):
            right[p] = 0.0
            for q in range(6):
                normal[p, q] = 0.0
        for k in range(nz):
            u = (i0 + k - z) / sigma_z
            for m in range(nx):
                g = gz[0, k] * gx[0, m]
                level = max(amplitude * g + background, 0.0) / noise
                seen = max(window[k, m], 0.0) / noise
                product = level * seen
                if product < end:
                    ratio = table_value(table, product, BESSEL_RATIO)
                else:
                    inverse = 1.0 / product
                    ratio = 1.0 - inverse * (0.5 + 0.125 * inverse * (1.0 + inverse))
                weight = table_value(table, level, INFORMATION) if level < end else 1.0
                pull = (seen * ratio - level) * noise
                slopes[0] = amplitude * gz[1, k] * gx[0, m]
                slopes[1] = amplitude * gz[0, k] * gx[1, m]
                slopes[2] = g
                slopes[3] = 1.0
                if last:
                    v = (j0 + m - x) / sigma_x
                    slopes[4] = amplitude * g * u * u / sigma_z
                    slopes[5] = amplitude * g * v * v / sigma_x
                    counts = slopes[0] * slopes[0] + slopes[1] * slopes[1]
                    scattered += counts * pull * pull
                    informed += counts * weight
                for p in range(size):
                    right[p] += slopes[p] * pull
                    weighted = weight * slopes[p]
                    for q in range(p, size):
                        normal[p, q] += weighted * slopes[q]
        fill_system(system, normal, right, np.int64(4))
        if not eliminate(system, np.int64(4), np.int64(7)):
            return
        if last:
            break
        step_z, step_x = system[0, 4], system[1, 4]
        z += min(max(step_z, -0.5 * sigma_z), 0.5 * sigma_z)
        x += min(max(step_x, -0.5 * sigma_x), 0.5 * sigma_x)
        amplitude += system[2, 4]
        background = max(background + system[3, 4], 0.0)
        if not (amplitude > 0.0 and abs(z - spot[Z]) < sigma_z and abs(x - spot[X]) < sigma_x):
            return
        last = abs(step_z) < SMALL_STEP * sigma_z and abs(step_x) < SMALL_STEP * sigma_x
    spot[VAR_Z], spot[VAR_X], spot[NOISE] = system[0, 5], system[1, 6], np.sqrt(scattered / informed)
    spot[Z], spot[X] = z, x
    fill_system(system, normal, right, np.int64(6))
    if eliminate(system, np.int64(6), np.int64(9)):
        spot[CURVE_Z], spot[CURVE_X] = system[4, 6], system[5, 6]
