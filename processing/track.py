"""Tracking: localizations to paths, forwards and backwards in time.

Each pass predicts with constant velocity and assigns optimally (`processing.kernels.linking`). A track is uncertain
where it begins, so the two passes are uncertain at opposite ends: where they disagree the likelier link stands, and the
share of links on which they agree is a track's confidence. Sources and figures: docs/super-resolution.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.bubbles import Localizations, Tracks
from processing.errors import InvalidValueError
from processing.kernels.linking import link_pass


@dataclass(frozen=True)
class TrackingParameters:
    """Gates of the tracker.

    max_speed_mm_per_s: no link is faster; 50 mm/s covers tumour arterioles (Opacic et al. 2018 found below 40), and a
    gate far above what flows draws long straight lines. gap_frames: frames that a bubble may miss. min_length:
    localizations a track needs (three make two links that confirm each other). turn_share: standard deviation of the
    change of velocity from frame to frame over the speed gate. detected, new_share: share of bubbles detected in a
    frame and of detections that begin a track or are false; the result hardly depends on them (docs).
    smoothing_rows: position and velocity come from the line through so many rows before and after (2: a path of 1 mm
    radius walked in steps of 0.1 mm moves by 10 um).
    """

    max_speed_mm_per_s: float = 50.0
    gap_frames: int = 1
    min_length: int = 3
    turn_share: float = 0.05
    detected: float = 0.9
    new_share: float = 0.1
    smoothing_rows: int = 2

    def __post_init__(self) -> None:
        if not self.max_speed_mm_per_s > 0 or self.gap_frames < 0 or self.min_length < 2:
            raise InvalidValueError("a tracker needs a speed gate above 0, gaps of 0 or more and two rows a track")


@dataclass(frozen=True, eq=False)
class Links:
    """Pairs of localizations (earlier, later), int64, and whether both passes made them."""

    earlier: NDArray[np.int64]
    later: NDArray[np.int64]
    confirmed: NDArray[np.bool_]


def track(
    localizations: Localizations, frame_times_s: NDArray[np.float64], area_mm2: float, parameters: TrackingParameters
) -> Tracks:
    """Link localizations to tracks. `area_mm2`: area they lie in, for the density of new bubbles."""
    interval_s = float(np.median(np.diff(frame_times_s))) if frame_times_s.size > 1 else 1.0
    links = link(localizations, len(frame_times_s), interval_s, area_mm2, parameters)
    return paths(localizations, links, frame_times_s, parameters)


def link(
    localizations: Localizations, frames: int, interval_s: float, area_mm2: float, parameters: TrackingParameters
) -> Links:
    """Both passes and their agreement. Within a frame the order of localizations does not matter."""
    # Lengths stay in mm; times become frames, so speeds are mm a frame.
    order = np.lexsort((localizations.x_mm, localizations.z_mm, localizations.frame))
    z, x = localizations.z_mm[order], localizations.x_mm[order]
    sigma = localizations.sigma_mm[order].astype(np.float64)
    starts = np.searchsorted(localizations.frame[order], np.arange(frames + 1)).astype(np.int64)
    if not len(order):
        nothing = np.empty(0, dtype=np.int64)
        return Links(nothing, nothing, np.empty(0, dtype=np.bool_))
    known = np.isfinite(sigma) & (sigma > 0)
    reach = parameters.max_speed_mm_per_s * interval_s
    sigma = np.where(known, sigma, np.median(sigma[known]) if known.any() else 0.05 * reach)
    density = parameters.new_share * max(len(order) / max(int((np.diff(starts) > 0).sum()), 1), 1.0) / area_mm2
    odds = parameters.detected / (1 - parameters.detected)
    offset = float(np.log(odds) - np.log(2 * np.pi) - np.log(density))
    made = []
    for backward in (False, True):
        partner, gains = np.empty(len(order), dtype=np.int64), np.empty(len(order))
        link_pass(
            starts, z, x, sigma, backward, parameters.gap_frames, reach, parameters.turn_share * reach, offset,
            partner, gains,
        )  # fmt: skip
        made.append((partner, gains))
    return agreed(order, *made[0], *made[1])


def agreed(
    order: NDArray[np.int64],
    following: NDArray[np.int64],
    gain_forward: NDArray[np.float64],
    preceding: NDArray[np.int64],
    gain_backward: NDArray[np.float64],
) -> Links:
    """Links of both passes; of those that exclude each other the likelier, of equally likely ones the earlier."""
    rows = np.arange(len(order))
    has_next, has_previous = following >= 0, preceding >= 0
    confirmed = has_next & (preceding[np.where(has_next, following, 0)] == rows)
    earlier, later, sure = [rows[confirmed]], [following[confirmed]], [np.ones(int(confirmed.sum()), dtype=np.bool_)]
    used_from, used_to = np.zeros(len(order), dtype=np.bool_), np.zeros(len(order), dtype=np.bool_)
    used_from[earlier[0]], used_to[later[0]] = True, True
    forward = rows[has_next & ~confirmed]
    backward = rows[has_previous]
    backward = backward[following[preceding[backward]] != backward]
    a = np.concatenate([forward, preceding[backward]])
    b = np.concatenate([following[forward], backward])
    gain = np.concatenate([gain_forward[forward], gain_backward[backward]])
    kept = []
    for k in np.lexsort((b, a, -gain)):
        if not used_from[a[k]] and not used_to[b[k]]:
            used_from[a[k]] = used_to[b[k]] = True
            kept.append(k)
    earlier.append(a[kept])
    later.append(b[kept])
    sure.append(np.zeros(len(kept), dtype=np.bool_))
    first, second, both = np.concatenate(earlier), np.concatenate(later), np.concatenate(sure)
    sorted_links = np.argsort(first, kind="stable")
    return Links(order[first[sorted_links]], order[second[sorted_links]], both[sorted_links])


def paths(
    localizations: Localizations, links: Links, frame_times_s: NDArray[np.float64], parameters: TrackingParameters
) -> Tracks:
    """Chains of links of at least `min_length` localizations, with smoothed velocities."""
    count = len(localizations)
    following, confirmed = np.full(count, -1, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    following[links.earlier], confirmed[links.earlier] = links.later, links.confirmed
    begins = np.setdiff1d(links.earlier, links.later, assume_unique=True)
    chains: list[list[int]] = []
    for begin in begins.tolist():
        chain = [begin]
        while following[chain[-1]] >= 0:
            chain.append(int(following[chain[-1]]))
        if len(chain) >= parameters.min_length:
            chains.append(chain)
    rows = np.array([row for chain in chains for row in chain], dtype=np.int64)
    lengths = np.array([len(chain) for chain in chains], dtype=np.int64)
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    frame = localizations.frame[rows]
    time_s = frame_times_s[frame]
    (z, vz), (x, vx) = (
        local_line(time_s, v[rows], starts, parameters.smoothing_rows) for v in (localizations.z_mm, localizations.x_mm)
    )
    sums = np.concatenate([[0], np.cumsum(confirmed[rows])])
    confidence = ((sums[starts[1:]] - sums[starts[:-1]]) / np.maximum(lengths - 1, 1)).astype(np.float32)
    return Tracks(rows, frame, time_s, z, x, vz, vx, starts, confidence, parameters.max_speed_mm_per_s)


def local_line(
    time_s: NDArray[np.float64], values: NDArray[np.float64], starts: NDArray[np.int64], reach: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Value and slope at each row of the least-squares line through the rows of its track at most `reach` away."""
    rows = np.arange(len(values))
    owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    low = np.maximum(rows - reach, starts[:-1][owner])
    high = np.minimum(rows + reach + 1, starts[1:][owner])
    n, t, v, tt, tv = np.zeros((5, len(rows)))
    for shift in range(-reach, reach + 1):
        at = rows + shift
        inside = (at >= low) & (at < high)
        at = np.where(inside, at, rows)
        # Times and values counted from the row itself: sums of squares stay small.
        dt, dv = (time_s[at] - time_s) * inside, (values[at] - values) * inside
        n += inside
        t += dt
        v += dv
        tt += dt * dt
        tv += dt * dv
    slope = (n * tv - t * v) / (n * tt - t * t)
    return np.asarray(values + (v - slope * t) / n), np.asarray(slope)
