"""The table look-up against a plain loop over Python integers."""

from __future__ import annotations

import numpy as np
import pytest

from processing.kernels.levels import linearise
from processing.projection import PROJECTION_SIZE


@pytest.mark.parametrize("channels", [1, 3])
def test_linearise_is_a_look_up_of_the_weighted_sum(channels: int) -> None:
    rng = np.random.default_rng(8)
    pixels = rng.integers(0, 256, (3, 5, 7, channels), dtype=np.uint8)
    pixels[0, 0, 0], pixels[1, 1, 1] = 0, 255
    weights = np.array([77, 150, 29], np.int32)
    table = np.linspace(1e-5, 1.0, PROJECTION_SIZE).astype(np.float32)
    limits = np.array([2, 1018], np.int32)
    valid = rng.random((5, 7)) < 0.7
    power, saturated, sums = np.zeros((3, 5, 7), np.float32), np.zeros((5, 7), np.uint32), np.zeros((3, 3))
    linearise(pixels, weights, table, limits, valid, power, saturated, sums)

    index = np.empty((3, 5, 7), int)
    for place in np.ndindex(3, 5, 7):
        value = [int(v) for v in pixels[place]]
        weighted = 77 * value[0] + 150 * value[-2] + 29 * value[-1] if channels == 3 else 256 * value[0]
        index[place] = weighted // 64
    np.testing.assert_array_equal(power, table[index])
    np.testing.assert_array_equal(saturated, (index >= 1018).sum(axis=0))
    np.testing.assert_allclose(sums[:, 0], (table[index] * valid).sum(axis=(1, 2)), rtol=1e-6)
    np.testing.assert_array_equal(sums[:, 1], ((index <= 2) & valid).sum(axis=(1, 2)))
    np.testing.assert_array_equal(sums[:, 2], ((index >= 1018) & valid).sum(axis=(1, 2)))
