"""What joins are weighed with, against densities written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from processing.kernels.joining import agreement, crowding, join_gains, stand_beside


def states(count: int, rng: np.random.Generator) -> np.ndarray:
    """Places, velocities and a covariance that is one."""
    p, v = rng.uniform(0.001, 0.01, (2, count))
    correlation = rng.uniform(-0.9, 0.9, count)
    return np.column_stack([rng.normal(0, 1, (count, 4)), p, correlation * np.sqrt(p * v), v])


def expected_agreement(
    end: np.ndarray, start: np.ndarray, dt: float, diffusion: float, place: float, change: float
) -> float:
    """Density of the beginning's place and velocity as predicted from the end, axis by axis."""
    step = np.array([[1, dt], [0, 1]])
    slack = np.diag([place**2, change**2])
    noise = diffusion * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
    at_end, at_start = (np.array([[s[4], s[5]], [s[5], s[6]]]) + slack for s in (end, start))
    spread = step @ at_end @ step.T + noise + at_start
    return sum(
        multivariate_normal(step @ end[[axis, axis + 2]], spread).logpdf(start[[axis, axis + 2]]) for axis in (0, 1)
    )


@pytest.mark.parametrize("seed", range(5))
def test_agreement_is_the_density_of_what_was_predicted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    end, start = states(2, rng)
    value = agreement(end, start, 0.3, 5.0, 0.1, 0.4)
    assert value == pytest.approx(expected_agreement(end, start, 0.3, 5.0, 0.1, 0.4), rel=1e-9)


def test_crowding_adds_what_all_others_contribute() -> None:
    rng = np.random.default_rng(7)
    state, weight = states(40, rng), rng.uniform(0, 1, 40)
    state = state[np.argsort(state[:, 0])]
    density = np.full(40, 0.5)
    crowding(state, weight, 0.4, 1.5, density)
    for k in range(40):
        parts = [norm(0, s).pdf(state[:, c] - state[k, c]) for c, s in ((0, 0.4), (1, 0.4), (2, 1.5), (3, 1.5))]
        others = (np.prod(parts, axis=0) * weight)[np.arange(40) != k].sum()
        # Beyond five standard deviations nothing is added.
        assert density[k] - 0.5 == pytest.approx(others, abs=1e-4)


def test_only_neighbours_of_the_same_frame_stand_beside_each_other() -> None:
    z, x = np.array([1.0, 1.5, 5.0, 1.1]), np.array([1.0, 1.0, 1.0, 1.0])
    beside = np.empty(4, dtype=np.bool_)
    stand_beside(np.array([0, 3, 4]), z, x, 1.0, 2.0, beside)
    assert beside.tolist() == [True, True, False, False]


def test_gains_are_the_odds_against_a_new_bubble_and_none_is_left_out() -> None:
    rng = np.random.default_rng(9)
    ends = states(6, rng)
    begins = ends[rng.permutation(6)] + 0.01 * np.eye(7)[:1]
    end_time, begin_time = rng.uniform(0, 1, 6), np.sort(rng.uniform(0, 1.5, 6))
    bright = rng.normal(0, 0.3, (2, 6))
    prior, rival = rng.normal(0, 1, (2, 6)) + np.array([[0.0], [-6.0]])
    shape = np.array([5.0, 0.8, 0.4, 0.1, 0.5, 0.4, 2.0, 0.0, 0.3, 0.2])
    wanted = {}
    for a in range(6):
        for b in range(6):
            dt = begin_time[b] - end_time[a]
            if not 0 < dt <= 0.8:
                continue
            tight, loose = (
                expected_agreement(ends[a], begins[b], dt, 5.0, *errors) for errors in ((0.1, 0.5), (0.4, 2.0))
            )
            # Half of the ends tell the brightness, of the others it is any.
            any_bright = norm(0.0, 0.3).pdf(bright[1, b])
            told = 0.5 + 0.5 * norm(0, 0.2).pdf(bright[1, b] - bright[0, a]) / any_bright
            lost = np.log(np.exp(-dt / 0.4) / 0.4)
            gain = prior[a] - rival[b] + np.logaddexp(tight, loose) - np.log(2) + np.log(told) + lost
            if gain > 0:
                wanted[a, b] = gain
    assert wanted
    few = (np.empty(1, np.int64), np.empty(1, np.int64), np.empty(1))
    arguments = (ends, end_time, bright[0], begins, begin_time, bright[1], prior, rival, shape)
    assert join_gains(*arguments, *few) == len(wanted)
    end, begin, gain = np.empty(40, np.int64), np.empty(40, np.int64), np.empty(40)
    count = join_gains(*arguments, end, begin, gain)
    found = {(int(a), int(b)): g for a, b, g in zip(end[:count], begin[:count], gain[:count], strict=True)}
    assert found == pytest.approx(wanted)
