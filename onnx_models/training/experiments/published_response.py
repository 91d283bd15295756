"""The published experiment, repeated: does adding synthetic images help to tell responses apart?

`python -m onnx_models.training.experiments.published_response --tumours DIR`.
Two simulators of different mechanism share a latent phenotype; the bubble rim plays "real" with 175/136/276 images of
198 tumours, the perfusion field draws the synthetic ones. Every arm gets the same number of updates, five seeds, and
is judged on the same real tumours that nothing was chosen on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnx_models.training import response_controls as controls
from onnx_models.training.cines import MECHANISMS
from onnx_models.training.experiments.statistics import folds, recalls, run_figure, seen_through_few_images
from onnx_models.training.response import Run, fitted_temperature, logits_of, train_glass_box, train_network
from onnx_models.training.response_cohorts import QUOTA, Tumours, bayes_accuracy, load_tumours, make_cohorts

SEEDS = (50, 51, 52, 53, 54)
STEPS = 600
"""Updates of every arm: 33 passes through the real images; more images get no more training."""
FOLDS = 5
RESULT = Path(__file__).with_name("published_response.json")
REAL, MINORITY, ALL = "real", "real + synthetic of the rarest class", "real + synthetic of all classes"


@dataclass(frozen=True, eq=False)
class Arm:
    """Images and labels that an arm is trained on. `weighted`: the loss weighs classes by their rarity."""

    crops: NDArray[np.float32]
    labels: NDArray[np.intp]
    weighted: bool = False


def arms(real: Tumours, synthetic: Tumours) -> dict[str, Arm]:
    """All training sets; "the rarest class" is brought to the size of the largest."""
    rarest, wanted = int(np.argmin(QUOTA)), max(QUOTA) - min(QUOTA)
    minority = np.flatnonzero(synthetic.labels == rarest)[:wanted]
    in_proportion = np.concatenate([np.flatnonzero(synthetic.labels == k)[:n] for k, n in enumerate(QUOTA)])
    shuffled = np.random.default_rng(SEEDS[0]).permutation(synthetic.labels[in_proportion])

    def added(picked: NDArray[np.intp], labels: NDArray[np.intp]) -> Arm:
        return Arm(np.concatenate([real.crops, synthetic.crops[picked]]), np.concatenate([real.labels, labels]))

    return {
        REAL: Arm(real.crops, real.labels),
        "real, weighted by class": Arm(real.crops, real.labels, weighted=True),
        MINORITY: added(minority, synthetic.labels[minority]),
        ALL: added(in_proportion, synthetic.labels[in_proportion]),
        "real + synthetic with shuffled labels": added(in_proportion, shuffled),
        "synthetic only": Arm(synthetic.crops[in_proportion], synthetic.labels[in_proportion]),
    }


@dataclass(frozen=True, eq=False)
class Judged:
    """right: bool (runs, tumours) of the test; probabilities: float64 (runs, tumours, 3), calibrated."""

    right: NDArray[np.bool_]
    probabilities: NDArray[np.float64]


def judge(arm: Arm, validation: Tumours, test: Tumours) -> Judged:
    """Train one network a seed; the temperature comes from real validation tumours."""
    answers = []
    for seed in SEEDS:
        network = train_network(arm.crops, arm.labels, Run(seed, STEPS, arm.weighted))
        heat = fitted_temperature(logits_of(network, validation.crops), validation.labels)
        answers.append(controls.probabilities_of(logits_of(network, test.crops), heat))
    probabilities = np.stack(answers)
    return Judged(probabilities.argmax(axis=2) == test.labels, probabilities)


def glass_box(real: Tumours, validation: Tumours, test: Tumours) -> Judged:
    """The logistic regression on named parameters: convex, so one run."""
    glass = train_glass_box(real.metrics, real.labels)
    heat = fitted_temperature(logits_of(glass, validation.metrics), validation.labels)
    probabilities = controls.probabilities_of(logits_of(glass, test.metrics), heat)[None]
    return Judged(probabilities.argmax(axis=2) == test.labels, probabilities)


def row(judged: Judged, base: Judged | None, labels: NDArray[np.intp], images: int) -> dict[str, Any]:
    """Figures of an arm; `base`: what it is compared with on the same tumours."""
    figure = run_figure(judged.right.astype(float))
    told: dict[str, Any] = {
        "images": images,
        "accuracy": round(figure.value, 3),
        "ci95": [round(figure.low, 3), round(figure.high, 3)],
        "recall": recalls(judged.right, labels),
        "calibration_error": round(float(np.mean([controls.calibration(p, labels) for p in judged.probabilities])), 3),
    }
    if base is not None:
        # Runs of the same seed are paired; the glass box is one run for all.
        apart = run_figure(judged.right.astype(float) - base.right.astype(float))
        told["minus_real"] = [round(v, 3) for v in (apart.value, apart.low, apart.high)]
    return told


def cross_validation(real: Tumours) -> dict[str, Any]:
    """Accuracy within the real images, folds by image and by tumour: the first has seen the tumours that it tests."""
    told = {}
    for name, groups in (("image", np.arange(real.labels.size, dtype=np.int64)), ("tumour", real.seeds)):
        right = np.zeros(real.labels.size)
        for seed in SEEDS[:2]:
            fold = folds(groups, FOLDS, seed)
            for k in range(FOLDS):
                network = train_network(real.crops[fold != k], real.labels[fold != k], Run(seed, STEPS))
                right[fold == k] += logits_of(network, real.crops[fold == k]).argmax(axis=1) == real.labels[fold == k]
        figure = run_figure(right[None] / 2)
        told[f"folds by {name}"] = [round(v, 3) for v in (figure.value, figure.low, figure.high)]
    return told


def control_rows(real: Tumours, test: Tumours) -> dict[str, Any]:
    """models.md section 5's controls, on networks that have seen real images only."""
    network = train_network(real.crops, real.labels, Run(SEEDS[0], STEPS))
    shuffled = np.random.default_rng(SEEDS[0]).permutation(real.labels)
    on_noise = train_network(real.crops, shuffled, Run(SEEDS[0], STEPS))
    on_outline = train_network(controls.only_mask(real.crops), real.labels, Run(SEEDS[0], STEPS))
    chance = float(np.bincount(test.labels).max() / test.labels.size)

    def accuracy(answering: Any, crops: NDArray[np.float32]) -> list[float]:
        figure = controls.accuracy_figure(logits_of(answering, crops), test.labels)
        return [round(v, 3) for v in (figure.value, figure.low, figure.high)]

    def score(crops: NDArray[np.float32]) -> NDArray[np.float64]:
        return controls.probabilities_of(logits_of(network, crops), 1.0)

    dose = controls.dose_response(score, MECHANISMS[0])
    spread = controls.nuisance_spread(score, MECHANISMS[1])
    return {
        "lesion erased": accuracy(network, controls.erased(test.crops)),
        "lesion erased, limit": round(chance + 2 * (chance * (1 - chance) / test.labels.size) ** 0.5, 3),
        "outline only": accuracy(on_outline, controls.only_mask(test.crops)),
        "shuffled labels": accuracy(on_noise, test.crops),
        "dose-response on the other simulator (Spearman)": [round(v, 3) for v in (dose.value, dose.low, dose.high)],
        "score sd under nuisance": [round(v, 3) for v in (spread.value, spread.low, spread.high)],
    }


def run(folder: Path) -> dict[str, Any]:
    """Everything, from the cohorts in `folder`."""
    real, synthetic = load_tumours(folder / "real-1.npz"), load_tumours(folder / "synthetic-0.npz")
    validation, test = load_tumours(folder / "validation-1.npz"), load_tumours(folder / "test-1.npz")
    judged: dict[str, Judged] = {}
    rows: dict[str, Any] = {}
    for name, arm in arms(real, synthetic).items():
        judged[name] = judge(arm, validation, test)
        rows[name] = row(judged[name], judged.get(REAL) if name != REAL else None, test.labels, arm.labels.size)
        print(name, rows[name], flush=True)
    judged["glass box"] = glass_box(real, validation, test)
    rows["glass box"] = row(judged["glass box"], judged[REAL], test.labels, real.labels.size)
    return {
        "design": _design(real, test),
        "arms": rows,
        "through 57 images": {
            name: seen_through_few_images(judged[REAL].right, judged[name].right) for name in (MINORITY, ALL)
        },
        "cross-validation of the real images": cross_validation(real),
        "controls": control_rows(real, test),
    }


def _design(real: Tumours, test: Tumours) -> Mapping[str, Any]:
    return {
        "real images": np.bincount(real.labels).tolist(),
        "real tumours": int(np.unique(real.seeds).size),
        "test tumours": np.bincount(test.labels).tolist(),
        "seeds": list(SEEDS),
        "updates": STEPS,
        "bayes_accuracy": round(bayes_accuracy(), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tumours", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    make_cohorts(arguments.tumours, ("real", "synthetic", "validation", "test"))
    arguments.out.write_text(json.dumps(run(arguments.tumours), indent=1) + "\n")


if __name__ == "__main__":
    main()
