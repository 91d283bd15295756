"""The predicted response through the whole flow: off, in the shadow, in the report; and when it is not asked at all."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from rich.console import Console

from dicom_node.cine_header import read_facts
from dicom_node.config import Settings, load_settings
from dicom_node.offline import OfflineOrder, process_paths
from dicom_node.simulated_scanner import CineIdentity, write_cine
from dicom_node.treatment import hours_since_treatment, treatment_state
from processing.simulation.scene import Scene
from processing.simulation.scenes import TINY_BOLUS, bolus_scene
from reports import codes
from tests.onnx_models.tiny_response import CLASSES, EVIDENCE, NOW, install_response

PRETREATMENT = ("C3539075", "UMLS", "Pretreatment")
POSTTREATMENT = ("126074", "DCM", "Posttreatment")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return bolus_scene(TINY_BOLUS, seed=5)


@pytest.fixture(scope="module")
def cine(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cine(scene, tmp_path_factory.mktemp("cine"), CineIdentity(NOW.replace(tzinfo=None), study="response"))


@pytest.fixture(scope="module")
def lesion(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    truth = scene.truth
    assert truth.lesion_mask is not None
    assert truth.contrast is not None
    frame = np.zeros((scene.description.rows, scene.description.columns), np.uint8)
    frame[truth.contrast.slices] = 255 * truth.lesion_mask
    path = tmp_path_factory.mktemp("mask") / "lesion.png"
    Image.fromarray(frame).save(path)
    return path


@pytest.fixture(scope="module")
def overlay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    install_response(root, "response_cls")
    install_response(root, "response_lr")
    return root


def settings_of(overlay: Path, response: str, treatment: str = "unknown") -> Settings:
    profile = {"simulated": {"manufacturer": "CEUS Node Simulation", "dynamic_range_db": 50.0}}
    analysis = {"response": response, "treatment": treatment, "super_resolution": False}
    return load_settings(None, profile=profile, models={"dir": str(overlay)}, analysis=analysis)


def processed(settings: Settings, cine: Path, lesion: Path, out: Path) -> dict[str, Any]:
    process_paths(OfflineOrder(settings, (cine,), out, lesion), Console(quiet=True))
    findings: dict[str, Any] = json.loads((out / "findings.json").read_text())
    return findings


def time_pointed(cine: Path, code: tuple[str, str, str], folder: Path) -> Path:
    ds = pydicom.dcmread(cine)
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    ds.ClinicalTrialTimePointTypeCodeSequence = [item]
    path = folder / "cine.dcm"
    ds.save_as(path)
    return path


def test_the_report_carries_every_probability_of_both_models_with_their_evidence(
    overlay: Path, cine: Path, lesion: Path, tmp_path: Path
) -> None:
    """Softmax of (2, 1, 0) is (0.665, 0.245, 0.090); of (1, 1, 0) it is (0.422, 0.422, 0.155), below 0.5: abstained."""
    findings = processed(settings_of(overlay, "report", "before"), cine, lesion, tmp_path)
    response = findings["response"]
    assert (response["performed"], response["state"], response["abstained"]) == (True, "ok", False)
    network, glass_box = np.exp([2.0, 1, 0]), np.exp([1.0, 1, 0])
    network, glass_box = network / network.sum(), glass_box / glass_box.sum()
    assert [response["probabilities"][c] for c in CLASSES] == pytest.approx(list(network), abs=1e-6)
    assert response["disagreement"] == pytest.approx(0.5 * np.abs(network - glass_box).sum(), abs=1e-6)
    report = pydicom.dcmread(tmp_path / "sr.dcm")
    groups = [
        item
        for item in report.iterall()
        if item.keyword == "CodeValue" and item.value == codes.own("PRED_RESPONSE").value
    ]
    assert len(groups) == 2
    texts = [str(e.value) for e in report.iterall() if e.keyword == "TextValue"]
    assert texts.count(f"evidence={EVIDENCE}") == 2
    said = {e.value for e in report.iterall() if e.keyword == "CodeValue"}
    assert {codes.own(name).value for name in ("RESPONSIVE", "ABSTAINED", "DISAGREEMENT")} <= said
    assert (tmp_path / "sc_response.dcm").is_file()
    assert EVIDENCE in response["evidence"]


def test_in_the_shadow_the_findings_know_and_no_object_does(
    overlay: Path, cine: Path, lesion: Path, tmp_path: Path
) -> None:
    findings = processed(settings_of(overlay, "shadow", "before"), cine, lesion, tmp_path)
    assert findings["response"]["performed"]
    assert {"response_cls", "response_lr"} <= {model["id"] for model in findings["models"]}
    assert not list(tmp_path.glob("sc_response*"))
    for path in tmp_path.glob("*.dcm"):
        assert b"response_cls" not in path.read_bytes(), path.name
    values = {e.value for e in pydicom.dcmread(tmp_path / "sr.dcm").iterall() if e.keyword == "CodeValue"}
    assert codes.own("PRED_RESPONSE").value not in values


def test_a_study_after_treatment_is_not_classified_whatever_the_site_declares(
    overlay: Path, cine: Path, lesion: Path, tmp_path: Path
) -> None:
    later = time_pointed(cine, POSTTREATMENT, tmp_path)
    findings = processed(settings_of(overlay, "report", "before"), later, lesion, tmp_path / "out")
    assert not findings["response"]["performed"]
    assert findings["response"]["state"] == "not_applicable"
    assert "after treatment" in findings["response"]["reason"]
    assert findings["perfusion"]["lesion"]["PE"]["value"] is not None
    said = [str(e.value) for e in pydicom.dcmread(tmp_path / "out" / "sr.dcm").iterall() if e.keyword == "TextValue"]
    assert any("Response prediction" in text and "after treatment" in text for text in said)


@pytest.mark.parametrize(
    ("code", "declared", "expected"),
    [
        (None, "unknown", "unknown"),
        (None, "before", "before"),
        (PRETREATMENT, "unknown", "before"),
        (PRETREATMENT, "after", "before"),
        (POSTTREATMENT, "before", "after"),
    ],
)
def test_the_header_s_time_point_decides_before_the_site_s_word(
    code: tuple[str, str, str] | None, declared: str, expected: str, cine: Path, overlay: Path, tmp_path: Path
) -> None:
    path = cine if code is None else time_pointed(cine, code, tmp_path)
    facts, _ = read_facts(pydicom.dcmread(path, stop_before_pixels=True))
    assert treatment_state(facts, settings_of(overlay, "shadow", declared).analysis) == expected


@pytest.mark.parametrize(("hours", "expected"), [(-2, "after"), (2, "before")])
def test_the_page_that_counts_hours_since_treatment_and_the_prediction_never_contradict_each_other(
    hours: int, expected: str, cine: Path, overlay: Path
) -> None:
    """A treatment two hours before the cine makes it a later study, whatever else is declared or said."""
    facts, _ = read_facts(pydicom.dcmread(cine, stop_before_pixels=True))
    declared = settings_of(overlay, "shadow", "before").analysis
    declared = declared.model_copy(update={"treated_at": NOW.replace(tzinfo=None) + timedelta(hours=hours)})
    assert treatment_state(facts, declared) == expected
    assert hours_since_treatment(facts, declared) == (2.0 if expected == "after" else None)


def test_a_treatment_in_another_time_zone_is_counted_by_its_own_clock(cine: Path, overlay: Path) -> None:
    """The scanner's clock is two hours ahead of UTC: 10:00 there is an hour after 07:00 UTC."""
    header = pydicom.dcmread(cine, stop_before_pixels=True)
    header.TimezoneOffsetFromUTC = "+0200"
    header.AcquisitionDateTime = "20260301100000"
    declared = settings_of(overlay, "shadow", "before").analysis
    declared = declared.model_copy(update={"treated_at": datetime(2026, 3, 1, 7, tzinfo=UTC)})
    assert hours_since_treatment(read_facts(header)[0], declared) == 1.0
    header.AcquisitionDateTime = "20260301100000+0100"  # nearer to the frame, and wins
    assert hours_since_treatment(read_facts(header)[0], declared) == 2.0
    assert hours_since_treatment(replace(read_facts(header)[0], utc_offset_min=None), declared) == 3.0


def test_what_is_switched_off_is_not_asked(overlay: Path, cine: Path, lesion: Path, tmp_path: Path) -> None:
    findings = processed(settings_of(overlay, "off", "before"), cine, lesion, tmp_path)
    assert findings["response"]["reason"] == "switched off: [analysis] response = off"
    assert not [model for model in findings["models"] if model["id"].startswith("response")]
