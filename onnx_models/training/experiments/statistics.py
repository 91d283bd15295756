"""Intervals of the experiment: over tumours and training runs together, and what 57 images can tell."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_models.training.evaluation import RESAMPLES, Figure
from onnx_models.training.response_cohorts import CLASSES

BoolArray = NDArray[np.bool_]
PUBLISHED_IMAGES = 57
PUBLISHED_GAIN = 3
"""50 of 57 before, 53 of 57 after adding synthetic images (docs/response-classification.md)."""


def run_figure(right: NDArray[np.floating], seed: int = 3) -> Figure:
    """Mean of (runs, tumours) with a bootstrap interval over both: another training and other tumours were possible."""
    rng = np.random.default_rng(seed)
    runs, tumours = right.shape
    means = np.empty(RESAMPLES)
    for k in range(RESAMPLES):
        picked = right[rng.integers(0, runs, runs)]
        means[k] = picked[:, rng.integers(0, tumours, tumours)].mean()
    low, high = np.percentile(means, (2.5, 97.5))
    return Figure(float(right.mean()), float(low), float(high), tumours)


def recalls(right: BoolArray, labels: NDArray[np.intp]) -> dict[str, float]:
    """Accuracy of each class over all runs: an average hides the class that is never said."""
    return {name: round(float(right[:, labels == k].mean()), 3) for k, name in enumerate(CLASSES)}


def seen_through_few_images(
    first: BoolArray, second: BoolArray, images: int = PUBLISHED_IMAGES, draws: int = 20_000, seed: int = 4
) -> dict[str, Any]:
    """How many images more the second arm gets right on a test of `images`, drawn again and again from (runs, tumours).

    Each draw takes one run of either arm and other tumours: what a single study with one training would have printed.
    """
    rng = np.random.default_rng(seed)
    gains = np.empty(draws, dtype=np.intp)
    for k in range(draws):
        picked = rng.integers(0, first.shape[1], images)
        gains[k] = (
            second[rng.integers(second.shape[0]), picked].sum() - first[rng.integers(first.shape[0]), picked].sum()
        )
    low, high = np.percentile(gains, (2.5, 97.5))
    return {
        "images": images,
        "mean_gain": round(float(gains.mean()), 2),
        "gain_95": [int(low), int(high)],
        "share_at_least_published_gain": round(float((gains >= PUBLISHED_GAIN).mean()), 3),
        "share_at_least_as_much_worse": round(float((gains <= -PUBLISHED_GAIN).mean()), 3),
    }


def folds(groups: NDArray[np.int64], count: int, seed: int) -> NDArray[np.intp]:
    """A fold for each image; all images of a group lie in one fold. Every image its own group = image-level folds."""
    names = np.unique(groups)
    of_group = np.random.default_rng(seed).permutation(names.size) % count
    return np.asarray(of_group[np.searchsorted(names, groups)], dtype=np.intp)
