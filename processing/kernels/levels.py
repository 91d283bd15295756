"""From displayed pixels to linear echo power by one table look-up a pixel: no float copy of a frame is ever made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.kernels.jit import jit
from processing.projection import PROJECTION_SHIFT


@jit
def linearise(
    pixels: NDArray[np.uint8],
    weights: NDArray[np.int32],
    power_table: NDArray[np.float32],
    limits: NDArray[np.int32],
    valid: NDArray[np.bool_],
    power: NDArray[np.float32],
    saturated: NDArray[np.uint32],
    frame_sums: NDArray[np.float64],
) -> None:
    """Fill `power` (frame, z, x) from `pixels` (frame, z, x, 1 or 3).

    `limits` = (index at and below which a pixel stands at the floor, index from which it is saturated).
    `saturated` (z, x) counts on; `frame_sums` (frame, 3): power, floor and saturated pixels, valid ones only.
    """
    frames, rows, columns, channels = pixels.shape
    for f in range(frames):
        total, low, high = 0.0, 0, 0
        for z in range(rows):
            for x in range(columns):
                if channels == 1:
                    index = np.int32(pixels[f, z, x, 0]) << 2
                else:
                    index = (
                        weights[0] * np.int32(pixels[f, z, x, 0])
                        + weights[1] * np.int32(pixels[f, z, x, 1])
                        + weights[2] * np.int32(pixels[f, z, x, 2])
                    ) >> PROJECTION_SHIFT
                value = power_table[index]
                power[f, z, x] = value
                if index >= limits[1]:
                    saturated[z, x] += np.uint32(1)
                if valid[z, x]:
                    total += value
                    low += index <= limits[0]
                    high += index >= limits[1]
        frame_sums[f, 0] = total
        frame_sums[f, 1] = low
        frame_sums[f, 2] = high
