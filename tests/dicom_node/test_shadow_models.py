"""A site's model in the shadow, through the whole node: asked and listed, and not one result object knows of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
from rich.console import Console

from dicom_node.config import load_settings
from dicom_node.offline import OfflineOrder, process_paths
from dicom_node.simulated_scanner import CineIdentity, write_cine
from onnx_models.registry import SHIPPED, Models, RegistryOptions, activate
from processing.simulation.scenes import TINY_BOLUS, bolus_scene

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def processed(overlay: Path, cine: Path, out: Path) -> dict[str, Any]:
    profile = {"simulated": {"manufacturer": "CEUS Node Simulation", "dynamic_range_db": 50.0}}
    analysis = {"super_resolution": False, "response": "off"}
    settings = load_settings(None, profile=profile, models={"dir": str(overlay)}, analysis=analysis)
    process_paths(OfflineOrder(settings, (cine,), out), Console(quiet=True))
    findings: dict[str, Any] = json.loads((out / "findings.json").read_text())
    return findings


def _as_version(version: str, overlay: Path) -> None:
    shipped = Models.open().active["lesion_seg"].identity
    folder = overlay / "lesion_seg" / version
    shutil.copytree(SHIPPED / "lesion_seg" / shipped.version, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "version": version}))


def test_a_shadow_is_asked_and_listed_and_changes_no_object(tmp_path: Path) -> None:
    """The shipped lesion model itself under a site's version: the two must agree to the last pixel."""
    scene = bolus_scene(replace(TINY_BOLUS, screen=replace(TINY_BOLUS.screen, depth_mm=50.0)), seed=5)
    identity = CineIdentity(NOW.replace(tzinfo=None), study="shadow")
    cine = write_cine(scene, tmp_path / "cine", identity)
    overlay = tmp_path / "models"
    _as_version("100", overlay)
    alone = processed(overlay, cine, tmp_path / "alone")
    activate(overlay, ("lesion_seg", "100"), ("shadow", "A. Tester", "to be watched for a month"), NOW)
    # Another folder's path, so that no session opened before the activation is used again.
    (tmp_path / "link").symlink_to(overlay, target_is_directory=True)
    watched = processed(tmp_path / "link", cine, tmp_path / "watched")
    assert alone["shadow_models"] == []
    (shadow,) = watched["shadow_models"]
    assert (shadow["id"], shadow["version"], shadow["state"]) == ("lesion_seg", "100", "ok")
    assert shadow["agreement"] == 1.0
    assert watched["models"] == alone["models"]
    assert watched["rois"][0]["contour_px"] == alone["rois"][0]["contour_px"]
    assert _texts(tmp_path / "alone" / "sr.dcm") == _texts(tmp_path / "watched" / "sr.dcm")
    assert not any("lesion_seg 100" in text for text in _texts(tmp_path / "watched" / "sr.dcm"))


def _texts(report: Path) -> list[str]:
    """What the report says, without UIDs and digests, which follow from the configured folder of models."""
    said = [str(e.value) for e in pydicom.dcmread(report).iterall() if e.keyword in ("TextValue", "CodeMeaning")]
    return [text for text in said if "2.25." not in text and "sha256" not in text]


@pytest.mark.parametrize("task", ["lesion_seg", "vessel_seg"])
def test_cuda_answers_as_the_cpu_does_or_the_model_says_that_it_was_not_there(task: str) -> None:
    """Sums in another order: 1e-3 of a logit is the golden vector's own tolerance. Without a GPU the runtime falls back
    with a log line only, so the provider that it really uses is what is recorded and said."""
    import numpy as np

    plain = Models.open().active[task]  # type: ignore[index]
    wanted = Models.open(RegistryOptions(device="cuda")).active[task]  # type: ignore[index]
    assert wanted.state == "ok", wanted.sentence
    assert wanted.session is not None
    assert plain.session is not None
    if wanted.identity.provider != "CUDAExecutionProvider":
        assert wanted.identity.provider == "CPUExecutionProvider"
        assert wanted.sentence.endswith("CUDA was asked for, the runtime uses CPUExecutionProvider")
    channels = {"lesion_seg": 5, "vessel_seg": 2}[task]
    given = np.random.default_rng(1).normal(-1, 1, (1, channels, 64, 96)).astype(np.float32)
    apart = np.abs(plain.session.run(given, 60.0) - wanted.session.run(given, 60.0)).max()
    assert apart <= 1e-3
