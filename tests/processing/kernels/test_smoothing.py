"""The smoother against the one Gaussian that all rows of a track have together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import block_diag

from processing.kernels.smoothing import smooth_paths


def posterior(
    time: np.ndarray, place: np.ndarray, variance: np.ndarray, diffusion: float, first_velocity: float
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (row, 2) and covariance of place and velocity, from the information of every step and every measurement."""
    n = len(time)
    information, pull = np.zeros((2 * n, 2 * n)), np.zeros(2 * n)
    information[1, 1] = 1 / first_velocity
    for k, dt in enumerate(np.diff(time)):
        noise = diffusion * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
        step = np.hstack([-np.array([[1, dt], [0, 1]]), np.eye(2)])
        information[2 * k : 2 * k + 4, 2 * k : 2 * k + 4] += step.T @ np.linalg.inv(noise) @ step
    for k in np.flatnonzero(np.isfinite(variance)):
        information[2 * k, 2 * k] += 1 / variance[k]
        pull[2 * k] += place[k] / variance[k]
    covariance = np.linalg.inv(information)
    return (covariance @ pull).reshape(n, 2), covariance


@pytest.mark.parametrize("missing", [(), (4,), (3, 4, 5, 6)])
def test_paths_are_the_mean_of_all_that_is_known(missing: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    time = np.cumsum(rng.uniform(0.02, 0.05, 10))
    z, x = rng.normal(0, 1, (2, 10))
    variance = rng.uniform(0.001, 0.01, 10)
    variance[list(missing)] = np.inf
    state = np.empty((10, 7))
    smooth_paths(np.array([0, 10]), time, z, x, variance, 5.0, 9.0, state)
    for place, column in ((z, 0), (x, 1)):
        mean, covariance = posterior(time, place, variance, 5.0, 9.0)
        assert state[:, column] == pytest.approx(mean[:, 0], rel=1e-6, abs=1e-8)
        assert state[:, column + 2] == pytest.approx(mean[:, 1], rel=1e-6, abs=1e-7)
        blocks = [covariance[2 * k : 2 * k + 2, 2 * k : 2 * k + 2] for k in range(10)]
        stated = [np.array([[p, c], [c, v]]) for p, c, v in state[:, 4:]]
        assert block_diag(*stated) == pytest.approx(block_diag(*blocks), rel=1e-6, abs=1e-9)


def test_the_likelihood_finds_the_diffusion_that_made_the_paths() -> None:
    """200 paths of 40 rows: the diffusion is known to a few per cent, candidates lie a factor of 1.8 apart."""
    rng = np.random.default_rng(3)
    dt, true, rows = 0.025, 5.0, 40
    noise = true * np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]])
    root, paths = np.linalg.cholesky(noise), []
    for _ in range(400):
        state = np.array([0.0, 3.0 * rng.standard_normal()])
        walked = []
        for _ in range(rows):
            walked.append(state[0])
            state = np.array([state[0] + dt * state[1], state[1]]) + root @ rng.standard_normal(2)
        paths.append(np.array(walked) + 0.01 * rng.standard_normal(rows))
    z, x = np.concatenate(paths[:200]), np.concatenate(paths[200:])
    time, starts = np.tile(dt * np.arange(rows), 200), rows * np.arange(201)
    candidates = true * 10.0 ** np.arange(-1, 1.01, 0.25)
    state, variance = np.empty((len(z), 7)), np.full(len(z), 1e-4)
    likelihood = [smooth_paths(starts, time, z, x, variance, c, 100.0, state) for c in candidates]
    assert candidates[int(np.argmax(likelihood))] == pytest.approx(true)
