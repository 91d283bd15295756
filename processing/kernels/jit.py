"""The one place of numba options.

`error_model="numpy"`: a division by zero gives inf or nan as in numpy instead of raising. No `fastmath`: it assumes
that NaN does not exist, and NaN is how a missing value is marked here. `cache=True` writes to NUMBA_CACHE_DIR, so the
service compiles once an installation. No explicit signatures: they would refuse the read-only arrays of our types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


def jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a single-threaded kernel; the GIL is released while it runs."""
    return cast("Callable[P, R]", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def parallel_jit(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a kernel whose `prange` loops run on numba's threads; only ever called from one thread at a time."""
    return cast("Callable[P, R]", numba.njit(cache=True, nogil=True, error_model="numpy", parallel=True)(function))


def in_blocks(work: Callable[[int, int], None], count: int, block: int) -> None:
    """Call `work(first, last)` for every block of 0 to `count` on as many threads as numba may use.

    For kernels whose items are independent and take long. A `prange` around such a kernel would compile the whole of it
    twice more (10 s for the localizer); kernels release the GIL, so plain threads keep the cores as busy.
    """
    if numba.get_num_threads() == 1:
        work(0, count)
        return
    side_by_side(lambda first: work(first, min(first + block, count)), range(0, count, block))


def side_by_side(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`work` of every item, in order, on as many threads as numba may use.

    For independent work that releases the GIL: kernels, transforms, copies, products of matrices on one BLAS thread
    each. Several BLAS threads would spin while they wait for each other; these wait for nobody.
    """
    threads, every = numba.get_num_threads(), list(items)
    if threads == 1 or len(every) < 2:
        return [work(item) for item in every]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, every))
