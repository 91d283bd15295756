"""`ceus-node process` over two studies of one patient: the later one is compared, in findings, report and picture."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from dicom_node.config import load_settings
from dicom_node.errors import ConfigurationError
from dicom_node.offline import OfflineOrder, process_paths
from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.cine import Box
from processing.simulation.scene import Scene
from processing.simulation.scenes import TINY_BOLUS, bolus_scene
from reports import codes
from reports.read_back.report import read_report
from tests.peers import dciodvfy

AT = datetime(2026, 11, 18, 9, 30)  # noqa: DTZ001  # the scanner's own clock
HALVED = replace(TINY_BOLUS, lesion=replace(TINY_BOLUS.lesion, area_au_s=0.5 * TINY_BOLUS.lesion.area_au_s))
SETTINGS = load_settings(
    None,
    profile={"simulated": {"manufacturer": "CEUS Node Simulation", "dynamic_range_db": 50.0, "gain_db": 40.0}},
    analysis={"super_resolution": False, "response": "off", "treatment": "after"},
)


def mask_file(scene: Scene, mask: NDArray[np.bool_] | None, file: Path) -> Path:
    """A full-frame mask as a user hands it in."""
    panel: Box | None = scene.truth.contrast
    assert mask is not None
    assert panel is not None
    frame = np.zeros((scene.description.rows, scene.description.columns), np.uint8)
    frame[panel.slices] = 255 * mask
    Image.fromarray(frame).save(file)
    return file


def ratio(scene: Scene) -> float:
    lesion, reference = scene.truth.lesion, scene.truth.reference
    assert lesion is not None
    assert reference is not None
    return lesion.peak_enhancement_au / reference.peak_enhancement_au


@pytest.fixture(scope="module")
def processed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Result folders of the study before and the one after."""
    folder = tmp_path_factory.mktemp("studies")
    before = bolus_scene(TINY_BOLUS, seed=5)
    for number, scene in enumerate((bolus_scene(HALVED, seed=5), before)):  # the later one first: time orders them
        identity = CineIdentity(AT - timedelta(hours=30 * number), study=f"study {number}")
        write_cine(scene, folder, identity)
    roi = mask_file(before, before.truth.lesion_mask, folder / "lesion.png")
    reference = mask_file(before, before.truth.reference_mask, folder / "reference.png")
    cines = tuple(sorted(folder.glob("*.dcm")))
    process_paths(OfflineOrder(SETTINGS, cines, folder / "out", roi, reference), Console(quiet=True))
    one, other = sorted((folder / "out").glob("0*"))
    return one, other


def test_the_later_study_is_compared_with_the_earlier_and_not_the_other_way(processed: tuple[Path, Path]) -> None:
    first, second = (json.loads((folder / "findings.json").read_text())["comparison"] for folder in processed)
    assert not first["performed"]
    assert first["reason"].startswith("no earlier result of this patient")
    assert second["performed"]
    assert second["hours_since"] == 30.0
    assert second["baseline"]["rule"] == "first in course, within 365 days"
    # One seed, one mask: speckle and outline are the same, what is left is the fit of a hundred speckles, 5 % a side.
    halved = ratio(bolus_scene(HALVED, seed=5)) / ratio(bolus_scene(TINY_BOLUS, seed=5))
    assert 1 + second["changes"]["PE_ratio"]["percent"] / 100 == pytest.approx(halved, rel=0.07)
    assert abs(second["changes"]["RT"]["difference"]["value"]) < 0.5  # the kinetics kept their shape


def test_report_and_picture_say_so_and_are_valid(processed: tuple[Path, Path]) -> None:
    folder = processed[1]
    told = json.loads((folder / "findings.json").read_text())["comparison"]
    report = read_report(pydicom.dcmread(folder / "sr.dcm"))
    (quoted,) = (group for group in report.groups if group.baseline)
    before = quoted.quantity(codes.own("R_PE"))
    assert before is not None
    assert before.value == pytest.approx(told["changes"]["PE_ratio"]["baseline"]["value"], rel=1e-6)
    coded = {
        element.value for element in pydicom.dcmread(folder / "sr.dcm").iterall() if element.keyword == "CodeValue"
    }
    assert codes.POST_TREATMENT.value in coded, "the site said that treatment came before"
    for name in ("sr.dcm", "sc_comparison.dcm"):
        assert dciodvfy(folder / name).errors == ()
    page = pydicom.dcmread(folder / "sc_comparison.dcm").pixel_array
    # Left: the earlier picture with its orange outline, cut out of the earlier page; words alone are grey.
    left = page[150:520, 40:500].astype(int)
    assert ((left[..., 0] - left[..., 2]) > 100).sum() > 1000


def test_a_baseline_that_is_no_report_of_ours_is_refused_by_name(processed: tuple[Path, Path], tmp_path: Path) -> None:
    picture = processed[0] / "sc_summary.dcm"
    with pytest.raises(ConfigurationError, match=r"--baseline: .*sc_summary\.dcm is no report of this software"):
        process_paths(OfflineOrder(SETTINGS, (picture,), tmp_path, baseline=picture), Console(quiet=True))
