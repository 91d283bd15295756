"""Where the real ultrasound files lie: CEUS_NODE_SHARED, default ../shared beside the repository.

Without them the tests that need them skip with one loud line; with CI=true missing data is a failure.
"""

from __future__ import annotations

import os
from pathlib import Path

import pydicom
import pytest

SHARED = Path(os.environ.get("CEUS_NODE_SHARED", Path(__file__).parent.parent.parent / "shared"))
BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"


def real_ultrasound(name: str) -> Path:
    """A file of shared/data/us-dicom by its stem."""
    return _present(SHARED / "data" / "us-dicom" / f"{name}.dcm")


def bundled(name: str) -> Path:
    """A file inside pydicom's wheel by its stem: always there."""
    return BUNDLED / f"{name}.dcm"


def mouse_brain_maps(week: int) -> Path:
    """In-vivo ULM maps of one mouse, week 2 or 3."""
    return _present(SHARED / "data" / "ulm-maps" / f"mouse04week{week}.mat")


def _present(path: Path) -> Path:
    if path.exists():
        return path
    message = f"REAL DATA MISSING: {path.name} (set CEUS_NODE_SHARED to the folder that holds data/)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
