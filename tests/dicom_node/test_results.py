"""Result folders: whole or not there, and ledgers that survive."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.results import DeliveryLedger, ObjectDelivery, ResultFolder, all_results


def make(folder: ResultFolder) -> None:
    with folder.being_made() as draft:
        (draft / "findings.json").write_text("{}")
        for name in ("sc_1.dcm", "sr.dcm", "sc_0.dcm", "seg.dcm"):
            (draft / name).write_text("")


def test_an_analysis_that_fails_leaves_no_result(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path, "acquisition", "job")

    def fails() -> None:
        with folder.being_made() as draft:
            (draft / "findings.json").write_text("{}")
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        fails()
    assert not folder.complete
    assert all_results(tmp_path) == []
    make(folder)
    assert folder.complete, "what the failure left does not stand in the way of the next try"
    assert all_results(tmp_path) == [folder]


def test_reports_are_sent_before_pictures_and_only_what_is_wanted(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path, "acquisition", "job")
    make(folder)
    assert [file.name for file in folder.objects(("sr", "sc"))] == ["sr.dcm", "sc_0.dcm", "sc_1.dcm"]


def test_a_ledger_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path, "acquisition", "job")
    make(folder)
    assert folder.ledger("pacs") == DeliveryLedger("pacs")
    ledger = DeliveryLedger(
        "pacs", (ObjectDelivery("sr.dcm", "1.2", sent=True, attempts=2, status="ok"),), None, "refused"
    )
    folder.write_ledger(ledger)
    assert folder.ledger("pacs") == ledger
    assert folder.ledgers() == [ledger]
    assert ledger.state == "failed"
    assert ledger.reopened().state == "pending"
