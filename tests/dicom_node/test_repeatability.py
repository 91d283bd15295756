"""`ceus-node repeatability`: same-day loops make the table, the table makes the verdict."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from dicom_node.errors import ConfigurationError
from dicom_node.repeatability import repeatability_table
from dicom_node.repeatability_table import read_table, write_table
from tests.dicom_node.history_scenes import History, Study

TODAY = date(2026, 11, 21)


def test_two_loops_of_a_day_make_a_table_that_is_read_back(tmp_path: Path) -> None:
    history = History(tmp_path / "node")
    for study in (Study(0, ratio=2.0), Study(1, ratio=2.2), Study(48, ratio=9.0)):
        history.measure(study)
    limits = repeatability_table([history.root / "results"], TODAY)
    # ln 1.1 apart: s = ln 1.1 / sqrt 2, and from one pair t(0.975, 1) = 12.7062. The loop of another day repeats none.
    assert limits["PE_ratio"].limit == pytest.approx(100 * (1.1**12.7062 - 1), rel=1e-4)
    assert limits["PE_ratio"].unit == "%"
    assert limits["PE_ratio"].source == "site table of 2026-11-21, 2 loops of 1 patients"
    assert "RT" not in limits, "a figure that did not vary at all has no limit"
    write_table(tmp_path / "table.csv", limits)
    again = read_table(tmp_path / "table.csv")
    assert set(again) == set(limits)
    assert again["PE_ratio"].limit == pytest.approx(limits["PE_ratio"].limit, rel=1e-5)


def test_loops_that_repeat_nothing_are_refused(tmp_path: Path) -> None:
    history = History(tmp_path / "node")
    history.measure(Study(0))
    history.measure(Study(48))
    with pytest.raises(ConfigurationError, match="no two reports repeat each other"):
        repeatability_table([history.root / "results"], TODAY)


@pytest.mark.parametrize(
    "row", ["PE_ratio,-3,%,mine", "PE_ratio,nan,%,mine", "PE_ratio,3,%,", "TTP,3,s,mine", "PE_ratio,much,%,mine"]
)
def test_a_row_that_is_no_limit_or_has_no_source_is_named(tmp_path: Path, row: str) -> None:
    (tmp_path / "table.csv").write_text(f"name,limit,unit,source\nRT,1.5,s,mine\n{row}\n")
    with pytest.raises(ConfigurationError, match=r"row 3 of table\.csv"):
        read_table(tmp_path / "table.csv")
