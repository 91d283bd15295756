"""SEG, maps and presentation states from every kind of source, judged by independent checkers and read back."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from processing.cine import Box, Spacing, TimeZeroKind
from reports.build import ReportOptions, Results, build_results
from reports.contours import mask_outline_px, polygon_area_px2, polygon_mask
from reports.derived_grid import Grid
from reports.errors import InvalidFindingsError, UnreadableObjectError
from reports.parametric_map import PADDING, parametric_map
from reports.quantity_maps import perfusion_map
from reports.read_back.masks import read_masks
from reports.read_back.outlines import polygon_of, read_outlines
from reports.result_object import EarlierReport, dicom_bytes
from reports.secondary_capture import secondary_capture
from reports.segmentation import segmentation
from reports.structured_report import structured_report
from tests.peers import dcentvfy, dciodvfy
from tests.reports.pictures_scene import CONTRAST_BOX, picture_inputs
from tests.reports.rig import context, everything, inputs, region_masks, written
from tests.reports.scenes import compared_findings, full_findings
from tests.reports.sources import COLUMNS, KINDS, ROWS, Kind, sources


def stored(results: Results, name: str) -> Dataset:
    return dcmread(io.BytesIO(dicom_bytes(dict(results.objects)[name])))


@pytest.mark.peers
@pytest.mark.parametrize("kind", KINDS)
def test_all_objects_of_every_kind_of_source_are_valid_and_agree(kind: Kind, tmp_path: Path) -> None:
    page = secondary_capture(np.zeros((40, 60, 3), np.uint8), "Page", compared_findings(), context(kind), 99)
    results = everything(kind)
    paths = written(dataclasses.replace(results, objects=(*results.objects, ("sc_page.dcm", page))), tmp_path)
    for path in paths:
        assert dciodvfy(path).errors == (), path.name
    for index, source in enumerate(sources(kind)):
        paths.append(tmp_path / f"source{index}.dcm")
        source.save_as(paths[-1], enforce_file_format=True)
    assert dcentvfy(paths).errors == ()


def test_every_object_names_the_models_that_had_a_part_in_it_and_no_other() -> None:
    def named(results: Results, name: str) -> dict[str, str]:
        items = stored(results, name).get("ContributingEquipmentSequence", ())
        assert {item.PurposeOfReferenceCodeSequence[0].CodeValue for item in items} <= {"109102"}
        return {str(item.ManufacturerModelName): str(item.DeviceUID) for item in items}

    lesion, every = {"lesion_seg": "2.25.31"}, {"lesion_seg", "response_cls", "response_lr"}
    findings = full_findings()
    told, options = everything("rgb"), ReportOptions(pictures=False, parametric_maps=False)
    silent = build_results(findings, inputs(), context(), options, region_masks(findings))
    assert set(named(told, "sr.dcm")) == set(named(told, "sc_response.dcm")) == every
    for name in ("seg.dcm", "csps.dcm", "sc_summary.dcm", "sc_maps.dcm"):
        assert named(told, name) == lesion, name
    for name, _ in told.objects:
        if name.startswith("pm_"):
            assert named(told, name) == {}, "no model has a part in a map"
    for name in ("sr.dcm", "seg.dcm", "csps.dcm"):
        assert named(silent, name) == lesion, "what stays in the shadow is not named"


@pytest.mark.peers
def test_a_readers_revision_is_valid_names_its_author_and_what_it_follows(tmp_path: Path) -> None:
    findings = full_findings()
    rois = tuple(dataclasses.replace(roi, drawn_by="reader", confirmed=True) for roi in findings.rois)
    findings = dataclasses.replace(findings, rois=rois)
    first = context()
    earlier = structured_report(full_findings(), first)
    identity = dataclasses.replace(first.identity, roi_digest="ab" * 32)
    followed = EarlierReport(
        earlier.SOPClassUID, earlier.SOPInstanceUID, earlier.SeriesInstanceUID, earlier.StudyInstanceUID
    )
    revised = dataclasses.replace(
        first, identity=identity, revision=2, revision_reason="reader's contour", predecessor=followed
    )
    results = build_results(findings, inputs(), revised, ReportOptions(pictures=False), region_masks(findings))
    paths = written(results, tmp_path)
    for path in paths:
        assert dciodvfy(path).errors == (), path.name
        assert "rev 2: reader's contour" in dcmread(path).SeriesDescription
    paths.append(tmp_path / "first.dcm")
    paths[-1].write_bytes(dicom_bytes(earlier))
    assert dcentvfy(paths).errors == ()
    assert {s.SegmentAlgorithmType for s in dcmread(tmp_path / "seg.dcm").SegmentSequence} == {"MANUAL"}
    assert "ContributingEquipmentSequence" not in dcmread(tmp_path / "csps.dcm"), "a reader drew it, no model"
    said = {e.value for e in dcmread(tmp_path / "sr.dcm").iterall() if e.keyword == "CodeValue"}
    assert "BY_READER" in said


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_comes_back_pixel_by_pixel_on_the_frame_it_was_drawn_on(kind: Kind) -> None:
    ctx = context(kind)
    masks = {mask.label: mask for mask in read_masks(stored(everything(kind), "seg.dcm"))}
    for segment in region_masks(full_findings()).regions:
        back = masks[segment.structure]
        whole = back.on_frame(ROWS, COLUMNS, Spacing(0.15, 0.15))
        expected = np.zeros((ROWS, COLUMNS), dtype=bool)
        expected[CONTRAST_BOX.slices] = segment.mask
        np.testing.assert_array_equal(whole, expected)
        assert back.sop_instance_uid == ctx.frame.sop_instance_uid
        assert back.frame_number == ctx.frame.frame_number
        assert back.tracking_uid == segment.tracking_uid


def test_without_calibration_the_mask_lies_on_the_pixels_of_its_source(tmp_path: Path) -> None:
    findings = full_findings()
    grid = Grid.over_box(CONTRAST_BOX, (CONTRAST_BOX.rows, CONTRAST_BOX.columns), None)
    made = segmentation(region_masks(findings).regions, grid, findings, context("no regions"))
    (tmp_path / "seg.dcm").write_bytes(dicom_bytes(made))
    assert dciodvfy(tmp_path / "seg.dcm").errors == ()
    assert "FrameOfReferenceUID" not in made
    lesion = read_masks(dcmread(tmp_path / "seg.dcm"))[0]
    whole = lesion.on_frame(ROWS, COLUMNS, None)
    np.testing.assert_array_equal(whole[CONTRAST_BOX.slices], region_masks(findings).regions[0].mask)


def test_a_mask_of_another_geometry_is_refused_by_name() -> None:
    lesion = read_masks(stored(everything(), "seg.dcm"))[0]
    with pytest.raises(UnreadableObjectError, match="calibration"):
        lesion.on_frame(ROWS, COLUMNS, None)
    with pytest.raises(UnreadableObjectError, match="outside"):
        dataclasses.replace(lesion, position_mm=(500.0, 500.0, 0.0)).on_frame(ROWS, COLUMNS, Spacing(0.15, 0.15))
    with pytest.raises(UnreadableObjectError, match="pixels"):
        dataclasses.replace(lesion, spacing_mm=None).on_frame(ROWS, COLUMNS, Spacing(0.15, 0.15))


def test_a_map_keeps_its_values_its_unit_and_where_it_has_none() -> None:
    (quantity, *_) = inputs().perfusion_maps
    made = stored(everything(), "pm_pe.dcm")
    values = np.frombuffer(made.FloatPixelData, dtype="<f4").reshape(made.Rows, made.Columns)
    known = np.isfinite(quantity.values)
    np.testing.assert_array_equal(values[known], quantity.values[known])
    assert (values[~known] == PADDING).all()
    assert made.FloatPixelPaddingValue == PADDING
    (mapping,) = made.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "[arb'U]"
    assert mapping.LUTLabel == "PE"
    # 320 columns of 0.15 mm in 106 map pixels
    spacing = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
    assert spacing[1] == pytest.approx(320 * 0.15 / 106, rel=1e-9)
    assert made.ContentDescription == "PE: Peak enhancement, 0.9 x 2.4 mm", "coarser than its pixels"


@pytest.mark.parametrize(("time_zero", "code"), [("bolus start", "113069"), ("first frame", "TTP_LOOP")])
def test_a_time_map_is_called_time_to_peak_only_after_an_injection(time_zero: TimeZeroKind, code: str) -> None:
    values = np.full((8, 8), 14.0, np.float32)
    timed = perfusion_map("TTP", values, CONTRAST_BOX, Spacing(0.15, 0.15))
    drawn = dataclasses.replace(picture_inputs(()), perfusion_maps=(timed,))
    findings = full_findings()
    findings = dataclasses.replace(findings, source=dataclasses.replace(findings.source, time_zero=time_zero))
    made = dict(build_results(findings, drawn, context(), ReportOptions(pictures=False)).objects)["pm_ttp.dcm"]
    (mapping,) = made.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    (quantity,) = [
        item.ConceptCodeSequence[0].CodeValue
        for item in mapping.QuantityDefinitionSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "246205007"
    ]
    assert quantity == code


def test_seg_and_maps_of_one_cine_share_one_frame_of_reference() -> None:
    results = everything()
    frames = {d.FrameOfReferenceUID for n, d in results.objects if n.startswith(("seg", "pm_"))}
    assert len(frames) == 1
    fine, coarse = stored(results, "pm_speed.dcm"), stored(results, "pm_pe.dcm")
    centre = []
    for made in (fine, coarse):
        groups = made.SharedFunctionalGroupsSequence[0]
        plane = (groups.get("PlanePositionSequence") or made.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence)[
            0
        ]
        spacing = groups.PixelMeasuresSequence[0].PixelSpacing
        x, z, _ = plane.ImagePositionPatient
        centre.append((x + spacing[1] * (made.Columns - 1) / 2, z + spacing[0] * (made.Rows - 1) / 2))
    # both maps cover the same panel: their centres agree to the fine grid's pixel
    np.testing.assert_allclose(centre[0], centre[1], atol=0.15 / 2)


def test_a_map_without_a_value_is_not_stored() -> None:
    empty = perfusion_map("PE", np.full((8, 8), np.nan, np.float32), CONTRAST_BOX, Spacing(0.15, 0.15))
    with pytest.raises(InvalidFindingsError, match="no value"):
        parametric_map(empty, context())
    blank = dataclasses.replace(picture_inputs(("lesion", "reference")), perfusion_maps=(empty,))
    names = [name for name, _ in build_results(full_findings(), blank, context()).objects]
    assert "pm_pe.dcm" not in names
    assert "sc_maps.dcm" in names


@pytest.mark.parametrize("kind", KINDS)
def test_outlines_come_back_from_report_and_presentation_state(kind: Kind) -> None:
    findings, ctx = compared_findings(), context(kind)
    for name in ("sr.dcm", "csps.dcm"):
        outlines = [o for o in read_outlines(stored(everything(kind), name)) if o.label in ("lesion", "reference")]
        assert [o.label for o in outlines] == ["lesion", "reference"]
        for outline, roi in zip(outlines, findings.rois, strict=True):
            # GraphicData is single precision: 1e-4 px at coordinates below 1000
            np.testing.assert_allclose(outline.contour_px, roi.contour_px, atol=1e-4)
            assert outline.sop_instance_uid == ctx.frame.sop_instance_uid
            assert outline.frame_number == ctx.frame.frame_number
            assert outline.tracking_uid == roi.tracking_uid


def test_ellipse_and_circle_enclose_what_their_formulas_say() -> None:
    circle = polygon_of("CIRCLE", [50.0, 40.0, 50.0, 52.0])
    ellipse = polygon_of("ELLIPSE", [10.0, 40.0, 90.0, 40.0, 50.0, 20.0, 50.0, 60.0])
    assert circle is not None
    assert ellipse is not None
    # 96 corners: the inscribed polygon lacks 0.07 % of the area
    assert abs(polygon_area_px2(circle)) == pytest.approx(np.pi * 12**2, rel=1e-3)
    assert abs(polygon_area_px2(ellipse)) == pytest.approx(np.pi * 40 * 20, rel=1e-3)
    assert polygon_of("POINT", [1.0, 2.0]) is None
    assert polygon_of("POLYLINE", [1.0, 2.0, 3.0, 4.0]) is None


def test_an_outline_in_units_of_the_display_is_refused() -> None:
    state = stored(everything(), "csps.dcm")
    state.GraphicAnnotationSequence[0].GraphicObjectSequence[0].GraphicAnnotationUnits = "DISPLAY"
    with pytest.raises(UnreadableObjectError, match="DISPLAY"):
        read_outlines(state)
    with pytest.raises(UnreadableObjectError, match="no outlines"):
        read_outlines(stored(everything(), "seg.dcm"))


@pytest.mark.parametrize("radius", [5, 12, 60])
def test_the_outline_of_a_mask_holds_its_area_and_comes_back_as_the_mask(radius: int) -> None:
    z, x = np.mgrid[:160, :180]
    mask = np.hypot(z - 80, x - 90) <= radius
    mask[2:4, 2:4] = True  # a speck: only the largest component is outlined
    contour = mask_outline_px(mask, origin_px=(30, 20))
    disc = np.hypot(z - 80, x - 90) <= radius
    # the figure: contour area equals the mask's within 2 %
    assert abs(polygon_area_px2(contour)) == pytest.approx(disc.sum(), rel=0.02)
    back = polygon_mask(contour, 190, 200)[30:, 20:]
    assert (back ^ disc).sum() <= 0.01 * disc.sum()
    assert mask_outline_px(np.zeros((4, 4), dtype=bool)) == ()


def test_a_grid_over_a_box_covers_it_edge_to_edge() -> None:
    box = Box(40, 60, 360, 420)
    for shape in ((360, 320), (120, 106), (1440, 1280)):
        left, right, bottom, top = Grid.over_box(box, shape, None).extent_px
        assert (left, right, bottom, top) == pytest.approx((39.5, 359.5, 419.5, 59.5))
