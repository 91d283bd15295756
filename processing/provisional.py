"""Maps while a loop still arrives: blocks of the panel in, provisional density and speed out.

They are for the eye and for patience only: motion is not corrected, no ROI is known, overlaps are not parted, and the
final maps come from the whole loop (`processing.super_resolution`). Memory: one block of frames, and what was found.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from processing.bubble_loop import BubbleParameters, joined, without_hope
from processing.bubbles import FlowMaps, Localizations, no_localizations
from processing.cine import Spacing
from processing.clutter import filter_block
from processing.localize import calibrate, localize
from processing.super_resolution_maps import flow_maps, grid_over, visits_of
from processing.track import TrackingParameters, track


@dataclass(frozen=True, eq=False)
class ArrivingPanel:
    """What is known before the first frame. valid: bool (z, x), pixels that show echoes."""

    valid: NDArray[np.bool_]
    spacing_mm: Spacing
    frame_rate_hz: float
    floor_au: float


@dataclass(frozen=True)
class ProvisionalParameters:
    """block_frames: clutter and noise are measured on so many, fewer of a large panel (`block_bytes`), never below
    `fewest_frames`. sample_frames: PSF and threshold from so many of them. map_pixel_mm: four times the final map's.
    """

    block_frames: int = 150
    block_bytes: int = 64_000_000
    fewest_frames: int = 32
    sample_frames: int = 24
    map_pixel_mm: float = 0.1
    bubbles: BubbleParameters = field(default_factory=BubbleParameters)
    tracking: TrackingParameters = field(default_factory=TrackingParameters)


class ArrivingBubbles:
    """Localizes a panel as it comes. `take` blocks of any length, in order; `maps` at any time."""

    def __init__(self, panel: ArrivingPanel, parameters: ProvisionalParameters | None = None) -> None:
        self._panel = panel
        self._parameters = parameters or ProvisionalParameters()
        p, frame_bytes = self._parameters, 4 * panel.valid.size
        frames = min(p.block_frames, max(p.block_bytes // frame_bytes, p.fewest_frames))
        self._block = np.empty((frames, *panel.valid.shape), np.float32)
        self._filled = 0
        self._frames_done = 0
        self._found = no_localizations()

    @property
    def frames_done(self) -> int:
        """Frames that were localized or passed over."""
        return self._frames_done

    @property
    def localizations(self) -> Localizations:
        """All so far, frames counted from the first one taken."""
        return self._found

    def take(self, power: NDArray[np.float32], *, in_time: bool = True) -> bool:
        """Take linear power (frame, z, x), finite; say whether a block was localized.

        in_time: False passes over a block that is full now, where looking at it would hold up what decodes.
        """
        localized = False
        while len(power):
            room = min(len(self._block) - self._filled, len(power))
            self._block[self._filled : self._filled + room] = power[:room]
            self._filled += room
            power = power[room:]
            if self._filled == len(self._block):
                if in_time:
                    self._localize()
                    localized = True
                self._frames_done += self._filled
                self._filled = 0
        return localized

    def maps(self) -> FlowMaps:
        """Density and speed of what was localized so far; empty before the first block."""
        panel, rows = self._panel, self._panel.valid.shape
        times = np.arange(max(self._frames_done, 2)) / panel.frame_rate_hz
        area = max(float(panel.valid.sum()), 1.0) * panel.spacing_mm.z_mm * panel.spacing_mm.x_mm
        tracks = track(self._found, times, area, self._parameters.tracking)
        grid = grid_over((rows[0], rows[1]), panel.spacing_mm, self._parameters.map_pixel_mm)
        return flow_maps(tracks, visits_of(tracks, grid), grid)

    def _localize(self) -> None:
        panel, chosen = self._panel, self._parameters.bubbles
        np.sqrt(np.maximum(self._block, 0), out=self._block)
        self._block[:, ~panel.valid] = np.sqrt(panel.floor_au)
        block, _ = filter_block(self._block, panel.frame_rate_hz, chosen.clutter)
        quick = replace(chosen.localization, sweeps=0, sample_frames=self._parameters.sample_frames)
        calibration = calibrate(block, quick, float(np.sqrt(panel.floor_au)))
        if calibration.spread.spots and np.isnan(without_hope(calibration, chosen)):
            here = localize(block, panel.spacing_mm, calibration, quick, self._frames_done)
            self._found = joined([self._found, here])
