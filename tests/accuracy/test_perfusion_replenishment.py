"""Destruction and replenishment against curves written out here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from processing.replenishment import Flash, detect_flash, fit_replenishment
from processing.tic import Tic
from tests.accuracy.bolus_scenes import TrueCurve, density, frame_times, speckle

RATE_HZ = 10.0
FLASH_FRAMES = 5
BEFORE = 30


@dataclass(frozen=True)
class Refill:
    plateau: float
    transit_s: float
    shape: float | None
    left: float

    def power(self, after_s: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.shape is None:
            rise = 1.0 - np.exp(-after_s / self.transit_s)
        else:
            rise = ndtr((np.log(np.maximum(after_s, 1e-9)) - np.log(self.transit_s) + self.shape**2 / 2) / self.shape)
        return self.plateau * rise + self.left


def curve(refill: Refill, duration_s: float) -> NDArray[np.float64]:
    """Steady infusion, a flash at eight times the level, then refill; it ends half a frame before its successor."""
    frames = round(duration_s * RATE_HZ)
    after_s = (np.arange(frames) + 0.5) / RATE_HZ
    full = refill.plateau + refill.left
    return np.concatenate([np.full(BEFORE, full), np.full(FLASH_FRAMES, 8.0 * full), refill.power(after_s)])


def draw(kind: str, rng: np.random.Generator) -> Refill:
    plateau = float(np.exp(rng.uniform(np.log(1e-3), 0.0)))
    shape = None if kind == "exponential" else rng.uniform(0.4, 0.8)
    return Refill(plateau, rng.uniform(1.0, 3.5), shape, plateau * rng.uniform(0.005, 0.05))


def clip(power: NDArray[np.float64]) -> Tic:
    return Tic(np.arange(power.size) / RATE_HZ, power, np.zeros(power.size, np.bool_), "lesion")


@pytest.mark.parametrize("kind", ["exponential", "S-shaped"])
@pytest.mark.parametrize("curves", [30, pytest.param(200, marks=pytest.mark.full)])
def test_fifteen_seconds_of_refill_give_volume_and_flow(kind: str, curves: int) -> None:
    rng = np.random.default_rng(21)
    errors, covered, right = [], [], 0
    for _ in range(curves):
        refill = draw(kind, rng)
        power = curve(refill, 15.0) * speckle(BEFORE + FLASH_FRAMES + 150, 100, rng)
        tic = clip(power)
        flash = detect_flash(tic.time_s, power)
        assert flash is not None
        assert (flash.first_frame, flash.last_frame) == (BEFORE, BEFORE + FLASH_FRAMES - 1)
        fit = fit_replenishment(tic, flash)
        right += fit.model == kind
        truth = (refill.plateau, 1.0 / refill.transit_s, refill.plateau / refill.transit_s)
        found = (fit.rbv_au, fit.beta_per_s, fit.rbf_au_per_s)
        assert all(estimate is not None for estimate in found)
        errors.append([100.0 * (e.value / t - 1.0) for e, t in zip(found, truth, strict=True) if e is not None])
        covered.append([e.low <= t <= e.high for e, t in zip(found, truth, strict=True) if e is not None])
    p95 = np.percentile(np.abs(errors), 95, axis=0)
    coverage = 100.0 * np.mean(covered, axis=0)
    print(f"\nreplenishment {kind}: p95 rBV {p95[0]:.1f}, beta {p95[1]:.1f}, rBF {p95[2]:.1f} %; ", end="")
    print(f"mean {np.mean(errors, axis=0).round(2)}; coverage {coverage.round(1)}; model right in {right} of {curves}")
    # Issue: rBV 3, beta 10, rBF 9 % at 100 speckles, 10 fps, 15 s.
    # The 95th percentile of 30 curves is itself uncertain by some 20 %.
    slack = 1.2 if curves < 100 else 1.0
    assert p95[0] <= 3.0 * slack
    assert p95[1] <= 10.0 * slack
    assert p95[2] <= 9.0 * slack
    # 30 curves tell 95 % to +-8 %, 200 to +-3 %.
    assert coverage.min() >= (85.0 if curves < 100 else 90.0)


def test_a_bolus_is_no_flash() -> None:
    time_s = frame_times(10.0, 60.0)
    bolus = TrueCurve("log-normal", 4.0, 4.0, density("log-normal", 6.0, 0.4), 0.001)
    for seed in range(5):
        noise = speckle(time_s.size, 1000, np.random.default_rng(seed))
        assert detect_flash(time_s, bolus.power(time_s) * noise) is None


def test_a_clip_that_ends_early_says_so() -> None:
    refill = Refill(1.0, 3.0, None, 0.01)
    power = curve(refill, 3.0) * speckle(BEFORE + FLASH_FRAMES + 30, 200, np.random.default_rng(3))
    flash = detect_flash(clip(power).time_s, power)
    assert flash is not None
    fit = fit_replenishment(clip(power), flash)
    assert [limitation.code for limitation in fit.limitations] == ["refill_not_seen"]


def test_a_lesion_without_vessels_does_not_refill() -> None:
    power = 0.05 * speckle(200, 100, np.random.default_rng(4))
    fit = fit_replenishment(clip(power), Flash(30, 34, 3.5))
    assert [limitation.code for limitation in fit.limitations] == ["no_refill"]
    assert fit.rbv_au is None


def test_too_few_frames_after_the_flash_are_refused() -> None:
    fit = fit_replenishment(clip(np.ones(60)), Flash(40, 45, 4.6))
    assert [limitation.code for limitation in fit.limitations] == ["too_few_frames"]
