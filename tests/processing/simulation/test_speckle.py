"""Speckle statistics: exponential intensity of the asked mean, and the asked decorrelation in time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from processing.errors import InvalidValueError
from processing.simulation.breathing import Breathing, displaced, interpolation_power
from processing.simulation.speckle import ElectronicNoise, PointSpread, Speckle, speckle_field

SPREAD = PointSpread(1.5, 2.5)


def intensity(field: np.ndarray) -> np.ndarray:
    return field.real**2 + field.imag**2


def independent(field: np.ndarray) -> np.ndarray:
    """One pixel of every speckle: 6 standard deviations apart, correlation exp(-9)."""
    return intensity(field)[::9, ::15].ravel()


@pytest.mark.parametrize("time_s", [0.0, 0.037, 0.1])
def test_the_intensity_is_exponential_with_mean_one_at_every_moment(time_s: float) -> None:
    speckle = Speckle((512, 512), SPREAD, seed=3, decorrelation_s=0.2)
    samples = independent(speckle.at(time_s))
    # About 2,000 independent samples: a wrong law (Rayleigh, or mean off by 10 %) gives p < 1e-4.
    assert kstest(samples, "expon").pvalue > 0.01


def test_the_amplitude_correlation_falls_to_1_over_e_after_the_decorrelation_time() -> None:
    speckle = Speckle((256, 256), SPREAD, seed=5, decorrelation_s=0.2)
    starts = np.arange(40) * 0.0531  # all phases between two realisations
    here = np.stack([speckle.at(t) for t in starts])
    for lag_s, expected in ((0.2, np.exp(-1)), (0.5, 0.0)):
        there = np.stack([speckle.at(t + lag_s) for t in starts])
        correlation = np.mean(here * there.conj()).real / np.mean(intensity(here))
        # 40 fields of 2,800 speckles, some ten of them independent: standard error about 0.006.
        assert correlation == pytest.approx(expected, abs=0.02)


def test_neighbouring_pixels_correlate_as_the_point_spread_says() -> None:
    field = speckle_field((512, 512), SPREAD, (1,))
    for dz, dx in ((1, 0), (3, 0), (0, 2), (2, 4)):
        shifted = np.roll(field, (dz, dx), axis=(0, 1))
        # Standard error about 1/sqrt(11,000 speckles) = 0.01.
        assert np.mean(field * shifted.conj()).real == pytest.approx(SPREAD.correlation(dz, dx), abs=0.03)


def test_the_same_seed_draws_the_same_speckle_in_any_order() -> None:
    forward = Speckle((64, 48), SPREAD, seed=9, decorrelation_s=0.2)
    first = [forward.at(t).copy() for t in (-3.0, 0.0, 7.1)]
    backward = Speckle((64, 48), SPREAD, seed=9, decorrelation_s=0.2)
    for time_s, field in zip((7.1, 0.0, -3.0), reversed(first), strict=True):
        np.testing.assert_array_equal(backward.at(time_s), field)
    assert not np.array_equal(first[0], Speckle((64, 48), SPREAD, 10, 0.2).at(-3.0))


def test_receiver_noise_is_independent_from_frame_to_frame() -> None:
    noise = ElectronicNoise((256, 256), SPREAD, seed=2)
    one, two = noise.at(0), noise.at(1)
    # 2,800 speckles: standard error 0.02.
    assert abs(np.mean(one * two.conj())) < 0.08
    assert np.mean(intensity(one)) == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.5, 0.0), (1.3, 0.7), (-0.5, -0.5)])
def test_moving_speckle_between_pixels_loses_the_power_that_is_put_back(shift: tuple[float, float]) -> None:
    field = speckle_field((405, 405), SPREAD, (4,))
    moved = displaced(field, (400, 400), 2, shift)
    # The same speckles before and after, so only their borders differ: 1 %.
    kept = np.mean(intensity(moved)) / np.mean(intensity(field))
    assert kept == pytest.approx(interpolation_power(SPREAD, shift), rel=0.01)


def test_displaced_tissue_moves_down_and_right() -> None:
    image = np.zeros((25, 25), dtype=np.float32)
    image[12, 12] = 1.0
    at_rest = np.argwhere(displaced(image, (20, 20), 2, (0.0, 0.0)))[0]
    np.testing.assert_array_equal(np.argwhere(displaced(image, (20, 20), 2, (2.0, 1.0)))[0] - at_rest, (2, 1))
    halfway = displaced(image, (20, 20), 2, (0.25, 0.0))
    assert halfway[at_rest[0], at_rest[1]] == pytest.approx(0.75)
    assert halfway[at_rest[0] + 1, at_rest[1]] == pytest.approx(0.25)


def test_breathing_rests_at_the_reference_and_reaches_its_amplitude() -> None:
    shift = Breathing(depth_mm=3.0, lateral_mm=1.0, period_s=4.0).displacement_mm(np.array([0.0, 2.0, 4.0]))
    np.testing.assert_allclose(shift, [[0, 0], [3, 1], [0, 0]], atol=1e-12)


def test_moving_speckle_needs_a_decorrelation_time() -> None:
    with pytest.raises(InvalidValueError, match="decorrelation_s"):
        Speckle((8, 8), SPREAD, 1, 0.0)
