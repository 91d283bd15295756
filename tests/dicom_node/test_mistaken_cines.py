"""What is no contrast examination, or no number, through the whole node: state, report, sentence.

The shipped lesion model is asked here, not a rule made for tests.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from rich.console import Console

from dicom_node import analysis, roi_choice
from dicom_node.config import load_settings
from dicom_node.offline import OfflineOrder, process_paths
from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.cine import Cine
from processing.intake import Examination, examine
from processing.model_inputs import ModelInputs, model_inputs
from processing.simulation.other_scenes import TissueParameters, bmode_scene
from processing.simulation.scene import Scene
from processing.simulation.scenes import TINY_BOLUS, bolus_scene
from tests.dicom_node.mistaken_scenes import SHAPE, TIMING, receiver_noise, swept_tissue

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Reported:
    findings: dict[str, Any]
    texts: tuple[str, ...]

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(model["id"], model["state"]) for model in self.findings["models"]]

    def sentence(self, code: str) -> str:
        """The limitation of that code, which must stand in the report word for word."""
        (said,) = [limit["text"] for limit in self.findings["quality"]["limitations"] if limit["code"] == code]
        assert any(said in text for text in self.texts), said
        return str(said)


def reported(scene: Scene, folder: Path) -> Reported:
    cine = write_cine(scene, folder, CineIdentity(NOW.replace(tzinfo=None), study="mistaken"))
    profile = {"simulated": {"manufacturer": "CEUS Node Simulation", "dynamic_range_db": 50.0}}
    wanted = {"super_resolution": False, "response": "off"}
    settings = load_settings(None, profile=profile, analysis=wanted, report={"non_contrast": True})
    process_paths(OfflineOrder(settings, (cine,), folder / "out"), Console(quiet=True))
    findings = json.loads((folder / "out" / "findings.json").read_text())
    report = pydicom.dcmread(folder / "out" / "sr.dcm")
    return Reported(findings, tuple(str(e.value) for e in report.iterall() if e.keyword == "TextValue"))


def still_tissue() -> Scene:
    return bmode_scene(TissueParameters(screen=SHAPE, timing=TIMING))


NO_CONTRAST = {"B-mode": still_tissue, "noise": receiver_noise}
TURNED_UP = {"noise turned up": lambda: receiver_noise(10.0), "tissue that a sweep brightens": swept_tissue}


@pytest.mark.parametrize("kind", NO_CONTRAST | TURNED_UP)
def test_no_contrast_ends_at_the_first_gate(kind: str, tmp_path: Path) -> None:
    found = reported((NO_CONTRAST | TURNED_UP)[kind](), tmp_path)
    quality = found.findings["quality"]
    assert not quality["contrast_found"]
    assert any(quality["contrast_reason"] in text for text in found.texts)
    assert found.states == []
    assert found.findings["rois"] == []


@pytest.mark.parametrize("kind", NO_CONTRAST)
def test_what_a_fooled_first_gate_lets_through_is_stopped_by_the_model_s_own(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fooled(*args: Any, **kwargs: Any) -> Examination:
        seen = examine(*args, **kwargs)
        return replace(seen, evidence=replace(seen.evidence, found=True, reason="fooled for this test"))

    monkeypatch.setattr(analysis, "examine", fooled)
    found = reported(NO_CONTRAST[kind](), tmp_path)
    assert found.states == [("lesion_seg", "ood")]
    assert "unlike anything the model was validated on" in found.sentence("model_ood")
    assert [roi["label"] for roi in found.findings["rois"]] == ["panel"]


def test_maps_that_are_no_numbers_never_reach_the_network_and_the_study_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cine of eight-bit pixels makes such a map; a fault of ours could."""

    def spoilt(cine: Cine, *args: Any) -> ModelInputs:
        made = model_inputs(cine, *args)
        maps = made.maps.copy()
        maps[1, made.valid] = np.where(np.arange(int(made.valid.sum())) == 7, np.nan, maps[1, made.valid])
        return replace(made, maps=maps)

    monkeypatch.setattr(roi_choice, "model_inputs", spoilt)
    screen = replace(TINY_BOLUS.screen, depth_mm=50.0)
    found = reported(bolus_scene(replace(TINY_BOLUS, screen=screen), seed=5), tmp_path)
    assert found.states == [("lesion_seg", "bad_contract")]
    assert "values that are not finite" in found.sentence("model_bad_contract")
    assert found.findings["perfusion"]["panel"]["TTP"]["value"] is not None
