"""Detection and Gaussian fit of all spots of a stack, frame by frame.

Each frame writes its own rows, so the answer does not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from processing.kernels.crowding import charge_neighbours
from processing.kernels.gauss_newton import (
    AMPLITUDE,
    COLUMNS,
    MOVED,
    OVERLAP,
    PEAK_X,
    PEAK_Z,
    SCORE,
    Workspace,
    X,
    Z,
    add_spot,
    fit_spot,
    judge_spot,
    workspace_of,
)
from processing.kernels.jit import jit
from processing.kernels.maxima import (
    copy_frame,
    filter_weights,
    local_maxima,
    matched_filter,
    pixel_share,
    scratch_of,
    vertex,
)
from processing.kernels.rician import refit_rician

STEPS = 8
"""Gauss-Newton steps at most; from a pixel peak three suffice at 20 dB.

Passed as np.int64: a bare constant would compile the called kernel once for each value."""
SWEEP_STEPS = 2
OVERLAP_REACH = 2.5
"""Beyond, a neighbour leaves less than 0.044 of its peak on the nearest pixel of the window."""
SETTLED = 0.005
"""A spot rests while neither it nor a neighbour moves by more than this share of the PSF width, a seventh of the bound
at 30 dB."""
SAME_SPOT = 0.6
"""Two fits closer than this share of the PSF width have run into one spot."""


@jit
def fit_peaks(
    image: NDArray[np.float32],
    sigmas: NDArray[np.float64],
    halves: tuple[int, int],
    filtered: NDArray[np.float32],
    peaks: NDArray[np.int32],
    found: int,
    spots: NDArray[np.float64],
    count: int,
    work: Workspace,
) -> int:
    """Fit a spot at each peak and append those that converge to the first `count` rows; return the new count.

    A fit starts at the top of the parabolas through the filter's answer, within a twentieth of a pixel of its end.
    """
    for k in range(found):
        if count == spots.shape[0]:
            break
        i, j = int(peaks[k, 0]), int(peaks[k, 1])
        spot = spots[count]
        spot[Z] = i + vertex(filtered[i - 1, j], filtered[i, j], filtered[i + 1, j])
        spot[X] = j + vertex(filtered[i, j - 1], filtered[i, j], filtered[i, j + 1])
        spot[PEAK_Z], spot[PEAK_X], spot[OVERLAP], spot[MOVED] = i, j, 0.0, 1.0
        if fit_spot(image, sigmas[i, 0], sigmas[i, 1], halves[0], halves[1], np.int64(STEPS), spot, work):
            count += 1
    return count


@jit
def reaches(
    spot: NDArray[np.float64], other: NDArray[np.float64], sigma_z: float, sigma_x: float, halves: tuple[int, int]
) -> bool:
    """Whether the light of `other` reaches into the window of `spot`: nearer to it than OVERLAP_REACH widths."""
    u = max(abs(other[Z] - spot[Z]) - halves[0], 0.0) / sigma_z
    v = max(abs(other[X] - spot[X]) - halves[1], 0.0) / sigma_x
    return bool(u * u + v * v < OVERLAP_REACH * OVERLAP_REACH)


@jit
def mark_overlaps(spots: NDArray[np.float64], count: int, sigmas: NDArray[np.float64], halves: tuple[int, int]) -> bool:
    """Mark spots that have neighbours; whether there are any."""
    some = False
    for k in range(count):
        spots[k, OVERLAP] = 0.0
    for k in range(count):
        row = int(spots[k, PEAK_Z])
        for m in range(k + 1, count):
            if reaches(spots[k], spots[m], sigmas[row, 0], sigmas[row, 1], halves):
                spots[k, OVERLAP] = 1.0
                spots[m, OVERLAP] = 1.0
                some = True
    return some


@jit
def stirred(
    spots: NDArray[np.float64], count: int, k: int, sigma_z: float, sigma_x: float, halves: tuple[int, int]
) -> bool:
    """Whether a spot or a neighbour has moved since it was last refitted."""
    if spots[k, MOVED] >= SETTLED:
        return True
    for m in range(count):
        moved = spots[m, MOVED] >= SETTLED and spots[m, OVERLAP] > 0.0
        if moved and reaches(spots[k], spots[m], sigma_z, sigma_x, halves):
            return True
    return False


@jit
def wake_neighbours(
    spots: NDArray[np.float64], count: int, k: int, sigma_z: float, sigma_x: float, halves: tuple[int, int]
) -> None:
    """Have the neighbours of a spot that goes refitted."""
    for m in range(count):
        if reaches(spots[k], spots[m], sigma_z, sigma_x, halves):
            spots[m, MOVED] = 1.0


@jit
def drop_spots(spots: NDArray[np.float64], count: int) -> int:
    """Close the gaps left by spots of amplitude 0."""
    kept = 0
    for k in range(count):
        if spots[k, AMPLITUDE] > 0.0:
            if kept < k:
                for column in range(spots.shape[1]):
                    spots[kept, column] = spots[k, column]
            kept += 1
    return kept


@jit
def merge_spots(
    residual: NDArray[np.float32],
    sigmas: NDArray[np.float64],
    spots: NDArray[np.float64],
    count: int,
    work: Workspace,
) -> int:
    """Of two fits that ran into one place give the weaker one's light back to `residual` and drop it."""
    for k in range(count):
        row = int(spots[k, PEAK_Z])
        for m in range(count):
            if m == k or not spots[m, AMPLITUDE] > 0.0:
                continue
            weaker = spots[m, AMPLITUDE] > spots[k, AMPLITUDE] or (spots[m, AMPLITUDE] == spots[k, AMPLITUDE] and m < k)
            dz, dx = (spots[m, Z] - spots[k, Z]) / sigmas[row, 0], (spots[m, X] - spots[k, X]) / sigmas[row, 1]
            if weaker and dz * dz + dx * dx < SAME_SPOT * SAME_SPOT:
                add_spot(residual, spots[k], 1.0, sigmas[row, 0], sigmas[row, 1], work)
                spots[k, AMPLITUDE] = 0.0
                spots[m, MOVED] = 1.0
                break
    return drop_spots(spots, count)


@jit
def sweep(
    residual: NDArray[np.float32],
    sigmas: NDArray[np.float64],
    halves: tuple[int, int],
    sweeps: int,
    spots: NDArray[np.float64],
    count: int,
    work: Workspace,
) -> None:
    """Refit every overlapping spot on the residual plus its own light: Gauss-Seidel, at most `sweeps` passes.

    Each group of spots ends as it settles: one that does not would otherwise have all of the frame refitted.
    """
    for _ in range(sweeps):
        resting = True
        for k in range(count):
            if not (spots[k, OVERLAP] > 0.0 and spots[k, AMPLITUDE] > 0.0):
                continue
            row = int(spots[k, PEAK_Z])
            sigma_z, sigma_x = sigmas[row, 0], sigmas[row, 1]
            if not stirred(spots, count, k, sigma_z, sigma_x, halves):
                continue
            resting = False
            z, x = spots[k, Z], spots[k, X]
            add_spot(residual, spots[k], 1.0, sigma_z, sigma_x, work)
            if fit_spot(residual, sigma_z, sigma_x, halves[0], halves[1], np.int64(SWEEP_STEPS), spots[k], work):
                add_spot(residual, spots[k], -1.0, sigma_z, sigma_x, work)
                spots[k, MOVED] = max(abs(spots[k, Z] - z) / sigma_z, abs(spots[k, X] - x) / sigma_x)
            else:
                wake_neighbours(spots, count, k, sigma_z, sigma_x, halves)
                spots[k, AMPLITUDE], spots[k, MOVED] = 0.0, 0.0
        if resting:
            break


@jit
def judge(
    frame: NDArray[np.float32],
    residual: NDArray[np.float32],
    sigmas: NDArray[np.float64],
    halves: tuple[int, int],
    spots: NDArray[np.float64],
    count: int,
    work: Workspace,
) -> None:
    """Judge each spot on the frame, or on the residual plus its own light where neighbours were subtracted."""
    for k in range(count):
        row = int(spots[k, PEAK_Z])
        sigma_z, sigma_x = sigmas[row, 0], sigmas[row, 1]
        if spots[k, OVERLAP] > 0.0:
            add_spot(residual, spots[k], 1.0, sigma_z, sigma_x, work)
            judge_spot(residual, sigma_z, sigma_x, halves[0], halves[1], spots[k], work)
            add_spot(residual, spots[k], -1.0, sigma_z, sigma_x, work)
        else:
            judge_spot(frame, sigma_z, sigma_x, halves[0], halves[1], spots[k], work)
    charge_neighbours(spots, count, sigmas, False)


@jit
def keep_scored(
    residual: NDArray[np.float32],
    sigmas: NDArray[np.float64],
    halves: tuple[int, int],
    spots: NDArray[np.float64],
    count: int,
    score: float,
    work: Workspace,
) -> int:
    """Drop spots below `score` (also NaN) or outside the frame; their light goes back to `residual`."""
    rows, columns = residual.shape
    for k in range(count):
        inside = -0.5 <= spots[k, Z] <= rows - 0.5 and -0.5 <= spots[k, X] <= columns - 0.5
        if not (inside and spots[k, SCORE] >= score):
            row = int(spots[k, PEAK_Z])
            add_spot(residual, spots[k], 1.0, sigmas[row, 0], sigmas[row, 1], work)
            wake_neighbours(spots, count, k, sigmas[row, 0], sigmas[row, 1], halves)
            spots[k, AMPLITUDE] = 0.0
    return drop_spots(spots, count)


@jit
def part_overlaps(
    frame: NDArray[np.float32],
    residual: NDArray[np.float32],
    sigmas: NDArray[np.float64],
    halves: tuple[int, int],
    sweeps: int,
    score: float,
    peaks: NDArray[np.int32],
    spots: NDArray[np.float64],
    count: int,
    work: Workspace,
    lowest: NDArray[np.float32],
    share: float,
    scaled_z: NDArray[np.float32],
    taps_x: NDArray[np.float32],
    box: NDArray[np.float32],
    scratch: NDArray[np.float32],
    filtered: NDArray[np.float32],
) -> int:
    """Sweep, search what is left for spots that their neighbours hid, sweep again, drop what does not stand.

    The light of every spot is out of `residual`, also of those that stand alone and are not swept.
    """
    copy_frame(frame, residual)
    before = 0
    for search in range(2):
        for k in range(before, count):
            row = int(spots[k, PEAK_Z])
            add_spot(residual, spots[k], -1.0, sigmas[row, 0], sigmas[row, 1], work)
        mark_overlaps(spots, count, sigmas, halves)
        sweep(residual, sigmas, halves, sweeps, spots, count, work)
        count = merge_spots(residual, sigmas, spots, drop_spots(spots, count), work)
        if search == 0:
            matched_filter(residual, scaled_z, taps_x, box, scratch, filtered)
            found = local_maxima(filtered, frame.shape[1], lowest, share, peaks)
            before = count
            count = fit_peaks(residual, sigmas, halves, filtered, peaks, found, spots, count, work)
    judge(frame, residual, sigmas, halves, spots, count, work)
    kept = keep_scored(residual, sigmas, halves, spots, count, score, work)
    if kept < count:
        sweep(residual, sigmas, halves, sweeps, spots, kept, work)
        kept = drop_spots(spots, kept)
        mark_overlaps(spots, kept, sigmas, halves)
        judge(frame, residual, sigmas, halves, spots, kept, work)
        kept = keep_scored(residual, sigmas, halves, spots, kept, score, work)
    # Once, at the end: a spot that is judged twice without being fitted in between would be charged twice.
    charge_neighbours(spots, kept, sigmas, True)
    return kept


@jit
def subtract_spots(
    frames: NDArray[np.float32], spots: NDArray[np.float64], sigmas: NDArray[np.float64], halves: tuple[int, int]
) -> None:
    """Take the light of spots (spot, COLUMNS and their frame behind) out of frames (frame, z, x)."""
    work = workspace_of(halves[0], halves[1])
    for k in range(len(spots)):
        row = int(spots[k, PEAK_Z])
        add_spot(frames[int(spots[k, COLUMNS])], spots[k], -1.0, sigmas[row, 0], sigmas[row, 1], work)


@jit
def finite_row(filtered: NDArray[np.float32], row: int, columns: int) -> bool:
    """Whether a row of the filter's answer is finite. The last one shows every pixel of its frame: what enters the
    running sums of `matched_filter` leaves as NaN if it came as NaN or infinity."""
    worst = np.float32(0)
    for j in range(columns):
        worst += abs(filtered[row, j])
    return bool(np.isfinite(worst))


@jit
def localize_frames(
    frames: NDArray[np.float32],
    first: int,
    last: int,
    thresholds: NDArray[np.float32],
    sigmas: NDArray[np.float64],
    taps_z: NDArray[np.float32],
    taps_x: NDArray[np.float32],
    sweeps: int,
    score: float,
    rician: float,
    rice: NDArray[np.float64],
    spots: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    """Fill spots (frame, capacity, COLUMNS) and counts (frame,) of frames first to last; -1 where one is not finite.

    thresholds: (z, padded_width) on the matched filter's answer. sigmas: (z, 2) PSF width of each row. score: see
    SCORE; spots below are dropped. sweeps: Gauss-Seidel passes over frames in which spots overlap, 0 = none.
    rician: noise of one part where the frames are magnitudes, 0 = Gaussian noise; rice: table of `refit_rician`.
    """
    rows, columns = frames.shape[1:]
    halves = (taps_z.shape[1] // 2, taps_x.shape[1] // 2)
    scaled_z, box = filter_weights(taps_z, taps_x)
    scratch = scratch_of(rows, columns, halves[0], halves[1])
    filtered = np.empty((rows, thresholds.shape[1]), dtype=np.float32)
    frame = np.empty((rows, columns), dtype=np.float32)
    residual = np.empty((rows, columns), dtype=np.float32)
    peaks = np.empty((((rows + 1) // 2) * ((columns + 1) // 2), 2), dtype=np.int32)
    work = workspace_of(halves[0], halves[1])
    share = pixel_share(sigmas)
    lowest = np.empty(thresholds.shape, dtype=np.float32)
    for i in range(rows):
        for j in range(thresholds.shape[1]):
            lowest[i, j] = np.float32(share) * thresholds[i, j]
    for f in range(first, last):
        # Read-only input would compile every inner kernel a second time: they all see this writable copy.
        copy_frame(frames[f], frame)
        matched_filter(frame, scaled_z, taps_x, box, scratch, filtered)
        if not finite_row(filtered, rows - 1, columns):
            counts[f] = -1
            continue
        found = local_maxima(filtered, columns, lowest, share, peaks)
        # From the array: a bare 0 would compile the kernel once more.
        counts[f] = 0
        kept = fit_peaks(frame, sigmas, halves, filtered, peaks, found, spots[f], counts[f], work)
        if sweeps > 0 and mark_overlaps(spots[f], kept, sigmas, halves):
            kept = part_overlaps(
                frame, residual, sigmas, halves, sweeps, score, peaks, spots[f], kept, work, lowest, share, scaled_z,
                taps_x, box, scratch, filtered,
            )  # fmt: skip
        else:
            judge(frame, residual, sigmas, halves, spots[f], kept, work)
            kept = keep_scored(residual, sigmas, halves, spots[f], kept, score, work)
        if rician > 0.0:
            for k in range(kept):
                if not spots[f, k, OVERLAP] > 0.0:
                    row = int(spots[f, k, PEAK_Z])
                    refit_rician(
                        frame, sigmas[row, 0], sigmas[row, 1], halves[0], halves[1], rician, rice, spots[f, k], work
                    )
        counts[f] = kept
