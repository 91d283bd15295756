"""Matched filter and local maxima of one frame.

The filter answers the amplitude that a PSF centred on the pixel would have over an unknown constant background: weights
(g - c box) / (sum g^2 - (sum g)^2 / n), where the box is twice as wide as the PSF's window (n pixels, c = sum g / n).
In the window of the PSF itself a fifth of the detection power would go into the background (docs/super-resolution.md).
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from processing.kernels.jit import jit, parallel_jit


@jit
def gaussian_taps(sigma_px: float, half: int) -> NDArray[np.float32]:
    """float32 (2 half + 1,), exp(-k^2 / 2 sigma^2)."""
    taps = np.empty(2 * half + 1, dtype=np.float32)
    for k in range(2 * half + 1):
        taps[k] = np.exp(-((k - half) ** 2) / (2.0 * sigma_px**2))
    return taps


@jit
def padded_width(columns: int) -> int:
    """Row length of working images: whole vectors of 32 floats, because leftover columns cost more than full ones."""
    return (columns + 31) // 32 * 32


@jit
def scratch_of(rows: int, columns: int, half_z: int, half_x: int) -> NDArray[np.float32]:
    """Working memory of `matched_filter`, zeros: (2, z + 4 half_z + 2, padded_width(x) + 4 half_x + 2)."""
    return np.zeros((2, rows + 4 * half_z + 2, padded_width(columns) + 4 * half_x + 2), dtype=np.float32)


@jit
def mirrored(index: int, size: int) -> int:
    """Index of the pixel that stands in for one outside the frame."""
    return min(max(-index if index < 0 else (2 * (size - 1) - index if index >= size else index), 0), size - 1)


@jit
def matched_filter(
    frame: NDArray[np.float32],
    taps_z: NDArray[np.float32],
    taps_x: NDArray[np.float32],
    scratch: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Fill `out` (z, padded_width(x)); columns beyond the frame's carry nothing of use.

    taps_z, taps_x: (z, 2 half + 1) taps of each row's PSF (its width varies with depth). scratch: `scratch_of`.
    Edges are mirrored.
    """
    rows, columns = frame.shape
    width = out.shape[1]
    half_z, half_x = taps_z.shape[1] // 2, taps_x.shape[1] // 2
    edge_z, edge_x = 2 * half_z, 2 * half_x
    padded, blurred = scratch[0], scratch[1]
    for i in range(-edge_z, rows + edge_z):
        line, wide = frame[mirrored(i, rows)], padded[i + edge_z]
        inner = wide[edge_x:]
        for j in range(columns):
            inner[j] = line[j]
        for k in range(1, edge_x + 1):
            wide[edge_x - k] = line[mirrored(-k, columns)]
            wide[edge_x + columns - 1 + k] = line[mirrored(columns - 1 + k, columns)]
    for i in range(-half_z, rows + half_z):
        taps, wide, blur = taps_x[mirrored(i, rows)], padded[i + edge_z], blurred[i + half_z]
        middle, centre = taps[half_x], wide[edge_x:]
        for j in range(width):
            blur[j] = middle * centre[j]
        for k in range(half_x):
            tap, left, right = taps[k], wide[half_x + k :], wide[edge_x + half_x - k :]
            for j in range(width):
                blur[j] += tap * (left[j] + right[j])
    reach = width + 2 * edge_x
    column_sums, group = blurred[rows + 2 * half_z], blurred[rows + 2 * half_z + 1]
    for j in range(reach):
        column_sums[j] = 0
    for i in range(2 * edge_z):
        wide = padded[i]
        for j in range(reach):
            column_sums[j] += wide[j]
    pixels = np.float32((2 * edge_z + 1) * (2 * edge_x + 1))
    for i in range(rows):
        entering = padded[i + 2 * edge_z]
        for j in range(reach):
            column_sums[j] += entering[j]
        # The box of 4 half + 1 columns is four groups of half columns and one.
        for j in range(reach - half_x):
            group[j] = column_sums[j]
        for k in range(1, half_x):
            shifted = column_sums[k:]
            for j in range(reach - half_x):
                group[j] += shifted[j]
        taps = taps_z[i]
        sum_z, square_z, sum_x, square_x = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for k in range(2 * half_z + 1):
            sum_z += taps[k]
            square_z += taps[k] * taps[k]
        for k in range(2 * half_x + 1):
            sum_x += taps_x[i, k]
            square_x += taps_x[i, k] * taps_x[i, k]
        mean = sum_z * sum_x / pixels
        scale = np.float32(1) / (square_z * square_x - pixels * mean * mean)
        offset = mean * scale
        answer = out[i]
        group1, group2, group3, one = (
            group[half_x:],
            group[2 * half_x :],
            group[3 * half_x :],
            column_sums[2 * edge_x :],
        )
        for j in range(width):
            answer[j] = -offset * (group[j] + group1[j] + group2[j] + group3[j] + one[j])
        middle, blur = taps[half_z] * scale, blurred[i + half_z]
        for j in range(width):
            answer[j] += middle * blur[j]
        for k in range(half_z):
            tap, above, below = taps[k] * scale, blurred[i + k], blurred[i + 2 * half_z - k]
            for j in range(width):
                answer[j] += tap * (above[j] + below[j])
        leaving = padded[i]
        for j in range(reach):
            column_sums[j] -= leaving[j]


@parallel_jit
def matched_filter_stack(
    frames: NDArray[np.float32], taps_z: NDArray[np.float32], taps_x: NDArray[np.float32]
) -> NDArray[np.float32]:
    """`matched_filter` of every frame, float32 (frame, z, x)."""
    count, rows, columns = frames.shape
    half_z, half_x = taps_z.shape[1] // 2, taps_x.shape[1] // 2
    width = padded_width(columns)
    out = np.empty_like(frames)
    for frame in numba.prange(count):
        scratch = scratch_of(rows, columns, half_z, half_x)
        wide = np.empty((rows, width), dtype=np.float32)
        image = frames[frame].copy()
        matched_filter(image, taps_z, taps_x, scratch, wide)
        out[frame] = wide[:, :columns]
    return out


@jit
def local_maxima(
    filtered: NDArray[np.float32], columns: int, threshold: NDArray[np.float32], peaks: NDArray[np.int32]
) -> int:
    """Write (row, column) of pixels above `threshold` that top their eight neighbours; return how many.

    filtered, threshold: (z, width), of which `columns` count. Of equal neighbours the first in reading order wins, so
    no two peaks touch and ceil(z / 2) * ceil(x / 2) rows of `peaks` always suffice. The outermost pixels are no peaks:
    a spot whose top lies there is half outside.
    """
    found = 0
    for i in range(1, filtered.shape[0] - 1):
        line, level, above, below = filtered[i], threshold[i], filtered[i - 1], filtered[i + 1]
        for j in range(1, columns - 1):
            value = line[j]
            if value > level[j]:
                if value > line[j - 1] and value >= line[j + 1] and value > above[j] and value >= below[j]:
                    if (
                        value > above[j - 1]
                        and value > above[j + 1]
                        and value >= below[j - 1]
                        and value >= below[j + 1]
                    ):
                        peaks[found, 0] = i
                        peaks[found, 1] = j
                        found += 1
    return found
