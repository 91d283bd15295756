"""Maps while frames still decode: what single bubbles show so far, for whoever waits.

For the eye only: the findings come from the whole loop. A block that would hold up decoding is passed over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.cine_reader import CineFile
from processing.bubbles import FlowMaps
from processing.colour_maps import family
from processing.intake import Examination, linear_levels
from processing.provisional import ArrivingBubbles, ArrivingPanel
from processing.suitability import SuitabilityParameters

SHARE = 0.2
"""Of the time since the first frame that may go into provisional maps: a loop takes a quarter longer at most to decode,
and decoding is the smaller part of a job."""
GAP_PX = 4


@dataclass(frozen=True)
class Audience:
    """Who is told: words and the share of the frames that have come (0 to 1), and the maps so far."""

    words: Callable[[str, float], None]
    maps: Callable[[FlowMaps], None]


class ArrivingMaps:
    """Takes the linear panel as it is decoded and tells after each block that was looked at."""

    def __init__(self, panel: ArrivingPanel, frames: int, audience: Audience) -> None:
        self._bubbles = ArrivingBubbles(panel)
        self._frames = frames
        self._audience = audience
        self._began_s = time.monotonic()
        self._spent_s = 0.0

    def take(self, power: NDArray[np.float32]) -> None:
        """The next frames (frame, z, x), in order."""
        now_s = time.monotonic()
        if self._bubbles.take(power, in_time=self._spent_s <= SHARE * (now_s - self._began_s)):
            self._tell()
        self._spent_s += time.monotonic() - now_s

    def _tell(self) -> None:
        done, found = self._bubbles.frames_done, len(self._bubbles.localizations)
        rate = done / max(time.monotonic() - self._began_s, 1e-3)
        words = f"{done} of {self._frames} frames, {found} bubbles so far, {rate:.0f} frames/s"
        self._audience.words(words, done / self._frames)
        if found:
            self._audience.maps(self._bubbles.maps())


def arriving_maps(source: CineFile, examination: Examination, audience: Audience) -> ArrivingMaps | None:
    """None where the description of the cine alone forbids super-resolution."""
    times, least, spacing = source.description.frame_times_s, SuitabilityParameters(), examination.spacing_mm
    if spacing is None or len(times) < least.fewest_frames:
        return None
    rate_hz = 1 / float(np.median(np.diff(times)))
    if rate_hz < least.lowest_rate_hz:
        return None
    panel = ArrivingPanel(~examination.furniture, spacing, rate_hz, float(linear_levels(examination)[0]))
    return ArrivingMaps(panel, source.description.frames, audience)


def drawn(maps: FlowMaps) -> NDArray[np.uint8]:
    """Density (logarithmic) beside mean speed (to its 99th percentile), uint8 (z, x, 3); black where no track ran."""
    crossed = maps.density > 0
    fastest = float(np.percentile(maps.speed_mm_per_s[crossed], 99)) if crossed.any() else 1.0
    density = np.log1p(maps.density) / max(float(np.log1p(maps.density.max())), 1e-6)
    speed = np.nan_to_num(maps.speed_mm_per_s) / max(fastest, 1e-6)
    # Colours start at a quarter: the slowest vessel is not black.
    shown = [
        np.where(crossed[..., None], family(name)[(64 + 191 * np.clip(share, 0, 1)).astype(np.uint8)], np.uint8(0))
        for name, share in (("hot", density), ("bone", speed))
    ]
    gap = np.full((len(density), GAP_PX, 3), 64, np.uint8)
    return np.concatenate([shown[0], gap, shown[1]], axis=1).astype(np.uint8)
