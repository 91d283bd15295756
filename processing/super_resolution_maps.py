"""Maps that tracks draw on a fine grid: density, mean speed, direction, and how sure they are.

`Visits` is the common ground of maps and metrics: one entry for each pixel that a track enters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.bubbles import FlowMaps, Tracks
from processing.cine import Spacing
from processing.frozen_arrays import frozen_array
from processing.kernels.accumulate import trace_tracks

MOST_PIXELS = 4_000_000
"""Of a map: 2,000 x 2,000. A larger panel gets coarser pixels, and its maps say so."""


@dataclass(frozen=True)
class Grid:
    """A fine grid over a panel: first pixel centred on the panel's first, square pixels of `pixel_mm`."""

    rows: int
    columns: int
    pixel_mm: float

    @property
    def size(self) -> int:
        return self.rows * self.columns


def grid_over(panel_px: tuple[int, int], spacing_mm: Spacing, pixel_mm: float) -> Grid:
    """Grid over a panel of so many pixels; the pixel grows where it would hold more than MOST_PIXELS."""
    height, width = panel_px[0] * spacing_mm.z_mm, panel_px[1] * spacing_mm.x_mm
    pixel = max(pixel_mm, float(np.sqrt(height * width / MOST_PIXELS)))
    return Grid(max(int(np.ceil(height / pixel)), 1), max(int(np.ceil(width / pixel)), 1), pixel)


def mask_on_grid(mask: NDArray[np.bool_], spacing_mm: Spacing, grid: Grid) -> NDArray[np.bool_]:
    """A panel mask (z, x) at the centres of the grid's pixels."""
    rows = np.clip(np.round(np.arange(grid.rows) * grid.pixel_mm / spacing_mm.z_mm).astype(int), 0, mask.shape[0] - 1)
    columns = np.clip(
        np.round(np.arange(grid.columns) * grid.pixel_mm / spacing_mm.x_mm).astype(int), 0, mask.shape[1] - 1
    )
    return np.asarray(mask[np.ix_(rows, columns)])


@dataclass(frozen=True, eq=False)
class Visits:
    """Pixels that tracks enter, one entry a track and pixel, int64: flat pixel, track, nearest row of `Tracks`."""

    pixel: NDArray[np.int64]
    track: NDArray[np.int64]
    row: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name in ("pixel", "track", "row"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), np.int64, 1))

    def inside(self, mask: NDArray[np.bool_]) -> Visits:
        """Those on pixels of a mask on the same grid."""
        chosen = mask.reshape(-1)[self.pixel]
        return Visits(self.pixel[chosen], self.track[chosen], self.row[chosen])


def visits_of(tracks: Tracks, grid: Grid) -> Visits:
    """Walk every track over the grid."""
    z, x = tracks.z_mm / grid.pixel_mm, tracks.x_mm / grid.pixel_mm
    room = 8 * len(z) + 1024
    while True:
        stamp = np.full((grid.rows, grid.columns), -1, dtype=np.int64)
        row, track, pixel = (np.empty(room, dtype=np.int64) for _ in range(3))
        found = trace_tracks(tracks.starts, z, x, stamp, row, track, pixel)
        if found <= room:
            return Visits(pixel[:found], track[:found], row[:found])
        room = found


def flow_maps(tracks: Tracks, visits: Visits, grid: Grid) -> FlowMaps:
    """Density, mean speed over tracks with its standard error, direction and its dispersion."""
    speed = tracks.speed_mm_per_s()[visits.row]
    vz, vx = tracks.vz_mm_per_s[visits.row], tracks.vx_mm_per_s[visits.row]
    moving = np.where(speed > 0, speed, 1.0)
    # Hardly a pixel of a fine grid is ever crossed: only those are summed, the others are filled.
    crossed, pixel = np.unique(visits.pixel, return_inverse=True)
    n, total, square, uz, ux = (
        np.bincount(pixel, weights=w, minlength=len(crossed))
        for w in (np.ones_like(speed), speed, speed**2, vz / moving, vx / moving)
    )
    mean = total / n
    spread = np.sqrt(np.maximum(square / n - mean**2, 0) * n / np.where(n > 1, n - 1, np.nan))

    def as_map(values: NDArray[np.number], elsewhere: float = np.nan) -> NDArray[np.float32]:
        drawn = np.full(grid.size, elsewhere, dtype=np.float32)
        drawn[crossed] = values
        return drawn.reshape(grid.rows, grid.columns)

    return FlowMaps(
        density=as_map(n, elsewhere=0.0),
        speed_mm_per_s=as_map(mean),
        direction_rad=as_map(np.arctan2(-uz, ux)),
        dispersion=as_map(1 - np.hypot(uz, ux) / n),
        speed_error_mm_per_s=as_map(spread / np.sqrt(n)),
        pixel_mm=Spacing(grid.pixel_mm, grid.pixel_mm),
    )
