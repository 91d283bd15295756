"""Response models that answer the same whatever they see, written by hand like those of `tiny_onnx`."""

from __future__ import annotations

import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from onnx_models.classify import METRICS
from onnx_models.registry import activate
from tests.onnx_models import tiny_onnx as tiny

CLASSES = ("responsive", "stable", "non_responsive")
EVIDENCE = "a rule for tests, trained on nothing"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
Task = Literal["response_cls", "response_lr"]


def install_response(root: Path, task: Task) -> None:
    """Version 7, activated. The network answers logits (2, 1, 0), the glass box (1, 1, 0)."""
    network = task == "response_cls"
    name, shape = ("roi", (6, 48, 48)) if network else ("metrics", (len(METRICS),))
    bias = tiny.tensor("b", np.array([2, 1, 0], np.float32) if network else np.array([1, 1, 0], np.float32))
    weight = tiny.tensor("w", np.zeros((6, 3), np.float32))
    flat = [tiny.node("GlobalAveragePool", [name], ["p"]), tiny.node("Flatten", ["p"], ["f"])] if network else []
    nodes = [
        *flat,
        tiny.node("MatMul", ["f" if network else name, "w"], ["m"]),
        tiny.node("Add", ["m", "b"], ["logits"]),
    ]
    free: tuple[int | str, ...] = ("n", *shape)
    content = tiny.model(tiny.graph(nodes, [weight, bias], [tiny.value(name, free)], [tiny.value("logits", ("n", 3))]))
    golden = io.BytesIO()
    answer = np.array([[2, 1, 0]] if network else [[1, 1, 0]], np.float32)
    np.savez(golden, input=np.ones((1, *shape), np.float32), output=answer)
    manifest: dict[str, Any] = tiny.lesion_manifest(content, golden.getvalue(), "7")
    manifest |= {"id": task, "task": task, "preprocessing": "roi crop 1" if network else "named metrics 1"}
    names = [f"channel {k}" for k in range(6)] if network else list(METRICS)
    channels = [{"name": n, "unit": "1"} for n in names]
    manifest["inputs"] = [{"name": name, "dtype": "float32", "shape": list(free), "channels": channels}]
    manifest["outputs"] |= {
        "tensor": {"name": "logits", "dtype": "float32", "shape": ["n", 3]},
        "activation": "softmax",
        "classes": [{"name": n, "code": [n, "99TEST", n]} for n in CLASSES],
        "abstain_below": 0.5,
    }
    statistics = 40 if network else len(METRICS)
    manifest["ood"] = {
        "method": "map statistics 1" if network else "vector statistics 1",
        "mean": [0.0] * statistics,
        "inverse_covariance": (1e-9 * np.eye(statistics)).tolist(),
        "threshold": 1e6,
    }
    folder = root / task / "7"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(content)
    (folder / "golden.npz").write_bytes(golden.getvalue())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert hashlib.sha256(content).hexdigest() == manifest["file"]["sha256"]
    activate(root, (task, "7"), ("active", "A. Tester", "a flow that must be walked"), NOW)
