"""Filter, fit and centroids on single small frames, against scipy and closed forms; also without compilation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import correlate, uniform_filter
from scipy.optimize import least_squares

from processing.detection import rice_table
from processing.kernels.centroid import radial_symmetry, weighted_average
from processing.kernels.crowding import charge_neighbours
from processing.kernels.gauss_newton import (
    AMPLITUDE,
    BACKGROUND,
    COLUMNS,
    NOISE,
    OVERLAP,
    PEAK_X,
    PEAK_Z,
    VAR_X,
    VAR_Z,
    Workspace,
    X,
    Z,
    add_spot,
    fit_spot,
    judge_spot,
    workspace_of,
)
from processing.kernels.maxima import (
    filter_weights,
    local_maxima,
    matched_filter,
    padded_width,
    pixel_share,
    scratch_of,
    top_of,
)
from processing.kernels.rician import refit_rician
from processing.point_spread import gaussian_taps

SHAPE = (17, 15)
SIGMA = (1.1, 1.3)


def spot_image(z: float, x: float, amplitude: float = 1.0, background: float = 0.2) -> np.ndarray:
    rows, columns = np.arange(SHAPE[0])[:, None], np.arange(SHAPE[1])
    g = np.exp(-((rows - z) ** 2) / (2 * SIGMA[0] ** 2) - (columns - x) ** 2 / (2 * SIGMA[1] ** 2))
    return (background + amplitude * g).astype(np.float32)


def fitted(image: np.ndarray, z: int, x: int) -> tuple[np.ndarray, Workspace]:
    spot, work = np.zeros(COLUMNS), workspace_of(3, 4)
    spot[[Z, PEAK_Z]], spot[[X, PEAK_X]] = z, x
    assert fit_spot(image, *SIGMA, 3, 4, np.int64(10), spot, work)
    return spot, work


@pytest.mark.parametrize(("half_z", "half_x"), [(2, 2), (3, 3), (4, 5), (7, 3)])
def test_the_filter_is_correlation_with_the_spot_over_a_box(half_z: int, half_x: int) -> None:
    image = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    taps_z = gaussian_taps(np.full(SHAPE[0], half_z / 3), half_z)
    taps_x = gaussian_taps(np.full(SHAPE[0], half_x / 3), half_x)
    out = np.empty((SHAPE[0], padded_width(SHAPE[1])), dtype=np.float32)
    scaled_z, box_gain = filter_weights(taps_z, taps_x)
    matched_filter(image, scaled_z, taps_x, box_gain, scratch_of(*SHAPE, half_z, half_x), out)
    g = np.outer(taps_z[0], taps_x[0]).astype(np.float64)
    box = (4 * half_z + 1, 4 * half_x + 1)
    scale = 1 / ((g**2).sum() - g.sum() ** 2 / np.prod(box))
    # Beyond twice the mirror scipy folds again and the kernel repeats the border: padded here as the kernel reads it.
    rows, columns = (np.arange(-2 * h, n + 2 * h) for h, n in zip((half_z, half_x), SHAPE, strict=True))
    fold = [
        np.clip(np.where(i < 0, -i, np.where(i >= n, 2 * (n - 1) - i, i)), 0, n - 1)
        for i, n in zip((rows, columns), SHAPE, strict=True)
    ]
    wide = image.astype(np.float64)[np.ix_(*fold)]
    expected = scale * (correlate(wide, g) - g.sum() * uniform_filter(wide, box))
    inside = expected[2 * half_z : 2 * half_z + SHAPE[0], 2 * half_x : 2 * half_x + SHAPE[1]]
    assert np.abs(out[:, : SHAPE[1]] - inside).max() < 1e-5


def test_of_equal_neighbours_the_first_is_the_peak() -> None:
    image = np.zeros((8, 32), dtype=np.float32)
    image[3, 4:6] = 1.0
    peaks = np.zeros((64, 2), dtype=np.int32)
    assert local_maxima(image, 20, np.full((8, 32), 0.5, dtype=np.float32), 1.0, peaks) == 1
    assert peaks[0].tolist() == [3, 4]


@pytest.mark.parametrize(("dz", "dx"), [(0.0, 0.0), (0.5, 0.0), (0.3, -0.45), (0.5, 0.5)])
def test_the_top_between_pixels_is_the_spot_wherever_it_lies(dz: float, dx: float) -> None:
    """The answer to a Gaussian is one of sqrt(2) times its width; its nearest pixel keeps `pixel_share` at worst."""
    rows, columns = np.arange(9)[:, None], np.arange(9)
    u, v = (rows - 4 - dz) / SIGMA[0], (columns - 4 - dx) / SIGMA[1]
    answer = np.exp(-(u**2 + v**2) / 4).astype(np.float32)
    # Parabolas along two axes know nothing of the way between them: 3 % at worst.
    assert top_of(answer, 4, 4) == pytest.approx(1.0, abs=0.03)
    share = pixel_share(np.array([SIGMA]))
    assert answer[4, 4] >= share - 1e-6
    if dz == dx == 0.5:
        assert answer[4, 4] == pytest.approx(share, rel=1e-5)


def test_a_spot_between_four_pixels_is_a_peak_by_its_top() -> None:
    rows, columns = np.arange(9)[:, None], np.arange(32)
    answer = np.exp(-(((rows - 4.5) / SIGMA[0]) ** 2 + ((columns - 6.5) / SIGMA[1]) ** 2) / 4).astype(np.float32)
    peaks = np.zeros((80, 2), dtype=np.int32)
    threshold = np.full((9, 32), 0.95, dtype=np.float32)
    assert answer.max() < 0.95
    share = np.float32(pixel_share(np.array([SIGMA])))
    assert local_maxima(answer, 20, share * threshold, share, peaks) == 1
    assert local_maxima(answer, 20, share * (threshold + np.float32(0.06)), share, peaks) == 0


def test_a_clean_spot_is_found_exactly() -> None:
    spot, _ = fitted(spot_image(8.3, 6.8), 8, 7)
    assert spot[[Z, X, AMPLITUDE, BACKGROUND]] == pytest.approx([8.3, 6.8, 1.0, 0.2], abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_the_least_squares_fit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = spot_image(8.3, 6.8) + 0.1 * rng.standard_normal(SHAPE).astype(np.float32)
    spot, work = fitted(image, 8, 7)
    rows, columns = np.arange(5, 12)[:, None], np.arange(3, 12)
    window = image[5:12, 3:12].astype(np.float64)

    def residual(p: np.ndarray) -> np.ndarray:
        g = np.exp(-((rows - p[0]) ** 2) / (2 * SIGMA[0] ** 2) - (columns - p[1]) ** 2 / (2 * SIGMA[1] ** 2))
        return np.asarray(p[2] * g + p[3] - window).ravel()

    oracle = least_squares(residual, [8, 7, 1, 0.2], xtol=1e-12, ftol=1e-12)
    # Steps end below a thousandth of the width.
    assert spot[[Z, X, AMPLITUDE, BACKGROUND]] == pytest.approx(oracle.x, abs=2e-3)
    covariance = np.linalg.inv(oracle.jac.T @ oracle.jac)
    assert spot[[VAR_Z, VAR_X]] == pytest.approx(np.diag(covariance)[:2], rel=0.02)
    judge_spot(image, *SIGMA, 3, 4, spot, work)
    assert 0.03 < spot[NOISE] < 0.2


def test_adding_and_subtracting_a_spot_leaves_nothing() -> None:
    image = np.zeros(SHAPE, dtype=np.float32)
    spot, work = fitted(spot_image(8.3, 6.8), 8, 7)
    add_spot(image, spot, 1.0, *SIGMA, work)
    assert image.max() == pytest.approx(spot_image(8.3, 6.8, background=0).max(), abs=1e-4)
    add_spot(image, spot, -1.0, *SIGMA, work)
    assert np.abs(image).max() < 1e-6


def test_a_far_neighbour_costs_nothing_and_a_near_one_a_lot() -> None:
    """Against the inverse of the joint information of both spots, on a fine window without background."""
    grid = np.arange(-40, 60)
    for distance in (1.5, 2.5, 6.0):
        spots = np.zeros((2, COLUMNS))
        spots[:, [AMPLITUDE, OVERLAP, VAR_Z, VAR_X]] = 1.0
        spots[1, X] = distance * 2.0
        charge_neighbours(spots, 2, np.full((1, 2), 2.0), True)
        columns = []
        for x in (0.0, distance * 2.0):
            g = np.exp(-(grid[:, None] ** 2 + (grid[None, :] - x) ** 2) / 8)
            columns += [g, g * grid[:, None] / 4, g * (grid[None, :] - x) / 4]
        jacobian = np.stack([c.ravel() for c in columns], axis=1)
        alone = np.linalg.inv(jacobian[:, :3].T @ jacobian[:, :3])
        joint = np.linalg.inv(jacobian.T @ jacobian)
        assert spots[0, VAR_Z] == pytest.approx(joint[1, 1] / alone[1, 1], rel=1e-3)
        assert spots[0, VAR_X] == pytest.approx(joint[2, 2] / alone[2, 2], rel=1e-3)


def test_a_magnitude_without_noise_to_speak_of_is_left_where_it_is() -> None:
    image = spot_image(8.3, 6.8, background=0.0)
    spot, work = fitted(image, 8, 7)
    refit_rician(image, *SIGMA, 3, 4, 1e-3, rice_table(), spot, work)
    assert spot[[Z, X]] == pytest.approx([8.3, 6.8], abs=2e-3)


def test_the_noise_under_a_magnitude_is_that_of_one_part() -> None:
    """A fit of four leaves .75 of the power where position is measured; a background held at 0 takes less."""
    rng, noise, powers = np.random.default_rng(7), 0.05, []
    for _ in range(100):
        clean = spot_image(*rng.uniform((7.5, 6.5), (8.5, 7.5)), background=0.0)
        seen = np.hypot(*(noise * rng.standard_normal((2, *SHAPE)) + np.stack([clean, np.zeros(SHAPE)])))
        image = seen.astype(np.float32)
        spot, work = fitted(image, 8, 7)
        refit_rician(image, *SIGMA, 3, 4, noise, rice_table(), spot, work)
        powers.append((spot[NOISE] / noise) ** 2)
    # The scatter of one is .35: 3 standard errors.
    assert 0.75 - 0.1 < np.mean(powers) < 0.79 + 0.1


@pytest.mark.parametrize("method", [weighted_average, radial_symmetry])
def test_a_spot_in_the_middle_is_in_the_middle(method: object) -> None:
    g = np.exp(-(np.arange(-3, 4)[:, None] ** 2 + np.arange(-3, 4) ** 2) / 2.0)
    position = np.empty(2)
    method(g, position)  # type: ignore[operator]
    assert position == pytest.approx([3.0, 3.0], abs=1e-9)


def test_radial_symmetry_follows_a_shift() -> None:
    rows, columns = np.arange(7)[:, None], np.arange(7)
    position = np.empty(2)
    radial_symmetry(np.exp(-((rows - 3.3) ** 2 + (columns - 2.8) ** 2) / 2.0), position)
    # 3 x 3 smoothing at the window's border bends a little.
    assert position == pytest.approx([3.3, 2.8], abs=0.05)
