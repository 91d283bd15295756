"""Breathing: a rigid displacement that both panels share, and frames in which the slice has left the plane."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processing.cine import Spacing
from processing.simulation.speckle import PointSpread


@dataclass(frozen=True)
class Breathing:
    """Displacement 0.5 (1 - cos(2 pi t / period)) times the amplitude, so exhalation rests at the reference.

    `out_of_plane` names frames that show another slice of the tissue (a deep breath).
    """

    depth_mm: float = 1.0
    lateral_mm: float = 0.5
    period_s: float = 4.0
    out_of_plane: tuple[int, ...] = ()

    def displacement_mm(self, time_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """(frame, 2) displacement (z, x) of the tissue, positive downwards and to the right."""
        phase = 0.5 * (1 - np.cos(2 * math.pi * np.asarray(time_s) / self.period_s))
        return np.stack([self.depth_mm * phase, self.lateral_mm * phase], axis=-1)


@dataclass(frozen=True, eq=False)
class Motion:
    """Where the tissue is in each frame: displacement_mm float64 (frame, 2), out_of_plane bool (frame,)."""

    times_s: NDArray[np.float64]
    displacement_mm: NDArray[np.float64]
    out_of_plane: NDArray[np.bool_]
    spacing_mm: Spacing

    @property
    def margin_px(self) -> int:
        """How far beyond the panel tissue must be drawn."""
        reach_mm = float(np.abs(self.displacement_mm).max(initial=0.0))
        return math.ceil(reach_mm / min(self.spacing_mm)) + 1

    def shift_px(self, frame: int) -> tuple[float, float]:
        z_mm, x_mm = self.displacement_mm[frame]
        return float(z_mm) / self.spacing_mm.z_mm, float(x_mm) / self.spacing_mm.x_mm


def motion_of(breathing: Breathing | None, times_s: NDArray[np.float64], spacing_mm: Spacing) -> Motion:
    """The motion that a breathing patient gives to frames taken at these times; None holds the breath."""
    if breathing is None:
        return Motion(times_s, np.zeros((times_s.size, 2)), np.zeros(times_s.size, dtype=np.bool_), spacing_mm)
    out_of_plane = np.isin(np.arange(times_s.size), breathing.out_of_plane)
    return Motion(times_s, breathing.displacement_mm(times_s), out_of_plane, spacing_mm)


def displaced(
    image: NDArray[Any], shape: tuple[int, int], margin_px: int, shift_px: tuple[float, float]
) -> NDArray[Any]:
    """The part of `shape` seen when the tissue in `image` (with `margin_px` around) has moved by (z, x) pixels.

    Linear interpolation between pixels; the shift must stay within the margin.
    """
    z, x = margin_px - shift_px[0], margin_px - shift_px[1]
    z0, x0 = math.floor(z), math.floor(x)
    fz, fx = np.float32(z - z0), np.float32(x - x0)
    rows = image[z0 : z0 + shape[0] + 1, x0 : x0 + shape[1] + 1]
    if fz == 0 and fx == 0:
        result: NDArray[Any] = rows[: shape[0], : shape[1]]
        return result
    down = rows[:-1] * (1 - fz) + rows[1:] * fz
    moved: NDArray[Any] = down[:, :-1] * (1 - fx) + down[:, 1:] * fx
    return moved


def interpolation_power(spread: PointSpread, shift_px: tuple[float, float]) -> float:
    """Mean power that linear interpolation leaves of unit-power speckle: averaging neighbours lowers it.

    Without this correction a breathing motion would modulate the panel's mean power by up to 10 %.
    """
    factor = 1.0
    for fraction, rho in (
        (shift_px[0] - math.floor(shift_px[0]), spread.correlation(1.0, 0.0)),
        (shift_px[1] - math.floor(shift_px[1]), spread.correlation(0.0, 1.0)),
    ):
        factor *= (1 - fraction) ** 2 + fraction**2 + 2 * fraction * (1 - fraction) * rho
    return factor
