"""From a trained network to a model folder: ONNX without external data or paths, golden vector, manifest, card.

The manifest and the card are rendered from the metrics measured on this very file, so that no text can drift.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from onnx_models.onnx_file import check_file
from onnx_models.session import open_session
from onnx_models.training.card import render_card

OPSET = 18


@dataclass(frozen=True)
class Tensors:
    """Names of input and output, and which axes are free."""

    given: str
    free: dict[int, str]


def to_onnx(network: torch.nn.Module, example: torch.Tensor, tensors: Tensors) -> bytes:
    """Export by the default (dynamo) exporter, then strip every text that is not needed to run."""
    network = network.eval()
    shapes = (dict.fromkeys(tensors.free, torch.export.Dim.AUTO),)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            input_names=[tensors.given],
            output_names=["logits"],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("the exporter gave no program")
    buffer = io.BytesIO()
    program.save(buffer, include_initializers=True, external_data=False)
    return _stripped(onnx.load_from_string(buffer.getvalue()), tensors)


def _stripped(model: onnx.ModelProto, tensors: Tensors) -> bytes:
    del model.metadata_props[:]
    model.producer_name, model.producer_version, model.doc_string = "ceus-node", "", ""
    graph = model.graph
    del graph.metadata_props[:], graph.value_info[:]
    graph.doc_string = ""
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
    for value in (*graph.input, *graph.output):
        for axis, name in tensors.free.items():
            if axis < len(value.type.tensor_type.shape.dim):
                value.type.tensor_type.shape.dim[axis].dim_param = name
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    check_file(content, OPSET)
    return bytes(content)


def golden_vector(content: bytes, given: NDArray[np.float32]) -> bytes:
    """An npz of one input and what this file answers to it here."""
    answer = open_session(content).run(given, 60.0)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, input=given, output=answer)
    return buffer.getvalue()


def inference_row(content: bytes, shape: tuple[int, ...], asked: str) -> dict[str, Any]:
    """CPU time of one call on one thread: the median of 15, after one that warms up."""
    session, given = open_session(content), np.zeros(shape, dtype=np.float32)
    spent_s = []
    for _ in range(16):
        begun = time.process_time()
        session.run(given, 60.0)
        spent_s.append(time.process_time() - begun)
    milliseconds = 1e3 * float(np.median(spent_s[1:]))
    size = f"{shape[2]} x {shape[3]}"
    return {"what": f"inference of {size}, one core, ms", "value": round(milliseconds, 2), "asked": asked}


def device_uid(sha256: str) -> str:
    """A UID of its own for each trained file: 2.25 and the first 128 bits of its hash (PS3.5 B.2)."""
    return f"2.25.{int(sha256[:32], 16)}"


def file_facts(content: bytes) -> dict[str, Any]:
    """The manifest's `file`."""
    return {
        "name": "model.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "opset": OPSET,
    }


def write_folder(folder: Path, content: bytes, golden: bytes, manifest: Mapping[str, Any]) -> None:
    """model.onnx, golden.npz, manifest.json, metrics.json and card.md."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    (folder / "golden.npz").write_bytes(golden)
    (folder / "manifest.json").write_text(_compact(manifest))
    (folder / "metrics.json").write_text(json.dumps(manifest["metrics"], indent=1) + "\n")
    (folder / "card.md").write_text(render_card(manifest))


def _compact(manifest: Mapping[str, Any]) -> str:
    """JSON, one line a key of the first two levels: readable differences between versions."""
    lines = []
    for key, value in manifest.items():
        lines.append(f" {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
