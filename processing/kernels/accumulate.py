"""Walk tracks over a fine grid and note every pixel once a track."""

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
