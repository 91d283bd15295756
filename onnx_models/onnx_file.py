"""What an ONNX file holds, read from its bytes without trusting it and without the `onnx` package.

The run-time has to know three things before the bytes reach a parser that follows references: external data, foreign
operators, and paths of the machine that exported it. ONNX is protobuf, whose wire format is five types of field
(protobuf.dev, "Encoding"); the field numbers below are those of onnx.proto (IR version 13). Messages that hold none of
the three are skipped, not decoded. `onnx` itself (40 MB, a checker with CVEs of its own) stays in the extra `train`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from onnx_models.errors import ModelRefusedError

MAX_DEPTH = 16
"""Graphs nest in attributes of If, Loop and Scan; ours not at all."""

# message -> {field number: message of that field}; texts are listed apart.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 8: "opset", 14: "entry", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value", 15: "sparse", 16: "entry"},
    "node": {5: "attribute", 9: "entry"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {13: "external", 16: "entry"},
    "sparse": {1: "tensor", 2: "tensor"},
    "training": {1: "graph", 2: "graph"},
    "value": {4: "entry"},
    "function": {7: "node", 9: "opset", 11: "attribute", 12: "value", 14: "entry"},
    "entry": {},
    "opset": {},
    "external": {},
}
_TEXTS: dict[str, dict[int, str]] = {
    "model": {2: "text", 3: "text", 6: "text"},
    "graph": {10: "text"},
    "node": {4: "op_type", 6: "text", 7: "domain"},
    "attribute": {13: "text"},
    "tensor": {12: "text"},
    "value": {3: "text"},
    "function": {8: "text", 10: "domain"},
    "entry": {1: "text", 2: "text"},
    "opset": {1: "opset_domain"},
}
_DEFAULT_DOMAINS = {"", "ai.onnx"}
_PATH = re.compile(r"(?:^|[\s\"'(=,\[])(?:/[\w.@+-]+(?:/[\w.@+-]+)+|[A-Za-z]:\\)")
"""An absolute path: two components or more after a slash, or a drive letter."""


@dataclass(frozen=True)
class OnnxFacts:
    """Facts of a file that registration decides by."""

    opset: int
    foreign_domains: tuple[str, ...]
    external_tensors: int
    functions: int
    paths: tuple[str, ...]
    operators: tuple[str, ...]


def read_facts(content: bytes) -> OnnxFacts:
    """Walk the file. Raises ModelRefusedError `bad_contract` where it is not a whole ONNX model."""
    opset, functions, external, graphs = 0, 0, 0, 0
    domains: set[str] = set()
    paths: set[str] = set()
    operators: set[str] = set()
    for kind, number, value in _walk(content, "model", 0):
        if isinstance(value, int):
            if (kind, number) == ("opset", 2):
                opset = max(opset, value)
            # TensorProto.data_location 1 = EXTERNAL.
            external += (kind, number, value) == ("tensor", 14, 1)
            continue
        child, role = _CHILDREN[kind].get(number), _TEXTS.get(kind, {}).get(number)
        functions += child == "function"
        graphs += kind == "model" and child == "graph"
        external += child == "external"
        if role in ("domain", "opset_domain"):
            domains.add(_text(value))
        elif role == "op_type":
            operators.add(_text(value))
        elif role == "text" and (found := _PATH.search(_text(value))):
            paths.add(found.group().strip())
    if graphs != 1 or not operators:
        raise ModelRefusedError("bad_contract", "the file is not an ONNX model")
    foreign = tuple(sorted(domains - _DEFAULT_DOMAINS))
    return OnnxFacts(opset, foreign, external, functions, tuple(sorted(paths)), tuple(sorted(operators)))


def check_file(content: bytes, opset: int) -> OnnxFacts:
    """Refuse external data, foreign operators, local functions and absolute paths (models.md section 3)."""
    facts = read_facts(content)
    if facts.external_tensors:
        sentence = "weights lie in another file that the hash does not cover (external data); export them into the file"
        raise ModelRefusedError("bad_contract", sentence)
    if facts.foreign_domains or facts.functions:
        named = ", ".join(facts.foreign_domains) or "local functions"
        raise ModelRefusedError("bad_contract", f"the graph uses operators outside the ONNX standard ({named})")
    if facts.paths:
        raise ModelRefusedError("bad_contract", "the file carries paths of the machine that exported it; strip them")
    if facts.opset != opset:
        raise ModelRefusedError("bad_contract", f"the manifest says opset {opset}, the file {facts.opset}")
    return facts


def _walk(content: bytes, root: str, depth: int) -> Iterator[tuple[str, int, int | memoryview]]:
    """Every field of every message that matters: (message, field number, varint or bytes)."""
    stack: list[tuple[str, memoryview, int]] = [(root, memoryview(content), depth)]
    while stack:
        kind, view, level = stack.pop()
        if level > MAX_DEPTH:
            raise ModelRefusedError("bad_contract", "graphs nest too deep")
        for number, value in _fields(view):
            yield kind, number, value
            child = _CHILDREN[kind].get(number)
            if child is not None and isinstance(value, memoryview):
                stack.append((child, value, level + 1))


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    place = 0
    while place < len(view):
        key, place = _varint(view, place)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, place = _varint(view, place)
            yield number, value
            continue
        if wire == 2:
            length, place = _varint(view, place)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ModelRefusedError("bad_contract", "the file is not an ONNX model")
        if number == 0 or place + length > len(view):
            raise ModelRefusedError("bad_contract", "the file is cut or not an ONNX model")
        yield number, view[place : place + length]
        place += length


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(view):
            break
        byte = view[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ModelRefusedError("bad_contract", "the file is cut or not an ONNX model")


def _text(value: memoryview) -> str:
    return bytes(value).decode("utf-8", "replace")
