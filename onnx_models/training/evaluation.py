"""Figures of merit, each with its interval: Dice, agreement, separation, calibration. The suite uses them too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

RESAMPLES = 2000


@dataclass(frozen=True)
class Figure:
    """A measured number with its 95 % interval and the number of cines (patients) behind it."""

    value: float
    low: float
    high: float
    n: int

    def row(self, what: str, asked: str = "") -> dict[str, Any]:
        """A line of `metrics.table`."""
        ends = [round(self.low, 4), round(self.high, 4)]
        return {"what": what, "value": round(self.value, 4), "ci95": ends, "n": self.n, "asked": asked}


def dice(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    """Overlap of two masks, 0 to 1 (Dice 1945); two empty masks agree."""
    total = int(found.sum()) + int(truth.sum())
    return 2.0 * int((found & truth).sum()) / total if total else 1.0


def mean_figure(values: Sequence[float] | FloatArray, seed: int = 1) -> Figure:
    """Mean over cines with a bootstrap interval over cines."""
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0:
        return Figure(math.nan, math.nan, math.nan, 0)
    rng = np.random.default_rng(seed)
    means = sample[rng.integers(0, sample.size, (RESAMPLES, sample.size))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Figure(float(sample.mean()), float(low), float(high), sample.size)


def share_figure(hits: int, n: int) -> Figure:
    """A share with Wilson's interval (Wilson 1927)."""
    if n == 0:
        return Figure(math.nan, math.nan, math.nan, 0)
    z, p = 1.96, hits / n
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return Figure(p, max(middle - half, 0.0), min(middle + half, 1.0), n)


def agreement(first: FloatArray, second: FloatArray) -> float:
    """Intraclass correlation ICC(2,1), absolute agreement of two raters (Shrout and Fleiss 1979)."""
    table = np.stack([first, second], axis=1)
    n, k = table.shape
    rows, columns, mean = table.mean(axis=1), table.mean(axis=0), table.mean()
    between = k * float(((rows - mean) ** 2).sum()) / (n - 1)
    raters = n * float(((columns - mean) ** 2).sum()) / (k - 1)
    rest = float(((table - rows[:, None] - columns[None, :] + mean) ** 2).sum()) / ((n - 1) * (k - 1))
    return (between - rest) / (between + (k - 1) * rest + k * (raters - rest) / n)


def agreement_figure(first: FloatArray, second: FloatArray, seed: int = 2) -> Figure:
    """ICC(2,1) with a bootstrap interval over cines."""
    rng = np.random.default_rng(seed)
    n = first.size
    draws = [rng.integers(0, n, n) for _ in range(RESAMPLES)]
    values = [agreement(first[d], second[d]) for d in draws if np.ptp(first[d]) > 0]
    low, high = np.percentile(values, (2.5, 97.5))
    return Figure(agreement(first, second), float(low), float(high), n)


def separation(inside: FloatArray, outside: FloatArray) -> float:
    """Area under the ROC curve: chance that an outside score exceeds an inside one (Mann and Whitney 1947)."""
    order = np.sort(inside)
    below = np.searchsorted(order, outside, side="left")
    ties = np.searchsorted(order, outside, side="right") - below
    return float((below + 0.5 * ties).mean() / inside.size)


def expected_calibration_error(probability: FloatArray, correct: NDArray[np.bool_], bins: int = 10) -> float:
    """Mean distance between confidence and accuracy over equal-width bins (Guo et al. 2017)."""
    place = np.minimum((probability * bins).astype(np.intp), bins - 1)
    error = 0.0
    for k in range(bins):
        here = place == k
        if here.any():
            error += here.mean() * abs(float(probability[here].mean()) - float(correct[here].mean()))
    return error
