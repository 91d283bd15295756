"""Real vessels: in-vivo ULM maps of one mouse brain at two time points give figures and their difference.

eLife RP95168, MIT licence. No truth is known; what is tested is that the figures are physically possible, repeat to the
bit, and that their difference over a week comes with an interval which holds no change where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.io import loadmat

from processing.metrics import Estimate
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


def share_by_blocks(mask: np.ndarray, edge_px: int = 64) -> np.ndarray:
    """Vessel share (%) of each block: neighbours share vessels, blocks four vessel lengths wide hardly do."""
    blocks = mask.reshape(mask.shape[0] // edge_px, edge_px, -1, edge_px)
    return 100.0 * blocks.mean(axis=(1, 3)).reshape(-1)


def difference(early: np.ndarray, late: np.ndarray, of: Callable[..., np.ndarray], seed: int = 1) -> Estimate:
    """late - early of a statistic, its 95 % interval by resampling what it is a statistic of, apart at both times."""
    rng = np.random.default_rng(seed)
    early, late = early[np.isfinite(early)], late[np.isfinite(late)]
    drawn = [of(late[rng.integers(0, late.size, (1000, late.size))], axis=1)]
    drawn.append(of(early[rng.integers(0, early.size, (1000, early.size))], axis=1))
    low, high = np.percentile(drawn[0] - drawn[1], [2.5, 97.5])
    return Estimate(float(of(late) - of(early)), float(low), float(high))


def figures_of(vessels: Vessels) -> dict[str, tuple[np.ndarray, Callable[..., np.ndarray]]]:
    return {
        "vessel share, %": (share_by_blocks(vessels.mask), np.mean),
        "tortuosity, median": (vessels.tortuosity, np.median),
        "diameter, median, px / 1000": (vessels.diameter_um, np.median),
    }


def test_the_difference_over_a_week_has_an_interval(brains: tuple[Brain, Brain]) -> None:
    """Control: the vessels of one day, dealt into two halves twenty times, differ by nothing. Binomial(20, .95): 16 or
    more intervals hold that with 99.7 %."""
    early, late = (figures_of(b.vessels) for b in brains)
    rng = np.random.default_rng(2)
    for name, (values, of) in early.items():
        change = difference(values, late[name][0], of)
        assert change.low is not None
        assert change.high is not None
        assert change.low < change.value < change.high
        holding = 0
        for _ in range(20):
            halves = np.array_split(rng.permutation(values), 2)
            nothing = difference(halves[0], halves[1], of)
            holding += nothing.low <= 0 <= nothing.high  # type: ignore[operator]
        print(
            f"{name}: {change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}] in a week; no change: {holding} of 20"
        )
        assert holding >= 16, name


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
