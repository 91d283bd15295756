"""Optional parts of the installation. Without one, what was not run is said by name in the summary of every run."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def needs_training(what: str) -> None:
    """End the test where torch and the extra `train` are not installed; `what`: the proof that is missing then.

    They are no part of the locked environment (torch is installed by hand), so their absence is no failure in CI
    either: `-ra` prints this line there.
    """
    missing = [name for name in ("torch", "onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        pytest.skip(f"NOT RUN, {what}: no {', '.join(missing)} here (extra `train` and torch, docs/models.md)")
