"""The tissue in the slice: an elliptic lesion in parenchyma with vessels, as maps on the panel's pixel grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from processing.cine import Spacing
from processing.simulation.speckle import PointSpread, speckle_field

Number = TypeVar("Number", bound=np.floating[Any])
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Ellipse:
    """An ellipse, centre and half axes as fractions of the panel's height (z) and width (x)."""

    z: float
    x: float
    half_height: float
    half_width: float

    def depth(self, z: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Normalised radius: below 1 inside."""
        return np.hypot((z - self.z) / self.half_height, (x - self.x) / self.half_width)


@dataclass(frozen=True)
class Vessel:
    """A straight vessel between two points (fractions of the panel), radius as a fraction of its width."""

    start: tuple[float, float]
    end: tuple[float, float]
    radius: float

    def distance(self, z: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance from the axis in units of the radius."""
        dz, dx = self.end[0] - self.start[0], self.end[1] - self.start[1]
        along = np.clip(((z - self.start[0]) * dz + (x - self.start[1]) * dx) / (dz**2 + dx**2), 0, 1)
        return np.hypot(z - self.start[0] - along * dz, x - self.start[1] - along * dx) / self.radius


@dataclass(frozen=True)
class Anatomy:
    """What lies in the slice. `unevenness` is the relative spread of the vascular volume within a tissue."""

    lesion: Ellipse = Ellipse(0.45, 0.52, 0.17, 0.24)
    vessels: tuple[Vessel, ...] = (
        Vessel((0.80, 0.0), (0.66, 0.85), 0.030),
        Vessel((0.10, 0.95), (0.42, 0.80), 0.018),
        Vessel((0.73, 0.45), (0.97, 0.70), 0.020),
    )
    lesion_echo_db: float = -7.0
    unevenness: float = 0.15


@dataclass(frozen=True)
class Grid:
    """The pixel grid on which tissue is drawn: the panel and a margin that breathing may bring into view."""

    rows: int
    columns: int
    margin_px: int
    spacing_mm: Spacing

    @property
    def shape(self) -> tuple[int, int]:
        # One more pixel than the margins: linear interpolation reads the right and lower neighbour.
        return self.rows + 2 * self.margin_px + 1, self.columns + 2 * self.margin_px + 1

    def fractions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Pixel centres as fractions of the panel (z, x); below 0 and above 1 in the margin."""
        z = (np.arange(self.shape[0]) - self.margin_px + 0.5) / self.rows
        x = (np.arange(self.shape[1]) - self.margin_px + 0.5) / self.columns
        return z[:, None], x[None, :]

    def panel(self, image: NDArray[Number]) -> NDArray[Number]:
        """The part of an image on this grid that the panel shows at rest."""
        m = self.margin_px
        return image[m : m + self.rows, m : m + self.columns]


def lesion_weight(anatomy: Anatomy, grid: Grid) -> FloatArray:
    """1 inside the lesion, 0 outside, with an edge of about two pixels."""
    depth = anatomy.lesion.depth(*grid.fractions())
    edge = 1.0 / (anatomy.lesion.half_width * grid.columns)
    result: FloatArray = (1 / (1 + np.exp(np.clip((depth - 1) / edge, -50, 50)))).astype(np.float32)
    return result


def vascular_volume(anatomy: Anatomy, grid: Grid, seed: int) -> FloatArray:
    """Relative vascular volume: about 1, uneven over centimetres, three times as much in vessels outside the lesion."""
    coarse = PointSpread(4.0 / grid.spacing_mm.z_mm, 4.0 / grid.spacing_mm.x_mm)
    uneven = math.sqrt(2) * anatomy.unevenness * speckle_field(grid.shape, coarse, (seed, 11)).real
    z, x = grid.fractions()
    outside = 1 - lesion_weight(anatomy, grid)
    vessels = sum(1 / (1 + np.exp(np.clip(6 * (v.distance(z, x) - 1), -50, 50))) for v in anatomy.vessels)
    result: FloatArray = ((1 + np.clip(uneven, -0.6, 0.6)) * (1 + 2 * vessels * outside)).astype(np.float32)
    return result


def echogenicity_db(anatomy: Anatomy, grid: Grid) -> FloatArray:
    """B-mode echo of the tissue in dB: darker lesion, dark vessels with bright walls, a diaphragm at depth."""
    z, x = grid.fractions()
    echo = -26.0 - 6.0 * z + 0.0 * x + anatomy.lesion_echo_db * lesion_weight(anatomy, grid)
    rim = np.exp(-(((anatomy.lesion.depth(z, x) - 1.03) / 0.05) ** 2))
    echo += 4.0 * rim
    for vessel in anatomy.vessels:
        distance = vessel.distance(z, x)
        echo -= 24.0 * (distance < 0.85)
        echo += 11.0 * np.exp(-(((distance - 1.1) / 0.3) ** 2))
    skin = np.exp(-((z / 0.02) ** 2))
    diaphragm = np.exp(-(((z - 0.93 + 0.25 * (x - 0.35) ** 2) / 0.012) ** 2))
    return (echo + 16.0 * skin + 20.0 * diaphragm).astype(np.float32)
