"""Joining: tracks that are pieces of one bubble, lost where another passed it and found again, become one.

Where bubbles pass each other their images merge and one of two tracks ends, for a quarter of a second (half of the gaps
in a simulated tree; nine in ten are shorter than a second): far more than the frames that linking bridges, because by
then a bubble could be anywhere among others. A piece of track says more: place, velocity and brightness at its end,
each with its error. All joins are weighed in one assignment (Jaqaman et al. 2008), by their likelihood against an end
for good and a new bubble.

What stays apart is counted by its ends: bubbles that come and go know nothing of others, so those whose track begins or
ends alone stand for the few that do so beside another by chance, and what begins or ends in a merged image is no bubble
of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import cKDTree

from processing.bubbles import Localizations
from processing.kernels.joining import crowding, join_gains, stand_beside
from processing.kernels.smoothing import PZ

SIGMA = 1 / 2.3548
"""Standard deviation of a Gaussian over its full width at half maximum."""


TURNS = 3
"""New bubbles are what nothing is joined to, and joins are weighed against those: a fourth turn changes nothing."""


@dataclass(frozen=True)
class JoiningParameters:
    """What joins are weighed with.

    longest_s: lost at most; half as much again finds no more, 0.7 s a sixth less of what is hidden. typical_s: mean of
    the time lost; half or twice changes one join in thirty. beside_widths: nearer than so
    many standard deviations of a bubble's image two were, or will be, one image: three in four of the ends in merged
    images have another so near, one in five of the others. sure: no end is likelier than this to be found again, no
    beginning beside another likelier to be old. place_widths, speed_share: errors of place and velocity at an end
    beyond their own, tight and loose, in standard deviations of the image and of the median speed: the image that
    merges pulls the last positions away. way_widths: two in one image are less than two standard deviations apart, so
    the way between runs within one of where bubbles were seen. like: standard deviation of the change of log amplitude.
    """

    longest_s: float = 1.0
    typical_s: float = 0.4
    beside_widths: float = 3.0
    sure: float = 0.95
    place_widths: tuple[float, float] = (0.2, 0.6)
    speed_share: tuple[float, float] = (0.2, 0.4)
    way_widths: float = 1.0
    like: float = 0.2


@dataclass(frozen=True, eq=False)
class Pieces:
    """Tracks as rows of localizations in order of time, int64: rows starts[k] to starts[k + 1] belong to piece k."""

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def first(self) -> NDArray[np.int64]:
        return self.starts[:-1]

    @property
    def last(self) -> NDArray[np.int64]:
        return self.starts[1:] - 1


@dataclass(frozen=True, eq=False)
class Course:
    """How pieces move: state (row, 7) of `processing.kernels.smoothing`, diffusion of velocity, median speed."""

    state: NDArray[np.float64]
    diffusion: float
    speed_mm_per_s: float


def joined(
    found: Localizations,
    pieces: Pieces,
    course: Course,
    frame_times_s: NDArray[np.float64],
    image_mm: tuple[float, float],
    parameters: JoiningParameters,
) -> tuple[Pieces, NDArray[np.float64], NDArray[np.bool_]]:
    """Pieces of one bubble put together, the bubbles that each counts as, and whether either end lies alone.

    image_mm: full width at half maximum (z, x) of a bubble's image.
    """
    if len(pieces) < 2:
        return pieces, np.ones(len(pieces)), np.ones((len(pieces), 2), dtype=np.bool_)
    near = beside_another(found, len(frame_times_s), image_mm, parameters)
    usual = float(np.clip(near[pieces.rows].mean(), 0.01, 0.99))
    width = SIGMA * float(np.sqrt(image_mm[0] * image_mm[1]))
    ends = Ends(found, pieces, course, frame_times_s, width, parameters)
    near_end, near_begin = near[pieces.rows[pieces.last]], near[pieces.rows[pieces.first]]
    end, begin = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    crowd: NDArray[np.float64] = ends.newcomers(np.ones(len(pieces)))
    for turn in range(TURNS):
        lost, old = by_chance(near_end, end, usual), by_chance(near_begin, begin, usual)
        # Of ends and beginnings alone nothing is known: evens.
        again = np.where(near_end, np.clip(1 - lost, 0.5, parameters.sure), 0.5)
        born = np.where(near_begin, np.clip(old, 1 - parameters.sure, 0.5), 0.5)
        rival = born
        if turn:
            # New bubbles are those that nothing was joined to, as often beside another as any row of a track is.
            weight = np.where(near_begin, born, 1.0)
            weight[begin] = 0.0
            crowd, rival = ends.newcomers(weight), np.where(near_begin, usual, 1 - usual)
        end, begin = best_joins(*ends.candidates(again, crowd * rival), len(pieces))
    whole = put_together(pieces, end, begin)
    alone = ~near[whole.rows[np.column_stack([whole.first, whole.last])]]
    return whole, np.asarray(alone.mean(axis=1) / (1 - usual), dtype=np.float64), alone


def beside_another(
    found: Localizations, frames: int, image_mm: tuple[float, float], parameters: JoiningParameters
) -> NDArray[np.bool_]:
    """Whether each localization has another beside it, bool (localization,)."""
    beside = np.empty(len(found), dtype=np.bool_)
    reach = [parameters.beside_widths * SIGMA * size for size in image_mm]
    bounds = np.searchsorted(found.frame, np.arange(frames + 1)).astype(np.int64)
    stand_beside(bounds, found.z_mm, found.x_mm, reach[0], reach[1], beside)
    return beside


def by_chance(near: NDArray[np.bool_], joined: NDArray[np.int64], usual: float) -> float:
    """Share of the ends beside another that stand there by chance, as often as any row of a track does (`usual`).

    Ends for good know nothing of other bubbles: from those that stand alone and are joined to nothing follows how many
    stand beside another.
    """
    alone = ~near
    alone[joined] = False
    expected = usual / (1 - usual) * float(alone.sum())
    return min(expected / max(float(near.sum()), 1.0), 1.0)


class Ends:
    """Both ends of every piece: states (piece, 7), times and brightness, and the errors that joins are weighed with."""

    def __init__(
        self,
        found: Localizations,
        pieces: Pieces,
        course: Course,
        frame_times_s: NDArray[np.float64],
        width_mm: float,
        parameters: JoiningParameters,
    ) -> None:
        time_s = frame_times_s[found.frame[pieces.rows]]
        self._ends, self._begins = course.state[pieces.last], course.state[pieces.first]
        self._end_s, self._begin_s = time_s[pieces.last], time_s[pieces.first]
        self._end_bright, self._begin_bright = brightness(found, pieces)
        self._by_time = np.argsort(self._begin_s, kind="stable")
        self._width, self._change = width_mm, 0.5 * course.speed_mm_per_s
        self._seen = cKDTree(np.column_stack([found.z_mm[pieces.rows], found.x_mm[pieces.rows]]))
        self._reach = parameters.way_widths * width_mm
        self._duration_s = float(frame_times_s[-1] - frame_times_s[0])
        errors = [
            error
            for place, speed in zip(parameters.place_widths, parameters.speed_share, strict=True)
            for error in (place * width_mm, speed * course.speed_mm_per_s)
        ]
        first, like = self._begin_bright, parameters.like
        spread = max(float(first.std()), like)
        self._shape = np.array([
            course.diffusion, parameters.longest_s, parameters.typical_s, *errors, np.median(first), spread, like,
        ])  # fmt: skip

    def newcomers(self, weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Density of beginnings, so weighted, at each: per mm2 and (mm/s)2. Where many begin, one says little."""
        order = np.argsort(self._begins[:, PZ], kind="stable")
        # One more that may begin wherever and however any does: none is impossible for want of others like it.
        spread = np.maximum(self._begins[:, :4].std(axis=0), [self._width, self._width, self._change, self._change])
        sorted_density = np.full(len(order), 1 / (4 * np.pi**2 * float(np.prod(spread))))
        crowding(self._begins[order], weight[order], self._width, self._change, sorted_density)
        density = np.empty(len(order))
        density[order] = sorted_density
        return density

    def candidates(
        self, again: NDArray[np.float64], new: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Ends, beginnings and gains of all joins that gain.

        again: share of such ends that are found again. new: density of new bubbles at each beginning, over the loop.
        """
        by_time, room = self._by_time, 16 * len(again)
        prior, rival = np.log(again / (1 - again)), np.log(new / self._duration_s)
        while True:
            end, begin, gain = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room)
            count = join_gains(
                self._ends, self._end_s, self._end_bright, self._begins[by_time], self._begin_s[by_time],
                self._begin_bright[by_time], prior, rival[by_time], self._shape, end, begin, gain,
            )  # fmt: skip
            if count <= room:
                break
            room = count
        end, begin, gain = end[:count], by_time[begin[:count]], gain[:count]
        along = self.on_the_way(end, begin)
        return end[along], begin[along], gain[along]

    def on_the_way(self, end: NDArray[np.int64], begin: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether the cubic from each end to each beginning runs where bubbles were seen: at its quarters."""
        a, b = self._ends[end], self._begins[begin]
        lost_s = (self._begin_s[begin] - self._end_s[end])[:, None]
        near = np.ones(len(end), dtype=np.bool_)
        for s in (0.25, 0.5, 0.75):
            # Hermite's cubic, from places and velocities at both ends.
            place = a[:, :2] * (2 * s**3 - 3 * s**2 + 1) + b[:, :2] * (3 * s**2 - 2 * s**3)
            place += lost_s * (a[:, 2:4] * (s**3 - 2 * s**2 + s) + b[:, 2:4] * (s**3 - s**2))
            near &= self._seen.query(place)[0] < self._reach
        return near


def brightness(found: Localizations, pieces: Pieces, rows: int = 10) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median log amplitude of the last and of the first rows of each piece."""
    log_amplitude = np.log(np.maximum(found.amplitude_au[pieces.rows].astype(np.float64), 1e-30))
    spans = list(zip(pieces.starts[:-1].tolist(), pieces.starts[1:].tolist(), strict=True))
    last = np.array([np.median(log_amplitude[max(a, b - rows) : b]) for a, b in spans])
    first = np.array([np.median(log_amplitude[a : min(a + rows, b)]) for a, b in spans])
    return last, first


def best_joins(
    end: NDArray[np.int64], begin: NDArray[np.int64], gain: NDArray[np.float64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The joins of largest summed gain in which no end and no beginning occurs twice."""
    # A column of its own for each end that stays one, at no gain; a matching wants weights, and every end matched.
    alone = np.arange(count)
    rows, columns = np.concatenate([end, alone]), np.concatenate([begin, count + alone])
    weights = coo_matrix((np.concatenate([gain, np.zeros(count)]) + 1.0, (rows, columns)), shape=(count, 2 * count))
    chosen_end, chosen = min_weight_full_bipartite_matching(weights.tocsr(), maximize=True)
    real = chosen < count
    return chosen_end[real].astype(np.int64), chosen[real].astype(np.int64)


def put_together(pieces: Pieces, end: NDArray[np.int64], begin: NDArray[np.int64]) -> Pieces:
    """Chains of pieces, each from a piece that nothing comes before, in the order of those."""
    following = np.full(len(pieces), -1, dtype=np.int64)
    following[end] = begin
    heads = np.setdiff1d(np.arange(len(pieces)), begin)
    parts, lengths = [], []
    for head in heads.tolist():
        length, piece = 0, head
        while piece >= 0:
            part = pieces.rows[pieces.starts[piece] : pieces.starts[piece + 1]]
            parts.append(part)
            length += len(part)
            piece = int(following[piece])
        lengths.append(length)
    return Pieces(np.concatenate(parts), np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
