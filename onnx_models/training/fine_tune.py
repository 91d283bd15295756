"""A shipped model adapted to a site's own cases: split by subject, trained, measured on subjects never seen, written.

The new folder is an ordinary model folder; nothing uses it before somebody activates it. The envelope of known inputs
stays the base model's unless there are enough cases to know one; temperature is fitted on training subjects.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from onnx_models.classify import METRICS, lesion_crop, lesion_metrics
from onnx_models.errors import InvalidInputError
from onnx_models.identity import TASK_WORDS
from onnx_models.loaded import LoadedModel, load_model
from onnx_models.training.data_table import split_by_subject
from onnx_models.training.export import Tensors, device_uid, file_facts, golden_vector, to_onnx, write_folder
from onnx_models.training.lesion import CROP, train
from onnx_models.training.map_sets import MapExample
from onnx_models.training.mask_training import Schedule
from onnx_models.training.networks import lesion_net
from onnx_models.training.response import (
    GlassBox,
    ResponseNet,
    Run,
    fitted_temperature,
    logits_of,
    train_glass_box,
    train_network,
)
from onnx_models.training.response_cohorts import CLASSES
from onnx_models.training.site_evaluation import SiteCase, evaluate

LEAST_SUBJECTS = 6
"""Four to learn from and two to test on; fewer would be a model of one litter."""
RATE, STEPS = 3e-4, 200
"""A tenth of the first training's rate: what the simulators taught is to be bent, not replaced."""
Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class FineTuning:
    """root: the site's folder of models. held_share: of the subjects, kept out of everything but the test."""

    root: Path
    version: str
    held_share: float
    seed: int


@dataclass(frozen=True, eq=False)
class Adapted:
    """An exported network and what decides its answers."""

    content: bytes
    example: NDArray[np.float32]
    temperature: float


def fine_tune(base: LoadedModel, cases: Sequence[SiteCase], wanted: FineTuning) -> tuple[Path, tuple[str, ...]]:
    """Write `root/<id>/<version>`; returns it and lines for the user. Raises InvalidInputError."""
    task = base.identity.task
    if task not in ("lesion_seg", "response_cls", "response_lr"):
        raise InvalidInputError(f"the {TASK_WORDS.get(task, task)} model is not fine-tuned on cines")
    usable = [c for c in cases if task == "lesion_seg" or c.case.time_point == "before"]
    subjects = {c.case.subject for c in usable}
    if len(subjects) < LEAST_SUBJECTS:
        raise InvalidInputError(f"{len(subjects)} subjects can be used, {LEAST_SUBJECTS} are the least")
    folder = wanted.root / task / wanted.version
    if folder.exists():
        raise InvalidInputError(f"{task} {wanted.version} exists already: versions are never overwritten")
    _, held = split_by_subject([c.case for c in usable], wanted.held_share, wanted.seed)
    out = {case.subject for case in held}
    seen, unseen = ([c for c in usable if (c.case.subject in out) == test] for test in (False, True))
    adapted = _lesion(base, seen, wanted) if task == "lesion_seg" else _response(base, seen, wanted)
    manifest = _manifest(base, adapted, wanted, len(seen))
    golden = golden_vector(adapted.content, adapted.example)
    manifest["golden"] = {"name": "golden.npz", "sha256": hashlib.sha256(golden).hexdigest(), "atol": 0.001}
    write_folder(folder, adapted.content, golden, manifest)
    manifest["metrics"] = _measured(base, load_model(folder.absolute()), unseen)
    write_folder(folder, adapted.content, golden, manifest)
    split = (
        f"trained on {len(seen)} cases of {len(subjects) - len(out)} subjects, tested on {len(unseen)} of {len(out)}"
    )
    return folder, (split, *(f"{row['what']}: {row['value']}" for row in manifest["metrics"]["table"]))


def _measured(base: LoadedModel, tuned: LoadedModel, unseen: Sequence[SiteCase]) -> dict[str, Any]:
    """Both models on the same held-out subjects: a fine-tuning that does not help is seen on its own card."""
    rows = [{**row, "what": f"held-out subjects: {row['what']}"} for row in evaluate(tuned, unseen).table]
    before = evaluate(base, unseen).table
    rows += [{**row, "what": f"the shipped model on them: {row['what']}", "asked": ""} for row in before]
    return {"table": rows, "notes": ["Figures are of this site's held-out subjects; intervals are over subjects."]}


def _response(base: LoadedModel, seen: Sequence[SiteCase], wanted: FineTuning) -> Adapted:
    labels = np.array([CLASSES.index(c.case.label) for c in seen], dtype=np.intp)
    if base.identity.task == "response_lr":
        metrics = np.array([list(lesion_metrics(c.inputs.maps, c.inputs.valid, c.cells).values()) for c in seen])
        known = np.isfinite(metrics).all(axis=1)
        glass = train_glass_box(metrics[known], labels[known], start=_loaded(base, _glass_box(base)))
        heat = fitted_temperature(logits_of(glass, metrics[known]), labels[known])
        content = to_onnx(glass, torch.zeros(2, len(METRICS)), Tensors("metrics", {0: "n"}))
        return Adapted(content, metrics[known][:2].astype(np.float32), heat)
    crops = np.stack([lesion_crop(c.inputs.maps, c.cells) for c in seen])
    network = _loaded(base, ResponseNet())
    run = Run(wanted.seed, STEPS, weighted=len(set(labels.tolist())) == len(CLASSES), rate=RATE)
    network = train_network(crops, labels, run, start=network)
    heat = fitted_temperature(logits_of(network, crops), labels)
    return Adapted(to_onnx(network, torch.zeros(2, 6, 48, 48), Tensors("roi", {0: "n"})), crops[:2], heat)


def _lesion(base: LoadedModel, seen: Sequence[SiteCase], wanted: FineTuning) -> Adapted:
    examples = [
        MapExample(
            c.inputs.maps.astype(np.float16), c.cells, c.inputs.valid.copy(), "site", "site", False, k, c.inputs.cell_mm
        )
        for k, c in enumerate(seen)
    ]
    schedule = Schedule(STEPS, CROP, wanted.seed, peak_rate=RATE)
    network = train(examples, schedule, start=_loaded(base, lesion_net()))
    content = to_onnx(network, torch.zeros(2, 5, 96, 128), Tensors("maps", {0: "n", 2: "h", 3: "w"}))
    manifest, _ = base.ready()
    example = np.tile(seen[0].inputs.maps[None], (1, 1, 4, 4))[:, :, :96, :96]
    return Adapted(content, np.ascontiguousarray(example), manifest.outputs.temperature)


def _glass_box(base: LoadedModel) -> GlassBox:
    manifest, _ = base.ready()
    n = len(manifest.inputs[0].channels)
    return GlassBox(np.zeros(n), np.ones(n))


def _loaded(base: LoadedModel, network: Network) -> Network:
    """The ONNX file's weights in the network that it was exported from. The exporter folds each normalisation into the
    convolution before it (`<name>_bias`): it starts as the identity with that shift."""
    if base.folder is None:
        raise InvalidInputError("the base model lies in no folder")
    graph = onnx.load_model_from_string((base.folder / "model.onnx").read_bytes()).graph
    stored = {tensor.name: torch.from_numpy(numpy_helper.to_array(tensor).copy()) for tensor in graph.initializer}
    state = network.state_dict()
    for name, value in state.items():
        if name in stored and stored[name].shape == value.shape:
            state[name] = stored[name]
    for name, shift in stored.items():
        if name.endswith(".weight_bias"):
            head, place = name.removesuffix(".weight_bias").rsplit(".", 1)
            norm = f"{head}.{int(place) + 1}"
            state[f"{norm}.bias"], state[f"{norm}.weight"] = shift, torch.ones_like(shift)
            state[f"{norm}.running_mean"], state[f"{norm}.running_var"] = (
                torch.zeros_like(shift),
                torch.ones_like(shift),
            )
    network.load_state_dict(state)
    return network


def _manifest(base: LoadedModel, adapted: Adapted, wanted: FineTuning, cases: int) -> dict[str, Any]:
    old, _ = base.ready()
    manifest = old.model_dump(mode="json", by_alias=True)
    facts = file_facts(adapted.content)
    label = f"Fine-tuned on {cases} cases of this site - not clinically validated - research use"
    manifest |= {
        "version": wanted.version,
        "device_uid": device_uid(facts["sha256"]),
        "file": facts,
        "evidence": {"status": "retrospective", "label": label},
        "training": {
            "simulator": f"{old.training.simulator}; then the site's own cases",
            "seeds": [*old.training.seeds, wanted.seed],
            "cines": old.training.cines + cases,
            "command": f"ceus-node models finetune {old.id} TABLE --version {wanted.version} "
            f"--held {wanted.held_share:g} --seed {wanted.seed}",
            "versions": {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
        },
        "metrics": {},
    }
    manifest["outputs"]["temperature"] = adapted.temperature
    return manifest
