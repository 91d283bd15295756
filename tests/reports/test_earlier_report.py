"""A report tells a later study everything that it must know: what is read back compares as the findings themselves."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from reports.comparable import PatientIdentity, comparable
from reports.conditions import SETTINGS
from reports.errors import UnreadableObjectError
from reports.findings import Findings, Quantity, Replenishment
from reports.read_back.earlier import earlier_result
from reports.result_object import dicom_bytes
from reports.structured_report import structured_report
from tests.reports.rig import context
from tests.reports.scenes import compared_findings, full_findings, panel_findings


def recorded(findings: Findings) -> Findings:
    """Everything that a scanner and a site can record of an acquisition."""
    source = replace(
        findings.source,
        acquired_at=datetime(2026, 11, 20, 14, 15, 3, 250000),  # noqa: DTZ001  # the scanner's own clock
        scanner="ACME Scan 9",
        body_part="LIVER",
        view="sagittal: right lobe",
        gain_db=40.0,
        frequency_mhz=3.5,
        depth_mm=120.0,
        mechanical_index=0.08,
    )
    models = tuple(replace(model, state="ok") for model in findings.models)
    software = replace(findings.software, protocol="liver_bolus")
    return replace(findings, source=source, software=software, models=models)


def report(findings: Findings) -> Dataset:
    return dcmread(io.BytesIO(dicom_bytes(structured_report(findings, context()))))


@pytest.mark.parametrize("findings", [full_findings(), compared_findings(), panel_findings()])
def test_a_result_read_back_from_its_report_compares_as_the_findings_do(findings: Findings) -> None:
    meant = comparable(recorded(findings), PatientIdentity("P-1", "", "19500101", "M"))
    said = earlier_result(report(recorded(findings)))
    assert said.patient == meant.patient
    assert said.acquired_at == meant.acquired_at
    assert {name: said.conditions[name] for name in meant.conditions} == dict(meant.conditions)
    assert said.lesions == meant.lesions
    if meant.lesions:
        assert set(SETTINGS) <= set(said.conditions), "everything that was recorded is known"
        assert set(said.values) == set(meant.values)
    for name, quantity in meant.values.items():
        assert (said.values[name].value, said.values[name].unit) == (quantity.value, quantity.unit), name


def test_a_refilled_transit_time_is_not_taken_for_the_bolus_one() -> None:
    """Both stand under the same concept in the lesion's group; only their method tells them apart."""
    refilled = Replenishment(
        Quantity(1.0, "[arb'U]"), Quantity(0.5, "/s"), Quantity(2.0, "s"), Quantity(0.5, "[arb'U]/s"), "mono", 0.9
    )
    findings = replace(full_findings(), replenishment={"lesion": refilled})
    lesion = findings.perfusion.by_label["lesion"].metrics.mean_transit_time_s
    assert lesion is not None
    assert earlier_result(report(findings)).values["mTT"].value == lesion.value
    perfusion = findings.perfusion
    only = {
        label: replace(p, metrics=replace(p.metrics, mean_transit_time_s=None))
        for label, p in perfusion.by_label.items()
    }
    without = replace(findings, perfusion=replace(perfusion, by_label=only))
    assert "mTT" not in earlier_result(report(without)).values


def test_a_report_that_says_no_acquisition_time_lends_its_studys() -> None:
    said = earlier_result(report(full_findings()))
    assert said.acquired_at == datetime(2026, 11, 20, 14, 15)  # noqa: DTZ001  # Study Date and Time of the source


def test_another_makers_report_is_no_earlier_result() -> None:
    foreign = report(full_findings())
    foreign.Manufacturer = "Somebody Else"
    with pytest.raises(UnreadableObjectError, match="not one of this software's"):
        earlier_result(foreign)
