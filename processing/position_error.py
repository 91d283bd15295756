"""What a position's standard error holds beside white noise: coding noise has a colour, the nearest neighbours of all
are not seen as two, and a fitted amplitude is larger than the true one.

The first two are measured on the sample that the PSF is measured on, once a block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import ive

from processing.detection import clipped_std
from processing.kernels.gauss_newton import AMPLITUDE, COLUMNS, OVERLAP, PEAK_X, PEAK_Z, X, Z
from processing.point_spread import PointSpread

MOST_SPOTS = 2000
"""The share of one in a hundred in the standard deviation that so many leave is below what calibration is good for."""
RING = (2.0, 5.0)
"""PSF widths: nearer, neighbours begin to be missed; further, they say less about the nearest."""
UNSEEN_SHIFT = 0.35
"""Variance in one axis, in squares of the PSF width, that neighbours too near to be told add, over their number in an
area of one PSF width squared: .27 to .45 from 30 to 15 dB (`flow` scenes of 10 to 60 bubbles, seed 41). Two that merge
below 1.2 widths and lie half their distance off the middle would give pi 1.2^4 / 16 = .41."""


FAINTEST_SCORE = 3.0
"""Below, what is left of a squared amplitude is not known to half of it."""


def excess_of_fitted_amplitude(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """By how much a variance that was taken from fitted amplitudes, `score` of their standard errors, is too small.

    The largest answer over two coordinates is fitted: beside the true amplitude its square holds three squares of its
    standard error, one of its own noise and two of the coordinates' (chi square of three freedoms). A position's
    standard error is 1.9 % too small for it at 15 dB.
    """
    return np.asarray(1.0 / (1.0 - 3.0 / np.maximum(score, FAINTEST_SCORE) ** 2))


def noise_colour(
    frames: NDArray[np.float32], spread: PointSpread, spots: NDArray[np.float64], rician_au: float
) -> float:
    """Noise that acts on positions over the pixel noise of `spread`; 1 = white.

    A coder drops fine detail first, so its noise holds less of the coarse shapes that move a position. The fit's
    residual holds no trace of the position's own shapes g u and g v; the next ones in line, g u v and g (u^2 - v^2),
    lie at nearly the same place and spatial frequency, and hold neither width nor amplitude: how far the residual
    scatters along them is the noise. They reach a little further out, where a magnitude (`rician_au` > 0, its noise
    of one part) scatters less: what that makes is known and taken out.
    """
    alone = spots[spots[:, OVERLAP] == 0]
    along = _projected(frames, spread, alone[:: max(len(alone) // MOST_SPOTS, 1)])
    if along is None or not np.isfinite(spread.noise_au):
        return 1.0
    # Two bubbles in one spot are long in one direction: they are the tail of the scatter, not its middle.
    scatter = float(np.sqrt(np.mean([clipped_std(shape) ** 2 for shape in along.T])))
    amplitude = float(np.median(alone[:, AMPLITUDE]))
    expected = _scatter_of_magnitudes(amplitude / rician_au) if rician_au > 0 else 1.0
    excess = (scatter / spread.noise_au / expected) ** 2 - 1.0
    # A variance is known from n values to a share of sqrt(2 / n): noise is white as far as that explains the excess
    # (James and Stein 1961), so that the colour of white noise does not scatter as its measurement does.
    chance = 2.0 / along.size * max(1.0, 1.0 + excess) ** 2
    return float(np.sqrt(1.0 + excess - chance / excess)) if excess**2 > chance else 1.0


def _projected(
    frames: NDArray[np.float32], spread: PointSpread, spots: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Residual of each spot along g u v and g (u^2 - v^2), (spot, 2), of the scatter of a pixel under white noise;
    None where no window lies whole inside the frame."""
    half_z, half_x = spread.half_px
    rows, columns = frames.shape[1:]
    at_z, at_x = spots[:, PEAK_Z].astype(np.int64), spots[:, PEAK_X].astype(np.int64)
    whole = (at_z >= half_z) & (at_x >= half_x) & (at_z < rows - half_z) & (at_x < columns - half_x)
    spots, at_z, at_x = spots[whole], at_z[whole], at_x[whole]
    if not len(spots):
        return None
    dz, dx = np.arange(-half_z, half_z + 1)[:, None], np.arange(-half_x, half_x + 1)
    index = spots[:, COLUMNS].astype(np.int64)[:, None, None], at_z[:, None, None] + dz, at_x[:, None, None] + dx
    window = frames[index].reshape(len(spots), -1).astype(np.float64)
    sigma = spread.sigma_px[at_z]
    u = (index[1] - spots[:, Z, None, None]) / sigma[:, 0, None, None] + 0 * dx
    v = (index[2] - spots[:, X, None, None]) / sigma[:, 1, None, None] + 0 * dz
    g = np.exp(-(u**2 + v**2) / 2)
    fitted = np.stack([g, g * u, g * v, np.ones_like(g)], axis=-1).reshape(len(spots), -1, 4)
    shapes = np.stack([g * u * v, g * (u**2 - v**2) / 2], axis=-1).reshape(len(spots), -1, 2)
    # What position, amplitude and background explain of a shape is taken out: a projection on the rest needs no fit.
    basis = np.linalg.qr(fitted)[0]
    shapes -= basis @ (basis.transpose(0, 2, 1) @ shapes)
    return np.asarray(np.einsum("spk,sp->sk", shapes, window) / np.sqrt((shapes**2).sum(axis=1)))


def _scatter_of_magnitudes(amplitude: float) -> float:
    """Scatter along the two shapes, in noises of one part, under a spot of so many noises, noise Rician."""
    at = np.arange(-4, 4.01, 0.25)
    u, v = at[:, None], at[None, :]
    squared = np.exp(-(u**2 + v**2))
    half = amplitude**2 * squared / 4
    mean = np.sqrt(np.pi / 2) * ((1 + 2 * half) * ive(0, half) + 2 * half * ive(1, half))
    variance = 2 + 4 * half - mean**2
    shapes = squared * ((u * v) ** 2 + (u**2 - v**2) ** 2 / 4)
    return float(np.sqrt((shapes * variance).sum() / shapes.sum()))


def unseen_neighbours(spread: PointSpread, spots: NDArray[np.float64]) -> float:
    """Variance in one axis, in squares of the PSF width, that neighbours too near to be told add to a position.

    Their density is that of the neighbours that are told, RING around each spot: isolated bubbles have none, those of
    a crowded vessel many.
    """
    if len(spots) < 2:
        return 0.0
    width = spread.sigma_px[spots[:, PEAK_Z].astype(np.int64)]
    # Frames lie further apart than any neighbour counts.
    places = np.column_stack([spots[:, [Z, X]] / width, 10 * RING[1] * spots[:, COLUMNS]])
    tree = cKDTree(places)
    near, far = tree.count_neighbors(tree, np.array(RING))
    return float(UNSEEN_SHIFT * (far - near) / len(spots) / (np.pi * (RING[1] ** 2 - RING[0] ** 2)))
