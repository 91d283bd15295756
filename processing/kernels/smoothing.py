"""Smoothed paths of tracks: a Kalman filter forwards and the Rauch-Tung-Striebel pass backwards, both axes at once.

Velocity is a Wiener process (Bar-Shalom, Li and Kirubarajan 2001, 6.2.2): between rows dt apart position and velocity
scatter by q (dt^3 / 3, dt^2 / 2, dt). Where nothing was measured the path between is a cubic, as wide as it is unsure.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.kernels.jit import jit

PZ, PX, VZ, VX, P, C, V = range(7)
"""State of a row: position, velocity, covariance of (position, velocity) in one axis."""


@jit
def smooth_paths(
    starts: NDArray[np.int64],
    time: NDArray[np.float64],
    z: NDArray[np.float64],
    x: NDArray[np.float64],
    variance: NDArray[np.float64],
    diffusion: float,
    first_velocity: float,
    state: NDArray[np.float64],
) -> float:
    """Fill state (row, 7) of every row; return the log-likelihood of what was measured, but for a constant.

    variance: of a row's position in one axis; infinite where nothing was measured, never in the first row of a track.
    diffusion: q, variance of the change of velocity in one axis over a unit of time. first_velocity: variance of the
    velocity before anything is known of it.
    """
    likelihood = 0.0
    longest = 0
    for track in range(len(starts) - 1):
        longest = max(longest, starts[track + 1] - starts[track])
    ahead = np.empty((longest, 7))
    for track in range(len(starts) - 1):
        first, last = starts[track], starts[track + 1] - 1
        row = state[first]
        row[PZ], row[PX], row[VZ], row[VX] = z[first], x[first], 0.0, 0.0
        row[P], row[C], row[V] = variance[first], 0.0, first_velocity
        for k in range(first + 1, last + 1):
            dt, before, now, guess = time[k] - time[k - 1], state[k - 1], state[k], ahead[k - first]
            p = before[P] + 2.0 * dt * before[C] + dt * dt * before[V] + diffusion * dt * dt * dt / 3.0
            c = before[C] + dt * before[V] + diffusion * dt * dt / 2.0
            v = before[V] + diffusion * dt
            at_z, at_x = before[PZ] + dt * before[VZ], before[PX] + dt * before[VX]
            guess[PZ], guess[PX], guess[VZ], guess[VX] = at_z, at_x, before[VZ], before[VX]
            guess[P], guess[C], guess[V] = p, c, v
            for column in range(7):
                now[column] = guess[column]
            if np.isfinite(variance[k]):
                s = p + variance[k]
                dz, dx = z[k] - at_z, x[k] - at_x
                likelihood -= np.log(s) + 0.5 * (dz * dz + dx * dx) / s
                gain_p, gain_v = p / s, c / s
                now[PZ] += gain_p * dz
                now[PX] += gain_p * dx
                now[VZ] += gain_v * dz
                now[VX] += gain_v * dx
                now[P], now[C], now[V] = (1.0 - gain_p) * p, (1.0 - gain_p) * c, v - gain_v * c
        for k in range(last - 1, first - 1, -1):
            dt, here, after, guess = time[k + 1] - time[k], state[k], state[k + 1], ahead[k + 1 - first]
            # Gain of the backward pass: covariance of (here, next) times the inverse of the next one's prediction.
            det = guess[P] * guess[V] - guess[C] * guess[C]
            pp, pv, vp, vv = here[P] + dt * here[C], here[C], here[C] + dt * here[V], here[V]
            g11, g12 = (pp * guess[V] - pv * guess[C]) / det, (pv * guess[P] - pp * guess[C]) / det
            g21, g22 = (vp * guess[V] - vv * guess[C]) / det, (vv * guess[P] - vp * guess[C]) / det
            for place, speed in ((PZ, VZ), (PX, VX)):
                dp, dv = after[place] - guess[place], after[speed] - guess[speed]
                here[place] += g11 * dp + g12 * dv
                here[speed] += g21 * dp + g22 * dv
            a, b, d = after[P] - guess[P], after[C] - guess[C], after[V] - guess[V]
            here[P] += g11 * (g11 * a + g12 * b) + g12 * (g11 * b + g12 * d)
            here[C] += g11 * (g21 * a + g22 * b) + g12 * (g21 * b + g22 * d)
            here[V] += g21 * (g21 * a + g22 * b) + g22 * (g21 * b + g22 * d)
    return likelihood
