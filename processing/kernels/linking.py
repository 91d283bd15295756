"""One pass of linking through time: constant-velocity prediction (Kalman) and optimal assignment, frame by frame.

The gain of a link is its log-likelihood ratio against a missed bubble and a new one (Blackman and Popoli 1999):
log(detected / missed) - log(2 pi S) - d^2 / 2S - log(density of new spots), S the predicted variance in one axis.
A young track has a wide S, so it cannot take a detection from an old one that predicted it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.kernels.assignment import assign
from processing.kernels.jit import jit

LAST, SEEN, PZ, PX, VZ, VX, P, C, V = range(9)
"""State of a track: last detection, its frame, position, velocity, covariance of (position, velocity) in one axis."""


@jit
def link_gain(
    track: NDArray[np.float64],
    dt: float,
    z: float,
    x: float,
    sigma: float,
    reach: float,
    turn: float,
    offset: float,
    last_z: float,
    last_x: float,
) -> float:
    """Gain of linking a detection at (z, x) to a track seen `dt` frames ago; -inf beyond the speed gate."""
    if (z - last_z) ** 2 + (x - last_x) ** 2 > (reach * dt) ** 2:
        return -np.inf
    variance = track[P] + 2.0 * dt * track[C] + dt * dt * (track[V] + turn * turn * dt) + sigma * sigma
    dz, dx = z - track[PZ] - dt * track[VZ], x - track[PX] - dt * track[VX]
    gain: float = offset - np.log(variance) - 0.5 * (dz * dz + dx * dx) / variance
    return gain


@jit
def renew(track: NDArray[np.float64], dt: float, z: float, x: float, sigma: float, turn: float) -> None:
    """Kalman update of position and velocity with a detection."""
    process = turn * turn * dt
    p = track[P] + 2.0 * dt * track[C] + dt * dt * (track[V] + process)
    c = track[C] + dt * (track[V] + process)
    v = track[V] + process
    s = p + sigma * sigma
    gain_p, gain_v = p / s, c / s
    dz, dx = z - track[PZ] - dt * track[VZ], x - track[PX] - dt * track[VX]
    track[PZ] += dt * track[VZ] + gain_p * dz
    track[PX] += dt * track[VX] + gain_p * dx
    track[VZ] += gain_v * dz
    track[VX] += gain_v * dx
    track[P] = (1.0 - gain_p) * p
    track[C] = (1.0 - gain_p) * c
    track[V] = v - gain_v * c


@jit
def root(parent: NDArray[np.int64], node: int) -> int:
    """Representative of a node's cluster, with path halving."""
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@jit
def first_not_below(values: NDArray[np.float64], first: int, last: int, low: float) -> int:
    """Index of the first of the sorted values[first:last] that is not below `low`; `last` where there is none."""
    while first < last:
        middle = (first + last) // 2
        if values[middle] < low:
            first = middle + 1
        else:
            last = middle
    return first


@jit
def doubled(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same values at the front of twice the room."""
    out = np.empty(2 * len(values), dtype=np.int64)
    for k in range(len(values)):
        out[k] = values[k]
    return out


@jit
def link_pass(
    starts: NDArray[np.int64],
    z: NDArray[np.float64],
    x: NDArray[np.float64],
    sigma: NDArray[np.float64],
    backward: bool,
    gaps: int,
    reach: float,
    turn: float,
    offset: float,
    partner: NDArray[np.int64],
    gains: NDArray[np.float64],
) -> None:
    """Fill partner (detection,) with the next detection in the direction of the pass, -1 = none, and its gain.

    Detections of frame f are rows starts[f] to starts[f + 1], sorted by z. reach: largest displacement in px a frame.
    turn: standard deviation of the change of velocity from frame to frame. offset: gain at S = 1 and d = 0.
    """
    frames = len(starts) - 1
    most = 0
    for f in range(frames):
        most = max(most, starts[f + 1] - starts[f])
    # Alive tracks end in one of the last gaps + 1 frames, each at a detection of its own; new ones come on top.
    capacity = most * (gaps + 2) + 1
    tracks = np.empty((capacity, 9))
    for n in range(len(partner)):
        partner[n], gains[n] = -1, 0.0
    parent = np.empty(capacity + most, dtype=np.int64)
    members = np.empty(capacity + most, dtype=np.int64)
    taken = np.empty(most, dtype=np.bool_)
    pair_track = np.empty(8 * capacity, dtype=np.int64)
    pair_spot = np.empty(8 * capacity, dtype=np.int64)
    pair_gain = np.empty(8 * capacity)
    heads = np.empty(capacity + most + 1, dtype=np.int64)
    place = np.empty(capacity + most, dtype=np.int64)
    chosen = np.empty(capacity, dtype=np.int64)
    pair_from = np.empty(capacity + 1, dtype=np.int64)
    alive = 0
    for step in range(frames):
        f = frames - 1 - step if backward else step
        first, spots = starts[f], starts[f + 1] - starts[f]
        # Tracks not seen for longer than the gap end here.
        kept = 0
        for t in range(alive):
            if step - tracks[t, SEEN] <= gaps + 1:
                if kept < t:
                    for column in range(9):
                        tracks[kept, column] = tracks[t, column]
                kept += 1
        alive = kept
        pairs = 0
        for t in range(alive):
            pair_from[t] = pairs
            last = int(tracks[t, LAST])
            dt = step - tracks[t, SEEN]
            low, high = z[last] - reach * dt, z[last] + reach * dt
            for s in range(first_not_below(z, first, first + spots, low) - first, spots):
                if z[first + s] > high:
                    break
                gain = link_gain(
                    tracks[t], dt, z[first + s], x[first + s], sigma[first + s], reach, turn, offset, z[last], x[last]
                )
                if gain > 0.0:
                    if pairs == len(pair_gain):
                        pair_track, pair_spot = doubled(pair_track), doubled(pair_spot)
                        more = np.empty(2 * pairs)
                        for p in range(pairs):
                            more[p] = pair_gain[p]
                        pair_gain = more
                    pair_track[pairs], pair_spot[pairs], pair_gain[pairs] = t, s, gain
                    pairs += 1
        # Tracks and spots that compete form clusters, solved one by one.
        nodes = alive + spots
        for n in range(nodes):
            parent[n] = n
        for p in range(pairs):
            a, b = root(parent, pair_track[p]), root(parent, alive + pair_spot[p])
            parent[max(a, b)] = min(a, b)
        for n in range(nodes + 1):
            heads[n] = 0
        for n in range(nodes):
            heads[root(parent, n) + 1] += 1
        for n in range(nodes):
            heads[n + 1] += heads[n]
        for n in range(nodes):
            place[n] = heads[n]
        for n in range(nodes):
            owner = root(parent, n)
            members[place[owner]] = n
            place[owner] += 1
        for s in range(spots):
            taken[s] = False
        pair_from[alive] = pairs
        for n in range(nodes):
            size = heads[n + 1] - heads[n]
            if size < 2:
                continue
            rows = 0
            while rows < size and members[heads[n] + rows] < alive:
                place[members[heads[n] + rows]] = rows
                rows += 1
            columns = size - rows
            for c in range(columns):
                place[members[heads[n] + rows + c]] = c
            gain_matrix = np.empty((rows, columns))
            for r in range(rows):
                for c in range(columns):
                    gain_matrix[r, c] = -np.inf
                t = members[heads[n] + r]
                for p in range(pair_from[t], pair_from[t + 1]):
                    gain_matrix[r, place[alive + pair_spot[p]]] = pair_gain[p]
            if rows == 1:
                chosen[0] = 0
                for c in range(1, columns):
                    if gain_matrix[0, c] > gain_matrix[0, chosen[0]]:
                        chosen[0] = c
            else:
                assign(gain_matrix, rows, columns, chosen)
            for r in range(rows):
                if chosen[r] < 0:
                    continue
                t, s = members[heads[n] + r], members[heads[n] + rows + chosen[r]] - alive
                last, spot = int(tracks[t, LAST]), first + s
                partner[last] = spot
                gains[last] = gain_matrix[r, chosen[r]]
                renew(tracks[t], step - tracks[t, SEEN], z[spot], x[spot], sigma[spot], turn)
                tracks[t, LAST], tracks[t, SEEN] = spot, step
                taken[s] = True
        for s in range(spots):
            if not taken[s]:
                spot = first + s
                track = tracks[alive]
                track[LAST], track[SEEN], track[PZ], track[PX], track[VZ], track[VX] = (
                    spot,
                    step,
                    z[spot],
                    x[spot],
                    0,
                    0,
                )
                track[P], track[C], track[V] = sigma[spot] ** 2, 0.0, (0.5 * reach) ** 2
                alive += 1
