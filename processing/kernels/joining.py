"""Ends and beginnings of tracks that may be one bubble: what lies beside another, how many begin alike, what is gained.

The gain of a join is its log-likelihood ratio: the bubble was lost there and found again here, against an end for good
and a bubble of its own (Jaqaman et al. 2008 close gaps by such an assignment over all tracks).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.kernels.jit import jit
from processing.kernels.smoothing import PX, PZ, VX, VZ, C, P, V


@jit
def stand_beside(
    starts: NDArray[np.int64],
    z: NDArray[np.float64],
    x: NDArray[np.float64],
    reach_z: float,
    reach_x: float,
    beside: NDArray[np.bool_],
) -> None:
    """Note for each spot whether another of its frame lies in the ellipse around it; frame f is starts[f] to f + 1."""
    for n in range(len(beside)):
        beside[n] = False
    for f in range(len(starts) - 1):
        for a in range(starts[f], starts[f + 1]):
            for b in range(a + 1, starts[f + 1]):
                dz, dx = (z[b] - z[a]) / reach_z, (x[b] - x[a]) / reach_x
                if dz * dz + dx * dx < 1.0:
                    beside[a] = beside[b] = True


@jit
def crowding(
    state: NDArray[np.float64],
    weight: NDArray[np.float64],
    width: float,
    change: float,
    density: NDArray[np.float64],
) -> None:
    """Add to the density at each beginning (row, 7) that of the others in place and velocity, weighted.

    Gaussian kernels of `width` and `change`; rows are sorted by z.
    """
    count = len(state)
    peak = 1.0 / (2.0 * np.pi * width * width * 2.0 * np.pi * change * change)
    for a in range(count):
        for b in range(a + 1, count):
            dz = (state[b, PZ] - state[a, PZ]) / width
            if dz > 5.0:
                break
            dx = (state[b, PX] - state[a, PX]) / width
            vz, vx = (state[b, VZ] - state[a, VZ]) / change, (state[b, VX] - state[a, VX]) / change
            far = dz * dz + dx * dx + vz * vz + vx * vx
            if far < 25.0:
                here = peak * np.exp(-0.5 * far)
                density[a] += weight[b] * here
                density[b] += weight[a] * here


@jit
def agreement(
    end: NDArray[np.float64], start: NDArray[np.float64], dt: float, diffusion: float, place: float, change: float
) -> float:
    """Log-likelihood of a beginning (7,) a time `dt` after an end (7,), both axes; position and velocity of either are
    unsure by `place` and `change` beyond their own covariance."""
    p_end, v_end = end[P] + place * place, end[V] + change * change
    p = p_end + 2.0 * dt * end[C] + dt * dt * v_end + diffusion * dt * dt * dt / 3.0 + start[P] + place * place
    c = end[C] + dt * v_end + diffusion * dt * dt / 2.0 + start[C]
    v = v_end + diffusion * dt + start[V] + change * change
    det = p * v - c * c
    value: float = -np.log(det) - 2.0 * np.log(2.0 * np.pi)
    for at, speed in ((PZ, VZ), (PX, VX)):
        dp, dv = start[at] - end[at] - dt * end[speed], start[speed] - end[speed]
        value -= 0.5 * (v * dp * dp - 2.0 * c * dp * dv + p * dv * dv) / det
    return value


@jit
def join_gains(
    ends: NDArray[np.float64],
    end_time: NDArray[np.float64],
    end_bright: NDArray[np.float64],
    begins: NDArray[np.float64],
    begin_time: NDArray[np.float64],
    begin_bright: NDArray[np.float64],
    prior: NDArray[np.float64],
    rival: NDArray[np.float64],
    shape: NDArray[np.float64],
    end: NDArray[np.int64],
    begin: NDArray[np.int64],
    gain: NDArray[np.float64],
) -> int:
    """Fill (end, begin, gain) of every join that gains, as long as there is room; return how many there are.

    ends, begins: states (track, 7), begins sorted by begin_time. *_bright: log amplitudes, begin_bright over the spread
    of all. prior: log odds of an end to be found again. rival: log density of new bubbles at a beginning. shape: the
    diffusion, longest and typical time lost, tight and loose errors of place and velocity, centre and spread of all
    brightness, and its tight error.
    """
    diffusion, longest, typical = shape[0], shape[1], shape[2]
    centre, spread, like = shape[7], shape[8], shape[9]
    found = 0
    for a in range(len(ends)):
        first, last = 0, len(begin_time)
        while first < last:
            middle = (first + last) // 2
            if begin_time[middle] > end_time[a]:
                last = middle
            else:
                first = middle + 1
        for b in range(first, len(begin_time)):
            dt = begin_time[b] - end_time[a]
            if dt > longest:
                break
            tight = agreement(ends[a], begins[b], dt, diffusion, shape[3], shape[4])
            loose = agreement(ends[a], begins[b], dt, diffusion, shape[5], shape[6])
            most = max(tight, loose)
            motion = most + np.log(0.5 * np.exp(tight - most) + 0.5 * np.exp(loose - most))
            change, usual = (begin_bright[b] - end_bright[a]) / like, (begin_bright[b] - centre) / spread
            bright = np.log(0.5 + 0.5 * spread / like * np.exp(0.5 * (usual * usual - change * change)))
            value = prior[a] - rival[b] + motion + bright - np.log(typical) - dt / typical
            if value > 0.0:
                if found < len(gain):
                    end[found], begin[found], gain[found] = a, b, value
                found += 1
    return found
