"""Walk tracks over a fine grid, note every pixel once a track, and sum over pixels what tracks bring there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.kernels.jit import jit


@jit
def trace_tracks(
    starts: NDArray[np.int64],
    z: NDArray[np.float64],
    x: NDArray[np.float64],
    stamp: NDArray[np.int64],
    rows: NDArray[np.int64],
    tracks: NDArray[np.int64],
    pixels: NDArray[np.int64],
) -> int:
    """Note (track, pixel, nearest row of the track) of each pixel that a track enters; return how many.

    z, x: positions in pixels of the grid. stamp: int64 (z, x), -1 everywhere, written. The outputs are filled as long
    as they have room; a return beyond their length asks for more. Between two points the path is straight, walked in
    steps of at most half a pixel.
    """
    height, width = stamp.shape
    found = 0
    for track in range(len(starts) - 1):
        for row in range(starts[track], starts[track + 1]):
            final = row + 1 == starts[track + 1]
            dz, dx = (0.0, 0.0) if final else (z[row + 1] - z[row], x[row + 1] - x[row])
            steps = 1 if final else max(int(np.ceil(2.0 * max(abs(dz), abs(dx)))), 1)
            for step in range(steps):
                part = step / steps
                i, j = int(np.floor(z[row] + part * dz + 0.5)), int(np.floor(x[row] + part * dx + 0.5))
                if i < 0 or j < 0 or i >= height or j >= width or stamp[i, j] == track:
                    continue
                stamp[i, j] = track
                if found < len(pixels):
                    rows[found] = row if part < 0.5 else row + 1
                    tracks[found] = track
                    pixels[found] = i * width + j
                found += 1
    return found


@jit
def sum_over_pixels(
    pixel: NDArray[np.int64],
    track: NDArray[np.int64],
    direction: NDArray[np.int64],
    weight: NDArray[np.float64],
    speed: NDArray[np.float64],
    unit_z: NDArray[np.float64],
    unit_x: NDArray[np.float64],
    sums: NDArray[np.float64],
    directions: NDArray[np.float64],
) -> None:
    """Add weight, speed and unit vector of each visit to its pixel's row of `sums` (pixel, 4), weighted by its track.

    direction: bin of each visit; its weight is added to that one of `directions`. Both outputs begin at zero.
    """
    for k in range(len(pixel)):
        w, p = weight[track[k]], pixel[k]
        sums[p, 0] += w
        sums[p, 1] += w * speed[k]
        sums[p, 2] += w * unit_z[k]
        sums[p, 3] += w * unit_x[k]
        directions[direction[k]] += w
