"""What a recipe costs is the sum over all runs that filled its work folder."""

from __future__ import annotations

import time
from pathlib import Path

from onnx_models.training.processor_time import ASIDE, minutes_by_stage, stage, time_rows


def _busy(seconds: float) -> None:
    end_s = time.process_time() + seconds
    while time.process_time() < end_s:
        pass


def test_sittings_add_up_and_what_was_measured_aside_is_not_counted(tmp_path: Path) -> None:
    """Accounts hold tenths of a second: three sittings of 0.3 s are 0.015 min, to 0.1 s each."""
    for _ in range(2):
        with stage(tmp_path / "maps", "drawing cines"):
            _busy(0.3)
    with stage(tmp_path, "training"):
        _busy(0.3)
    with stage(tmp_path, f"{ASIDE}held-out cines"):
        _busy(0.3)
    spent = minutes_by_stage(tmp_path)
    assert set(spent) == {"drawing cines", "training", f"{ASIDE}held-out cines"}
    assert abs(spent["drawing cines"] - 0.6 / 60) <= 0.2 / 60
    rows = time_rows(tmp_path)
    assert [row["what"] for row in rows][-1] == "processor minutes of one core, in all"
    assert not any(ASIDE in row["what"] for row in rows)


def test_sleeping_costs_no_processor_time(tmp_path: Path) -> None:
    with stage(tmp_path, "waiting"):
        time.sleep(0.5)
    assert minutes_by_stage(tmp_path)["waiting"] < 0.3 / 60
