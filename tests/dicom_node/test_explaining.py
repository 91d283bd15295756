"""`process --explain` says what was decided for a cine, and why, with a picture."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.simulation.scenes import SMALL_BOLUS, bolus_scene
from tests.datasets import bundled

WHEN = datetime(2026, 1, 2, 3, 4, 5)  # noqa: DTZ001 - a scanner writes its clock without a zone


def explained(paths: list[Path], out: Path) -> tuple[str, int]:
    result = CliRunner().invoke(app, ["process", *map(str, paths), "--out", str(out), "--explain"])
    return result.output, result.exit_code


def test_a_contrast_loop_is_explained_with_a_picture_of_its_panels(tmp_path: Path) -> None:
    scene = bolus_scene(replace(SMALL_BOLUS, timing=replace(SMALL_BOLUS.timing, frame_rate_hz=3.0)), seed=2)
    path = write_cine(scene, tmp_path, CineIdentity(WHEN), "rle")
    said, code = explained([path], tmp_path / "out")
    assert code == 0
    for part in (
        str(tuple(scene.truth.contrast or ())),
        "copper",
        "bolus start",
        "found: the mean level",
        "profile_none",
    ):
        assert part in said
    picture = np.asarray(Image.open(tmp_path / "out" / f"{path.stem}.explained.png").convert("RGB")).astype(int)
    # The outline of the contrast panel is drawn in its colour (#ffb000).
    assert (np.abs(picture - (0xFF, 0xB0, 0x00)).max(axis=-1) < 8).sum() > 500


def test_a_clip_without_contrast_and_no_cine_at_all_are_explained_too(tmp_path: Path) -> None:
    said, code = explained([bundled("examples_ybr_color"), bundled("CT_small")], tmp_path / "out")
    assert code == 3
    assert "NOT found" in said
    assert "region_exceeds_image" in said
    assert "not_ultrasound" in said
