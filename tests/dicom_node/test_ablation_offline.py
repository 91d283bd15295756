"""`ceus-node process` under the preset `ablation`: what does not enhance in this plane, and since when."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from dicom_node.cine_header import read_facts
from dicom_node.config import AnalysisSettings, load_settings
from dicom_node.offline import OfflineOrder, process_paths
from dicom_node.simulated_scanner import CineIdentity, write_cine
from dicom_node.treatment import hours_since_treatment
from processing.simulation.scene import Scene
from processing.simulation.scenes import TINY_BOLUS, bolus_scene
from tests.peers import dciodvfy

AT = datetime(2026, 11, 18, 9, 30)  # noqa: DTZ001  # the scanner's own clock
# 50 dB darker than the parenchyma: nothing that a panel could show.
ABLATED = replace(TINY_BOLUS, lesion=replace(TINY_BOLUS.lesion, area_au_s=1e-5 * TINY_BOLUS.lesion.area_au_s))


def mask_file(scene: Scene, mask: NDArray[np.bool_] | None, file: Path) -> Path:
    assert mask is not None
    frame = np.zeros((scene.description.rows, scene.description.columns), np.uint8)
    frame[scene.truth.contrast.slices] = 255 * mask
    Image.fromarray(frame).save(file)
    return file


def processed(folder: Path, treated_at: datetime | None) -> Path:
    """The result folder of an ablated lesion, 26.5 h after treatment where that is told."""
    scene = bolus_scene(ABLATED, seed=5)
    write_cine(scene, folder, CineIdentity(AT, study="ablated"))
    settings = load_settings(
        None,
        profile={"simulated": {"manufacturer": "CEUS Node Simulation", "dynamic_range_db": 50.0}},
        analysis={"protocol": "ablation", "super_resolution": False, "response": "off", "treated_at": treated_at},
    )
    rois = (
        mask_file(scene, scene.truth.lesion_mask, folder / "lesion.png"),
        mask_file(scene, scene.truth.reference_mask, folder / "reference.png"),
    )
    process_paths(OfflineOrder(settings, tuple(folder.glob("*.dcm")), folder / "out", *rois), Console(quiet=True))
    return folder / "out"


def words(folder: Path) -> str:
    """Everything that the report and the title of each picture say, in lower case."""
    said = []
    for file in sorted(folder.glob("*.dcm")):
        ds = pydicom.dcmread(file)
        said.append(str(ds.get("ImageComments", "")))
        for element in ds.iterall():
            if element.keyword in ("TextValue", "CodeMeaning", "NumericValue"):
                said.append(str(element.value))
    return " ".join(said).lower()


def test_the_report_after_ablation_says_what_does_not_enhance_and_how_long_after_treatment(tmp_path: Path) -> None:
    result = processed(tmp_path, AT - timedelta(hours=26, minutes=30))
    found = json.loads((result / "findings.json").read_text())["perfusion"]["enhancement"]
    assert found["hours_since_treatment"] == 26.5
    # The whole lesion is dark; what the beam spills over its edge may read as enhancing (measured: 0 to 5 %).
    assert found["non_enhancing_percent"] > 90.0
    assert found["not_assessable_percent"] < 5.0
    said = words(result)
    assert "enhancement in this plane. 26.5 h after treatment." in said
    assert "time since treatment" in said
    assert "non-enhancing area share" in said
    for word in ("complete", "success"):
        assert word not in said
        assert word not in (result / "findings.json").read_text().lower()
    for file in result.glob("*.dcm"):
        assert dciodvfy(file).errors == ()


def test_a_report_that_nobody_told_of_the_treatment_says_so(tmp_path: Path) -> None:
    result = processed(tmp_path, None)
    found = json.loads((result / "findings.json").read_text())["perfusion"]["enhancement"]
    assert found["hours_since_treatment"] is None
    assert "enhancement in this plane. time since treatment not told." in words(result)


@pytest.mark.parametrize(
    ("treated_at", "acquired_at", "hours"),
    [
        (AT - timedelta(hours=3), AT, 3.0),
        (AT + timedelta(hours=1), AT, None),
        (None, AT, None),
        # A zone on one side only: both by the scanner's clock. On both: as instants.
        ((AT - timedelta(hours=3)).replace(tzinfo=timezone(timedelta(hours=9))), AT, 3.0),
        (AT.replace(tzinfo=timezone(timedelta(hours=2))), AT.replace(tzinfo=UTC), 2.0),
    ],
)
def test_hours_are_counted_by_one_clock(
    treated_at: datetime | None, acquired_at: datetime, hours: float | None
) -> None:
    facts, _ = read_facts(pydicom.Dataset())
    declared = AnalysisSettings(treated_at=treated_at)
    assert hours_since_treatment(replace(facts, acquired_at=acquired_at), declared) == hours
