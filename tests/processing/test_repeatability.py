"""The limit between two measurements of an unchanged subject holds for 95 of 100 such pairs, however few made it."""

from __future__ import annotations

import numpy as np
import pytest

from processing.errors import InvalidValueError
from processing.repeatability import repeatability_in_percent, repeatability_of_differences


def test_two_pairs_by_hand() -> None:
    """Pairs 1, 3 and 10, 10: squares 2 + 0 over 2 degrees of freedom, so s = 1; t(0.975, 2) = 4.3027 (any table)."""
    found = repeatability_of_differences([[1.0, 3.0], [10.0, 10.0]])
    assert found.limit == pytest.approx(4.3027 * 2**0.5, rel=1e-4)
    assert found.degrees_of_freedom == 2


@pytest.mark.parametrize("pairs", [1, 3, 20])
def test_95_of_100_new_pairs_stay_within_the_limit(pairs: int) -> None:
    random = np.random.default_rng(7)
    within = 0
    trials = 4000
    for _ in range(trials):
        repeated = random.normal(50.0, 4.0, (pairs, 2))
        new = random.normal(80.0, 4.0, 2)
        within += abs(new[0] - new[1]) <= repeatability_of_differences(repeated.tolist()).limit
    # Binomial: 4 standard errors of 0.95 over 4000 trials.
    assert within / trials == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / trials) ** 0.5)


def test_a_percentage_does_not_depend_on_the_scale() -> None:
    one = repeatability_in_percent([[1.0, 1.1], [5.0, 5.5]])
    other = repeatability_in_percent([[100.0, 110.0], [0.5, 0.55]])
    assert one.limit == pytest.approx(other.limit)
    # ln 1.1 apart each: s = ln 1.1 / sqrt 2, and t(0.975, 2) = 4.3027.
    assert one.limit == pytest.approx(100 * (1.1**4.3027 - 1), rel=1e-4)


def test_a_single_measurement_repeats_nothing() -> None:
    for none in ([], [[1.0], [2.0]]):
        with pytest.raises(InvalidValueError, match="two measurements"):
            repeatability_of_differences(none)
    with pytest.raises(InvalidValueError, match="positive"):
        repeatability_in_percent([[0.0, 1.0]])
