"""Pieces of one bubble's way are told from other bubbles, and what they do to intervals is what it should be."""

from __future__ import annotations

import numpy as np
import pytest

from processing.bubbles import Tracks
from processing.coverage_error import coverage_errors
from processing.track_chains import chains

RATE_HZ = 40.0


def pieces(*paths: tuple[int, tuple[float, float], tuple[float, float], int]) -> Tracks:
    """Straight tracks: first frame, place at frame 0 in mm, velocity in mm/s, rows."""
    frame = np.concatenate([first + np.arange(rows) for first, _, _, rows in paths]).astype(np.int64)
    time_s = frame / RATE_HZ
    place, velocity = (np.repeat([path[k] for path in paths], [path[3] for path in paths], axis=0) for k in (1, 2))
    z, x = (place + velocity * time_s[:, None]).T
    return Tracks(
        localization=np.arange(len(frame), dtype=np.int64),
        frame=frame,
        time_s=time_s,
        z_mm=z.copy(),
        x_mm=x.copy(),
        vz_mm_per_s=velocity[:, 0].astype(np.float64),
        vx_mm_per_s=velocity[:, 1].astype(np.float64),
        starts=np.concatenate([[0], np.cumsum([path[3] for path in paths])]).astype(np.int64),
        confidence=np.ones(len(paths), dtype=np.float32),
        trackable_speed_mm_per_s=50.0,
    )


def test_a_bubble_that_was_lost_for_a_while_is_one() -> None:
    way = (2.0, 1.0), (0.0, 5.0)
    assert chains(pieces((0, *way, 20), (26, *way, 30), (60, *way, 10))).tolist() == [0, 0, 0]


def test_another_bubble_on_the_same_way_is_another() -> None:
    """Half a second behind it, the first piece's end and the second one's beginning do not meet."""
    assert len(np.unique(chains(pieces((0, (2.0, 1.0), (0.0, 5.0), 20), (26, (2.0, -1.5), (0.0, 5.0), 30))))) == 2


def test_a_bubble_that_comes_the_other_way_is_another() -> None:
    assert len(np.unique(chains(pieces((0, (2.0, 1.0), (0.0, 5.0), 20), (22, (2.0, 6.2), (0.0, -5.0), 20))))) == 2


def test_a_bubble_lost_for_long_is_another() -> None:
    way = (2.0, 1.0), (0.0, 5.0)
    assert len(np.unique(chains(pieces((0, *way, 20), (80, *way, 30))))) == 2


@pytest.mark.parametrize("lines", [40, 400])
def test_the_error_of_coverage_is_its_scatter_over_acquisitions(lines: int) -> None:
    """Poisson-many bubbles, each on one of some lines of 50 pixels, in two tracks: from sparse to nearly filled."""
    rng = np.random.default_rng(60)
    values, errors = [], []
    for _ in range(300):
        count = rng.poisson(100)
        line = rng.integers(0, lines, count)
        pixel = (50 * line[:, None] + np.arange(50)).reshape(-1)
        bubble, rows = np.repeat(np.arange(count), 50), np.full(count, 60)
        values.append((len(np.unique(pixel)), rarefied(line, count)))
        errors.append(coverage_errors(pixel, bubble, rows, 3000))
    for measured, scatter in zip(np.mean(errors, axis=0), np.std(values, axis=0), strict=True):
        # 300 acquisitions show their scatter to 4 %; rarefying takes the number of bubbles out of it, of which the
        # bound knows nothing: 1.3 times too wide there.
        assert 0.88 * scatter < measured < 1.4 * scatter


def rarefied(line: np.ndarray, count: int) -> float:
    """Pixels expected from 3000 of 60 localizations a bubble."""
    visits = np.unique(line, return_counts=True)[1]
    return float(50 * (1 - (1 - min(3000 / (60 * count), 1.0)) ** visits).sum())
