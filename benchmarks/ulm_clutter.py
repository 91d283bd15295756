"""The clutter filter against numpy's singular value decomposition and against the product it cannot do without.

1000 frames of 256 x 256 (the size of the published figures) and one block as it is used, 450 frames of 512 x 512. One
BLAS thread everywhere, processor time. The filter's floor is one symmetric product X X' (`syrk`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy.linalg import blas
from threadpoolctl import threadpool_limits

from processing.clutter import ClutterParameters, remove_clutter


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Least processor time of some runs."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)


def scene(frames: int, side: int) -> np.ndarray:
    """Smooth tissue of five slow modes, 40 dB above white noise."""
    rng = np.random.default_rng(1)
    t = np.linspace(0, 1, frames)
    modes = np.stack([t**k for k in range(5)], axis=1) @ (100 * rng.standard_normal((5, side * side)))
    made = modes.astype(np.float32).reshape(frames, side, side)
    made += rng.standard_normal(made.shape, dtype=np.float32)
    return made


def main() -> None:
    with threadpool_limits(1, user_api="blas"):
        for frames, side, with_svd in ((1000, 256, True), (450, 512, False)):
            x = scene(frames, side)
            flat = x.reshape(frames, -1)
            product = seconds(lambda flat=flat: blas.ssyrk(1.0, flat.T, trans=1), 3)
            spent, rank = [], 0
            for _ in range(3):
                copy = x.copy()
                start = time.process_time()
                rank = remove_clutter(copy, ClutterParameters())[1]
                spent.append(time.process_time() - start)
            ours = min(spent)
            print(f"{frames} x {side} x {side}: filter {ours:.2f} s (rank {rank}), syrk {product:.2f} s: ", end="")
            print(f"{ours / product:.2f} x syrk", flush=True)
            if with_svd:
                peer = seconds(lambda flat=flat: np.linalg.svd(flat, full_matrices=False), 1)
                print(f"  np.linalg.svd, thin: {peer:.1f} s; the filter takes {peer / ours:.0f} times less", flush=True)


if __name__ == "__main__":
    main()
