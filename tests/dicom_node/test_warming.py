"""The rehearsal of a numeric child: after it, a job finds every kernel compiled."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import processing.kernels
from dicom_node.analysis import AnalysisRequest, analyse
from dicom_node.config import Settings
from dicom_node.numeric_children import NumericChildren
from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.simulation.scenes import SMALL_BOLUS, bolus_scene


@pytest.fixture
def child() -> Iterator[NumericChildren]:
    made = NumericChildren(children=1, cores_each=1)
    yield made
    made.close()


def compiled() -> dict[str, int]:
    """How many versions of each kernel this process has ready."""
    names = [f"processing.kernels.{module.name}" for module in pkgutil.iter_modules(processing.kernels.__path__)]
    return {
        f"{name}.{attribute}": len(kernel.signatures)
        for name in names
        for attribute, kernel in vars(importlib.import_module(name)).items()
        if hasattr(kernel, "signatures")
    }


def compiled_by_a_job(cine: Path) -> tuple[dict[str, int], dict[str, int], list[str]]:
    """Kernels ready before and after a job, and the ROIs that it measured."""
    before = compiled()
    request = AnalysisRequest("warm", ("1.2.3",), (cine,), Settings(), datetime.now(UTC), np.empty)
    findings = analyse(request).findings
    return before, compiled(), [roi.label for roi in findings.rois]


def test_a_job_after_the_rehearsal_compiles_no_kernel(child: NumericChildren, tmp_path: Path) -> None:
    cine = write_cine(bolus_scene(SMALL_BOLUS), tmp_path, CineIdentity(datetime.now(UTC), study="warm"))
    before, after, rois = child.run(compiled_by_a_job, cine)
    assert rois == ["lesion", "reference"]  # the whole way of a bolus, fits and maps included
    assert before == after
    # Tracking and maps of bubbles, which this cine does not carry, were rehearsed, too.
    assert before["processing.kernels.linking.link_pass"] == 1
    assert before["processing.kernels.accumulate.trace_tracks"] == 1
    assert before["processing.kernels.accumulate.sum_over_pixels"] == 1
