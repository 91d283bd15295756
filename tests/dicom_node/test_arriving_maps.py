"""While a cine still decodes, its bubbles are already seen: words and maps come before motion is judged."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy.spatial import cKDTree

from dicom_node.analysis import AnalysisRequest, analyse
from dicom_node.arriving_maps import drawn
from dicom_node.config import load_settings
from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.bubbles import FlowMaps
from processing.cine import Spacing
from processing.simulation.flow_phantom import BubbleFlow
from processing.simulation.flow_scenes import FlowParameters, flow_scene
from processing.simulation.scene import Scene, Timing

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Enough(Exception):
    """What is looked at here has happened: the rest of the flow is tested elsewhere."""


@pytest.fixture(scope="module")
def scene() -> Scene:
    return flow_scene(replace(FlowParameters(), timing=Timing(60.0, 8.0, 40.0), flow=BubbleFlow(2.0)), seed=3)


def told_while_decoding(scene: Scene, folder: Path, *, super_resolution: bool) -> list[str | FlowMaps]:
    """Everything that the flow tells until it turns to motion, in its order."""
    file = write_cine(scene, folder, CineIdentity(NOW.replace(tzinfo=None), study="arriving"))
    uid = str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID)
    told: list[str | FlowMaps] = []

    def progress(stage: str, _share: float) -> None:
        if stage == "motion":
            raise Enough
        told.append(stage)

    settings = load_settings(None, analysis={"super_resolution": super_resolution})
    request = AnalysisRequest("acquisition", (uid,), (file,), settings, NOW, np.empty)
    with pytest.raises(Enough):
        analyse(replace(request, progress=progress, provisional=told.append))
    return told


def test_vessels_and_counts_are_told_while_frames_still_decode(scene: Scene, tmp_path: Path) -> None:
    told = told_while_decoding(scene, tmp_path, super_resolution=True)
    words = [entry for entry in told if isinstance(entry, str) and entry.startswith("decoding: ")]
    # 320 frames hold two blocks of 150; the second is passed over where a busy machine decodes faster than it looks.
    assert words[0].startswith("decoding: 150 of 320 frames, ")
    assert words[0].endswith(" frames/s")
    assert int(words[0].split(", ")[1].split()[0]) > 300
    maps = next(entry for entry in told if isinstance(entry, FlowMaps))
    truth = scene.truth.flow
    assert truth is not None
    way = cKDTree(np.column_stack([truth.z_mm, truth.x_mm]))
    distance = way.query(np.argwhere(maps.density > 0) * maps.pixel_mm.z_mm)[0]
    # Panels are found to a pixel (0.13 mm), a map's pixel is 0.1 mm.
    assert np.percentile(distance, 90) < 0.4
    assert drawn(maps).shape == (maps.density.shape[0], 2 * maps.density.shape[1] + 4, 3)


def test_without_super_resolution_nobody_looks(scene: Scene, tmp_path: Path) -> None:
    assert told_while_decoding(scene, tmp_path, super_resolution=False) == ["reading", "decoding"]


def test_density_stands_beside_speed_and_the_rest_is_black() -> None:
    crossed = np.repeat(np.arange(5)[:, None] == 2, 7, axis=1).astype(np.float32)
    speed = np.where(crossed > 0, np.float32(3), np.float32(np.nan))
    shown = drawn(FlowMaps(crossed, speed, *np.zeros((3, 5, 7), np.float32), pixel_mm=Spacing(0.1, 0.1)))
    assert shown.shape == (5, 2 * 7 + 4, 3)
    assert shown[2, :7].any(axis=1).all()
    assert shown[2, 11:].any(axis=1).all()
    assert not shown[0, :7].any()
