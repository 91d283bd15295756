"""What a running job tells reaches the one who looks, and nothing of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.job_progress import progress_words, provisional_file, told_progress


def test_what_a_job_does_is_read_while_it_runs_and_forgotten_after(tmp_path: Path) -> None:
    assert progress_words(tmp_path, "one") == ""
    with told_progress(tmp_path, "one") as progress:
        progress("super-resolution: 450 of 900 frames, 1234 bubbles, 800 frames/s", 0.9)
        assert progress_words(tmp_path, "one") == (
            "super-resolution: 450 of 900 frames, 1234 bubbles, 800 frames/s (90 %)"
        )
        assert progress_words(tmp_path, "another") == ""
        progress.provisional(b"a picture")
        assert provisional_file(tmp_path, "one").read_bytes() == b"a picture"
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_fails_leaves_no_progress(tmp_path: Path) -> None:
    def breaks() -> None:
        with told_progress(tmp_path, "one") as progress:
            progress("motion", 0.3)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        breaks()
    assert progress_words(tmp_path, "one") == ""
