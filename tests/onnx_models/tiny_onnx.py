"""ONNX files of a few hundred bytes, written field by field (onnx.proto), for a node that has no `onnx` installed."""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from onnx_models.tensors import map_statistics

Edit = Callable[[dict[str, Any]], None]


def varint(value: int) -> bytes:
    out = b""
    while True:
        value, low = value >> 7, value & 0x7F
        out += bytes([low | (0x80 if value else 0)])
        if not value:
            return out


def whole(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value)


def part(number: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(name: str, values: np.ndarray, external: str | None = None) -> bytes:
    kind = {np.dtype(np.float32): 1, np.dtype(np.int64): 7, np.dtype(np.bool_): 9}[values.dtype]
    out = b"".join(whole(1, n) for n in values.shape) + whole(2, kind) + part(8, name)
    if external is not None:
        return out + part(13, part(1, "location") + part(2, external)) + whole(14, 1)
    return out + part(9, values.tobytes())


def node(
    operator: str, inputs: Sequence[str], outputs: Sequence[str], attributes: bytes = b"", domain: str = ""
) -> bytes:
    out = b"".join(part(1, i) for i in inputs) + b"".join(part(2, o) for o in outputs) + part(4, operator)
    return out + attributes + (part(7, domain) if domain else b"")


def attribute_int(name: str, value: int) -> bytes:
    return part(5, part(1, name) + whole(3, value) + whole(20, 2))


def attribute_graph(name: str, content: bytes) -> bytes:
    return part(5, part(1, name) + part(6, content) + whole(20, 5))


def value(name: str, shape: Sequence[int | str], kind: int = 1) -> bytes:
    axes = b"".join(part(1, part(2, n) if isinstance(n, str) else whole(1, n)) for n in shape)
    return part(1, name) + part(2, part(1, whole(1, kind) + part(2, axes)))


def graph(nodes: Sequence[bytes], tensors: Sequence[bytes], inputs: Sequence[bytes], outputs: Sequence[bytes]) -> bytes:
    out = b"".join(part(1, n) for n in nodes) + part(2, "tiny") + b"".join(part(5, t) for t in tensors)
    return out + b"".join(part(11, i) for i in inputs) + b"".join(part(12, o) for o in outputs)


def model(content: bytes, domain: str = "", metadata: tuple[str, str] | None = None) -> bytes:
    out = whole(1, 9) + part(7, content) + part(8, part(1, "") + whole(2, 17))
    out += part(8, part(1, domain) + whole(2, 1)) if domain else b""
    return out + (part(14, part(1, metadata[0]) + part(2, metadata[1])) if metadata else b"")


LOUDER_THAN_DB = -20.0
"""The tiny lesion model calls a cell lesion where its peak lies above this: logit = peak + 20."""


def lesion_graph(extra: str = "", external: str | None = None, channels: int = 5, domain: str = "") -> bytes:
    """A 1 x 1 convolution on the maps. extra: "loop", "root" or "gather" spoil the answer of a loud input only."""
    weight = np.zeros((1, channels, 1, 1), np.float32)
    weight[0, 0] = 1.0
    tensors = [tensor("w", weight, external), tensor("b", np.array([-LOUDER_THAN_DB], np.float32))]
    nodes = [node("Conv", ["maps", "w", "b"], ["logits" if not extra else "plain"], domain=domain)]
    if extra:
        # 0 for a usual input (every channel below 1), 1 where something never arrives (arrival 2).
        tensors.append(tensor("limit", np.ones(1, np.float32)))
        tensors += [tensor("zero", np.zeros(1, np.float32)), tensor("trips", np.array([1e9], np.float32))]
        nodes += [
            node("ReduceMax", ["maps"], ["highest"], attribute_int("keepdims", 0)),
            node("Sub", ["highest", "limit"], ["over"]),
            node("Relu", ["over"], ["top"]),
            node("Mul", ["top", "trips"], ["many"]),
            node("Cast", ["many"], ["count"], attribute_int("to", 7)),
        ]
    if extra == "loop":
        body = graph(
            [node("Identity", ["go"], ["on"]), node("Add", ["x", "one"], ["y"])],
            [tensor("one", np.ones(1, np.float32))],
            [value("i", (), 7), value("go", (), 9), value("x", (1,))],
            [value("on", (), 9), value("y", (1,))],
        )
        tensors.append(tensor("true", np.array(True)))
        shape = tensor("scalar", np.zeros(0, np.int64))
        tensors.append(shape)
        nodes += [
            node("Reshape", ["count", "scalar"], ["count0"]),
            node("Loop", ["count0", "true", "zero"], ["end"], attribute_graph("body", body)),
            node("Add", ["plain", "end"], ["logits"]),
        ]
    elif extra == "gather":
        nodes += [node("Gather", ["zero", "count"], ["cell"]), node("Add", ["plain", "cell"], ["logits"])]
    elif extra == "root":
        tensors.append(tensor("minus", np.array([-1], np.float32)))
        nodes += [
            node("Mul", ["top", "minus"], ["below"]),
            node("Sqrt", ["below"], ["root"]),
            node("Add", ["plain", "root"], ["logits"]),
        ]
    free: tuple[int | str, ...] = ("n", channels, "h", "w")
    return graph(nodes, tensors, [value("maps", free)], [value("logits", ("n", 1, "h", "w"))])


def quiet_golden() -> tuple[np.ndarray, np.ndarray]:
    """An input on which even the spoilt graphs answer, and the answer that arithmetic gives."""
    maps = np.full((1, 5, 32, 32), -50, np.float32)
    maps[:, 0, 4:9, 4:9] = -8
    maps[:, 3:] = 0
    return maps, maps[:, :1] - np.float32(LOUDER_THAN_DB)


def known_scene(
    seed: int = 1, lesion_db: float = -12.0, around_db: float = -30.0, radius: float = 14.0
) -> tuple[np.ndarray, np.ndarray]:
    """Maps (5, 64, 96) as a contrast cine gives them, with a loud round lesion; and that lesion."""
    rng = np.random.default_rng(seed)
    z, x = np.mgrid[:64, :96]
    lesion = np.hypot(z - 30, x - 40) < radius
    texture = rng.normal(0, 0.6, (5, 64, 96))
    texture = (texture + np.roll(texture, 1, 1) + np.roll(texture, 1, 2) + np.roll(texture, (1, 1), (1, 2))) / 2
    maps = np.empty((5, 64, 96), np.float32)
    maps[0] = np.where(lesion, lesion_db, around_db) + texture[0]
    maps[1] = maps[0] - 5 + 0.3 * texture[1]
    maps[2] = maps[0] - 7 + 0.3 * texture[2]
    maps[3] = np.where(lesion, -0.1, 0.05) + 0.02 * texture[3]
    maps[4] = 0.2 + 0.02 * texture[4]
    return maps, lesion


@cache
def envelope(scenes: int = 150) -> dict[str, Any]:
    """Input statistics of known scenes, with the spread that gain, size and contrast give them."""
    rows = []
    for seed in range(scenes):
        rng = np.random.default_rng(seed)
        maps, _ = known_scene(100 + seed, rng.uniform(-32, -8), rng.uniform(-45, -25), rng.uniform(1, 24))
        rows.append(map_statistics(maps, np.ones(maps.shape[1:], bool)))
    table = np.array(rows)
    spread = np.cov(table.T) + np.diag(0.05 * table.var(axis=0) + 1e-3)
    return {
        "method": "map statistics 1",
        "mean": table.mean(axis=0).tolist(),
        "inverse_covariance": np.linalg.inv(spread).tolist(),
        "threshold": 8.0,
    }


def lesion_manifest(content: bytes, golden: bytes, version: str) -> dict[str, Any]:
    free = ["n", 5, "h", "w"]
    channels = [
        {"name": n, "unit": u} for n, u in (("peak", "dB"), ("mean", "dB"), ("std", "dB"), ("a", "s"), ("h", "s"))
    ]
    return {
        "schema": "ceus-node/model/1",
        "id": "lesion_seg",
        "version": version,
        "device_uid": "2.25.1234567",
        "task": "lesion_seg",
        "file": {
            "name": "model.onnx",
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "opset": 17,
        },
        "evidence": {"status": "simulated data only", "label": "a rule for tests, trained on nothing"},
        "intended_use": "tests",
        "not_for": ["patients"],
        "applicability": {
            "min_frames": 20,
            "min_duration_s": 10,
            "frame_rate_hz": {"low": 1, "high": 100},
            "dynamic_range_db": {"low": 30, "high": 80},
            "pixel_mm": {"low": 0.01, "high": 1},
        },
        "inputs": [{"name": "maps", "dtype": "float32", "shape": free, "channels": channels}],
        "preprocessing": "model_inputs 1",
        "outputs": {
            "tensor": {"name": "logits", "dtype": "float32", "shape": ["n", 1, "h", "w"]},
            "activation": "sigmoid",
            "classes": [{"name": "lesion", "code": ["52988006", "SCT", "Lesion"]}],
            "temperature": 1.0,
            "threshold": 0.5,
            "abstain_below": 0.6,
            "area_mm2": {"low": 2, "high": 200},
        },
        "ood": envelope(),
        "golden": {"name": "golden.npz", "sha256": hashlib.sha256(golden).hexdigest(), "atol": 1e-3},
        "training": {"simulator": "none", "seeds": [], "cines": 0, "command": "none", "versions": {}},
        "metrics": {},
    }


def install(root: Path, content: bytes | None = None, version: str = "1", edit: Edit | None = None) -> Path:
    """A complete model folder `root/lesion_seg/<version>`, its manifest changed by `edit`."""
    folder = root / "lesion_seg" / version
    folder.mkdir(parents=True)
    content = model(lesion_graph()) if content is None else content
    buffer = io.BytesIO()
    given, wanted = quiet_golden()
    np.savez(buffer, input=given, output=wanted)
    manifest = lesion_manifest(content, buffer.getvalue(), version)
    if edit is not None:
        edit(manifest)
    (folder / "model.onnx").write_bytes(content)
    (folder / "golden.npz").write_bytes(buffer.getvalue())
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def float_bytes(number: float) -> bytes:
    return struct.pack("<f", number)
