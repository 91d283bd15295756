"""From links to paths: chains of localizations, one row a frame from the first to the last, smoothed.

A frame in which the bubble was not seen has a row as well, interpolated by the same smoother: it counts as way and as
time, never as a localization. How much velocities change is measured on the loop itself, by maximum likelihood.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.bubbles import Localizations, Tracks
from processing.kernels.smoothing import PX, PZ, VX, VZ, smooth_paths
from processing.track_joining import Course, Pieces

MEASURED_ON = 8_000
"""Rows that the diffusion of velocity is measured on: so many tell it to a few per cent, and a step of STEPS is 1.8."""

STEPS = 10.0 ** np.arange(-2.0, 2.01, 0.25)
"""Diffusions tried, in squared median speeds a second: from a straight way to a turn every frame."""


def usable_sigma_mm(sigma_mm: NDArray[np.float32], reach_mm: float) -> NDArray[np.float64]:
    """Standard errors, the median where a method gave none; a twentieth of a link's reach where it gave none at all."""
    sigma = sigma_mm.astype(np.float64)
    known = np.isfinite(sigma) & (sigma > 0)
    return np.where(known, sigma, np.median(sigma[known]) if known.any() else 0.05 * reach_mm)


def pieces_of(earlier: NDArray[np.int64], later: NDArray[np.int64], localizations: int, min_length: int) -> Pieces:
    """Chains of links of at least `min_length` localizations."""
    onwards = np.full(localizations, -1, dtype=np.int64)
    onwards[earlier] = later
    # A list: reading single values out of an array takes longer than all the rest.
    following: list[int] = onwards.tolist()
    chains: list[list[int]] = []
    for begin in np.setdiff1d(earlier, later, assume_unique=True).tolist():
        chain, row = [], begin
        while row >= 0:
            chain.append(row)
            row = following[row]
        if len(chain) >= min_length:
            chains.append(chain)
    rows = np.array([row for chain in chains for row in chain], dtype=np.int64)
    return Pieces(rows, np.concatenate([[0], np.cumsum([len(chain) for chain in chains])]).astype(np.int64))


def course_of(
    found: Localizations,
    pieces: Pieces,
    sigma_mm: NDArray[np.float64],
    frame_times_s: NDArray[np.float64],
    gate_mm_per_s: float,
) -> Course:
    """Smoothed states of the pieces' rows, and the diffusion of velocity that makes them likeliest."""
    if not len(pieces):
        return Course(np.empty((0, 7)), 1.0, 1.0)
    time_s, z, x = frame_times_s[found.frame[pieces.rows]], found.z_mm[pieces.rows], found.x_mm[pieces.rows]
    variance = sigma_mm[pieces.rows] ** 2
    whole = np.flatnonzero(np.diff(time_s) > 0)
    inside = np.setdiff1d(whole, pieces.last)
    apart = np.hypot(np.diff(z), np.diff(x))[inside] / np.diff(time_s)[inside]
    # A bubble at rest is never known to move less than its noise.
    speed = max(float(np.median(apart)), 1e-3 * gate_mm_per_s)
    first_velocity = (0.5 * gate_mm_per_s) ** 2
    some = int(np.searchsorted(pieces.starts, MEASURED_ON, side="right"))
    starts = pieces.starts[: max(some, 2)]
    state = np.empty((len(z), 7))
    likelihood = [
        smooth_paths(starts, time_s, z, x, variance, speed**2 * step, first_velocity, state) for step in STEPS
    ]
    diffusion = speed**2 * float(STEPS[int(np.argmax(likelihood))])
    smooth_paths(pieces.starts, time_s, z, x, variance, diffusion, first_velocity, state)
    return Course(state, diffusion, speed)


def paths(
    found: Localizations,
    pieces: Pieces,
    sigma_mm: NDArray[np.float64],
    repeated: NDArray[np.bool_],
    frame_times_s: NDArray[np.float64],
    diffusion: float,
    gate_mm_per_s: float,
) -> Tracks:
    """Tracks with a row a frame. repeated: bool (localization,), whether both directions made its link onwards."""
    frame = found.frame[pieces.rows]
    lengths = frame[pieces.last] - frame[pieces.first] + 1 if len(pieces) else np.empty(0, dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    owner = np.repeat(np.arange(len(pieces)), np.diff(pieces.starts))
    at = starts[:-1][owner] + frame - frame[pieces.first][owner]
    localization = np.full(int(starts[-1]), -1, dtype=np.int64)
    localization[at] = pieces.rows
    every = np.arange(len(localization)) - np.repeat(starts[:-1] - frame[pieces.first], lengths)
    z, x, variance = np.zeros(len(every)), np.zeros(len(every)), np.full(len(every), np.inf)
    z[at], x[at], variance[at] = found.z_mm[pieces.rows], found.x_mm[pieces.rows], sigma_mm[pieces.rows] ** 2
    time_s, state = frame_times_s[every], np.empty((len(every), 7))
    smooth_paths(starts, time_s, z, x, variance, diffusion, (0.5 * gate_mm_per_s) ** 2, state)
    links = np.maximum(np.diff(pieces.starts) - 1, 1)
    agreed = np.bincount(owner, weights=repeated[pieces.rows].astype(np.float64), minlength=len(pieces))
    place_z, place_x, velocity_z, velocity_x = (np.ascontiguousarray(state[:, k]) for k in (PZ, PX, VZ, VX))
    return Tracks(
        localization, every, time_s, place_z, place_x, velocity_z, velocity_x, starts,
        (agreed / links).astype(np.float32), np.ones(len(pieces)), np.ones((len(pieces), 2), np.bool_), gate_mm_per_s,
    )  # fmt: skip
