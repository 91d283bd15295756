"""How far bubbles were followed from frame to frame, and over which gaps: what the tracker's gates are set by.

A histogram of distances that falls off well before the gate says that the gate is wide enough; one that is cut by it
says that faster bubbles are missing; one that rises again towards it says that unrelated bubbles are linked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.bubbles import Localizations, Tracks
from processing.errors import InvalidValueError
from processing.frozen_arrays import frozen_array

BINS = 12
BAR = 40
"""Characters of the longest bar."""


@dataclass(frozen=True, eq=False)
class LinkingGates:
    """distances: int64 (bin,), links by distance a frame from 0 to reach_mm. gaps: int64 (frames missed,), links.

    Joins of tracks over longer gaps are no links; joins_s: float64 (join,), the time that each bridges.
    """

    distances: NDArray[np.int64]
    reach_mm: float
    gaps: NDArray[np.int64]
    joins_s: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("distances", "gaps"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), np.int64, 1))
        object.__setattr__(self, "joins_s", frozen_array("joins_s", self.joins_s, np.float64, 1))

    def lines(self) -> tuple[str, ...]:
        """Both histograms as text."""
        edges = np.linspace(0.0, 1000.0 * self.reach_mm, len(self.distances) + 1)
        most = max(int(self.distances.max()), 1)
        bars = [
            f"{low:6.0f} to {high:4.0f} um {count:7d} {'#' * round(BAR * count / most)}"
            for low, high, count in zip(edges[:-1], edges[1:], self.distances.tolist(), strict=True)
        ]
        gaps = ", ".join(f"{count} over {k} missed" for k, count in enumerate(self.gaps.tolist()))
        joins = f"tracks joined to one bubble's: {len(self.joins_s)}"
        if len(self.joins_s):
            joins += f", lost for {np.median(self.joins_s):.2f} s (median), {self.joins_s.max():.2f} s at most"
        return ("distance a frame, up to the gate:", *bars, f"links by frames missed: {gaps}", joins)


def linking_gates(found: Localizations, tracks: Tracks, interval_s: float, gap_frames: int = 1) -> LinkingGates:
    """Histograms of the links of `tracks`, which were made of `found`; `interval_s` between two frames.

    gap_frames: that a link may bridge; what bridges more is a join.
    """
    if not interval_s > 0:
        raise InvalidValueError("links need a frame interval above 0")
    row, owner = tracks.localization[tracks.seen], tracks.track_of_row[tracks.seen]
    same = owner[:-1] == owner[1:] if len(owner) else np.empty(0, dtype=np.bool_)
    earlier, later = row[:-1][same], row[1:][same]
    missed = found.frame[later] - found.frame[earlier] - 1
    joins_s = (missed[missed > gap_frames] + 1) * interval_s
    earlier, later, missed = (v[missed <= gap_frames] for v in (earlier, later, missed))
    distance = np.hypot(found.z_mm[later] - found.z_mm[earlier], found.x_mm[later] - found.x_mm[earlier])
    reach = tracks.trackable_speed_mm_per_s * interval_s
    counts = np.histogram(distance / (missed + 1), bins=BINS, range=(0.0, reach))[0]
    gaps = np.bincount(missed, minlength=gap_frames + 1)
    return LinkingGates(counts.astype(np.int64), reach, gaps.astype(np.int64), joins_s)
