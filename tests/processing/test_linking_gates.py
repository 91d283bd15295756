"""What the links of tracks look like, counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from processing.bubbles import Localizations, Tracks
from processing.errors import InvalidValueError
from processing.linking_gates import linking_gates
from processing.track import TrackingParameters, track


def test_distances_and_gaps_of_the_links_are_counted() -> None:
    """A bubble at 0.1 mm a frame, seen in 0, 1, 2, 4, 5, 6: four links of one frame and one over a missed one."""
    frame = np.array([0, 1, 2, 4, 5, 6], dtype=np.int64)
    one = np.ones(6, dtype=np.float32)
    found = Localizations(frame, np.full(6, 1.0), 0.1 * frame, one, 0.005 * one)
    tracks = track(found, np.arange(7) / 10.0, 25.0, TrackingParameters(max_speed_mm_per_s=2.4))
    gates = linking_gates(found, tracks, 0.1)
    assert gates.reach_mm == pytest.approx(0.24)
    # Twelve bins of 0.02 mm: 0.1 mm a frame lies on the edge of the fifth and sixth.
    assert gates.distances.sum() == gates.distances[4:6].sum() == 5
    assert gates.gaps.tolist() == [4, 1]
    assert gates.lines()[-2:] == (
        "links by frames missed: 4 over 0 missed, 1 over 1 missed",
        "tracks joined to one bubble's: 0",
    )


def test_joins_are_told_apart_from_links() -> None:
    """One track of frames 0 to 9, in 4 to 7 of which the bubble was not seen."""
    frame = np.array([0, 1, 2, 3, 8, 9], dtype=np.int64)
    one = np.ones(6, dtype=np.float32)
    found = Localizations(frame, np.full(6, 1.0), 0.1 * frame, one, 0.005 * one)
    every = np.arange(10)
    localization = np.where(np.isin(every, frame), np.searchsorted(frame, every), -1)
    place, none = np.ones(10), np.zeros(10)
    tracks = Tracks(
        localization, every, every / 10.0, place, 0.1 * every, none, place,
        np.array([0, 10]), np.ones(1, dtype=np.float32), np.ones(1), np.ones((1, 2), dtype=np.bool_), 2.4,
    )  # fmt: skip
    gates = linking_gates(found, tracks, 0.1)
    assert gates.gaps.tolist() == [4, 0]
    assert gates.joins_s == pytest.approx([0.5])
    assert gates.lines()[-1] == "tracks joined to one bubble's: 1, lost for 0.50 s (median), 0.50 s at most"


def test_no_tracks_make_an_empty_histogram() -> None:
    found = Localizations(np.zeros(1, dtype=np.int64), *np.zeros((2, 1)), *np.ones((2, 1), dtype=np.float32))
    tracks = track(found, np.arange(3) / 10.0, 25.0, TrackingParameters())
    gates = linking_gates(found, tracks, 0.1)
    assert gates.distances.sum() == 0
    assert len(gates.lines()) == len(gates.distances) + 3
    with pytest.raises(InvalidValueError):
        linking_gates(found, tracks, 0.0)
