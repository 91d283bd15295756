"""Positions without a fit: weighted average and radial symmetry, for comparison with the field's other programs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.kernels.jit import jit


@jit
def weighted_average(window: NDArray[np.float64], position: NDArray[np.float64]) -> None:
    """Centre of mass of what rises above the window's lowest pixel; position (2,) from the window's first pixel."""
    low = window.min()
    total, z, x = 0.0, 0.0, 0.0
    for i in range(window.shape[0]):
        for j in range(window.shape[1]):
            mass = window[i, j] - low
            total += mass
            z += mass * i
            x += mass * j
    position[0] = z / total
    position[1] = x / total


@jit
def radial_symmetry(window: NDArray[np.float64], position: NDArray[np.float64]) -> None:
    """Point nearest to all gradient lines (Parthasarathy 2012, Nature Methods 9:724).

    Gradients stand between pixels and are averaged over 3 x 3; a line weighs its squared gradient over its distance to
    the centre of the gradients.
    """
    rows, columns = window.shape[0] - 1, window.shape[1] - 1
    raw = np.empty((2, rows, columns))
    for i in range(rows):
        for j in range(columns):
            a, b, c, d = window[i, j], window[i, j + 1], window[i + 1, j], window[i + 1, j + 1]
            raw[0, i, j] = 0.5 * (c + d - a - b)
            raw[1, i, j] = 0.5 * (b + d - a - c)
    gradient = np.zeros((2, rows, columns))
    for i in range(rows):
        for j in range(columns):
            count = 0
            for p in range(max(i - 1, 0), min(i + 2, rows)):
                for q in range(max(j - 1, 0), min(j + 2, columns)):
                    gradient[0, i, j] += raw[0, p, q]
                    gradient[1, i, j] += raw[1, p, q]
                    count += 1
            gradient[0, i, j] /= count
            gradient[1, i, j] /= count
    total, centre_z, centre_x = 0.0, 0.0, 0.0
    for i in range(rows):
        for j in range(columns):
            strength = gradient[0, i, j] ** 2 + gradient[1, i, j] ** 2
            total += strength
            centre_z += strength * (i + 0.5)
            centre_x += strength * (j + 0.5)
    centre_z /= total
    centre_x /= total
    zz, zx, xx, rz, rx = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(rows):
        for j in range(columns):
            gz, gx = gradient[0, i, j], gradient[1, i, j]
            z, x = i + 0.5, j + 0.5
            weight = 1.0 / max(np.sqrt((z - centre_z) ** 2 + (x - centre_x) ** 2), 0.1)
            # The normal of the gradient's line is (gx, -gz).
            zz += weight * gx * gx
            zx -= weight * gx * gz
            xx += weight * gz * gz
            rz += weight * (gx * gx * z - gx * gz * x)
            rx += weight * (gz * gz * x - gx * gz * z)
    determinant = zz * xx - zx * zx
    position[0] = (xx * rz - zx * rx) / determinant
    position[1] = (zz * rx - zx * rz) / determinant


@jit
def reposition(
    frames: NDArray[np.float32],
    frame: NDArray[np.int64],
    peaks: NDArray[np.int64],
    halves: NDArray[np.int64],
    radial: bool,
    positions: NDArray[np.float64],
) -> None:
    """Fill positions (spot, 2) from the windows of `halves` around peaks (spot, 2), cut at the border of the frame."""
    rows, columns = frames.shape[1:]
    for k in range(len(frame)):
        i0, i1 = max(peaks[k, 0] - halves[0], 0), min(peaks[k, 0] + halves[0] + 1, rows)
        j0, j1 = max(peaks[k, 1] - halves[1], 0), min(peaks[k, 1] + halves[1] + 1, columns)
        window = frames[frame[k], i0:i1, j0:j1].astype(np.float64)
        if radial:
            radial_symmetry(window, positions[k])
        else:
            weighted_average(window, positions[k])
        positions[k, 0] += i0
        positions[k, 1] += j0
