"""The assignment against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from processing.kernels.assignment import assign


@pytest.mark.parametrize("seed", range(20))
def test_gain_is_as_large_as_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = int(rng.integers(1, 7)), int(rng.integers(1, 7))
    gain = rng.normal(0.5, 1.0, (rows, columns))
    gain[rng.random((rows, columns)) < 0.3] = -np.inf
    chosen = np.empty(rows, dtype=np.int64)
    assign(gain, rows, columns, chosen)
    # scipy must assign everything: forbidden and losing pairs become free ones, as "unassigned" is free here.
    free = np.maximum(np.where(np.isfinite(gain), gain, 0.0), 0.0)
    best = free[linear_sum_assignment(-free)].sum()
    taken = chosen[chosen >= 0]
    assert len(set(taken.tolist())) == len(taken)
    assert gain[np.flatnonzero(chosen >= 0), taken].sum() == pytest.approx(best, abs=1e-12)


def test_ties_go_to_the_lower_index() -> None:
    chosen = np.empty(2, dtype=np.int64)
    assign(np.ones((2, 2)), 2, 2, chosen)
    assert chosen.tolist() == [0, 1]


def test_a_loss_is_never_taken() -> None:
    chosen = np.empty(2, dtype=np.int64)
    assign(np.array([[-1.0, 0.0], [-np.inf, -2.0]]), 2, 2, chosen)
    assert chosen.tolist() == [-1, -1]
