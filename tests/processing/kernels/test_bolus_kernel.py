"""The bolus models against closed forms, finite differences and scipy's distributions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import digamma, ndtr

from processing.bolus_models import FIELDS, MODELS, SHORT_NAMES, BolusCurve, characteristics
from processing.kernels import bolus, bolus_fit
from tests.accuracy.bolus_scenes import TrueCurve, density

THETA = {
    "log-normal": np.array([1.0, 2.7, math.log(0.6), 5.0, 0.02]),
    "gamma variate": np.array([1.0, 2.5, math.log(2.5), 5.0, 0.02]),
    "LDRW": np.array([1.0, 2.9, math.log(3.0), 5.0, 0.02]),
    "FPT": np.array([1.0, 2.9, math.log(3.0), 5.0, 0.02]),
}


@pytest.mark.parametrize("model", MODELS)
def test_the_gradient_is_the_slope_of_the_curve(model: str) -> None:
    number, theta = MODELS.index(model), THETA[model]
    time_s = np.linspace(0.0, 60.0, 61)
    value, gradient = np.empty(61), np.empty((61, 5))
    bolus.curve_and_gradient(number, theta, time_s, value, gradient)
    for i in range(5):
        up, down, step = np.empty(61), np.empty(61), np.zeros(5)
        step[i] = 1e-6
        bolus.curve(number, theta + step, time_s, up)
        bolus.curve(number, theta - step, time_s, down)
        # Central differences of a curve of order 0.1 err by 1e-16 / 1e-6 in rounding.
        np.testing.assert_allclose(gradient[:, i], (up - down) / 2e-6, atol=1e-8)


def test_the_log_normal_agrees_with_its_closed_forms() -> None:
    """Strouthos 2010 and docs/perfusion.md, written out here a second time."""
    area, m, s, t0 = 3.0, 2.7, 0.6, 5.0
    got = BolusCurve("log-normal", area, m, s, t0).characteristics()

    def f(x: float) -> float:
        return area / (x * s * math.sqrt(2 * math.pi)) * math.exp(-((math.log(x) - m) ** 2) / (2 * s * s))

    low, high = (-1 - math.sqrt(1 + 4 / s**2)) / 2, (-1 + math.sqrt(1 + 4 / s**2)) / 2
    x_peak, x_in, x_out = math.exp(m - s * s), math.exp(m + s * s * (low - 1)), math.exp(m + s * s * (high - 1))
    start, end = x_in * (1 + 1 / low), x_out * (1 + 1 / high)
    wash_in = area * (ndtr((math.log(x_peak) - m) / s) - ndtr((math.log(start) - m) / s))
    expected = {
        "PE": area / (s * math.sqrt(2 * math.pi)) * math.exp(s * s / 2 - m),
        "AT": t0 + start,
        "TTP": t0 + x_peak,
        "RT": x_peak - start,
        "FT": end - x_peak,
        "WiR": -f(x_in) * low / x_in,
        "WoR": abs(-f(x_out) * high / x_out),
        "WiAUC": wash_in,
        "WoAUC": area * (ndtr((math.log(end) - m) / s) - ndtr((math.log(x_peak) - m) / s)),
        "WiPI": wash_in / (x_peak - start),
        "AUC": area,
        "mTT": math.exp(m + s * s / 2),
        "mTTl": math.exp(m + s * s / 2) - start,
    }
    for name, value in expected.items():
        # Both are exact: rounding and the 24-node quadrature remain.
        assert got[SHORT_NAMES[name]] == pytest.approx(value, rel=1e-8), name


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("width", [0.25, 0.5, 0.8])
def test_every_parameter_is_read_off_the_curve_as_on_a_fine_grid(model: str, width: float) -> None:
    shape = width if model == "log-normal" else 1.0 / width**2
    location = bolus.location_of_peak(MODELS.index(model), 10.0, shape)
    got = BolusCurve(model, 2.0, location, shape, 4.0).characteristics()
    truth = TrueCurve(model, 2.0, 4.0, density(model, 10.0, width), 0.0).truth()
    for name, value in truth.items():
        # The truth's grid of 2 ms limits instants to 1 ms and what is read at them to some 1e-4.
        assert got[SHORT_NAMES[name]] == pytest.approx(value, rel=3e-4, abs=2e-3), name


def test_digamma_is_that_of_scipy() -> None:
    for x in (0.3, 1.0, 2.2, 7.9, 8.1, 150.0):
        assert bolus.digamma(x) == pytest.approx(float(digamma(x)), abs=1e-11)


@pytest.mark.parametrize("model", MODELS)
def test_the_descent_finds_the_curve_that_made_the_samples(model: str) -> None:
    number, theta = MODELS.index(model), THETA[model]
    time_s = np.arange(0.0, 80.0, 1.0)
    power = np.empty(80)
    bolus.curve(number, theta, time_s, power)
    lower = np.array([-20.0, -3.0, -3.0, -5.0, -0.05, 0.0])
    upper = np.array([20.0, 7.0, 6.0, 15.0, 0.2, 0.0])
    peak = float(power.max())
    guess = np.array([1.0, float(time_s[power.argmax()]), 8.0, 0.1])
    found = np.empty(6)
    cost = bolus_fit.fit_curve(
        number,
        time_s,
        np.zeros(80),
        power / peak,
        0.03**2,
        lower,
        upper,
        guess,
        np.array([0.3, 0.5, 0.8]),
        found,
        100,
        1e-9,
    )
    found[0] += math.log(peak)
    # The deviance is a difference of sums of order 100: zero to rounding.
    assert abs(cost) < 1e-9
    # What is read off the curve, because area, scale, shape and start trade against each other near the optimum.
    np.testing.assert_allclose(characteristics(model, found), characteristics(model, theta), rtol=1e-4)
    assert len(FIELDS) == characteristics(model, found).size


@pytest.mark.parametrize("model", MODELS)
def test_a_descent_arrives_from_narrow_and_wide_starts_also_along_a_bound(model: str) -> None:
    """Poor arrivals put t0 at its bound or leave the curve narrow: a step that a bound cuts must not be the last."""
    number, theta = MODELS.index(model), THETA[model]
    time_s, power, start = np.arange(0.0, 80.0, 1.0), np.empty(80), np.empty(6)
    bolus.curve(number, theta, time_s, power)
    low, high = {"log-normal": (-3.0, 1.1), "gamma variate": (math.log(1.2), 6.0)}.get(model, (-3.0, 6.0))
    lower = np.array([-20.0, -3.0, low, -5.0, -0.05, 0.0])
    upper = np.array([20.0, 7.0, high, 15.0, 0.2, 0.0])
    for width in (0.15, 0.2, 0.3, 0.4, 0.65, 1.0):
        for arrival_s in (-4.0, 0.0, 4.0, 8.0, 11.0, 12.5):
            guess = np.array([1.0, float(time_s[power.argmax()]), arrival_s, 0.1])
            bolus_fit.first_guess(number, width, guess, lower, upper, start)
            ends = (0.03**2, lower, upper, start, 100, 1e-9)
            cost = bolus_fit.descend(number, time_s, np.zeros(80), power / power.max(), *ends)
            # The curve has no noise: what is left is rounding, or another minimum (measured before: 7 to 48).
            assert abs(cost) < 1e-6, (width, arrival_s)


def test_a_parameter_at_its_bound_stays_there() -> None:
    """An offset below the bound cannot be reached: the rest settles, the bound holds."""
    theta = THETA["log-normal"]
    time_s = np.arange(0.0, 80.0, 1.0)
    power = np.empty(80)
    bolus.curve(0, theta, time_s, power)
    lower = np.array([-20.0, -3.0, -3.0, -5.0, 0.05, 0.0])
    upper = np.array([20.0, 7.0, 1.1, 15.0, 0.2, 0.0])
    found = np.append(theta, 0.0)
    found[4] = 0.1
    cost = bolus_fit.descend(0, time_s, np.zeros(80), power, 0.01**2, lower, upper, found, 100, 1e-9)
    assert found[4] == 0.05
    assert cost > 0.0
