"""The flow of one acquisition, from files to findings: what is measured on which ROI, and what is refused by name."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image

from dicom_node.analysis import Analysis, AnalysisRequest, analyse
from dicom_node.config import Settings, load_settings
from dicom_node.errors import ConfigurationError
from dicom_node.reader_contours import NO_CONTOURS, ContourFiles
from dicom_node.roi_choice import NO_MASKS, GivenMasks
from dicom_node.simulated_scanner import CineIdentity, write_cine
from dicom_node.writing import reference_frame
from processing.cine import Box
from processing.simulation.scene import Scene
from processing.simulation.scenes import TINY_BOLUS, bolus_scene
from tests.dicom_node.reader_objects import Drawn, saved

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DECLARED = {"simulated": {"manufacturer": "CEUS Node Simulation", "dynamic_range_db": 50.0}}
AMPLITUDES = ("peak_enhancement_au", "wash_in_rate_au_per_s", "wash_in_auc_au_s", "auc_au_s")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return bolus_scene(TINY_BOLUS, seed=5)


@pytest.fixture(scope="module")
def cine(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cine(scene, tmp_path_factory.mktemp("cine"), CineIdentity(NOW.replace(tzinfo=None), study="analysis"))


def settings_with(**tables: Any) -> Settings:
    return load_settings(None, **({"profile": DECLARED} | tables))


def measure(
    cine: Path, settings: Settings, given: GivenMasks = NO_MASKS, contours: ContourFiles = NO_CONTOURS
) -> Analysis:
    uid = str(pydicom.dcmread(cine, stop_before_pixels=True).SOPInstanceUID)
    request = AnalysisRequest("acquisition", (uid,), (cine,), settings, NOW, np.empty)
    return analyse(replace(request, given=given, contours=contours))


def full_frame(mask: NDArray[np.bool_] | None, panel: Box | None, shape: tuple[int, int], file: Path) -> Path:
    assert mask is not None
    assert panel is not None
    frame = np.zeros(shape, np.uint8)
    frame[panel.slices] = 255 * mask
    Image.fromarray(frame).save(file)
    return file


@pytest.fixture(scope="module")
def masks(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> GivenMasks:
    """The simulator's own lesion and parenchyma, as a user would hand them in."""
    folder, truth = tmp_path_factory.mktemp("masks"), scene.truth
    shape = (scene.description.rows, scene.description.columns)
    return GivenMasks(
        full_frame(truth.lesion_mask, truth.contrast, shape, folder / "lesion.png"),
        full_frame(truth.reference_mask, truth.contrast, shape, folder / "reference.png"),
    )


def test_given_masks_are_measured_and_compared(cine: Path, masks: GivenMasks, scene: Scene) -> None:
    found = measure(cine, settings_with(), masks).findings
    assert [(roi.label, roi.drawn_by, roi.confirmed) for roi in found.rois] == [
        ("lesion", "file", True),
        ("reference", "file", True),
    ]
    for label, truth in (("lesion", scene.truth.lesion), ("reference", scene.truth.reference)):
        metrics = found.perfusion.by_label[label].metrics
        assert truth is not None
        assert metrics.peak_enhancement_au is not None
        assert metrics.time_to_peak_s is not None
        # A panel of 70x102 pixels holds about a hundred speckles a ROI at 5 frames/s: twice the limits of issue C's
        # row of 100 speckles, which tests/accuracy holds at full size.
        assert metrics.peak_enhancement_au.value == pytest.approx(truth.peak_enhancement_au, rel=0.08)
        assert metrics.time_to_peak_s.value == pytest.approx(truth.time_to_peak_s, abs=0.5)
    assert set(found.perfusion.ratio) == {"PE", "WiR", "WoR", "WiAUC", "WoAUC", "WiWoAUC", "WiPI", "AUC"}
    assert set(found.perfusion.difference_s) >= {"AT", "TTP", "RT"}


def test_without_a_declared_range_no_absolute_amplitude_comes_out_and_times_do(cine: Path, masks: GivenMasks) -> None:
    found = measure(cine, settings_with(profile={}), masks).findings
    assert found.source.dynamic_range_source == "default"
    metrics = found.perfusion.by_label["lesion"].metrics
    assert [getattr(metrics, name) for name in AMPLITUDES] == [None] * len(AMPLITUDES)
    assert metrics.rise_time_s is not None
    assert any(limit.severity == "refused" and "PE" in limit.affects for limit in found.quality.limitations)


def test_without_a_lesion_the_panel_is_read_and_nothing_is_compared(cine: Path) -> None:
    """Pixels of 0.8 mm lie outside of what the lesion model was made for."""
    found = measure(cine, settings_with()).findings
    assert [roi.label for roi in found.rois] == ["panel"]
    assert found.perfusion.by_label["panel"].metrics.model == "none"
    assert found.perfusion.ratio == {}
    assert {"whole_panel", "model_not_applicable"} <= {limit.code for limit in found.quality.limitations}


def test_a_site_that_waits_for_its_reader_gets_no_lesion_from_a_model(cine: Path) -> None:
    found = measure(cine, settings_with(analysis={"roi": "reader"})).findings
    assert [roi.label for roi in found.rois] == ["panel"]
    assert "waits_for_reader" in {limit.code for limit in found.quality.limitations}
    assert found.models == ()


def test_what_is_switched_off_says_so(cine: Path) -> None:
    found = measure(cine, settings_with(analysis={"super_resolution": False})).findings
    assert not found.super_resolution.performed
    assert "super_resolution = false" in str(found.super_resolution.reason)


def test_another_mask_is_another_result_and_the_same_is_the_same(cine: Path, masks: GivenMasks) -> None:
    one, again = (measure(cine, settings_with(), masks).identity for _ in range(2))
    without = measure(cine, settings_with()).identity
    assert one.uid("sr") == again.uid("sr")
    assert one.uid("sr") != without.uid("sr")
    assert one.tracking_uid("lesion") == without.tracking_uid("lesion")


def test_a_readers_contour_goes_before_the_file_and_is_marked_as_his(
    cine: Path, masks: GivenMasks, scene: Scene, tmp_path: Path
) -> None:
    """The simulator's own lesion, sent back as a mask on the frame's own pixels by somebody's viewer."""
    assert masks.lesion is not None
    header = pydicom.dcmread(cine, stop_before_pixels=True)
    whole = np.asarray(Image.open(masks.lesion)) > 0
    sent = saved(Drawn(header).segmentation({"Lesion": whole}), tmp_path / "sent.dcm")
    other = full_frame(~scene.truth.lesion_mask, scene.truth.contrast, whole.shape, tmp_path / "other.png")  # type: ignore[operator]
    found = measure(cine, settings_with(analysis={"roi": "reader"}), GivenMasks(other), ContourFiles((sent,)))
    lesion, reference = found.findings.rois
    assert (lesion.label, lesion.drawn_by, lesion.confirmed) == ("lesion", "reader", True)
    assert (reference.label, reference.drawn_by) == ("reference", "rule")
    np.testing.assert_array_equal(found.rois[0].mask, scene.truth.lesion_mask & found.rois[0].mask)
    assert found.rois[0].mask.sum() >= 0.98 * scene.truth.lesion_mask.sum(), "less what motion leaves unseen"  # type: ignore[union-attr]
    assert "waits_for_reader" not in {limit.code for limit in found.findings.quality.limitations}
    model = measure(cine, settings_with(analysis={"roi": "reader"}))
    assert found.identity.uid("sr") != model.identity.uid("sr")
    assert found.identity.tracking_uid("lesion") == model.identity.tracking_uid("lesion")


def test_a_mask_of_another_size_is_named(cine: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.png"
    Image.fromarray(np.full((10, 10), 255, np.uint8)).save(wrong)
    with pytest.raises(ConfigurationError, match=r"wrong\.png is 10x10"):
        measure(cine, settings_with(), GivenMasks(lesion=wrong))


def test_a_gated_protocol_shows_the_bolus_and_not_the_first_frame(cine: Path, masks: GivenMasks) -> None:
    """It keeps the most frequent phase, which need not be the one that the outlines were drawn in."""
    analysis = measure(cine, settings_with(analysis={"protocol": "bedside_bolus", "super_resolution": False}), masks)
    power_au = analysis.curves[0].power_au
    assert power_au[reference_frame(analysis)] > 0.5 * power_au.max()
