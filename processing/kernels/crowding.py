"""What a spot's neighbours cost: the joint information of overlapping Gaussians.

For two equal Gaussians (u, v) widths apart <g, g'> = exp(-(u^2 + v^2) / 4) up to a constant, and the products of their
derivatives follow by differentiation. In the parameters (amplitude, A u, A v) a lone spot has the information
diag(1, 1/2, 1/2); a neighbour whose own three parameters are free takes C D^-1 C^T of it (Schur complement).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.kernels.gauss_newton import AMPLITUDE, OVERLAP, PEAK_Z, SCORE, VAR_X, VAR_Z, X, Z
from processing.kernels.jit import jit


@jit
def charge_neighbours(spots: NDArray[np.float64], count: int, sigmas: NDArray[np.float64], widen: bool) -> None:
    """Widen VAR_* (`widen`) or lower SCORE of overlapping spots by what neighbours leave; SCORE 0 where nothing is."""
    left = np.empty((3, 3))
    cross = np.empty((3, 3))
    for k in range(count):
        if not spots[k, OVERLAP] > 0.0:
            continue
        row = int(spots[k, PEAK_Z])
        left[:] = 0.0
        left[0, 0], left[1, 1], left[2, 2] = 1.0, 0.5, 0.5
        for m in range(count):
            if m == k or not spots[m, AMPLITUDE] > 0.0:
                continue
            u, v = (spots[k, Z] - spots[m, Z]) / sigmas[row, 0], (spots[k, X] - spots[m, X]) / sigmas[row, 1]
            distance = u * u + v * v
            if distance > 36.0:
                continue
            g = np.exp(-0.25 * distance)
            cross[0, 0], cross[0, 1], cross[0, 2] = g, 0.5 * u * g, 0.5 * v * g
            cross[1, 0], cross[1, 1], cross[1, 2] = -0.5 * u * g, (0.5 - 0.25 * u * u) * g, -0.25 * u * v * g
            cross[2, 0], cross[2, 1], cross[2, 2] = -0.5 * v * g, -0.25 * u * v * g, (0.5 - 0.25 * v * v) * g
            for p in range(3):
                for q in range(3):
                    left[p, q] -= cross[p, 0] * cross[q, 0] + 2.0 * (
                        cross[p, 1] * cross[q, 1] + cross[p, 2] * cross[q, 2]
                    )
        a, b, c, d, e, f = left[0, 0], left[0, 1], left[0, 2], left[1, 1], left[1, 2], left[2, 2]
        minor = a * d - b * b
        determinant = a * (d * f - e * e) - b * (b * f - c * e) + c * (b * e - c * d)
        if not (a > 0.0 and minor > 0.0 and determinant > 1e-9):
            if not widen:
                spots[k, SCORE] = 0.0
        elif widen:
            spots[k, VAR_Z] *= 0.5 * (a * f - c * c) / determinant
            spots[k, VAR_X] *= 0.5 * minor / determinant
        else:
            spots[k, SCORE] /= np.sqrt((d * f - e * e) / determinant)
