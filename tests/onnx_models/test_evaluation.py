"""Figures of merit against cases whose answer is known by hand or from the papers."""

from __future__ import annotations

import numpy as np
import pytest

from onnx_models.training.evaluation import (
    agreement,
    dice,
    expected_calibration_error,
    mean_figure,
    separation,
    share_figure,
)
from onnx_models.training.site_evaluation import by_subject


def test_dice_of_two_half_overlapping_squares_is_one_half() -> None:
    a, b = np.zeros((2, 10, 10), bool)
    a[:, :4] = b[:, 2:6] = True
    assert dice(a, b) == 0.5
    assert dice(np.zeros(3, bool), np.zeros(3, bool)) == 1.0


def test_the_intraclass_correlation_of_shrout_and_fleiss_table_2() -> None:
    """Shrout and Fleiss 1979, judges 1 and 4 of their example computed by their own formulas by hand below."""
    first, second = np.array([9.0, 6, 8, 7, 10, 6]), np.array([8.0, 2, 8, 6, 9, 7])
    n, table = 6, np.stack([first, second], axis=1)
    bms = 2 * ((table.mean(1) - table.mean()) ** 2).sum() / (n - 1)
    jms = n * ((table.mean(0) - table.mean()) ** 2).sum() / 1
    ems = (((table - table.mean()) ** 2).sum() - bms * (n - 1) - jms) / (n - 1)
    assert agreement(first, second) == pytest.approx((bms - ems) / (bms + ems + 2 * (jms - ems) / n))


def test_a_constant_offset_lowers_agreement_though_correlation_is_perfect() -> None:
    first = np.arange(20.0)
    assert agreement(first, first) == pytest.approx(1.0)
    assert agreement(first, first + 5) < 0.8


def test_wilson_intervals_of_the_published_accuracies_overlap() -> None:
    """50/57 and 53/57: 0.77 to 0.94 and 0.83 to 0.97 (docs/response-classification.md)."""
    before, after = share_figure(50, 57), share_figure(53, 57)
    assert (round(before.low, 2), round(before.high, 2)) == (0.77, 0.94)
    assert (round(after.low, 2), round(after.high, 2)) == (0.83, 0.97)


def test_separation_counts_pairs() -> None:
    assert separation(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1.0
    assert separation(np.array([1.0, 3.0]), np.array([2.0, 3.0])) == pytest.approx((1 + 0 + 1 + 0.5) / 4)


def test_calibration_error_of_a_model_that_is_right_half_as_often_as_it_says() -> None:
    probability = np.full(1000, 0.8)
    correct = np.arange(1000) % 5 < 2
    assert expected_calibration_error(probability, correct) == pytest.approx(0.4)


def test_the_bootstrap_interval_of_a_mean_is_the_normal_one_for_many_values() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    figure = mean_figure(values)
    # Normal theory: 1.96 sd / sqrt(n) = 0.0098; 2000 resamples move an end by about 3 % of that.
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_no_failure_among_seven_animals_leaves_room_for_one_in_three() -> None:
    """Wilson's upper limit of 0 of 7 is z^2 / (7 + z^2) = 0.354; a bootstrap would say 0 to 0."""
    row = by_subject([0.0] * 14, [f"mouse {k // 2}" for k in range(14)], "share that failed")
    assert row["ci95"] == pytest.approx([0.0, 0.3543], abs=1e-4)
