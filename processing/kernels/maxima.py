"""Matched filter and local maxima of one frame.

The filter answers the amplitude that a PSF centred on the pixel would have over an unknown constant background: weights
(g - c box) / (sum g^2 - (sum g)^2 / n), where the box is twice as wide as the PSF's window (n pixels, c = sum g / n).
In the window of the PSF itself a fifth of the detection power would go into the background (docs/super-resolution.md).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.kernels.jit import in_blocks, jit

BLOCK_FRAMES = 16
"""Frames that a thread takes at a time."""


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
def filter_weights(
    taps_z: NDArray[np.float32], taps_x: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """taps_z times the gain of the filter of its row, (z, 2 half_z + 1), and the gain of its box, (z,), float32."""
    rows, half_z, half_x = len(taps_z), taps_z.shape[1] // 2, taps_x.shape[1] // 2
    scaled, box = np.empty((rows, 2 * half_z + 1), dtype=np.float32), np.empty(rows, dtype=np.float32)
    pixels = np.float32((4 * half_z + 1) * (4 * half_x + 1))
    for i in range(rows):
        sum_z, square_z, sum_x, square_x = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for k in range(2 * half_z + 1):
            sum_z += taps_z[i, k]
            square_z += taps_z[i, k] * taps_z[i, k]
        for k in range(2 * half_x + 1):
            sum_x += taps_x[i, k]
            square_x += taps_x[i, k] * taps_x[i, k]
        mean = sum_z * sum_x / pixels
        gain = np.float32(1) / (square_z * square_x - pixels * mean * mean)
        box[i] = mean * gain
        for k in range(2 * half_z + 1):
            scaled[i, k] = taps_z[i, k] * gain
    return scaled, box


@jit
def blur(
    out: NDArray[np.float32],
    to: int,
    flat: NDArray[np.float32],
    centre: int,
    step: int,
    taps: NDArray[np.float32],
    width: int,
) -> None:
    """out[to + j] = sum over |k| <= half of taps[half + k] * flat[centre + j + k * step], the taps being symmetric.

    Three pairs a pass: what a pass costs are its loads and stores, and a third of the passes needs a third of them.
    """
    half = len(taps) // 2
    middle, at, first, columns = taps[half], np.uint64(centre), np.uint64(to), np.uint64(width)
    for k in range(half, 0, -3):
        # Pairs that are not there weigh 0 and read where the first one did.
        second, third = max(k - 1, 1), max(k - 2, 1)
        a = taps[half - k]
        b = taps[half - second] if k > 1 else np.float32(0)
        c = taps[half - third] if k > 2 else np.float32(0)
        low_a, high_a = np.uint64(centre - k * step), np.uint64(centre + k * step)
        low_b, high_b = np.uint64(centre - second * step), np.uint64(centre + second * step)
        low_c, high_c = np.uint64(centre - third * step), np.uint64(centre + third * step)
        if k == half:
            for j in range(columns):
                pairs = a * (flat[low_a + j] + flat[high_a + j]) + b * (flat[low_b + j] + flat[high_b + j])
                out[first + j] = middle * flat[at + j] + pairs + c * (flat[low_c + j] + flat[high_c + j])
        else:
            for j in range(columns):
                pairs = a * (flat[low_a + j] + flat[high_a + j]) + b * (flat[low_b + j] + flat[high_b + j])
                out[first + j] += pairs + c * (flat[low_c + j] + flat[high_c + j])


@jit
def take_row(line: NDArray[np.float32], flat: NDArray[np.float32], start: int, edge: int) -> None:
    """Copy a row to flat[start + edge:] and mirror `edge` pixels on either side."""
    columns = len(line)
    first = np.uint64(start + edge)
    for j in range(np.uint64(columns)):
        flat[first + j] = line[j]
    for k in range(1, edge + 1):
        flat[start + edge - k] = line[mirrored(-k, columns)]
        flat[start + edge + columns - 1 + k] = line[mirrored(columns - 1 + k, columns)]


@jit
def subtract_box(
    flat: NDArray[np.float32], sums: int, group: int, half: int, reach: int, answer: NDArray[np.float32], gain: float
) -> None:
    """answer[j] -= gain * the sum of 4 half + 1 of flat[sums:] from j on: four groups of half columns and one."""
    s, g, columns = np.uint64(sums), np.uint64(group), np.uint64(reach - half)
    s1, s2 = np.uint64(sums + 1), np.uint64(sums + min(2, half - 1))
    present = np.float32(1) if half > 2 else np.float32(0)
    for j in range(columns):
        flat[g + j] = flat[s + j] + flat[s1 + j] + present * flat[s2 + j]
    for k in range(3, half):
        sk = np.uint64(sums + k)
        for j in range(columns):
            flat[g + j] += flat[sk + j]
    g1, g2, g3 = np.uint64(group + half), np.uint64(group + 2 * half), np.uint64(group + 3 * half)
    one, scale = np.uint64(sums + 4 * half), np.float32(gain)
    for j in range(np.uint64(len(answer))):
        answer[j] -= scale * (flat[g + j] + flat[g1 + j] + flat[g2 + j] + flat[g3 + j] + flat[one + j])


@jit
def matched_filter(
    frame: NDArray[np.float32],
    scaled_z: NDArray[np.float32],
    taps_x: NDArray[np.float32],
    box: NDArray[np.float32],
    scratch: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None:
    """Fill `out` (z, padded_width(x)); columns beyond the frame's carry nothing of use.

    taps_x: (z, 2 half + 1) taps of each row's PSF, whose width varies with depth. scaled_z, box: `filter_weights`.
    scratch: `scratch_of`. Edges are mirrored. Rows enter one by one, the answer follows 4 half_z behind, so that what
    it needs is still in the nearest cache. Rows are addressed by unsigned places in the flat array: signed ones
    are tested for being negative at every pixel, and a slice costs as much as the arithmetic of a row.
    """
    rows = len(frame)
    width = out.shape[1]
    half_z, half_x = scaled_z.shape[1] // 2, taps_x.shape[1] // 2
    edge_z, edge_x = 2 * half_z, 2 * half_x
    flat, step = scratch.reshape(-1), scratch.shape[2]
    blurred = scratch.shape[1] * step
    sums, group, reach = blurred + (rows + edge_z) * step, blurred + (rows + edge_z + 1) * step, width + 2 * edge_x
    s, places = np.uint64(sums), np.uint64(reach)
    for j in range(places):
        flat[s + j] = 0
    for entering in range(rows + 2 * edge_z):
        row = mirrored(entering - edge_z, rows)
        take_row(frame[row], flat, entering * step, edge_x)
        if half_z <= entering < rows + 3 * half_z:
            to = blurred + (entering - half_z) * step
            blur(flat, to, flat, entering * step + edge_x, 1, taps_x[row], width)
        new = np.uint64(entering * step)
        if entering > 2 * edge_z:
            old = np.uint64((entering - 2 * edge_z - 1) * step)
            for j in range(places):
                flat[s + j] += flat[new + j] - flat[old + j]
        else:
            for j in range(places):
                flat[s + j] += flat[new + j]
        i = entering - 2 * edge_z
        if i >= 0:
            answer = out[i]
            blur(answer, 0, flat, blurred + (i + half_z) * step, step, scaled_z[i], width)
            subtract_box(flat, sums, group, half_x, reach, answer, box[i])


@jit
def filter_frames(
    frames: NDArray[np.float32],
    taps_z: NDArray[np.float32],
    taps_x: NDArray[np.float32],
    first: int,
    last: int,
    out: NDArray[np.float32],
) -> None:
    """`matched_filter` of frames first to last."""
    rows, columns = frames.shape[1:]
    scaled_z, box = filter_weights(taps_z, taps_x)
    scratch = scratch_of(rows, columns, taps_z.shape[1] // 2, taps_x.shape[1] // 2)
    frame = np.empty((rows, columns), dtype=np.float32)
    wide = np.empty((rows, padded_width(columns)), dtype=np.float32)
    for f in range(first, last):
        copy_frame(frames[f], frame)
        matched_filter(frame, scaled_z, taps_x, box, scratch, wide)
        copy_frame(wide, out[f])


@jit
def copy_frame(source: NDArray[np.float32], target: NDArray[np.float32]) -> None:
    """Fill `target` from the leading columns of `source`. A slice assignment would compile its own error message."""
    for i in range(target.shape[0]):
        for j in range(target.shape[1]):
            target[i, j] = source[i, j]


def matched_filter_stack(
    frames: NDArray[np.float32], taps_z: NDArray[np.float32], taps_x: NDArray[np.float32], out: NDArray[np.float32]
) -> None:
    """`matched_filter` of every frame into `out`, float32 (frame, z, x)."""
    in_blocks(lambda first, last: filter_frames(frames, taps_z, taps_x, first, last, out), len(frames), BLOCK_FRAMES)


@jit
def vertex(before: np.float32, top: np.float32, after: np.float32) -> float:
    """Where the parabola through three samples around a maximum has its top, in samples from the middle one."""
    bend = float(before) - 2.0 * float(top) + float(after)
    return 0.5 * (float(before) - float(after)) / bend if bend < 0.0 else 0.0


@jit
def top_of(filtered: NDArray[np.float32], i: int, j: int) -> float:
    """What the parabolas along both axes through a peak pixel, not at the border, rise to between the pixels."""
    middle, above, below = filtered[i, j], filtered[i - 1, j], filtered[i + 1, j]
    left, right = filtered[i, j - 1], filtered[i, j + 1]
    rise_z = float(above - below) * vertex(above, middle, below)
    rise_x = float(left - right) * vertex(left, middle, right)
    return float(middle) - 0.25 * (rise_z + rise_x)


@jit
def pixel_share(sigmas: NDArray[np.float64]) -> float:
    """What is left of the top of a spot's answer on the nearest pixel, at worst half a pixel away in both axes.

    sigmas: (z, 2). The answer to a Gaussian falls as exp(-d^2 / 4 sigma^2).
    """
    narrowest = 1.0
    for i in range(len(sigmas)):
        inverse = 1.0 / (sigmas[i, 0] * sigmas[i, 0]) + 1.0 / (sigmas[i, 1] * sigmas[i, 1])
        narrowest = min(narrowest, np.exp(-inverse / 16.0))
    return narrowest


@jit
def local_maxima(
    filtered: NDArray[np.float32],
    columns: int,
    lowest: NDArray[np.float32],
    share: float,
    peaks: NDArray[np.int32],
) -> int:
    """Write (row, column) of pixels that top their eight neighbours, `top_of` above the threshold; return how many.

    filtered, lowest: (z, width), of which `columns` count. lowest: `share` of the threshold, what is left of a top that
    high on the nearest pixel at worst. Of equal neighbours the first in reading order wins, so no two peaks touch and
    ceil(z / 2) * ceil(x / 2) rows of `peaks` always suffice. The outermost pixels are no peaks: a spot whose top lies
    there is half outside.
    """
    found = 0
    # One byte a pixel, eight read at once: the comparisons have no branch and run as vectors, and few words hold any.
    flags = np.zeros(padded_width(columns), dtype=np.bool_)
    words = flags.view(np.uint64)
    for i in range(1, filtered.shape[0] - 1):
        line, level, above, below = filtered[i, 1:], lowest[i, 1:], filtered[i - 1, 1:], filtered[i + 1, 1:]
        left, right = filtered[i], filtered[i, 2:]
        for j in range(columns - 2):
            value = line[j]
            flags[j] = (
                (value > level[j])
                & (value > left[j])
                & (value >= right[j])
                & (value > above[j])
                & (value >= below[j])
            )  # fmt: skip
        for word in range((columns + 5) // 8):
            if words[word] == 0:
                continue
            for j in range(8 * word, min(8 * word + 8, columns - 2)):
                value = line[j]
                if (
                    flags[j]
                    and value > filtered[i - 1, j]
                    and value > filtered[i - 1, j + 2]
                    and value >= filtered[i + 1, j]
                    and value >= filtered[i + 1, j + 2]
                    and share * top_of(filtered, i, j + 1) > lowest[i, j + 1]
                ):
                    peaks[found, 0] = i
                    peaks[found, 1] = j + 1
                    found += 1
    return found


@jit
def tops_of(filtered: NDArray[np.float32], peaks: NDArray[np.int32]) -> NDArray[np.float64]:
    """`top_of` each of these peaks (row, column)."""
    tops = np.empty(len(peaks))
    for k in range(len(peaks)):
        tops[k] = top_of(filtered, int(peaks[k, 0]), int(peaks[k, 1]))
    return tops
