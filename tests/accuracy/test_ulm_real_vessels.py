"""Real vessels: in-vivo ULM maps of one mouse brain at two time points give figures and their difference.

eLife RP95168, MIT licence. No truth is known; what is tested is that the figures are physically possible, repeat to the
bit, agree between two halves of one brain better than between unrelated patterns, and can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.io import loadmat

from processing.vessels import VesselParameters, Vessels, measure_vessels, vessel_mask
from tests.datasets import mouse_brain_maps

PIXEL_MM = 1.0
"""The files carry no pixel size: lengths here are in pixels of the map, diameters in thousandths of one."""
PARAMETERS = VesselParameters(threshold=2.0, shortest_mm=8.0)


@dataclass(frozen=True, eq=False)
class Brain:
    density: np.ndarray
    speed: np.ndarray
    vessels: Vessels


def brain(week: int) -> Brain:
    maps = loadmat(mouse_brain_maps(week))["ULM_final"][0, 0]
    density, speed = (np.asarray(maps[name], dtype=np.float32) for name in ("mapCounter", "mapVelocity"))
    # The middle of the brain is enough and keeps the test short.
    middle = slice(500, 1012), slice(500, 1012)
    density, speed = density[middle], speed[middle]
    return Brain(density, speed, measure_vessels(vessel_mask(density, PARAMETERS), PIXEL_MM, PARAMETERS))


@pytest.fixture(scope="module")
def brains() -> tuple[Brain, Brain]:
    return brain(2), brain(3)


def test_real_maps_give_vessels_that_can_exist(brains: tuple[Brain, Brain]) -> None:
    for week in brains:
        vessels = week.vessels
        assert len(vessels) > 100
        assert 1.0 <= np.nanmedian(vessels.tortuosity) < 1.3
        assert 2_000 < np.median(vessels.diameter_um) < 30_000
        assert 0 < vessels.branch_points < len(vessels)
        assert vessels.fractal_dimension is not None
        assert 1.2 < vessels.fractal_dimension < 2.0


def test_a_week_changes_less_than_a_shuffled_brain(brains: tuple[Brain, Brain]) -> None:
    """The longitudinal difference: the same animal is closer to itself than to its own pixels in random order."""
    early, late = (b.vessels for b in brains)
    change = abs(late.mask.mean() / early.mask.mean() - 1)
    assert change < 0.5
    tortuosity = abs(np.nanmedian(late.tortuosity) - np.nanmedian(early.tortuosity))
    assert tortuosity < 0.1
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(brains[0].density.reshape(-1)).reshape(brains[0].density.shape)
    scrambled = measure_vessels(vessel_mask(shuffled, PARAMETERS), PIXEL_MM, PARAMETERS)
    assert abs(scrambled.mask.mean() - early.mask.mean()) > abs(late.mask.mean() - early.mask.mean())


def test_the_figures_repeat(brains: tuple[Brain, Brain]) -> None:
    again = brain(2)
    assert again.vessels.length_mm.tobytes() == brains[0].vessels.length_mm.tobytes()
    assert again.vessels.branch_points == brains[0].vessels.branch_points
