"""The main job with real peers: DCMTK is the scanner, Orthanc the PACS, dicom3tools and DCMTK read what comes out."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pydicom.examples
import pytest

from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.simulation.other_scenes import DOPPLER, GAIN_STEP, bmode_scene, doppler_scene
from processing.simulation.scenes import SMALL_BOLUS, bolus_scene
from tests.end_to_end.running_node import RunningNode
from tests.peers import Orthanc, find_peer

pytestmark = [pytest.mark.peers, pytest.mark.timeout(900)]

PROFILE = """
[profile.simulated]
manufacturer = "CEUS Node Simulation"
dynamic_range_db = 50.0
"""
REPORT_ALL = "[report]\nnon_contrast = true\n"


def pacs_of(orthanc: Orthanc) -> dict[str, tuple[str, int]]:
    return {"pacs": (orthanc.ae_title, orthanc.dicom_port)}


def stored(orthanc: Orthanc) -> list[pydicom.Dataset]:
    """The instances that Orthanc holds."""
    files = [orthanc.file(item["id"]) for item in orthanc.instances()]
    return [pydicom.dcmread(pydicom.filebase.DicomBytesIO(file)) for file in files]


def numbers_of(report: pydicom.Dataset) -> dict[str, float]:
    """The first NUM of each concept by its meaning (the lesion's group comes first), read without our own code.

    The image library's rows and columns (TID 1602) describe the source and are left out.
    """
    found: dict[str, float] = {}

    def walk(item: pydicom.Dataset) -> None:
        if item.get("ConceptNameCodeSequence") and item.ConceptNameCodeSequence[0].CodeMeaning == "Image Library":
            return
        if item.get("ValueType") == "NUM" and item.MeasuredValueSequence:
            value = float(item.MeasuredValueSequence[0].NumericValue)
            found.setdefault(item.ConceptNameCodeSequence[0].CodeMeaning, value)
        for child in item.get("ContentSequence", []):
            walk(child)

    walk(report)
    return found


def test_both_cines_become_reports_in_the_pacs_and_the_contrast_one_holds_the_truth(tmp_path: Path) -> None:
    scene = bolus_scene(SMALL_BOLUS, seed=3)
    simulated = write_cine(scene, tmp_path, CineIdentity(datetime.now(UTC), study="end to end"))
    real = Path(str(pydicom.examples.get_path("ybr_color")))
    with Orthanc(tmp_path) as orthanc, RunningNode(tmp_path / "node", pacs_of(orthanc), PROFILE + REPORT_ALL) as node:
        node.scan(real, simulated)
        node.wait_for_delivery(orthanc, results=2)
        objects = stored(orthanc)
    by_study: dict[str, set[str]] = {}
    for ds in objects:
        by_study.setdefault(ds.StudyInstanceUID, set()).add(ds.Modality)
    assert by_study == {str(pydicom.dcmread(path).StudyInstanceUID): {"SR", "OT"} for path in (real, simulated)}
    for number, ds in enumerate(objects):
        file = tmp_path / f"{number}.dcm"
        ds.save_as(file)
        checked = subprocess.run([find_peer("dciodvfy"), file], capture_output=True, text=True, check=False)
        assert "Error" not in checked.stderr + checked.stdout, checked.stderr
        if ds.Modality == "SR":
            subprocess.run([find_peer("dsrdump"), file], capture_output=True, check=True)
    reports = [ds for ds in objects if ds.Modality == "SR"]
    measured = next(ds for ds in reports if ds.StudyInstanceUID == pydicom.dcmread(simulated).StudyInstanceUID)
    nothing = next(ds for ds in reports if ds is not measured)
    values = numbers_of(measured)
    truth = scene.truth.lesion
    assert truth is not None
    # The limits of issue A: they hold 8-bit levels, JPEG, the lesion's speckle and the edge that the model draws.
    assert values["Time To Peak"] == pytest.approx(truth.time_to_peak_s, abs=0.2)
    assert values["Maximum Difference"] == pytest.approx(truth.peak_enhancement_au, rel=0.05)
    assert numbers_of(nothing) == {}, "a cine without contrast has no perfusion value"
    said = " ".join(str(item.value) for item in nothing.iterall() if item.VR == "UT")
    assert "No contrast enhancement found" in said


@pytest.mark.parametrize("kind", ["breathing B-mode with a gain step", "colour Doppler"])
def test_a_cine_that_is_no_ceus_makes_no_object_and_the_reason_is_measured(tmp_path: Path, kind: str) -> None:
    scene = bmode_scene(GAIN_STEP) if kind.startswith("breathing") else doppler_scene(DOPPLER)
    cine = write_cine(scene, tmp_path, CineIdentity(datetime.now(UTC), study=kind))
    with Orthanc(tmp_path) as orthanc, RunningNode(tmp_path / "node", pacs_of(orthanc), PROFILE) as node:
        node.scan(cine)
        node.wait_for_results(1)
        (findings,) = node.findings()
        assert orthanc.instances() == []
    assert not findings["quality"]["contrast_found"]
    assert any(character.isdigit() for character in findings["quality"]["contrast_reason"]), "the reason is measured"
    assert findings["perfusion"] == {} or not any(
        (findings["perfusion"].get(label) or {}).get("PE", {}).get("value") for label in ("panel", "lesion")
    )
