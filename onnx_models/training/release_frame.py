"""What every release shares: the manifest around a network's own parts, and the envelope of the inputs it knows."""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from onnx_models.training.export import device_uid, file_facts

EVIDENCE = "Trained on simulated data only - not clinically validated - research use"


@dataclass(frozen=True, eq=False)
class Release:
    """A network ready to be written down.

    purpose: intended_use, not_for, applicability, inputs and preprocessing of the manifest. outputs, ood: likewise.
    simulator, seeds, cines, command: how it came about.
    """

    task: str
    version: str
    content: bytes
    golden: bytes
    purpose: Mapping[str, Any]
    outputs: Mapping[str, Any]
    ood: Mapping[str, Any]
    simulator: str
    seeds: tuple[int, ...]
    cines: int
    command: str


def manifest_of(release: Release) -> dict[str, Any]:
    """The manifest without its metrics, in the order in which a reader wants it."""
    facts = file_facts(release.content)
    return {
        "schema": "ceus-node/model/1",
        "id": release.task,
        "version": release.version,
        "device_uid": device_uid(facts["sha256"]),
        "task": release.task,
        "file": facts,
        "evidence": {"status": "simulated data only", "label": EVIDENCE},
        **release.purpose,
        "outputs": dict(release.outputs),
        "ood": dict(release.ood),
        "golden": {"name": "golden.npz", "sha256": hashlib.sha256(release.golden).hexdigest(), "atol": 0.001},
        "training": {
            "simulator": release.simulator,
            "seeds": list(release.seeds),
            "cines": release.cines,
            "command": release.command,
            "versions": {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
        },
        "metrics": {},
    }


def shrunk_envelope(
    seen: NDArray[np.float64], held_out: NDArray[np.float64], method: str, other: NDArray[np.float64] | None = None
) -> dict[str, Any]:
    """Mean and shrunk inverse covariance of the statistics of training inputs; threshold from validation
    inputs, and from `other` ones that must be refused, where such are known."""
    mean = seen.mean(axis=0)
    spread = np.cov(seen.T)
    # Shrunk towards its diagonal by a tenth (Ledoit and Wolf 2004 in spirit): what hardly varied must not decide.
    spread = 0.9 * spread + np.diag(0.1 * np.diag(spread) + 1e-4)
    inverse = np.asarray(np.linalg.inv(spread), dtype=np.float64)
    # One validated input in a hundred lies further out: that many good cines are refused so that noise is.
    limit = float(np.percentile(_scores(held_out - mean, inverse), 99))
    if other is not None:
        limit = max(limit, math.sqrt(limit * float(_scores(other - mean, inverse).min())))
    return {
        "method": method,
        "mean": [float(f"{v:.6g}") for v in mean],
        "inverse_covariance": [[float(f"{v:.6g}") for v in row] for row in inverse],
        "threshold": round(limit, 3),
    }


def _scores(apart: NDArray[np.float64], inverse: NDArray[np.float64]) -> NDArray[np.float64]:
    squared: NDArray[np.float64] = np.einsum("ij,jk,ik->i", apart, inverse, apart)
    return squared / apart.shape[1]
