"""Clutter filter: what stays or moves slowly is taken out of a block of frames, bubbles stay.

Fast cines: the singular vectors of a block (frame, pixel) come from its Gram matrix, frames x frames: X X' = V S^2 V',
and the K slow ones are subtracted as X - V (V' X); the full decomposition is never formed (Demene et al. 2015 for the
filter). Where motion differs over the panel its tiles are filtered on their own (Song et al. 2017, IEEE TMI 36:2294).
At 10 to 50 Hz a bubble passes a pixel as slowly as tissue moves: a mean, a median or a singular vector would take the
bubbles of a well-filled vessel with it. There the level that a pixel hardly ever falls below is taken out
where it stands out of the panel, and singular vectors only where much does. Memory: one block of frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits

from processing.kernels.jit import side_by_side

PIXELS_AT_ONCE = 4096
"""Pixels whose products are summed in single precision before they are added in double: keeps 60 dB of clutter from
drowning the bubbles' eigenvalues, and the slice in cache."""


@dataclass(frozen=True)
class ClutterParameters:
    """rank None: chosen from the data (`clutter_rank`), at most `largest_share` of the frames.

    tile_px, local_excess: where the panel's vectors leave this many times more power in a slow temporal frequency of a
    tile than in another one (bubbles alone: 7 to 24), the tile is filtered by vectors of its own, if it has any.
    block_frames: an SVD over more frames costs their square and mixes what changed in between. slow_share: a temporal
    vector with most of its power below this share of the frame rate (5 Hz at 500) or two cycles a block is slow.
    excess: how far above the line through the bulk of the eigenvalues (in their logarithm) clutter stands.
    slow_cine_hz: below, the static level is taken out: the quantile `static_quantile` over time (a bubble must be there
    nine tenths of the time to raise it) where it exceeds the typical pixel's by `static_excess` times its scatter;
    more than `static_share` of such pixels call for singular vectors as well. static_frames: the quantile is taken over
    so many frames of a block.
    """

    rank: int | None = None
    block_frames: int = 450
    tile_px: int = 128
    local_excess: float = 10.0
    largest_share: float = 0.1
    slow_share: float = 0.01
    excess: float = 3.0
    slow_cine_hz: float = 50.0
    static_quantile: float = 0.1
    static_excess: float = 6.0
    static_share: float = 0.02
    static_frames: int = 128


def block_starts(frames: int, parameters: ClutterParameters) -> list[int]:
    """First frames of blocks of equal length, at most `block_frames` long, with the end of the last one appended."""
    blocks = max(-(-frames // parameters.block_frames), 1)
    return [round(k * frames / blocks) for k in range(blocks + 1)]


def tile_slices(shape: tuple[int, ...], tile_px: int) -> list[tuple[slice, slice]]:
    """Tiles that cover a panel (z, x) once, as equal as whole pixels allow."""
    cuts = [[round(k * size / n) for k in range(n + 1)] for size, n in ((size, -(-size // tile_px)) for size in shape)]
    return [
        (slice(top, bottom), slice(left, right))
        for top, bottom in pairwise(cuts[0])
        for left, right in pairwise(cuts[1])
    ]


def slices_of(frames: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Views (frame, some z, x) of about PIXELS_AT_ONCE pixels that cover the frames once."""
    rows, columns = frames.shape[1:]
    step = max(PIXELS_AT_ONCE // columns, 1)
    return (frames[:, first : first + step] for first in range(0, rows, step))


def gram_matrix(frames: NDArray[np.float32]) -> NDArray[np.float64]:
    """X X' of (frame, z, x), float64 (frame, frame); symmetric rank-k products a slice at a time."""
    gram = np.zeros((len(frames), len(frames)))
    for part in slices_of(frames):
        flat = part.reshape(len(frames), -1)
        # numpy hands X X' to BLAS as one symmetric product and, other than scipy's wrapper, releases the GIL.
        gram += flat @ flat.T
    return gram


def remove_clutter(
    frames: NDArray[np.float32], parameters: ClutterParameters
) -> tuple[NDArray[np.float32], int, float]:
    """One block (frame, z, x) without its clutter, the largest rank taken out, and the share of the energy.

    Works in place when `frames` is writable. Tiles run side by side, each on one BLAS thread.
    The Gram matrices of tiles add up to that of the panel, so knowing both costs nothing: where the panel's vectors
    leave slow power behind, the tissue of that tile moves differently, and it is filtered by vectors of its own.
    """
    out = frames if frames.flags.writeable else frames.copy()
    if len(out) < 3:
        return out, 0, 0.0
    tiles = tile_slices(out.shape[1:], parameters.tile_px)
    with threadpool_limits(1, user_api="blas"):
        grams = side_by_side(lambda tile: gram_matrix(out[:, tile[0], tile[1]]), tiles)
        panel, taken = clutter_vectors(np.sum(grams, axis=0), parameters)

        def filtered(k: int) -> int:
            """Rank taken out of a tile."""
            vectors = panel
            if parameters.rank is None and slow_power_left(grams[k], panel, parameters) > parameters.local_excess:
                local = clutter_vectors(grams[k], parameters)[0]
                vectors = local if local.shape[1] else panel
            z, x = tiles[k]
            if vectors.shape[1]:
                subtract(out[:, z, x], vectors)
            return int(vectors.shape[1])

        rank = max(side_by_side(filtered, range(len(tiles))))
    return out, max(rank, panel.shape[1]), taken


def clutter_vectors(gram: NDArray[np.float64], parameters: ClutterParameters) -> tuple[NDArray[np.float64], float]:
    """Temporal vectors (frame, rank) of the clutter in a Gram matrix and their share of its energy."""
    values, vectors = eigh(gram, lower=False, driver="evd")
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    rank = clutter_rank(values, vectors, parameters) if parameters.rank is None else parameters.rank
    total = float(values.sum())
    return vectors[:, :rank], float(values[:rank].sum()) / total if total > 0 else 0.0


def slow_power_left(gram: NDArray[np.float64], vectors: NDArray[np.float64], parameters: ClutterParameters) -> float:
    """Power of the slow temporal frequencies that `vectors` leave in a Gram matrix, over that of the others, a mode."""
    count = len(gram)
    cycles = np.arange(int(max(parameters.slow_share * count, 2.0)) + 1)
    phase = 2 * np.pi * np.outer(np.arange(count), cycles) / count
    slow = np.linalg.qr(np.concatenate([np.cos(phase), np.sin(phase[:, 1:])], axis=1))[0]
    left = slow - vectors @ (vectors.T @ slow)
    slow_power = float((left * (gram @ left)).sum())
    every = float(np.trace(gram)) - float((vectors * (gram @ vectors)).sum())
    others = (every - slow_power) / max(count - vectors.shape[1] - slow.shape[1], 1)
    return slow_power / slow.shape[1] / others if others > 0 else 0.0


def subtract(frames: NDArray[np.float32], vectors: NDArray[np.float64]) -> None:
    """X - V (V' X) in place, a slice at a time."""
    v = np.ascontiguousarray(vectors, dtype=np.float32)
    for part in slices_of(frames):
        flat = part.reshape(len(frames), -1)
        np.subtract(part, (v @ (v.T @ flat)).reshape(part.shape), out=part)


def clutter_rank(values: NDArray[np.float64], vectors: NDArray[np.float64], parameters: ClutterParameters) -> int:
    """Leading vectors that are both strong and slow.

    values: eigenvalues, largest first. Strong: log eigenvalue more than `excess` times the scatter above the line
    through the bulk (the middle half of the spectrum), extended to its rank. Slow: more than half its power below
    `slow_share`. Bubbles are strong but fast: each passes a pixel within seconds.
    """
    count = len(values)
    power = values[values > values[0] * 1e-12] if values[0] > 0 else values[:0]
    if len(power) < 8:
        return 0
    log = np.log(power)
    ranks = np.arange(len(power))
    bulk = slice(len(power) // 4, 3 * len(power) // 4)
    slope, offset = np.polyfit(ranks[bulk], log[bulk], 1)
    scatter = max(float(np.std(log[bulk] - offset - slope * ranks[bulk])), 0.1)
    cycles = np.arange(count // 2 + 1)
    slow_cycles = max(parameters.slow_share * count, 2.0)
    most = int(parameters.largest_share * count)
    rank = 0
    while rank < min(most, len(power)):
        spectrum = np.abs(np.fft.rfft(vectors[:, rank])) ** 2
        slow = spectrum[cycles <= slow_cycles].sum() > 0.5 * spectrum.sum()
        if not slow or log[rank] < offset + slope * rank + parameters.excess * scatter:
            break
        rank += 1
    return rank


def remove_static(frames: NDArray[np.float32], parameters: ClutterParameters) -> bool:
    """Take the static level out in place; True where so much of the panel had one that tissue must shine through."""
    count = len(frames)
    chosen = np.unique(np.linspace(0, count - 1, min(parameters.static_frames, count)).round().astype(np.int64))
    rank = int(parameters.static_quantile * len(chosen))
    flat = frames.reshape(count, -1)
    level = np.empty(flat.shape[1], dtype=np.float32)
    for first in range(0, flat.shape[1], PIXELS_AT_ONCE):
        # Quantiles of rows: a pixel's times lie side by side.
        times = np.ascontiguousarray(flat[chosen, first : first + PIXELS_AT_ONCE].T)
        times.partition(rank, axis=1)
        level[first : first + PIXELS_AT_ONCE] = times[:, rank]
    typical = float(np.median(level))
    scatter = 1.4826 * float(np.median(np.abs(level - typical)))
    static = np.flatnonzero(level > typical + parameters.static_excess * scatter)
    flat[:, static] -= level[static] - np.float32(typical)
    return len(static) > parameters.static_share * len(level)


def filter_block(
    frames: NDArray[np.float32], frame_rate_hz: float, parameters: ClutterParameters
) -> tuple[NDArray[np.float32], int]:
    """One block without its clutter, and the number of singular vectors taken out; in place when writable."""
    out = frames if frames.flags.writeable else frames.copy()
    if 0 < frame_rate_hz < parameters.slow_cine_hz and len(out) > 2:
        static = remove_static(out, parameters)
        if not static and parameters.rank is None:
            return out, 0
    out, rank, _ = remove_clutter(out, parameters)
    return out, rank
