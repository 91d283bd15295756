"""Whatever a report may say it lacks is explained to its reader, with what to do about it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import get_args

from onnx_models.identity import State
from tests.test_house import ALL_MODULES, ROOT

MAKERS = {"Limitation", "refusal"}


def codes() -> Iterator[str]:
    """Every code that is written out where a limitation is made, and those of a model's states."""
    yield from (f"model_{state}" for state in get_args(State) if state != "ok")
    for path in ALL_MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKERS and node.args:
                code = node.args[0]
                if isinstance(code, ast.Constant):
                    yield str(code.value)


def test_every_limitation_is_explained_and_none_that_is_never_said() -> None:
    lines = (ROOT / "docs" / "limitations.md").read_text().splitlines()
    rows = [line.split("|")[1] for line in lines if line.startswith("| `")]
    explained = [code for row in rows for code in re.findall(r"`([a-z_]+)`", row)]
    assert len(explained) == len(set(explained)), "each once"
    assert set(explained) == set(codes())
