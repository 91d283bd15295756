"""A loop of any length is taken in bounded memory: its panel in a file, its frames a few at a time."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from processing.simulation.scene import Timing
from processing.simulation.scenes import SMALL_BOLUS, bolus_scene
from processing.simulation.screen import Screen
from tests.dicom_node.cine_files import jpeg, write_cine

ROOT = Path(__file__).parent.parent.parent
RATE_HZ = 15.0
LIMIT_MB = 1024
"""Of private memory: the imports hold 200 MB, the 96 frames of an examination at 800x600 185 MB and their copies."""


def long_loop(folder: Path, screen: Screen, seconds: int) -> Path:
    """A bolus at 15 frames/s whose images are new once a second, then its last twenty over and over."""
    scene = bolus_scene(replace(SMALL_BOLUS, screen=screen, timing=Timing(-5.0, 40.0, 1.0)), seed=3)
    distinct = scene.description.frames
    coded = [jpeg(scene.frame(i), 75) for i in range(distinct)]
    shown = [t if t < distinct else distinct - 20 + t % 20 for t in np.arange(int(seconds * RATE_HZ)) // int(RATE_HZ)]
    return write_cine(
        folder,
        scene.sample([0]),
        JPEGBaseline8Bit,
        1000 / RATE_HZ,
        NumberOfFrames=len(shown),
        PixelData=encapsulate([coded[i] for i in shown]),
    )


@pytest.mark.parametrize(
    ("screen", "seconds"),
    [
        pytest.param(Screen(240, 320), 60, id="a minute of 320x240"),
        pytest.param(Screen(600, 800), 600, id="ten minutes of 800x600", marks=pytest.mark.full),
    ],
)
@pytest.mark.timeout(1800)
def test_a_long_loop_is_taken_in_bounded_memory(tmp_path: Path, screen: Screen, seconds: int) -> None:
    path = long_loop(tmp_path, screen, seconds)
    child = subprocess.run(
        [sys.executable, "-m", "tests.dicom_node.long_loop_child", str(path), str(LIMIT_MB)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    frames, peak_mb, panel_mb = (int(figure) for figure in child.stdout.split())
    print(f"{frames} frames, panel of {panel_mb} MB in a file, peak of private memory {peak_mb} MB")
    assert frames == int(seconds * RATE_HZ)
    assert peak_mb < LIMIT_MB
