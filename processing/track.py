"""Tracking: localizations to paths, forwards and backwards in time.

Each pass predicts with constant velocity and assigns optimally (`processing.kernels.linking`). A track is uncertain
where it begins, so the two passes are uncertain at opposite ends: where they disagree the likelier link stands, and the
share of links on which they agree is a track's confidence. Sources and figures: docs/super-resolution.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from processing.bubbles import Localizations, Tracks
from processing.errors import InvalidValueError
from processing.kernels.linking import link_pass
from processing.track_joining import JoiningParameters, joined
from processing.track_paths import course_of, paths, pieces_of, usable_sigma_mm


@dataclass(frozen=True)
class TrackingParameters:
    """Gates of the tracker.

    max_speed_mm_per_s: no link is faster; 50 mm/s covers tumour arterioles (Opacic et al. 2018 found below 40), and a
    gate far above what flows draws long straight lines. gap_frames: frames that a bubble may miss. min_length:
    localizations a track needs (three make two links that confirm each other). turn_share: standard deviation of the
    change of velocity from frame to frame over the speed gate. detected, new_share: share of bubbles detected in a
    frame and of detections that begin a track or are false; the result hardly depends on them (docs).
    joining: of tracks that are pieces of one bubble.
    """

    max_speed_mm_per_s: float = 50.0
    gap_frames: int = 1
    min_length: int = 3
    turn_share: float = 0.05
    detected: float = 0.9
    new_share: float = 0.1
    joining: JoiningParameters = field(default_factory=JoiningParameters)

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
    localizations: Localizations,
    frame_times_s: NDArray[np.float64],
    area_mm2: float,
    parameters: TrackingParameters,
    image_mm: tuple[float, float] | None = None,
) -> Tracks:
    """Link localizations to tracks, and join those that are pieces of one bubble.

    area_mm2: area they lie in, for the density of new bubbles. image_mm: full width at half maximum (z, x) of a
    bubble's image, which hides another; None: nothing is hidden, nothing is joined.
    """
    interval_s = float(np.median(np.diff(frame_times_s))) if frame_times_s.size > 1 else 1.0
    links = link(localizations, len(frame_times_s), interval_s, area_mm2, parameters)
    pieces = pieces_of(links.earlier, links.later, len(localizations), parameters.min_length)
    gate = parameters.max_speed_mm_per_s
    sigma = usable_sigma_mm(localizations.sigma_mm, gate * interval_s)
    course = course_of(localizations, pieces, sigma, frame_times_s, gate)
    counts_as, alone = np.ones(len(pieces)), np.ones((len(pieces), 2), dtype=np.bool_)
    if image_mm is not None:
        pieces, counts_as, alone = joined(localizations, pieces, course, frame_times_s, image_mm, parameters.joining)
    repeated = np.zeros(len(localizations), dtype=np.bool_)
    repeated[links.earlier] = links.confirmed
    tracks = paths(localizations, pieces, sigma, repeated, frame_times_s, course.diffusion, gate)
    return replace(tracks, counts_as=counts_as, alone=alone)


def link(
    localizations: Localizations, frames: int, interval_s: float, area_mm2: float, parameters: TrackingParameters
) -> Links:
    """Both passes and their agreement. Within a frame the order of localizations does not matter."""
    # Lengths stay in mm; times become frames, so speeds are mm a frame.
    order = np.lexsort((localizations.x_mm, localizations.z_mm, localizations.frame))
    z, x = localizations.z_mm[order], localizations.x_mm[order]
    starts = np.searchsorted(localizations.frame[order], np.arange(frames + 1)).astype(np.int64)
    if not len(order):
        nothing = np.empty(0, dtype=np.int64)
        return Links(nothing, nothing, np.empty(0, dtype=np.bool_))
    reach = parameters.max_speed_mm_per_s * interval_s
    sigma = usable_sigma_mm(localizations.sigma_mm, reach)[order]
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
