"""Findings travel to findings.json and back without losing a digit."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from datetime import UTC, datetime

import numpy as np
import pytest

from processing.limitations import Limitation
from processing.metrics import Estimate, PerfusionMetrics
from processing.tic import Tic
from reports.errors import InvalidFindingsError
from reports.findings import Perfusion, Quantity, RoiPerfusion
from reports.findings_json import from_json, to_json
from reports.tables import summary_csv, tic_csv
from tests.reports.scenes import full_findings, panel_findings


def test_every_field_survives_the_way_to_json_and_back() -> None:
    for findings in (panel_findings(), full_findings()):
        assert from_json(to_json(findings)) == findings


def test_names_and_units_are_those_of_the_contract() -> None:
    written = json.loads(to_json(full_findings()))
    assert next(iter(written)) == "schema"
    assert written["schema"] == "ceus-node/findings/1"
    assert written["source"]["contrast_panel"]["box"] == [40, 60, 360, 420]
    assert written["perfusion"]["lesion"]["WiR"]["unit"] == "[arb'U]/s"
    assert set(written["perfusion"]["lesion"]["PE"]) == {"value", "unit", "ci95"}
    assert len(written["perfusion"]["lesion"]["PE"]["ci95"]) == 2
    assert set(written["perfusion"]["ratio"]) == {"PE", "WiR", "WoR", "WiAUC", "WoAUC", "WiWoAUC", "WiPI", "AUC"}
    assert set(written["perfusion"]["difference_s"]) == {"AT", "TTP", "RT", "FT", "mTT"}
    assert written["perfusion"]["dvp"]["class"] == "hyper-then-hypo"
    assert written["replenishment"] == {"lesion": None, "reference": None}
    for stage in ("super_resolution", "response", "comparison"):
        assert written[stage]["performed"] is (stage != "comparison")
    assert written["comparison"]["reason"]


def test_a_value_that_does_not_exist_is_null_and_keeps_its_unit() -> None:
    written = json.loads(to_json(panel_findings()))
    assert written["perfusion"]["panel"]["AUC"] == {"value": None, "unit": "[arb'U].s", "ci95": None}
    assert written["source"]["mechanical_index"] is None


def test_nan_never_reaches_a_finding() -> None:
    with pytest.raises(InvalidFindingsError, match="name the limitation"):
        Quantity(float("nan"), "s")
    with pytest.raises(InvalidFindingsError, match="half an interval"):
        Quantity(1.0, "s", low=0.5)
    unfit = PerfusionMetrics(model="log-normal", peak_enhancement_au=Estimate(float("inf")))
    infinite = dataclasses.replace(panel_findings(), perfusion=Perfusion({"panel": RoiPerfusion(unfit)}))
    with pytest.raises(InvalidFindingsError):
        to_json(infinite)


def test_findings_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(InvalidFindingsError, match="without such a ROI"):
        dataclasses.replace(panel_findings(), rois=())
    naive = datetime(2026, 1, 2, 3, 4, tzinfo=UTC).replace(tzinfo=None)
    with pytest.raises(InvalidFindingsError, match="time zone"):
        dataclasses.replace(panel_findings(), created=naive)


@pytest.mark.parametrize(
    "text", ["not json", "[]", '{"schema": "other"}', '{"schema": "ceus-node/findings/1", "software": {}}']
)
def test_json_that_is_not_ours_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidFindingsError):
        from_json(text)


def test_words_of_any_language_stay_as_they_are() -> None:
    limit = Limitation("note", "Läsion ≥ 2 cm, 病变", "note")
    findings = panel_findings()
    findings = dataclasses.replace(findings, quality=dataclasses.replace(findings.quality, limitations=(limit,)))
    assert "病变" in to_json(findings)
    assert from_json(to_json(findings)) == findings


def test_the_curve_table_holds_a_column_a_roi_and_marks_rejected_frames() -> None:
    time_s = np.array([0.0, 1 / 3, 0.7])
    lesion = Tic(time_s, np.array([1e-5, 0.1, 0.2]), np.array([False, True, False]), "lesion")
    reference = Tic(time_s, np.array([2e-5, 0.05, 0.1]), np.array([False, False, False]), "reference")
    rows = list(csv.DictReader(io.StringIO(tic_csv([lesion, reference]))))
    assert list(rows[0]) == ["time_s", "lesion_au", "reference_au", "rejected"]
    assert [row["rejected"] for row in rows] == ["0", "1", "0"]
    assert float(rows[1]["time_s"]) == 1 / 3


def test_the_summary_has_a_row_for_each_measured_roi() -> None:
    text = summary_csv([("first", full_findings()), ("second", panel_findings())])
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["acquisition"], row["label"]) for row in rows] == [
        ("first", "lesion"),
        ("first", "reference"),
        ("second", "panel"),
    ]
    lesion = full_findings().perfusion.by_label["lesion"].metrics.peak_enhancement_au
    assert lesion is not None
    assert float(rows[0]["PE"]) == lesion.value
    assert rows[1]["PE_ratio"] == ""
