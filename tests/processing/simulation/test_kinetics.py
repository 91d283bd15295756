"""The closed forms of the simulator against quadrature of the curves that it draws."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq, minimize_scalar

from processing.errors import InvalidValueError
from processing.simulation.kinetics import (
    Bolus,
    Fpt,
    GammaVariate,
    Ldrw,
    LogNormal,
    Replenishment,
    WithRecirculation,
    with_peak,
)

BOLUSES = [
    LogNormal.from_peak(peak_au=0.08, time_to_peak_s=15.0, start_s=8.0, sigma=0.45),
    LogNormal.from_peak(peak_au=3.0, time_to_peak_s=22.0, start_s=-2.0, sigma=0.9),
    GammaVariate(area_au_s=2.0, start_s=6.0, a=2.5, b_s=4.0),
    Ldrw(area_au_s=1.0, start_s=5.0, lam=3.0, transit_s=14.0),
    Fpt(area_au_s=1.0, start_s=5.0, lam=4.0, transit_s=18.0),
]


def power(bolus: Bolus, time_s: float) -> float:
    return float(bolus.power_au(np.array([time_s]))[0])


def slope(bolus: Bolus, time_s: float) -> float:
    return (power(bolus, time_s + 1e-4) - power(bolus, time_s - 1e-4)) / 2e-4


def oracle(bolus: Bolus) -> dict[str, float]:
    """All parameters from the drawn curve alone: optimisation, tangents and quadrature."""
    t0 = bolus.start_s
    grid = np.linspace(t0 + 1e-3, t0 + 200, 400_001)
    curve = bolus.power_au(grid)
    rough = grid[curve.argmax()]
    peak_s = minimize_scalar(lambda t: -power(bolus, t), bounds=(rough - 0.1, rough + 0.1), method="bounded").x
    steep = np.gradient(curve, grid)
    rise_s, fall_s = grid[steep.argmax()], grid[steep.argmin()]
    arrival_s = rise_s - power(bolus, rise_s) / slope(bolus, rise_s)
    outflow_s = fall_s - power(bolus, fall_s) / slope(bolus, fall_s)
    wash_in = quad(lambda t: power(bolus, t), max(arrival_s, t0), peak_s, limit=200)[0]
    wash_out = quad(lambda t: power(bolus, t), peak_s, outflow_s, limit=200)[0]
    end_s = t0 + 4000
    points = [t0 + 5, t0 + 50, t0 + 300]
    auc = quad(lambda t: power(bolus, t), t0, end_s, limit=500, points=points)[0]
    moment = quad(lambda t: (t - t0) * power(bolus, t), t0, end_s, limit=500, points=points)[0]
    return {
        "peak_enhancement_au": power(bolus, peak_s),
        "arrival_time_s": arrival_s,
        "time_to_peak_s": peak_s,
        "rise_time_s": peak_s - arrival_s,
        "fall_time_s": outflow_s - peak_s,
        "wash_in_rate_au_per_s": slope(bolus, rise_s),
        "wash_out_rate_au_per_s": -slope(bolus, fall_s),
        "wash_in_auc_au_s": wash_in,
        "wash_out_auc_au_s": wash_out,
        "wash_in_wash_out_auc_au_s": wash_in + wash_out,
        "wash_in_perfusion_index_au": wash_in / (peak_s - arrival_s),
        "auc_au_s": auc,
        "mean_transit_time_s": moment / auc,
        "mean_transit_time_local_s": t0 + moment / auc - arrival_s,
        "model_t0_s": t0,
    }


@pytest.mark.parametrize("bolus", BOLUSES, ids=lambda b: f"{b.model} from {b.start_s} s")
def test_the_truth_of_a_bolus_is_what_its_curve_shows(bolus: Bolus) -> None:
    truth = {name: value for name, value in asdict(bolus.truth()).items() if name != "model"}
    # 1e-3: the steepest points of the oracle come from a grid of 0.5 ms and a difference quotient.
    assert truth == pytest.approx(oracle(bolus), rel=1e-3)


def test_a_bolus_scaled_to_a_peak_keeps_its_times() -> None:
    before = GammaVariate(area_au_s=2.0, start_s=6.0, a=2.5, b_s=4.0)
    after = with_peak(before, 0.3)
    assert after.truth().peak_enhancement_au == pytest.approx(0.3)
    assert after.truth().fall_time_s == pytest.approx(before.truth().fall_time_s)


def test_nothing_enhances_before_the_bolus_begins() -> None:
    for bolus in BOLUSES:
        assert (bolus.power_au(np.linspace(bolus.start_s - 10, bolus.start_s, 50)) == 0).all()


def test_recirculation_adds_a_plateau_and_leaves_the_first_pass_as_the_truth() -> None:
    first = BOLUSES[0]
    both = WithRecirculation(first, fraction=0.15)
    before = np.linspace(0, 15.0, 100)
    assert both.power_au(before) == pytest.approx(first.power_au(before))
    late = np.array([400.0])
    # The first pass has left by then (its power there is below 1e-9 of the peak).
    assert both.power_au(late)[0] == pytest.approx(0.15 * 0.08, rel=1e-6)
    assert both.truth() == first.truth()


def test_replenishment_refills_at_its_rate_after_the_flash() -> None:
    infusion = Replenishment(plateau_au=2.0, rate_per_s=0.5, flash_at_s=3.0, flash_s=0.5, flash_gain=5.0)
    times = np.array([0.0, 2.99, 3.2, 3.5, 3.5 + infusion.mean_transit_time_s])
    assert infusion.power_au(times) == pytest.approx([2.0, 2.0, 10.0, 0.0, 2.0 * (1 - np.exp(-1))])


def test_the_s_shaped_replenishment_is_half_full_at_its_median() -> None:
    infusion = replace(Replenishment(plateau_au=1.0), log_mu=1.0, log_sigma=0.5)
    half_s = brentq(lambda t: float(infusion.power_au(np.array([t]))[0]) - 0.5, 3.5, 30.0)
    assert half_s - 3.4 == pytest.approx(np.exp(1.0))
    refill = quad(lambda t: 1 - float(infusion.power_au(np.array([t]))[0]), 3.4, 200, limit=300)[0]
    assert infusion.mean_transit_time_s == pytest.approx(refill, rel=1e-5)


def test_a_bolus_without_area_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="area_au_s"):
        GammaVariate(area_au_s=0.0, start_s=0.0, a=2.0, b_s=3.0)
