"""Scenes of a few bubbles whose paths are known."""

from __future__ import annotations

import numpy as np
import pytest

from processing.bubbles import Localizations, Tracks, no_localizations
from processing.errors import InvalidValueError
from processing.track import TrackingParameters, track

RATE_HZ = 20.0
SIGMA_MM = 0.01


def localized(paths: list[np.ndarray], seed: int = 0, missing: tuple[tuple[int, int], ...] = ()) -> Localizations:
    """Paths (frame, 2) in mm as localizations in shuffled order within each frame; `missing` pairs (path, frame)."""
    rng = np.random.default_rng(seed)
    rows = [(f, *point) for k, path in enumerate(paths) for f, point in enumerate(path) if (k, f) not in missing]
    table = np.array(rows)
    table = table[rng.permutation(len(table))]
    table = table[np.argsort(table[:, 0], kind="stable")]
    noisy = table[:, 1:] + SIGMA_MM * rng.standard_normal((len(table), 2))
    one = np.ones(len(table), dtype=np.float32)
    return Localizations(table[:, 0].astype(np.int64), noisy[:, 0].copy(), noisy[:, 1].copy(), one, SIGMA_MM * one)


def line(start: tuple[float, float], velocity_mm_per_s: tuple[float, float], frames: int = 40) -> np.ndarray:
    return np.array(start) + np.arange(frames)[:, None] / RATE_HZ * np.array(velocity_mm_per_s)


def tracked(found: Localizations, frames: int = 40, **changes: float) -> Tracks:
    parameters = TrackingParameters(**({"max_speed_mm_per_s": 8.0} | changes))  # type: ignore[arg-type]
    return track(found, np.arange(frames) / RATE_HZ, 100.0, parameters)


def ends(tracks: Tracks) -> list[tuple[float, float, float, float]]:
    first, last = tracks.starts[:-1], tracks.starts[1:] - 1
    columns = [tracks.z_mm[first], tracks.x_mm[first], tracks.z_mm[last], tracks.x_mm[last]]
    return sorted(tuple(round(float(v), 1) for v in row) for row in zip(*columns, strict=True))


def test_two_crossing_bubbles_keep_their_tracks() -> None:
    down, up = line((1.0, 1.0), (3.0, 3.0)), line((6.85, 1.0), (-3.0, 3.0))
    tracks = tracked(localized([down, up]))
    assert len(tracks) == 2
    assert ends(tracks) == [(1.0, 1.0, 6.9, 6.9), (6.9, 1.0, 1.0, 6.9)] or np.allclose(
        ends(tracks), [(1.0, 1.0, 6.85, 6.85), (6.85, 1.0, 1.0, 6.85)], atol=0.11
    )


def test_a_fork_sends_each_bubble_down_its_own_branch() -> None:
    stem = line((1.0, 5.0), (4.0, 0.0), 20)
    left = np.vstack([stem, stem[-1] + np.arange(1, 21)[:, None] / RATE_HZ * np.array([3.0, -2.0])])
    right = np.vstack([stem, stem[-1] + np.arange(1, 21)[:, None] / RATE_HZ * np.array([3.0, 2.0])])
    # The second bubble follows half a second (2 mm) behind.
    late = np.vstack([np.full((10, 2), np.nan), right[:30]])
    found = localized([left, late], missing=tuple((1, f) for f in range(10)))
    tracks = tracked(found)
    assert len(tracks) == 2
    assert {round(float(x)) for x in tracks.x_mm[tracks.starts[1:] - 1]} == {3, 6}


def test_parallel_bubbles_in_opposite_directions_do_not_swap() -> None:
    tracks = tracked(localized([line((3.0, 1.0), (0.0, 4.0)), line((3.1, 8.8), (0.0, -4.0))]))
    assert len(tracks) == 2
    assert np.all(np.abs(tracks.vx_mm_per_s) > 3.0)


def test_a_missed_frame_does_not_break_a_track_but_a_longer_gap_does() -> None:
    path = line((1.0, 1.0), (3.0, 0.0))
    assert len(tracked(localized([path], missing=((0, 17),)))) == 1
    assert len(tracked(localized([path], missing=((0, 17), (0, 18))))) == 2
    assert len(tracked(localized([path], missing=((0, 17),)), gap_frames=0)) == 2


def test_nothing_faster_than_the_gate_is_linked() -> None:
    tracks = tracked(localized([line((1.0, 1.0), (0.0, 9.0), 20)]), 20)
    assert len(tracks) == 0
    assert tracks.trackable_speed_mm_per_s == 8.0


def test_speed_and_direction_are_those_of_the_bubble() -> None:
    tracks = tracked(localized([line((1.0, 1.0), (3.0, -4.0 * 0)), line((1.0, 5.0), (0.0, 4.0))]))
    speeds = tracks.speed_mm_per_s()
    # sigma of a 7-point slope: 0.01 mm * 20 Hz / sqrt(28) = 0.04 mm/s; over 40 rows some 0.015.
    for number in range(2):
        rows = slice(tracks.starts[number], tracks.starts[number + 1])
        vertical = abs(tracks.vz_mm_per_s[rows].mean()) > 1
        assert speeds[rows].mean() == pytest.approx(3.0 if vertical else 4.0, abs=0.06)


def test_the_order_within_a_frame_does_not_matter() -> None:
    paths = [line((1.0 + 0.4 * k, 1.0), (0.5, 3.0)) for k in range(8)]
    first, second = tracked(localized(paths)), tracked(localized(paths))
    assert first.z_mm.tobytes() == second.z_mm.tobytes()
    found = localized(paths)
    order = np.lexsort((-found.z_mm, found.frame))
    turned = tracked(found.part(order))
    assert ends(turned) == ends(first)


def test_equal_candidates_are_settled_the_same_way_each_time() -> None:
    """A bubble between two equally near ones: a tie to the last bit."""
    one = np.ones(3, dtype=np.float32)
    frame = np.array([0, 1, 1], dtype=np.int64)
    found = Localizations(frame, np.array([1.0, 0.9, 1.1]), np.array([1.0, 1.0, 1.0]), one, 0.01 * one)
    links = [tracked(found, 2, min_length=2).localization.tolist() for _ in range(3)]
    assert links[0] == links[1] == links[2]
    assert len(links[0]) == 2


def test_no_localizations_make_no_tracks() -> None:
    tracks = tracked(no_localizations())
    assert len(tracks) == 0
    assert tracks.track_of_localization(0).tolist() == []


def test_a_single_frame_makes_no_tracks() -> None:
    assert len(tracked(localized([line((1.0, 1.0), (0.0, 0.0), 1)]), 1)) == 0


def test_localizations_learn_their_track() -> None:
    found = localized([line((1.0, 1.0), (3.0, 0.0)), line((8.0, 8.0), (0.0, 0.0), 1)])
    tracks = tracked(found)
    column = tracks.track_of_localization(len(found))
    assert (column == 0).sum() == 40
    assert (column == -1).sum() == 1


def test_a_gate_of_zero_is_refused() -> None:
    with pytest.raises(InvalidValueError):
        TrackingParameters(max_speed_mm_per_s=0.0)
