"""Every number of a report, read back, is the number of the findings; and hard headers still give valid reports."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from processing.limitations import Limitation
from processing.metrics import Estimate, PerfusionMetrics
from reports import codes
from reports.build import ReportOptions, Results, build_results
from reports.errors import SourceHeaderError, UnreadableObjectError
from reports.findings import Findings, Perfusion, Quantity, RoiPerfusion
from reports.parameters import PERFUSION_PARAMETERS
from reports.read_back.report import ReadReport, ReportedGroup, read_report
from reports.result_object import ResultContext, dicom_bytes
from reports.secondary_capture import secondary_capture
from reports.source_header import SourceHeader
from reports.structured_report import SrClass, structured_report
from tests.peers import dciodvfy, dump_sr, pixelmed_sr
from tests.reports.pictures_scene import picture_inputs
from tests.reports.rig import context, everything, region_masks, written
from tests.reports.scenes import compared_findings, full_findings, panel_findings
from tests.reports.sources import header, sources

RELATIVE = 1e-6  # the figure


def report_of(
    findings: Findings, ctx: ResultContext | None = None, sr_class: SrClass = "comprehensive 3d"
) -> ReadReport:
    made = structured_report(findings, ctx or context(), sr_class)
    return read_report(dcmread(io.BytesIO(dicom_bytes(made))))


def agree(said: Quantity | None, meant: Quantity) -> bool:
    if meant.value is None:
        return said is None
    assert said is not None
    pairs = ((said.value, meant.value), (said.low, meant.low), (said.high, meant.high))
    return said.unit == meant.unit and all(a == b or a == pytest.approx(b, rel=RELATIVE) for a, b in pairs)


@pytest.mark.parametrize("label", ["lesion", "reference", "panel"])
def test_every_perfusion_figure_is_read_back_with_unit_and_interval(label: str) -> None:
    findings = panel_findings() if label == "panel" else full_findings()
    finding = {"lesion": codes.LESION, "reference": codes.own("REFERENCE"), "panel": codes.own("PANEL")}[label]
    group = report_of(findings).of_finding(finding)[0]
    metrics = findings.perfusion.by_label[label].metrics  # type: ignore[index]
    for parameter in PERFUSION_PARAMETERS:
        meant = Quantity.of(parameter.of(metrics), parameter.unit)
        if parameter.symbol != "QOF":
            assert agree(group.quantity(codes.PERFUSION_CODES[parameter.symbol]), meant), parameter.symbol
    assert agree(group.quantity(codes.R_SQUARED), Quantity(metrics.r2, "1"))
    methods = {value.method.value for value in group.values if value.method}
    assert codes.MODEL_METHODS[metrics.model].value in methods


def with_value(groups: tuple[ReportedGroup, ...], concept: object) -> Quantity | None:
    return next((q for g in groups if (q := g.quantity(concept)) is not None), None)  # type: ignore[arg-type]


def test_ratios_differences_and_super_resolution_are_read_back() -> None:
    findings = full_findings()
    report = report_of(findings)
    lesion = report.of_finding(codes.LESION)
    for symbol, ratio in findings.perfusion.ratio.items():
        assert agree(with_value(lesion, codes.own(f"R_{symbol.upper()}")), ratio)
    for symbol, difference in findings.perfusion.difference_s.items():
        assert agree(with_value(lesion, codes.own(f"D_{symbol.upper()}")), difference)
    vessels = report.of_finding(codes.BLOOD_VESSEL)
    result = findings.super_resolution
    assert result.perfusion_density is not None
    assert result.perfusion_density.by_threshold is not None
    assert agree(with_value(vessels, codes.own("PD_THRESHOLD")), result.perfusion_density.by_threshold.area_percent)
    assert result.speed_mm_s is not None
    (group,) = vessels
    assert agree(group.quantity(codes.FLOW_VELOCITY, codes.MEAN), result.speed_mm_s.mean)
    assert agree(with_value(lesion, codes.own("P_RESPONSIVE")), Quantity(0.71, "1"))


def test_every_unit_of_a_report_is_a_ucum_unit_we_can_name() -> None:
    document = structured_report(compared_findings(), context())
    units = [e.value[0] for e in document.iterall() if e.keyword == "MeasurementUnitsCodeSequence"]
    assert units
    for unit in units:
        assert unit.CodingSchemeDesignator == "UCUM"
        if unit.CodeValue != "{pixels}":  # image library, written by highdicom
            assert unit.CodeValue in codes.UCUM_MEANINGS


def test_changes_and_their_baseline_stand_apart_from_todays_values() -> None:
    findings = compared_findings()
    report = report_of(findings)
    (baseline,) = [group for group in report.groups if group.baseline]
    change = findings.comparison.changes["PE_ratio"]
    assert agree(baseline.quantity(codes.own("R_PE")), change.baseline)
    assert baseline not in report.of_finding(codes.LESION)
    percent = next(
        q
        for g in report.of_finding(codes.LESION)
        if (q := g.quantity(codes.own("R_PE"), codes.own("CHANGE_PCT"))) is not None
    )
    assert percent.value == pytest.approx(100 * (1.7 - 2.6) / 2.6, rel=RELATIVE)
    words = " ".join(text for _, text in report.statements)
    assert "dose: 2.4 mL then, 1.2 mL now; gain not recorded" in words
    assert "nearest earlier within 72 h" in words


def test_without_a_known_injection_the_standard_time_codes_stay_unused() -> None:
    findings = full_findings()
    findings = dataclasses.replace(findings, source=dataclasses.replace(findings.source, time_zero="first frame"))
    (lesion, *_) = report_of(findings).of_finding(codes.LESION)
    assert lesion.quantity(codes.PERFUSION_CODES["TTP"]) is None
    assert lesion.quantity(codes.PERFUSION_CODES["AT"]) is None
    assert lesion.quantity(codes.own("TTP_LOOP")) is not None


def test_every_limitation_is_in_the_report_by_word_and_code() -> None:
    said = " ".join(text for _, text in report_of(full_findings()).statements)
    for limitation in full_findings().quality.limitations:
        assert limitation.text in said
        assert f"({limitation.code})" in said
    assert "Research use only" in said


def test_a_prediction_never_claims_the_actual_response() -> None:
    document = structured_report(full_findings(), context())
    values = {e.value for e in document.iterall() if e.keyword == "CodeValue"}
    assert not values & {"112048", "112041", "112042", "112043", "112044"}
    assert "PRED_RESPONSE" in values


@pytest.mark.peers
@pytest.mark.parametrize("sr_class", ["comprehensive 3d", "comprehensive", "enhanced"])
def test_the_report_is_valid_in_every_class_a_pacs_may_want(sr_class: SrClass, tmp_path: Path) -> None:
    path = tmp_path / "sr.dcm"
    path.write_bytes(dicom_bytes(structured_report(compared_findings(), context(), sr_class)))
    assert dciodvfy(path).errors == ()
    dump_sr(path)


@pytest.mark.peers
def test_pixelmed_finds_the_templates_of_a_complete_report_followed(tmp_path: Path) -> None:
    path = tmp_path / "sr.dcm"
    path.write_bytes(dicom_bytes(structured_report(compared_findings(), context())))
    assert pixelmed_sr(path).errors == ()


def test_a_complete_report_is_smaller_than_300_kb() -> None:
    assert len(dicom_bytes(dict(everything().objects)["sr.dcm"])) < 300_000


NO_PICTURES = picture_inputs(())
HARD_HEADERS: dict[str, dict[str, object]] = {
    "unicode": {
        "SpecificCharacterSet": "ISO_IR 192",
        "PatientName": "山田^太郎=やまだ^たろう",
        "StudyDescription": "肝臓 造影",
    },
    "japanese escapes": {
        "SpecificCharacterSet": ["", "ISO 2022 IR 87"],
        "PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "ReferringPhysicianName": "",
    },
    "long": {"PatientName": "N" * 64, "PatientID": "P" * 64, "StudyDescription": "S" * 64, "AccessionNumber": "A" * 16},
    "long identities": {
        "StudyInstanceUID": "1." + "2" * 62,
        "SeriesInstanceUID": "1." + "3" * 62,
        "SOPInstanceUID": "1." + "4" * 62,
    },
    "no accession": {"AccessionNumber": ""},
    "missing type 2": {"PatientBirthDate": None, "PatientSex": None, "StudyID": None, "ReferringPhysicianName": None},
    "liver": {"BodyPartExamined": "LIVER", "Laterality": None},
    "left kidney": {"BodyPartExamined": "KIDNEY", "Laterality": "L"},
    "some breast": {"BodyPartExamined": "BREAST"},
    "nameless": {"PatientName": "", "PatientID": "", "StudyDate": "", "StudyTime": ""},
}


@pytest.mark.peers
@pytest.mark.parametrize("name", HARD_HEADERS)
def test_hard_headers_give_valid_objects_of_the_same_patient(name: str, tmp_path: Path) -> None:
    ctx = context(**HARD_HEADERS[name])
    findings = full_findings()
    results = build_results(findings, NO_PICTURES, ctx, ReportOptions(pictures=False), region_masks(findings))
    page = secondary_capture(np.zeros((40, 60, 3), np.uint8), "Page", findings, ctx)
    for path in written(Results((*results.objects, ("sc.dcm", page)), ()), tmp_path):
        assert dciodvfy(path).errors == (), path.name
        made, source = dcmread(path), ctx.source.first
        assert str(made.PatientName) == str(source.get("PatientName", ""))
        assert made.PatientID == source.get("PatientID", "")
        assert made.StudyInstanceUID == source.StudyInstanceUID
        assert all(len(e.value) <= 64 for e in made.iterall() if e.VR == "UI" and isinstance(e.value, str))


@pytest.mark.peers
@pytest.mark.parametrize("value", [9.999999999999998, 1 / 3, -1.2345678901234567e-12, 123456789.123456789, 1e300])
def test_awkward_numbers_fit_their_value_representation_and_come_back_exactly(value: float, tmp_path: Path) -> None:
    metrics = PerfusionMetrics(model="none", time_to_peak_s=Estimate(value))
    findings = dataclasses.replace(panel_findings(), perfusion=Perfusion({"panel": RoiPerfusion(metrics)}))
    path = tmp_path / "sr.dcm"
    path.write_bytes(dicom_bytes(structured_report(findings, context())))
    assert dciodvfy(path).errors == ()
    (panel,) = read_report(dcmread(path)).of_finding(codes.own("PANEL"))
    said = panel.quantity(codes.PERFUSION_CODES["TTP"])
    assert said is not None
    assert said.value == value


def test_limitations_in_any_language_move_the_report_to_utf_8() -> None:
    findings = panel_findings()
    foreign = Limitation("odd_words", "Läsion 病变 ≥ 2 cm", "note")
    findings = dataclasses.replace(findings, quality=dataclasses.replace(findings.quality, limitations=(foreign,)))
    made = structured_report(findings, context())
    assert made.SpecificCharacterSet == "ISO_IR 192"
    said = " ".join(text for _, text in report_of(findings).statements)
    assert "病变" in said
    assert structured_report(panel_findings(), context()).SpecificCharacterSet == "ISO_IR 100", "the source's own set"


def test_a_source_without_identities_is_refused_by_the_name_of_what_it_lacks() -> None:
    (bad,) = sources("rgb")
    bad_header = header(bad)
    del bad_header.SOPClassUID
    with pytest.raises(SourceHeaderError, match="SOPClassUID"):
        SourceHeader((bad_header,))
    with pytest.raises(SourceHeaderError, match="beyond"):
        context(frame=99).frame  # noqa: B018 (the property raises)


def test_what_is_no_measurement_report_is_refused() -> None:
    with pytest.raises(UnreadableObjectError, match="SOP class"):
        read_report(dict(everything().objects)["seg.dcm"])
    document = structured_report(panel_findings(), context())
    document.ContentSequence = [item for item in document.ContentSequence if item.get("ValueType") != "CONTAINER"]
    with pytest.raises(UnreadableObjectError, match="TID 1500"):
        read_report(Dataset(document))
