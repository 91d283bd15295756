"""The motion-corrected cine: a valid multi-frame object of the source's study, declared lossy, never too large."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from reports import cine_capture as module
from reports.build import build_results
from reports.cine_capture import BAND_PX, CineView, cine_capture
from reports.contours import polygon_mask
from reports.page import COLOURS
from reports.result_object import dicom_bytes
from tests.peers import dcentvfy, dciodvfy
from tests.reports.pictures_scene import CONTRAST_BOX, picture_inputs
from tests.reports.rig import context, written
from tests.reports.scenes import full_findings
from tests.reports.sources import KINDS, Kind, sources

INTERVAL_S = 0.3
SCALE = 480 / CONTRAST_BOX.columns


def view(frames: int = 4) -> CineView:
    """Grey frames, each a little brighter; the second one left the plane."""
    grey = np.arange(100, 100 + 20 * frames, 20, dtype=np.uint8)
    pixels = np.broadcast_to(grey[:, None, None, None], (frames, CONTRAST_BOX.rows, CONTRAST_BOX.columns, 3)).copy()
    return CineView(pixels, 2.0 + INTERVAL_S * np.arange(frames), np.arange(frames) == 1, CONTRAST_BOX)


def stored(made: Dataset) -> Dataset:
    return dcmread(io.BytesIO(dicom_bytes(made)))


@pytest.mark.peers
@pytest.mark.parametrize("kind", KINDS)
def test_the_cine_is_valid_and_fits_the_study_of_every_kind_of_source(kind: Kind, tmp_path: Path) -> None:
    paths = []
    for index, source in enumerate(sources(kind)):
        paths.append(tmp_path / f"source{index}.dcm")
        source.save_as(paths[-1], enforce_file_format=True)
    paths.append(tmp_path / "sc_cine.dcm")
    paths[-1].write_bytes(dicom_bytes(cine_capture(view(), full_findings(), context(kind))))
    assert dciodvfy(paths[-1]).errors == ()
    assert dcentvfy(paths).errors == ()


def test_frames_keep_their_time_their_grey_and_their_outline() -> None:
    made = stored(cine_capture(view(), full_findings(), context()))
    pixels = made.pixel_array  # converted to RGB by pydicom, an independent JPEG decoder below it
    assert made.NumberOfFrames == len(pixels) == 4
    assert made.FrameTime == pytest.approx(1000 * INTERVAL_S)
    assert (made.LossyImageCompression, made.BurnedInAnnotation) == ("01", "NO")
    inside = pixels[:, BAND_PX + 270, 240]  # the middle of the panel, within the lesion's outline
    # JPEG at quality 88 of flat grey: a level or two
    np.testing.assert_allclose(inside[[0, 2, 3]].mean(axis=1), [100, 140, 160], atol=3)
    assert inside[1].mean() < 50, "a frame that no fit used is dark"
    lesion = full_findings().rois[0].contour_px
    reddish = pixels[0].astype(int)[BAND_PX:, :, 0] - pixels[0].astype(int)[BAND_PX:, :, 2] > 60
    ring = [((x + 0.5 - CONTRAST_BOX.x0) * SCALE, (z + 0.5 - CONTRAST_BOX.y0) * SCALE) for x, z in lesion]
    whole = polygon_mask(tuple(ring), *reddish.shape)
    grown = polygon_mask(tuple((240 + 1.06 * (x - 240), 270 + 1.06 * (z - 270)) for x, z in ring), *reddish.shape)
    shrunk = polygon_mask(tuple((240 + 0.94 * (x - 240), 270 + 0.94 * (z - 270)) for x, z in ring), *reddish.shape)
    assert reddish[whole].any()
    assert not reddish[~grown].any(), "nothing is drawn beside the outline"
    assert not reddish[shrunk].any()
    assert COLOURS["lesion"] == "#e69f00"


def test_a_long_cine_is_thinned_out_until_it_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    long = view(7)
    one = len(stored(cine_capture(view(), full_findings(), context())).PixelData) // 4
    monkeypatch.setattr(module, "MOST_BYTES", 3 * one)
    made = stored(cine_capture(long, full_findings(), context()))
    assert made.NumberOfFrames <= 3
    assert made.FrameTime * (made.NumberOfFrames - 1) <= 1000 * INTERVAL_S * 6, "no longer than it was"
    assert made.FrameTime > 1000 * INTERVAL_S


def test_the_cine_comes_only_where_it_is_asked_for(tmp_path: Path) -> None:
    drawn = picture_inputs(("lesion", "reference"))
    assert "sc_cine.dcm" not in dict(build_results(full_findings(), drawn, context()).objects)
    asked = dataclasses.replace(drawn, cine=view())
    results = build_results(full_findings(), asked, context())
    names = [path.name for path in written(results, tmp_path)]
    assert "sc_cine.dcm" in names
    assert "sc_cine.png" in dict(results.pictures)
    series = {str(d.SeriesInstanceUID) for n, d in results.objects if n.startswith("sc_")}
    assert len(series) == 1, "beside the other pages"
    assert len({str(d.InstanceNumber) for n, d in results.objects if n.startswith("sc_")}) == 2
