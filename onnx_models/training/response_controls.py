"""Did it learn the phenotype or an artefact? Controls and comparisons of the response models (docs/models.md)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from scipy.stats import spearmanr

from onnx_models.loaded import LoadedModel
from onnx_models.tensors import softmax
from onnx_models.training.cines import MECHANISMS, Mechanism
from onnx_models.training.evaluation import Figure, expected_calibration_error, mean_figure, share_figure
from onnx_models.training.response_cohorts import (
    CLASSES,
    Tumours,
    another_view,
    cohort_plans,
    draw_tumours,
    tumour_plan,
)

FloatArray = NDArray[np.float64]
Score = Callable[[NDArray[np.float32]], FloatArray]
"""Crops (n, 6, 48, 48) -> probabilities (n, 3)."""

DOSE_SEED, NUISANCE_SEED = 9_700_000, 9_800_000
DOSES = (-2.0, -1.3, -0.6, 0.0, 0.6, 1.3, 2.0)


def erased(crops: NDArray[np.float32], seed: int = 5) -> NDArray[np.float32]:
    """The lesion, dilated by 4 pixels, replaced by what lies around it; the mask stays."""
    rng = np.random.default_rng(seed)
    result = crops.copy()
    for crop in result:
        inside = binary_dilation(crop[5] > 0.5, iterations=4)
        around = np.flatnonzero(~inside & (crop[0] > -59))
        if around.size == 0:
            around = np.flatnonzero(~inside) if (~inside).any() else np.arange(inside.size)
        picked = rng.choice(around, int(inside.sum()))
        for channel in range(5):
            crop[channel][inside] = crop[channel].ravel()[picked]
    return result


def only_mask(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """The outline and nothing of what is in it."""
    result = np.zeros_like(crops)
    result[:, 5] = crops[:, 5]
    return result


def accuracy_figure(probabilities: FloatArray, labels: NDArray[np.intp]) -> Figure:
    """Share of right answers with Wilson's interval."""
    return share_figure(int((probabilities.argmax(axis=1) == labels).sum()), labels.size)


def recall_rows(name: str, probabilities: FloatArray, labels: NDArray[np.intp]) -> list[dict[str, Any]]:
    """Accuracy by class: an average hides the class that a model never says."""
    rows = []
    for k, label in enumerate(CLASSES):
        of_class = labels == k
        hits = int((probabilities[of_class].argmax(axis=1) == k).sum())
        rows.append(share_figure(hits, int(of_class.sum())).row(f"{name}, recall of {label}"))
    return rows


def paired_difference(first: FloatArray, second: FloatArray, labels: NDArray[np.intp]) -> Figure:
    """Accuracy of the first minus that of the second, on the same tumours."""
    return mean_figure((first.argmax(axis=1) == labels).astype(float) - (second.argmax(axis=1) == labels))


def calibration(probabilities: FloatArray, labels: NDArray[np.intp]) -> float:
    """Expected calibration error of the most probable class."""
    return expected_calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)


def leaning(probabilities: FloatArray) -> FloatArray:
    """One score: P(responsive) - P(non-responsive), -1 to 1."""
    return probabilities[:, 0] - probabilities[:, 2]


def dose_response(score: Score, mechanism: Mechanism, tumours: int = 16) -> Figure:
    """Rank correlation of dose and score within each tumour: only the phenotype is turned, all else stays."""
    values = []
    for k in range(tumours):
        drawn = draw_tumours([tumour_plan(DOSE_SEED + k, dose) for dose in DOSES], mechanism)
        if len(drawn.labels) >= 5:
            values.append(float(spearmanr(drawn.phenotype, leaning(score(drawn.crops))).statistic))
    return mean_figure(values)


def nuisance_spread(score: Score, mechanism: Mechanism, tumours: int = 16, views: int = 6) -> Figure:
    """Standard deviation of one tumour's score (brought to 0..1) over views: gain, range, motion, JPEG, speckle."""
    values = []
    for k in range(tumours):
        plan = tumour_plan(NUISANCE_SEED + k)
        drawn = draw_tumours([another_view(plan, view) for view in range(1, views + 1)], mechanism)
        values.append(float(leaning(score(drawn.crops)).std(ddof=1) / 2))
    return mean_figure(values)


def resimulated(model: LoadedModel, count: int = 16) -> dict[str, float]:
    """Mean probability of the true class on the first test tumours of each simulator, drawn anew and asked through the
    run-time's session: what the suite repeats."""
    manifest, session = model.ready()
    means: dict[str, float] = {}
    for place, mechanism in enumerate(MECHANISMS):
        drawn = draw_tumours(islice(cohort_plans("test", place), count), mechanism)
        given = drawn.crops if model.identity.task == "response_cls" else drawn.metrics.astype(np.float32)
        probabilities = softmax(session.run(given, 60.0), manifest.outputs.temperature)
        means[mechanism] = round(float(probabilities[np.arange(drawn.labels.size), drawn.labels].mean()), 4)
    return means


def probabilities_of(logits: FloatArray, temperature: float) -> FloatArray:
    """Calibrated probabilities (n, 3)."""
    return softmax(logits.astype(np.float32), temperature)


def joined(*cohorts: Tumours) -> Tumours:
    """Several cohorts as one."""
    names = ("crops", "metrics", "labels", "phenotype", "seeds")
    return Tumours(*(np.concatenate([getattr(c, name) for c in cohorts]) for name in names))
