"""What an encoding does to a time-intensity curve: shape, level and times against the same loop uncompressed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG4HP41, UID, JPEGBaseline8Bit, RLELossless

from dicom_node.cine_reader import open_cine
from processing.cine import DisplayProfile, FrameSource
from processing.intake import examine, take_cine
from processing.roi import panel_roi
from processing.simulation.display import Display
from processing.simulation.scene import Scene, Timing
from processing.simulation.scenes import SMALL_BOLUS, bolus_scene
from processing.simulation.screen import Screen
from processing.tic import time_intensity_curve
from tests.dicom_node.cine_files import jpeg, region, write_cine

RATE_HZ = 3.0


def loop(tint: str, dynamic_range_db: float) -> Scene:
    """30 s of a bolus on a small screen."""
    parameters = replace(
        SMALL_BOLUS,
        screen=Screen(240, 320, tint=tint),
        timing=Timing(-5.0, 30.0, RATE_HZ, time_zero="first frame"),
        display=Display(dynamic_range_db=dynamic_range_db),
    )
    return bolus_scene(parameters, seed=6)


def curve(source: FrameSource, dynamic_range_db: float) -> tuple[NDArray[np.float64], set[str]]:
    profile = DisplayProfile(name="simulated", dynamic_range_db=dynamic_range_db)
    examination = examine(source, profile)
    assert examination.evidence.found, examination.evidence.reason
    cine = take_cine(source, examination).cine
    return time_intensity_curve(cine, panel_roi(cine.valid)).power_au, {x.code for x in examination.limitations}


def encoded(scene: Scene, folder: Path, quality: int | None, syntax: str) -> FrameSource:
    """The loop as a file, with the scene's two regions."""
    frames = scene.sample(range(scene.description.frames))
    delta = scene.screen.spacing_mm.z_mm / 10
    items = [
        region((r.box.x0, r.box.y0, r.box.x1 - 1, r.box.y1 - 1), (delta, delta)) for r in scene.description.regions
    ]
    changed: dict[str, object] = {"SequenceOfUltrasoundRegions": items}
    if quality is not None:
        changed["PixelData"] = encapsulate([jpeg(frame, quality) for frame in frames])
    return open_cine(write_cine(folder, frames, UID(syntax), 1000 / RATE_HZ, **changed))


# The issue: shape within 1 %; level within 3 % at q90 and 60 dB, 1 % at q95 and better. Uncorrected, the coder's noise
# would lift the level by 2 % (grey) to 6 % (copper) at q90 and 60 dB.
CASES = {
    "q90 grey, 60 dB": ("grey", 90, JPEGBaseline8Bit, 60.0, 0.03),
    "q90 copper, 60 dB": ("copper", 90, JPEGBaseline8Bit, 60.0, 0.03),
    "q90 hot, 60 dB": ("hot", 90, JPEGBaseline8Bit, 60.0, 0.03),
    "q90 amber bar, 60 dB": ("amber", 90, JPEGBaseline8Bit, 60.0, 0.03),
    "q90 blue bar, 60 dB": ("blue", 90, JPEGBaseline8Bit, 60.0, 0.03),
    "q95 grey, 50 dB": ("grey", 95, JPEGBaseline8Bit, 50.0, 0.01),
    "q95 copper, 50 dB": ("copper", 95, JPEGBaseline8Bit, 50.0, 0.01),
    "q95 hot, 50 dB": ("hot", 95, JPEGBaseline8Bit, 50.0, 0.01),
    "q95 blue bar, 50 dB": ("blue", 95, JPEGBaseline8Bit, 50.0, 0.01),
    "H.264 grey": ("grey", None, MPEG4HP41, 50.0, 0.03),
    "H.264 copper": ("copper", None, MPEG4HP41, 50.0, 0.03),
}


IN_MAKE_TEST = ("q90 copper, 60 dB", "q90 blue bar, 60 dB", "q95 copper, 50 dB", "H.264 copper")


@pytest.mark.parametrize(
    "name", [name if name in IN_MAKE_TEST else pytest.param(name, marks=pytest.mark.full) for name in CASES]
)
def test_a_lossy_encoding_keeps_the_curve(tmp_path: Path, name: str) -> None:
    tint, quality, syntax, dynamic_range_db, level = CASES[name]
    scene = loop(tint, dynamic_range_db)
    source = encoded(scene, tmp_path, quality, syntax)
    read, limitations = curve(source, dynamic_range_db)
    plain, _ = curve(scene, dynamic_range_db)
    assert "tint_unknown" not in limitations
    scale = read.mean() / plain.mean()
    assert scale == pytest.approx(1.0, abs=level)
    assert np.abs(read / scale - plain).max() <= 0.01 * plain.max()
    # Frame times within 1 ms, spacing exact to the digits of a double.
    assert source.description.frame_times_s == pytest.approx(np.arange(len(plain)) / RATE_HZ, abs=1e-3)
    assert source.description.regions[0].spacing_mm == pytest.approx(scene.screen.spacing_mm, rel=1e-12)


def test_a_lossless_encoding_keeps_every_value(tmp_path: Path) -> None:
    scene = loop("hot", 50.0)
    read, _ = curve(encoded(scene, tmp_path, None, RLELossless), 50.0)
    plain, _ = curve(scene, 50.0)
    np.testing.assert_array_equal(read, plain)
