"""The clutter filter against numpy's singular value decomposition and against the product it cannot do without.

1000 frames of 256 x 256 (the size of the published figures) and one block as it is used, 450 frames of 512 x 512. One
thread everywhere, processor time. Two floors: arithmetic, one symmetric product X X' (`syrk`); memory, the block read
for it, then read and written for the subtraction, at the speed of a copy. The decomposition runs once (half a minute).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas
from threadpoolctl import threadpool_limits

from processing.clutter import ClutterParameters, remove_clutter


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one run."""
    start = time.process_time()
    work()
    return time.process_time() - start


def scene(frames: int, side: int) -> NDArray[np.float32]:
    """Smooth tissue of five slow modes, 40 dB above white noise."""
    rng = np.random.default_rng(1)
    t = np.linspace(0, 1, frames)
    modes = np.stack([t**k for k in range(5)], axis=1) @ (100 * rng.standard_normal((5, side * side)))
    made = modes.astype(np.float32).reshape(frames, side, side)
    made += rng.standard_normal(made.shape, dtype=np.float32)
    return made


def main() -> None:
    numba.set_num_threads(1)
    with threadpool_limits(1, user_api="blas"):
        for frames, side, with_svd in ((1000, 256, True), (450, 512, False)):
            x = scene(frames, side)
            flat, work = x.reshape(frames, -1), x.copy()
            ours, product, copy = np.inf, np.inf, np.inf
            # In turn, least of three: what else runs on the machine then meets all of them.
            for _ in range(3):
                copy = min(copy, seconds(lambda x=x, work=work: np.copyto(work, x)))
                ours = min(ours, seconds(lambda work=work: remove_clutter(work, ClutterParameters())))
                product = min(product, seconds(lambda flat=flat: blas.ssyrk(1.0, flat.T, trans=1)))
            print(f"{frames} x {side} x {side}: filter {ours:.2f} s; floors: product {product:.2f} s, ", end="")
            print(f"memory {1.5 * copy:.2f} s; {ours / product:.2f} x the product", flush=True)
            if with_svd:
                peer = seconds(lambda flat=flat: np.linalg.svd(flat, full_matrices=False))
                print(f"  np.linalg.svd, thin: {peer:.1f} s, {peer / ours:.1f} times the filter's", flush=True)


if __name__ == "__main__":
    main()
