"""Bubbles that are lost where another passes them, and who is who afterwards: scenes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from processing.bubbles import Localizations, Tracks
from processing.track import TrackingParameters, track

RATE_HZ = 40.0
SIGMA_MM = 0.01
IMAGE_MM = (0.6, 0.6)
"""Full width at half maximum: nearer than 0.45 mm two bubbles are seen as one here, between them by their power."""


def way(first: int, start: tuple[float, float], velocity_mm_per_s: tuple[float, float], frames: int) -> np.ndarray:
    """Rows (frame, z, x) of a straight way."""
    steps = np.arange(frames)
    return np.column_stack([first + steps, np.array(start) + steps[:, None] / RATE_HZ * np.array(velocity_mm_per_s)])


def seen(
    ways: list[np.ndarray], seed: int = 0, merge_mm: float = 0.45, bright: tuple[float, ...] = ()
) -> Localizations:
    """What is localized of ways: bubbles nearer than `merge_mm` to each other are one image, between them by power."""
    rng = np.random.default_rng(seed)
    amplitude = bright or (1.0,) * len(ways)
    rows = []
    for frame in range(int(max(w[-1, 0] for w in ways)) + 1):
        here = [(*w[w[:, 0] == frame][0, 1:], a) for w, a in zip(ways, amplitude, strict=True) if frame in w[:, 0]]
        while here:
            group, rest = [here[0]], here[1:]
            for spot in rest:
                if min(np.hypot(spot[0] - g[0], spot[1] - g[1]) for g in group) < merge_mm:
                    group.append(spot)
            here = [spot for spot in rest if spot not in group]
            power = [g[2] ** 2 for g in group]
            z, x = np.average([g[:2] for g in group], axis=0, weights=power) + SIGMA_MM * rng.standard_normal(2)
            rows.append((frame, z, x, np.sqrt(sum(power))))
    table = np.array(rows)
    one = np.ones(len(table), dtype=np.float32)
    return Localizations(
        table[:, 0].astype(np.int64),
        table[:, 1].copy(),
        table[:, 2].copy(),
        table[:, 3].astype(np.float32),
        np.float32(SIGMA_MM) * one,
    )


def tracked(found: Localizations, image_mm: tuple[float, float] | None = IMAGE_MM) -> Tracks:
    frames = int(found.frame.max()) + 1
    return track(found, np.arange(frames) / RATE_HZ, 400.0, TrackingParameters(max_speed_mm_per_s=20.0), image_mm)


def rows_of(tracks: Tracks, number: int) -> np.ndarray:
    rows = slice(tracks.starts[number], tracks.starts[number + 1])
    return np.column_stack([tracks.frame[rows], tracks.z_mm[rows], tracks.x_mm[rows]])


def error_mm(tracks: Tracks, number: int, ways: list[np.ndarray]) -> float:
    """Largest distance of a track from that of the ways which it is nearest to all along."""
    rows, errors = rows_of(tracks, number), []
    for w in ways:
        there = {int(f): (z, x) for f, z, x in w}
        if all(int(f) in there for f in rows[:, 0]):
            errors.append(max(np.hypot(z - there[int(f)][0], x - there[int(f)][1]) for f, z, x in rows))
    return min(errors, default=np.inf)


def passers_by() -> list[np.ndarray]:
    """Ten pairs in vessels of their own: of each pair one hardly moves and the other goes past it."""
    ways = []
    for k in range(10):
        z = 2.0 + 2.0 * k
        ways.append(way(0, (z, 5.0), (0.0, 0.4), 100))
        ways.append(way(0, (z + 0.2, 1.0), (0.0, 3.0 + 0.1 * k), 100))
    return ways


def test_a_bubble_lost_behind_another_is_one_and_its_way_runs_on() -> None:
    ways = passers_by()
    found = seen(ways, bright=(3.0, 1.0) * 10)
    pieces = tracked(found, None)
    assert len(pieces) == 30
    tracks = tracked(found)
    assert len(tracks) == 20
    # Lost for 12 frames behind a neighbour that drew the last of them by 0.2 mm.
    assert max(error_mm(tracks, k, ways) for k in range(20)) < 0.3
    # By their ends, all of which happen to lie alone: a twelfth of all rows does not.
    assert tracks.counts_as.sum() == pytest.approx(20, rel=0.15)


def test_interpolated_rows_are_ways_and_no_localizations() -> None:
    found = seen(passers_by(), bright=(3.0, 1.0) * 10)
    tracks = tracked(found)
    assert (~tracks.seen).any()
    for k in range(len(tracks)):
        rows = slice(tracks.starts[k], tracks.starts[k + 1])
        assert (np.diff(tracks.frame[rows]) == 1).all()
        assert tracks.seen[rows][[0, -1]].all()
    assert np.array_equal(found.frame[tracks.localization[tracks.seen]], tracks.frame[tracks.seen])
    column = tracks.track_of_localization(len(found))
    assert (column >= 0).sum() == tracks.seen.sum()


def test_bubbles_one_behind_the_other_are_not_joined() -> None:
    """Each leaves the plane where the next, half a second later, has not yet come to."""
    ways = [way(60 * k, (3.0, 1.0 + 0.01 * k), (0.0, 4.0), 40) for k in range(12)]
    assert len(tracked(seen(ways))) == 12


def test_a_bubble_that_comes_the_other_way_is_another() -> None:
    ways = [w for k in range(8) for w in (
        way(0, (2.0 + 2 * k, 1.0), (0.0, 4.0), 40), way(50, (2.0 + 2 * k, 5.8), (0.0, -4.0), 40)
    )]  # fmt: skip
    assert len(tracked(seen(ways))) == 16


def test_a_bubble_lost_for_longer_than_a_second_is_another() -> None:
    ways = [w for k in range(8) for w in (
        way(0, (2.0 + 2 * k, 1.0), (0.0, 4.0), 40), way(85, (2.0 + 2 * k, 9.5), (0.0, 4.0), 40)
    )]  # fmt: skip
    assert len(tracked(seen(ways))) == 16


def test_crossing_vessels_keep_their_bubbles_through_the_image_that_both_are_in() -> None:
    ways = []
    for k in range(8):
        x = 2.0 + 4.0 * k
        ways.append(way(20 * k, (1.0, x), (4.0, 2.0), 60))
        ways.append(way(20 * k, (7.0, x), (-4.0, 2.0), 60))
    tracks = tracked(seen(ways))
    assert len(tracks) == 16
    assert max(error_mm(tracks, k, ways) for k in range(16)) < 0.3


def test_a_fork_sends_bubbles_that_entered_it_as_one_image_down_their_own_branches() -> None:
    """A slow and a fast bubble: the fast one goes past the slow one in the stem and turns off before it."""
    ways = []
    for k in range(8):
        z, first = 2.0 + 4.0 * k, 10 * k
        slow = way(first, (z, 3.0), (0.0, 1.5), 100)
        stem = way(first, (z + 0.1, 1.0), (0.0, 4.0), 45)
        branch = way(first + 45, (z + 0.1, 1.0 + 45 * 4.0 / RATE_HZ), (2.0, 3.0), 40)
        ways += [slow, np.vstack([stem, branch])]
    tracks = tracked(seen(ways))
    assert len(tracks) == 16
    assert max(error_mm(tracks, k, ways) for k in range(16)) < 0.35


def test_bubbles_are_counted_where_many_merge() -> None:
    """A vessel of 0.2 mm that bubbles enter at random, with speeds of 1 to 5 mm/s: two in five are lost on the way."""
    rng, ways = np.random.default_rng(4), []
    for _ in range(120):
        speed = rng.uniform(1.0, 5.0)
        begin = int(rng.integers(0, 800))
        ways.append(
            way(begin, (3.0 * rng.integers(1, 4) + rng.uniform(-0.1, 0.1), 1.0), (0.0, speed), int(320 / speed))
        )
    found = seen(ways)
    pieces, tracks = tracked(found, None), tracked(found)
    assert len(pieces) > 1.5 * len(ways)
    assert tracks.counts_as.sum() == pytest.approx(len(ways), rel=0.15)


def test_joins_are_the_same_each_time() -> None:
    found = seen(passers_by(), bright=(3.0, 1.0) * 10)
    first, second = tracked(found), tracked(found)
    assert first.z_mm.tobytes() == second.z_mm.tobytes()
    assert first.counts_as.tobytes() == second.counts_as.tobytes()
