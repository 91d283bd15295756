"""Result objects of one acquisition, judged by independent readers: dicom3tools, DCMTK, PixelMed."""

from __future__ import annotations

import dataclasses
import io
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from reports.build import build_results
from reports.equipment import is_own_object
from reports.findings import Findings, Perfusion, Quality
from reports.pictures import PictureInputs
from reports.result_object import dicom_bytes
from tests.peers import dcentvfy, dciodvfy, dump_sr, html_of_sr, pixelmed_sr
from tests.reports.pictures_scene import picture_inputs
from tests.reports.rig import context, written
from tests.reports.scenes import CREATED, full_findings, panel_findings
from tests.reports.sources import sources


def no_contrast() -> Findings:
    quality = Quality(False, "the panel mean changes by 0.4 dB over the loop, less than the 3 dB of a bolus")
    return dataclasses.replace(panel_findings(), rois=(), perfusion=Perfusion(), quality=quality)


SCENES: dict[str, tuple[Findings, PictureInputs]] = {
    "panel": (panel_findings(), picture_inputs(("panel",))),
    "lesion": (full_findings(), picture_inputs(("lesion", "reference"))),
    "no contrast": (no_contrast(), picture_inputs(("panel",))),
}


@pytest.mark.peers
@pytest.mark.parametrize("scene", SCENES)
def test_every_object_follows_its_definition_and_fits_its_study(scene: str, tmp_path: Path) -> None:
    (source,) = sources("rgb")
    source.save_as(tmp_path / "source.dcm", enforce_file_format=True)
    paths = written(build_results(*SCENES[scene], context()), tmp_path)
    for path in paths:
        assert dciodvfy(path).errors == (), path.name
    assert dcentvfy([tmp_path / "source.dcm", *paths]).errors == ()
    assert "RESEARCH" in html_of_sr(tmp_path / "sr.dcm").upper()


@pytest.mark.peers
def test_the_report_of_a_panel_says_what_was_measured_and_how(tmp_path: Path) -> None:
    written(build_results(*SCENES["panel"], context()), tmp_path)
    text = dump_sr(tmp_path / "sr.dcm")
    assert '"Maximum Difference")="0.0123" ([arb\'U],UCUM' in text
    assert '"Time To Peak")="14.2" (s,UCUM' in text
    assert "Read from the smoothed curve, no model" in text
    assert "52988006" not in text, "a panel is no lesion"


@pytest.mark.peers
def test_the_report_of_a_cine_without_contrast_holds_no_number(tmp_path: Path) -> None:
    written(build_results(*SCENES["no contrast"], context()), tmp_path)
    text = dump_sr(tmp_path / "sr.dcm")
    assert "No contrast enhancement fou" in text
    measured = [line for line in text.splitlines() if "NUM:" in line and "Pixel Data" not in line]
    assert measured == []


@pytest.mark.peers
@pytest.mark.full
def test_pixelmed_finds_the_templates_followed(tmp_path: Path) -> None:
    written(build_results(*SCENES["panel"], context()), tmp_path)
    assert pixelmed_sr(tmp_path / "sr.dcm").errors == ()


def test_equal_input_gives_equal_bytes_and_a_correction_gives_other_identities() -> None:
    findings, inputs = SCENES["panel"]
    first, again = (build_results(findings, inputs, context()) for _ in range(2))
    assert [dicom_bytes(d) for _, d in first.objects] == [dicom_bytes(d) for _, d in again.objects]
    assert first.pictures == again.pictures
    later = dataclasses.replace(context(), now=CREATED + timedelta(days=1))
    moved = build_results(findings, inputs, later)
    assert [d.SOPInstanceUID for _, d in moved.objects] == [d.SOPInstanceUID for _, d in first.objects]
    other = dataclasses.replace(context(), identity=dataclasses.replace(context().identity, settings_digest="66" * 32))
    corrected = build_results(findings, inputs, other)
    uids = [{d.SOPInstanceUID, d.SeriesInstanceUID} for _, d in (*first.objects, *corrected.objects)]
    assert len(set.union(*uids)) == 2 * len(uids)


def test_results_join_the_source_study_as_new_series() -> None:
    ctx = context("single frames")
    for _, dataset in build_results(*SCENES["panel"], ctx).objects:
        source = ctx.source.first
        for keyword in ("StudyInstanceUID", "AccessionNumber", "StudyDescription", "PatientID", "PatientName"):
            assert dataset[keyword].value == source[keyword].value
        assert dataset.SeriesInstanceUID != source.SeriesInstanceUID
        assert dataset.SeriesNumber > 9000
        assert is_own_object(dataset)
        assert not is_own_object(source)


def test_the_picture_names_its_source_frame_and_copies_no_burned_in_name() -> None:
    ctx = context("single frames", frame=2)
    picture = dict(build_results(*SCENES["panel"], ctx).objects)["sc_summary.dcm"]
    (item,) = picture.SourceImageSequence
    assert item.ReferencedSOPInstanceUID == ctx.source.instances[2].SOPInstanceUID
    assert "ReferencedFrameNumber" not in item, "a single-frame source has no frame number"
    assert picture.BurnedInAnnotation == "NO", "only the panel was cut out"
    assert list(picture.ImageType) == ["DERIVED", "SECONDARY"]
    assert picture.PatientOrientation in ("", None)
    (multi,) = dict(build_results(*SCENES["panel"], context(frame=1)).objects)["sc_summary.dcm"].SourceImageSequence
    assert multi.ReferencedFrameNumber == 2


def test_a_whole_frame_that_may_show_a_name_is_declared_so() -> None:
    findings, inputs = SCENES["no contrast"]
    unknown = dataclasses.replace(findings, source=dataclasses.replace(findings.source, contrast_panel=None))
    assert dict(build_results(unknown, inputs, context()).objects)["sc_summary.dcm"].BurnedInAnnotation == "YES"
    denied = context(BurnedInAnnotation="NO")
    assert dict(build_results(unknown, inputs, denied).objects)["sc_summary.dcm"].BurnedInAnnotation == "NO"


def test_lossy_sources_stay_lossy_in_their_pictures() -> None:
    ctx = context(LossyImageCompression="01", LossyImageCompressionRatio=12.5)
    picture = dict(build_results(*SCENES["panel"], ctx).objects)["sc_summary.dcm"]
    assert picture.LossyImageCompression == "01"
    assert picture.LossyImageCompressionRatio == 12.5


def test_the_png_is_the_picture_of_the_object() -> None:
    results = build_results(*SCENES["panel"], context())
    stored = dcmread(io.BytesIO(dicom_bytes(dict(results.objects)["sc_summary.dcm"])))
    shown = np.asarray(Image.open(io.BytesIO(dict(results.pictures)["sc_summary.png"])))
    np.testing.assert_array_equal(stored.pixel_array, shown)
    assert shown.shape == (1200, 1600, 3)
