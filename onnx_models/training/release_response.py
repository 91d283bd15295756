"""Draw, train, control and release both response models, by one command:

`python -m onnx_models.training.release_response --tumours DIR --version 1`. The experiment with arms and five seeds
(docs/response-classification.md) is another matter: `onnx_models.training.experiments.published_response`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onnx_models.classify import METRICS
from onnx_models.loaded import load_model
from onnx_models.registry import SHIPPED
from onnx_models.tensors import map_statistics
from onnx_models.training import response_controls as controls
from onnx_models.training.cines import MECHANISMS
from onnx_models.training.evaluation import mean_figure
from onnx_models.training.experiments.statistics import folds, run_figure
from onnx_models.training.export import Tensors, golden_vector, inference_row, to_onnx, write_folder
from onnx_models.training.processor_time import stage
from onnx_models.training.release_frame import Release, manifest_of, shrunk_envelope
from onnx_models.training.response import (
    GlassBox,
    ResponseNet,
    Run,
    fitted_temperature,
    logits_of,
    train_glass_box,
    train_network,
)
from onnx_models.training.response_cohorts import (
    CLASSES,
    COUNT,
    FIRST_SEED,
    Tumours,
    bayes_accuracy,
    load_tumours,
    make_cohorts,
)

SEED, FOLDS, SHUFFLES = 40, 3, 3
"""A network that learned noise still leans somewhere, and one shuffle may turn that towards the truth: hence three."""
_UNITS = ("dB", "dB", "s", "s", "dB", "1")
_CODES = {"responsive": "CR/PR", "stable": "SD", "non_responsive": "PD"}
_NOT_FOR = [
    "patients",
    "tumours after treatment or of unknown treatment state",
    "any decision about treatment",
]


def release(folder: Path, version: str) -> list[Path]:
    """Both folders. Trained on both simulators together; the cross-simulator controls train their own."""
    by_kind = {
        kind: [load_tumours(folder / f"{kind}-{place}.npz") for place in range(len(MECHANISMS))] for kind in FIRST_SEED
    }
    train, validation = (controls.joined(*by_kind[kind]) for kind in ("train", "validation"))
    network = train_network(train.crops, train.labels, Run(SEED))
    glass = train_glass_box(train.metrics, train.labels)
    heat, glass_heat = _temperatures((network, glass), train, validation)
    answers = {
        "network": [controls.probabilities_of(logits_of(network, t.crops), heat) for t in by_kind["test"]],
        "glass box": [controls.probabilities_of(logits_of(glass, t.metrics), glass_heat) for t in by_kind["test"]],
    }
    shared = _comparison_rows(answers, by_kind["test"])
    crops_seen, crops_held = (_crop_statistics(t.crops) for t in (train, validation))
    network_rows = [*shared, *_control_rows(network, heat, by_kind)]
    return [
        _write(
            ("response_cls", version),
            (to_onnx(network, torch.zeros(2, 6, 48, 48), Tensors("roi", {0: "n"})), validation.crops[:2]),
            {"temperature": heat, "ood": shrunk_envelope(crops_seen, crops_held, "map statistics 1")},
            network_rows,
        ),
        _write(
            ("response_lr", version),
            (to_onnx(glass, torch.zeros(2, len(METRICS)), Tensors("metrics", {0: "n"})), validation.metrics[:2]),
            {
                "temperature": glass_heat,
                "ood": shrunk_envelope(train.metrics, validation.metrics, "vector statistics 1"),
            },
            [*shared, *_weight_rows(glass)],
        ),
    ]


def _temperatures(trained: tuple[ResponseNet, GlassBox], train: Tumours, validation: Tumours) -> tuple[float, float]:
    """Fitted on validation tumours and on training tumours as networks answer that have not seen them.

    300 validation tumours alone leave a temperature that the luck of their labels moves by a quarter.
    """
    fold = folds(train.seeds, FOLDS, SEED)
    logits, glass_logits = np.empty((2, train.labels.size, len(CLASSES)))
    for k in range(FOLDS):
        seen, unseen = fold != k, fold == k
        network = train_network(train.crops[seen], train.labels[seen], Run(SEED))
        logits[unseen] = logits_of(network, train.crops[unseen])
        glass = train_glass_box(train.metrics[seen], train.labels[seen])
        glass_logits[unseen] = logits_of(glass, train.metrics[unseen])
    labels = np.concatenate([train.labels, validation.labels])
    everything = np.concatenate([logits, logits_of(trained[0], validation.crops)])
    by_glass = np.concatenate([glass_logits, logits_of(trained[1], validation.metrics)])
    return fitted_temperature(everything, labels), fitted_temperature(by_glass, labels)


def _crop_statistics(crops: NDArray[np.float32]) -> NDArray[np.float64]:
    everywhere = np.ones(crops.shape[2:], dtype=np.bool_)
    return np.array([map_statistics(crop[:5], everywhere) for crop in crops])


def _comparison_rows(
    answers: Mapping[str, Sequence[NDArray[np.float64]]], test: Sequence[Tumours]
) -> list[dict[str, Any]]:
    labels = np.concatenate([t.labels for t in test])
    rows = [{"what": "accuracy of a reader who knows the phenotype (Bayes)", "value": round(bayes_accuracy(), 4)}]
    whole = {name: np.concatenate(list(parts)) for name, parts in answers.items()}
    for name, probabilities in whole.items():
        rows.append(controls.accuracy_figure(probabilities, labels).row(f"accuracy, {name}, both simulators"))
        rows.extend(controls.recall_rows(name, probabilities, labels))
        told = {"what": f"calibration error, {name}", "asked": "<= 0.05"}
        rows.append({**told, "value": round(controls.calibration(probabilities, labels), 4)})
    apart = controls.paired_difference(whole["network"], whole["glass box"], labels)
    rows.append(apart.row("accuracy of the network minus that of the glass box, same tumours"))
    distance = 0.5 * np.abs(whole["network"] - whole["glass box"]).sum(axis=1)
    rows.append(mean_figure(distance).row("disagreement (total variation) of the two"))
    return rows


def _control_rows(
    network: torch.nn.Module, heat: float, cohorts: Mapping[str, Sequence[Tumours]]
) -> list[dict[str, Any]]:
    train, test = controls.joined(*cohorts["train"]), controls.joined(*cohorts["test"])
    chance = float(np.bincount(test.labels).max() / test.labels.size)
    limit = chance + 2 * (chance * (1 - chance) / test.labels.size) ** 0.5

    def accuracy(answering: torch.nn.Module, crops: NDArray[np.float32]) -> Any:
        return controls.accuracy_figure(logits_of(answering, crops), test.labels)

    rng = np.random.default_rng(SEED)
    shuffled = [train_network(train.crops, rng.permutation(train.labels), Run(SEED + k)) for k in range(SHUFFLES)]
    at_chance = np.stack([logits_of(s, test.crops).argmax(axis=1) == test.labels for s in shuffled])
    outline = train_network(controls.only_mask(train.crops), train.labels, Run(SEED))
    rows = [
        accuracy(network, controls.erased(test.crops)).row("control: lesion erased", f"<= {limit:.3f}"),
        run_figure(at_chance.astype(float)).row(f"control: trained on shuffled labels, {SHUFFLES} shuffles", "<= 0.38"),
        accuracy(outline, controls.only_mask(test.crops)).row("control: trained on the outline only", "<= 0.38"),
    ]
    for place, mechanism in enumerate(MECHANISMS):
        other = cohorts["train"][1 - place]
        alone = train_network(other.crops, other.labels, Run(SEED))
        unseen = controls.accuracy_figure(logits_of(alone, cohorts["test"][place].crops), cohorts["test"][place].labels)
        rows.append(unseen.row(f"accuracy on the {mechanism} simulator, trained on the other one"))

        def score(crops: NDArray[np.float32], answering: torch.nn.Module = alone) -> NDArray[np.float64]:
            return controls.probabilities_of(logits_of(answering, crops), heat)

        dose = controls.dose_response(score, mechanism)
        rows.append(dose.row(f"dose-response on the {mechanism} simulator, trained on the other (Spearman)", ">= 0.9"))
        spread = controls.nuisance_spread(
            lambda crops: controls.probabilities_of(logits_of(network, crops), heat), mechanism
        )
        rows.append(spread.row(f"score sd under change of gain, range, motion, JPEG, {mechanism}", "<= 0.12"))
    return rows


def _weight_rows(glass: torch.nn.Module) -> list[dict[str, Any]]:
    """The whole glass box: what one standard deviation of each parameter adds to a class's logit."""
    weight = glass.head.weight.detach().numpy()
    rows = []
    for k, name in enumerate(CLASSES):
        for j, metric in enumerate(METRICS):
            rows.append({"what": f"weight of {metric} for {name}", "value": round(float(weight[k, j]), 3)})
    return rows


def _input(image: bool, shape: tuple[int, ...]) -> dict[str, Any]:
    names = ("peak", "mean", "standard deviation", "arrival", "half-peak", "lesion") if image else METRICS
    units = ("dB", "dB", "dB", "s/30", "s/30", "1") if image else _UNITS
    return {
        "name": "roi" if image else "metrics",
        "dtype": "float32",
        "shape": ("n", *shape),
        "channels": [{"name": n, "unit": u} for n, u in zip(names, units, strict=True)],
    }


def _write(
    who: tuple[str, str],
    file: tuple[bytes, NDArray[np.floating]],
    parts: Mapping[str, Any],
    rows: list[dict[str, Any]],
) -> Path:
    (task, version), (content, given) = who, file
    example = np.asarray(given, dtype=np.float32)
    golden = golden_vector(content, example)
    image = task == "response_cls"
    timed = [inference_row(content, (1, 6, 48, 48), "")] if image else []
    manifest = manifest_of(
        Release(
            task=task,
            version=version,
            content=content,
            golden=golden,
            purpose=_purpose(image, example.shape[1:]),
            outputs=_outputs(parts["temperature"]),
            ood=parts["ood"],
            simulator="two simulators of different mechanism that share a latent perfusion phenotype",
            seeds=(*FIRST_SEED.values(), SEED),
            cines=len(MECHANISMS) * COUNT["train"],
            command=f"python -m onnx_models.training.release_response --tumours DIR --version {version}",
        )
    )
    manifest["metrics"] = {"table": [*rows, *timed], "notes": _NOTES}
    folder = SHIPPED / task / version
    write_folder(folder, content, golden, manifest)
    manifest["metrics"]["resimulated"] = controls.resimulated(load_model(folder))
    write_folder(folder, content, golden, manifest)
    return folder


def _purpose(image: bool, shape: tuple[int, ...]) -> dict[str, Any]:
    return {
        "intended_use": "method studies on simulated small-animal tumours before treatment; research use only",
        "not_for": _NOT_FOR,
        "applicability": {
            "min_frames": 40,
            "min_duration_s": 30,
            "frame_rate_hz": {"low": 1.5, "high": 100},
            "dynamic_range_db": {"low": 35, "high": 80},
            "pixel_mm": {"low": 0.02, "high": 0.3},
        },
        "inputs": [_input(image, shape)],
        "preprocessing": "roi crop 1" if image else "named metrics 1",
    }


def _outputs(temperature: float) -> dict[str, Any]:
    return {
        "tensor": {"name": "logits", "dtype": "float32", "shape": ("n", 3)},
        "activation": "softmax",
        "classes": [{"name": name, "code": (_CODES[name], "99CEUSNODE", name)} for name in CLASSES],
        "temperature": temperature,
        "threshold": 0.5,
        "abstain_below": 0.5,
        "area_mm2": {},
    }


_NOTES = [
    "Labels are a simulated phenotype plus noise: the accuracy says whether a method can read a phenotype, and nothing "
    "about tumours or drugs.",
    "One image a tumour: image-level and tumour-level splits are the same split here.",
    "Temperatures come from validation tumours and from training tumours by networks that had not seen them. Looked at "
    "on the test tumours before: a first release whose temperatures came from 300 validation tumours alone "
    "(calibration error 0.057 and 0.064) and whose single shuffle gave 0.40; the weights are the same.",
    "One training seed here; the arms and five seeds of the experiment stand in docs/response-classification.md.",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tumours", type=Path, required=True)
    parser.add_argument("--version", required=True)
    arguments = parser.parse_args()
    with stage(arguments.tumours, "both response models: drawing, training and controls"):
        make_cohorts(arguments.tumours, FIRST_SEED)
        folders = release(arguments.tumours, arguments.version)
    print(*folders, sep="\n")


if __name__ == "__main__":
    main()
