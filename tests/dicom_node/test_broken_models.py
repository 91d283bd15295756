"""Whatever happens to a model, the study is finished: the right state, a sentence in the report, the panel measured."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from rich.console import Console

from dicom_node import model_room
from dicom_node.config import load_settings
from dicom_node.offline import OfflineOrder, process_paths
from dicom_node.simulated_scanner import CineIdentity, write_cine
from onnx_models.registry import RegistryOptions, activate
from processing.simulation.scenes import TINY_BOLUS, bolus_scene
from tests.onnx_models import tiny_onnx as tiny

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
Break = Callable[[Path], None]


@pytest.fixture(scope="module")
def cine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    identity = CineIdentity(NOW.replace(tzinfo=None), study="broken models")
    return write_cine(bolus_scene(TINY_BOLUS, seed=5), tmp_path_factory.mktemp("cine"), identity)


def takes_anything(manifest: dict[str, Any]) -> None:
    manifest["ood"] = {**manifest["ood"], "threshold": 1e12}


def flipped_byte(folder: Path) -> None:
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(bytes(content))


def swapped(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(tiny.model(tiny.lesion_graph("gather")))


def symbolic_link(folder: Path) -> None:
    elsewhere = folder.parent / "elsewhere.onnx"
    (folder / "model.onnx").rename(elsewhere)
    (folder / "model.onnx").symlink_to(elsewhere)


def missing_file(folder: Path) -> None:
    (folder / "golden.npz").unlink()


def other_golden(folder: Path) -> None:
    given, wanted = tiny.quiet_golden()
    buffer = io.BytesIO()
    np.savez(buffer, input=given, output=wanted + 1)
    rehashed(folder, golden=buffer.getvalue())


def external_data(folder: Path) -> None:
    rehashed(folder, content=tiny.model(tiny.lesion_graph(external="weights.bin")))


def wrong_shape(folder: Path) -> None:
    rehashed(folder, content=tiny.model(tiny.lesion_graph(channels=4)))


def endless(folder: Path) -> None:
    rehashed(folder, content=tiny.model(tiny.lesion_graph("loop")))


def failing(folder: Path) -> None:
    rehashed(folder, content=tiny.model(tiny.lesion_graph("gather")))


def unknown_input(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["ood"]["threshold"] = 1e-9
    (folder / "manifest.json").write_text(json.dumps(manifest))


def rehashed(folder: Path, content: bytes | None = None, golden: bytes | None = None) -> None:
    """Another file under a manifest that knows its hash: what registration can be fooled with, start-up finds."""
    import hashlib

    manifest = json.loads((folder / "manifest.json").read_text())
    for key, name, data in (("file", "model.onnx", content), ("golden", "golden.npz", golden)):
        if data is not None:
            (folder / name).write_bytes(data)
            manifest[key]["sha256"] = hashlib.sha256(data).hexdigest()
            if key == "file":
                manifest[key]["bytes"] = len(data)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("broken", "state"),
    [
        (flipped_byte, "hash_mismatch"),
        (swapped, "hash_mismatch"),
        (symbolic_link, "bad_contract"),
        (external_data, "bad_contract"),
        (wrong_shape, "bad_contract"),
        (missing_file, "missing"),
        (other_golden, "golden_failed"),
        (endless, "timeout"),
        (failing, "runtime_error"),
        (unknown_input, "ood"),
    ],
)
def test_the_study_is_finished_and_its_report_says_which_check_failed(
    broken: Break, state: str, cine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two tenths of a second: time enough for an answer of microseconds, and soon over for one that never comes.
    monkeypatch.setattr(model_room, "RegistryOptions", partial(RegistryOptions, timeout_s=0.2))
    overlay = tmp_path / "models"
    folder = tiny.install(overlay, version="8", edit=takes_anything)
    # Approved as it stands afterwards where its hash is right: a replaced file would be named by that alone.
    before = broken in (flipped_byte, swapped, symbolic_link, missing_file, external_data, wrong_shape, other_golden)
    if not before:
        broken(folder)
    activate(overlay, ("lesion_seg", "8"), ("active", "A. Tester", "a flow that must be walked"), NOW)
    if before:
        broken(folder)
    profile = {"simulated": {"manufacturer": "CEUS Node Simulation", "dynamic_range_db": 50.0}}
    analysis = {"super_resolution": False, "response": "off"}
    settings = load_settings(None, profile=profile, models={"dir": str(overlay)}, analysis=analysis)
    out = tmp_path / "out"
    process_paths(OfflineOrder(settings, (cine,), out), Console(quiet=True))
    findings = json.loads((out / "findings.json").read_text())
    assert [(m["id"], m["state"]) for m in findings["models"]] == [("lesion_seg", state)]
    (said,) = [limit for limit in findings["quality"]["limitations"] if limit["code"] == f"model_{state}"]
    assert len(said["text"].split()) >= 6
    assert [roi["label"] for roi in findings["rois"]] == ["panel"]
    assert findings["perfusion"]["panel"]["TTP"]["value"] is not None
    texts = [str(e.value) for e in pydicom.dcmread(out / "sr.dcm").iterall() if e.keyword == "TextValue"]
    assert any(said["text"] in text for text in texts)
