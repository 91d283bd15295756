"""The published experiment: intervals over tumours and runs, folds that keep tumours whole, figures as committed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx_models.training.experiments.reading import stored, tables
from onnx_models.training.experiments.statistics import folds, run_figure, seen_through_few_images
from onnx_models.training.response_cohorts import QUOTA, label_of, plans_by_quota

PAGE = Path(__file__).parents[2] / "docs" / "response-classification.md"


def test_the_page_shows_the_committed_figures() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(part in page for part in tables(stored()).split("\n\n"))


def test_the_committed_experiment_has_the_published_size_and_enough_test_tumours() -> None:
    design = stored()["design"]
    assert design["real images"] == [175, 136, 276]
    assert min(design["test tumours"]) >= 200
    assert len(design["seeds"]) >= 5


def test_the_interval_widens_with_runs_that_differ() -> None:
    """Runs that agree: the binomial's interval, 1.96 sqrt(p q / n). Runs half of which always err: wider than it."""
    rng = np.random.default_rng(1)
    tumours = (rng.random(600) < 0.6).astype(float)
    alike = run_figure(np.tile(tumours, (5, 1)))
    binomial = 1.96 * np.sqrt(tumours.mean() * (1 - tumours.mean()) / 600)
    # A bootstrap of 2,000: its ends are known to 4 % of the width.
    assert (alike.high - alike.low) / 2 == pytest.approx(binomial, rel=0.08)
    apart = run_figure(np.stack([tumours, np.zeros(600), tumours, np.zeros(600), tumours]))
    assert apart.high - apart.low > 4 * (alike.high - alike.low)


def test_three_images_of_57_come_about_by_chance_where_nothing_differs() -> None:
    """Two independent arms of 0.88: the difference has a standard deviation of sqrt(2 x 57 x 0.88 x 0.12) = 3.5
    images, so three or more come about in P(z >= 2.5 / 3.47) = 24 % of studies."""
    rng = np.random.default_rng(2)
    first, second = rng.random((1, 20_000)) < 0.88, rng.random((1, 20_000)) < 0.88
    view = seen_through_few_images(first, second)
    assert view["mean_gain"] == pytest.approx(0, abs=0.3)  # the two samples' own means differ by up to 0.005 x 57
    assert view["share_at_least_published_gain"] == pytest.approx(0.24, abs=0.03)


def test_no_tumour_lies_in_two_folds() -> None:
    tumours = np.repeat(np.arange(40), 3)
    fold = folds(tumours, 5, seed=1)
    assert all(len(set(fold[tumours == k].tolist())) == 1 for k in range(40))
    assert np.bincount(fold).tolist() == [24] * 5


def test_the_real_cohort_has_the_published_images_of_far_fewer_tumours() -> None:
    plans = plans_by_quota(9_600_000, QUOTA, most_views=5)
    counts = np.bincount([label_of(p.seed, p.phenotype or 0.0) for p in plans])
    assert counts.tolist() == list(QUOTA)
    assert len({p.seed for p in plans}) < len(plans) / 2
    assert len({(p.seed, p.view) for p in plans}) == len(plans)
