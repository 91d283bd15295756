"""What moves positions beside white noise: known colours and known neighbours are measured as such."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from processing.localize import LocalizationParameters, calibrate
from processing.position_error import excess_of_fitted_amplitude
from tests.accuracy.ulm_scenes import isolated_truth, noise_of, render, scene

SHAPE = (143, 84)


def calibrated_on(noise: np.ndarray) -> float:
    """Colour measured on isolated bubbles 30 dB above a noise of unit variance."""
    truth = isolated_truth(len(noise), SHAPE, np.random.default_rng(50), separation_px=9.0)
    frames = render(truth, len(noise), SHAPE, 1.5) + np.float32(noise_of(30.0)) * noise.astype(np.float32)
    return calibrate(frames, LocalizationParameters()).noise_colour


def test_white_noise_has_no_colour() -> None:
    # 2,000 spots in two directions know a standard deviation to 1.1 %, thrice.
    white = np.random.default_rng(51).standard_normal((60, *SHAPE))
    assert calibrated_on(white) == pytest.approx(1.0, abs=0.035)


@pytest.mark.parametrize("snr_db", [20, 30])
def test_white_noise_of_magnitudes_has_no_colour(snr_db: float) -> None:
    """Beside 1.1 %: a magnitude's noise under a spot is known to 2 %."""
    colour = calibrate(scene("rice", snr_db, 60, 55).frames, LocalizationParameters()).noise_colour
    assert colour == pytest.approx(1.0, abs=0.04)


def test_noise_without_coarse_shapes_moves_positions_less() -> None:
    """What a blur leaves over: a Gaussian of 1.2 px takes exp(-(1.2 k)^2 / 2) of each frequency k out."""
    white = np.random.default_rng(52).standard_normal((60, *SHAPE))
    fine = white - gaussian_filter(white, (0, 1.2, 1.2))
    assert calibrated_on(fine / fine.std()) < 0.75


def test_smooth_noise_moves_positions_more() -> None:
    white = np.random.default_rng(53).standard_normal((60, *SHAPE))
    coarse = gaussian_filter(white, (0, 0.7, 0.7))
    assert calibrated_on(coarse / coarse.std()) > 1.3


def test_isolated_bubbles_have_no_unseen_neighbours_and_crowded_ones_do() -> None:
    parameters = LocalizationParameters()
    assert calibrate(scene("iso", 25, 60, 54).frames, parameters).unseen == 0.0
    crowded = np.mean([calibrate(scene("flow", 25, 40, seed).frames, parameters).unseen for seed in range(54, 58)])
    # 30 keep to 135 x 76 px: .0029 in a square PSF width. Bubbles stay for 40 frames, so four loops hold some 20
    # pairs that are not the same one: they know a density to a quarter.
    assert crowded == pytest.approx(0.35 * 30 / (135 * 76), rel=0.5)


def test_a_fitted_amplitude_is_larger_than_the_true_one_by_three_freedoms() -> None:
    """The tallest of all places near a spot: what is taken off its square again leaves the true one, known to .2 %."""
    rng, noise = np.random.default_rng(56), noise_of(15.0)
    at = np.arange(-4, 5)
    shifts = [(z, x) for z in np.arange(-0.4, 0.41, 0.08) for x in np.arange(-0.4, 0.41, 0.08)]
    shapes = np.stack([np.exp(-((at[:, None] - z) ** 2 + (at - x) ** 2) / 2).ravel() for z, x in shifts])
    power = (shapes**2).sum(axis=1)
    middle = np.exp(-(at[:, None] ** 2 + at**2) / 2).ravel()
    seen = middle + noise * rng.standard_normal((20_000, middle.size))
    amplitude = (seen @ shapes.T / power).max(axis=1)
    score = amplitude / (noise / np.sqrt(np.pi))
    assert np.mean(amplitude**2 / excess_of_fitted_amplitude(score)) == pytest.approx(1.0, abs=0.01)
