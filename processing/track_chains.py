"""Tracks that are one bubble: lost where others pass it, found again further down the vessel.

They stay apart as tracks, because nobody saw where the bubble was in between, but they are not independent: drawn one
by one in a bootstrap they would make an interval half as wide as it should be, and counted one by one three bubbles of
one (docs/super-resolution.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.bubbles import Tracks


@dataclass(frozen=True)
class ChainParameters:
    """gap_s: as long a bubble may be lost; twice as long finds 4 % fewer chains.

    slack_mm: error of the predicted place for the positions' own, half a PSF where bubbles pass each other; bend_share:
    of the way travelled meanwhile, for the bends of the vessel. Of 49 bubbles seen in 145 tracks of a simulated tree
    these leave 79 chains, with three joins in ten between neighbours on one vessel (seeds 51 to 62).
    """

    gap_s: float = 1.0
    slack_mm: float = 0.2
    bend_share: float = 0.5


def chains(tracks: Tracks, parameters: ChainParameters | None = None) -> NDArray[np.int64]:
    """Chain of each track, int64 (track,), numbered from 0: each end goes to at most one start, the likeliest first.

    A start belongs to an end when the place predicted from either side, at either side's velocity, is the other's.
    """
    p = parameters or ChainParameters()
    count = len(tracks)
    first, last = tracks.starts[:-1], tracks.starts[1:] - 1
    begins: NDArray[np.int64] = np.argsort(tracks.time_s[first], kind="stable")
    begin_s = tracks.time_s[first][begins]
    ends: list[NDArray[np.int64]] = []
    starts: list[NDArray[np.int64]] = []
    misses: list[NDArray[np.float64]] = []
    for a in range(count):
        end = last[a]
        here = begins[slice(*np.searchsorted(begin_s, [tracks.time_s[end], tracks.time_s[end] + p.gap_s], "right"))]
        if len(here):
            miss = _miss(tracks, int(end), first[here], p)
            good = miss < 1
            ends.append(np.full(int(good.sum()), a, dtype=np.int64))
            starts.append(here[good])
            misses.append(miss[good])
    follower = np.full(count, -1, dtype=np.int64)
    taken = np.zeros(count, dtype=np.bool_)
    if ends:
        earlier, later, miss = np.concatenate(ends), np.concatenate(starts), np.concatenate(misses)
        for k in np.lexsort((later, earlier, miss)):
            if follower[earlier[k]] < 0 and not taken[later[k]]:
                follower[earlier[k]], taken[later[k]] = later[k], True
    chain = np.full(count, -1, dtype=np.int64)
    for number, head in enumerate(np.flatnonzero(~taken)):
        track = int(head)
        while track >= 0:
            chain[track] = number
            track = int(follower[track])
    return chain


def _miss(tracks: Tracks, end: int, begins: NDArray[np.int64], p: ChainParameters) -> NDArray[np.float64]:
    """How far each beginning lies from where the end would have come, over what is allowed: rows of `tracks`."""
    dt = tracks.time_s[begins] - tracks.time_s[end]
    dz, dx = tracks.z_mm[begins] - tracks.z_mm[end], tracks.x_mm[begins] - tracks.x_mm[end]
    forward = np.hypot(dz - tracks.vz_mm_per_s[end] * dt, dx - tracks.vx_mm_per_s[end] * dt)
    backward = np.hypot(dz - tracks.vz_mm_per_s[begins] * dt, dx - tracks.vx_mm_per_s[begins] * dt)
    before, after = (np.hypot(tracks.vz_mm_per_s[row], tracks.vx_mm_per_s[row]) for row in (end, begins))
    allowed = p.slack_mm + p.bend_share * dt * (before + after) / 2
    return np.asarray(np.maximum(forward, backward) / allowed)
