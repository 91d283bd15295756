"""What a running job tells reaches the one who looks, and nothing of it stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_node.job_progress import progress_words, provisional_file, told_progress
from processing.bubbles import FlowMaps
from processing.cine import Spacing

CROSSED = np.repeat(np.arange(5)[:, None] == 2, 7, axis=1).astype(np.float32)
ONE_TRACK = FlowMaps(
    CROSSED,
    np.where(CROSSED > 0, np.float32(3), np.float32(np.nan)),
    *np.zeros((3, 5, 7), np.float32),
    pixel_mm=Spacing(0.1, 0.1),
)


def test_what_a_job_does_is_read_while_it_runs_and_forgotten_after(tmp_path: Path) -> None:
    assert progress_words(tmp_path, "one") == ""
    with told_progress(tmp_path, "one") as progress:
        progress("super-resolution: 450 of 900 frames, 1234 bubbles, 800 frames/s", 0.9)
        assert progress_words(tmp_path, "one") == (
            "super-resolution: 450 of 900 frames, 1234 bubbles, 800 frames/s (90 %)"
        )
        assert progress_words(tmp_path, "another") == ""
        progress.provisional(ONE_TRACK)
        with Image.open(provisional_file(tmp_path, "one")) as picture:
            shown = np.asarray(picture)
        # Density left, speed right; the track's row is lit in both, the rest is black.
        assert shown.shape == (5, 2 * 7 + 4, 3)
        assert shown[2, :7].any(axis=1).all()
        assert shown[2, 11:].any(axis=1).all()
        assert not shown[0, :7].any()
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_fails_leaves_no_progress(tmp_path: Path) -> None:
    def breaks() -> None:
        with told_progress(tmp_path, "one") as progress:
            progress("motion", 0.3)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        breaks()
    assert progress_words(tmp_path, "one") == ""
