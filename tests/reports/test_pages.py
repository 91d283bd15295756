"""Pages: the same picture every time, legible, saying what the findings say, and mapped back to the source."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from processing.bubbles import FlowMaps
from processing.cine import Box, Panels
from processing.limitations import Limitation
from reports.build import build_results
from reports.enhancement_page import lines, when
from reports.errors import InvalidFindingsError, UnreadableObjectError
from reports.findings import Findings
from reports.map_pages import super_resolution_page
from reports.map_view import DENSITY, DIRECTION, SPEED, display_range, gathered
from reports.page import COLOURS, SMALL, new_page, number, png_bytes
from reports.pictures import PanelView, PictureInputs
from reports.quantity_maps import flow_quantity_maps
from reports.read_back.capture import PageName, page_canvas
from reports.read_back.drawings import DrawingPlace, read_drawings
from reports.result_object import EarlierReport
from reports.structured_report import structured_report
from reports.summary_page import summary_page
from tests.dicom_node.reader_objects import Drawn, closed
from tests.reports.pictures_scene import BMODE_BOX, CONTRAST_BOX, SPACING, enhancement_view, picture_inputs
from tests.reports.rig import context, everything
from tests.reports.scenes import full_findings, panel_findings

REFERENCE = Path(__file__).parent / "pages"
PAGES = ("sc_summary", "sc_maps", "sc_super_resolution", "sc_response", "sc_comparison")


def pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def quarter(page: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Means of 4 x 4 pixels: what an eye sees of a page, not how an edge was smoothed."""
    means = page.astype(np.float64).reshape(300, 4, 400, 4, 3).mean(axis=(1, 3))
    return np.round(means).astype(np.uint8)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_the_stored_reference_picture(name: str) -> None:
    """Tolerance: a mean difference of 0.5 grey levels.

    The lock pins matplotlib, which brings its font and its FreeType, so equal pages are equal pixels; 0.5 leaves room
    for another processor's rounding. Other glyph hinting makes 3.8, a row that moved more than 0.5 (below).
    To renew after a wanted change: delete the stored picture, run, look at the new one, commit it.
    """
    shown = quarter(pixels(dict(everything().pictures)[f"{name}.png"]))
    path = REFERENCE / f"{name}.png"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png_bytes(shown))
        pytest.fail(f"{path.name} was missing: look at the one just written, then commit it")
    stored = pixels(path.read_bytes())
    assert np.abs(shown.astype(int) - stored.astype(int)).max(axis=2).mean() < 0.5


def test_what_does_not_enhance_gets_a_page_where_it_is_a_result() -> None:
    drawn = dataclasses.replace(picture_inputs(("lesion", "reference")), enhancement=enhancement_view())
    results = build_results(full_findings(), drawn, context())
    pages = dict(results.pictures)
    assert "sc_enhancement.png" not in dict(everything().pictures)
    page = pixels(pages["sc_enhancement.png"]).astype(int)
    # The three classes lie over the panel in their colours: bluish, reddish, grey.
    blue, red = page[..., 2] - page[..., 0] > 40, page[..., 0] - page[..., 2] > 100
    assert blue[200:1000, 60:900].sum() > 5000
    assert red[200:1000, 60:900].sum() > 5000
    titles = [str(ds.ImageComments) for name, ds in results.objects if name == "sc_enhancement.dcm"]
    assert len(titles) == 1
    assert titles[0].startswith("Enhancement in this plane.")
    said = " ".join((when(full_findings()), *(" ".join(line) for line in lines(full_findings())), *titles)).lower()
    assert "26.5 h after treatment" in said
    assert "does not enhance 15.0 %  (45.0 mm²)" in said
    # A plane cannot tell whether a treatment worked.
    assert "complete" not in said
    assert "success" not in said


def test_one_stray_track_does_not_take_the_colours_from_all_the_others() -> None:
    speeds = np.linspace(1.0, 8.0, 10_000, dtype=np.float32).reshape(100, 100)
    calm = flow_quantity_maps(flow_of(speeds), CONTRAST_BOX, SPACING)["speed"]
    assert display_range(calm, SPEED) == pytest.approx((1.0, 8.0))
    speeds[0, 0] = 40.0
    stray = flow_quantity_maps(flow_of(speeds), CONTRAST_BOX, SPACING)["speed"]
    limits = display_range(stray, SPEED)
    assert limits is not None
    assert limits[1] == pytest.approx(7.93, abs=0.01), "99 % of the way"
    assert stray.range == pytest.approx((1.0007, 40.0), rel=1e-3), "the key says it all the same"


def flow_of(speed: NDArray[np.float32]) -> FlowMaps:
    ones, none = np.ones_like(speed), np.zeros_like(speed)
    return FlowMaps(ones, speed, none, none.copy(), none.copy(), SPACING, (0.0, 0.0))


def test_the_comparison_of_pages_notices_a_moved_row() -> None:
    page = pixels(dict(everything().pictures)["sc_summary.png"])
    moved = page.copy()
    moved[770:1100, 24:1054] = page[791:1121, 24:1054]
    assert np.abs(quarter(page).astype(int) - quarter(moved).astype(int)).max(axis=2).mean() > 0.5


def drawn(findings: Findings, inputs: PictureInputs) -> NDArray[np.uint8]:
    return summary_page(findings, inputs, context())


def coloured(page: NDArray[np.uint8], hexadecimal: str) -> NDArray[np.bool_]:
    wanted = np.array([int(hexadecimal[i : i + 2], 16) for i in (1, 3, 5)])
    return np.asarray((np.abs(page.astype(int) - wanted) < 24).all(axis=2))


def test_the_summary_shows_the_curve_where_its_values_say() -> None:
    inputs = picture_inputs(("panel",))
    page = drawn(panel_findings(), inputs)
    curve = coloured(page, COLOURS["panel"])[170:600, 924:1552]
    columns = np.flatnonzero(curve.any(axis=0))
    assert columns.size > 500, "the curve spans the axes"
    highest = np.array([np.flatnonzero(curve[:, c]).min() if curve[:, c].any() else 999 for c in range(curve.shape[1])])
    left_of_legend = highest[:280]
    assert left_of_legend.min() < 0.4 * 430, "the bolus rises above the middle of the axes"
    # 59.9 s over 628 pixels; the flat top of a 2.6-point line is 20 pixels wide: its middle is known to half a second
    top = float(np.mean(np.flatnonzero(left_of_legend <= left_of_legend.min() + 3)))
    assert top / curve.shape[1] * 59.9 == pytest.approx(14.2, abs=0.5)


def test_only_panel_pixels_are_copied() -> None:
    with pytest.raises(InvalidFindingsError, match="fill its box"):
        PanelView(np.zeros((480, 800), np.uint8), CONTRAST_BOX)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.012345, "0.0123"),
        (14.2, "14.2"),
        (-2.5, "−2.50"),
        (123456.0, "1.23·10⁵"),
        (0.000123, "1.23·10⁻⁴"),
        (999.96, "1000"),
    ],
)
def test_numbers_are_written_to_three_significant_digits(value: float | None, words: str) -> None:
    assert number(value) == words


def stressed() -> tuple[Findings, PictureInputs]:
    """Many long limitations, no calibration, a wide panel, one frame of time."""
    findings, inputs = full_findings(), picture_inputs(("lesion", "reference"), bmode=False)
    text = "The displayed dynamic range was not declared by the site and the default was used instead of it. " * 2
    limits = tuple(Limitation(f"limit_{n}", text, "degraded", ("PE",)) for n in range(12))
    source = dataclasses.replace(
        findings.source,
        pixel_spacing_mm=None,
        duration_s=None,
        frame_rate_hz=None,
        dynamic_range_db=None,
        dynamic_range_source="default",
        commissioned=None,
        contrast_panel=Panels(Box(0, 0, 800, 200), None, "whole", 0.2, "nothing found"),
    )
    quality = dataclasses.replace(findings.quality, limitations=limits)
    wide = PanelView(np.full((200, 800), 40, np.uint8), Box(0, 0, 800, 200))
    return dataclasses.replace(findings, source=source, quality=quality), dataclasses.replace(inputs, contrast=wide)


def test_no_word_of_the_page_leaves_it_or_its_card() -> None:
    """Everything that is written lies on the page, and cards end where the next begins: measured, not looked at."""
    import reports.summary_page as module

    found: list[str] = []
    original = module.draw_footer

    def check(page: object, findings: Findings, ctx: object) -> None:
        original(page, findings, ctx)  # type: ignore[arg-type]
        figure = page.figure  # type: ignore[attr-defined]
        renderer = figure.canvas.get_renderer()
        for words in figure.texts:
            box = words.get_window_extent(renderer)
            if box.x0 < 10 or box.x1 > 1590 or box.y0 < 5 or box.y1 > 1195:
                found.append(words.get_text())
            assert words.get_fontsize() >= SMALL, words.get_text()

    for findings, inputs in (stressed(), (full_findings(), picture_inputs(("lesion", "reference")))):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "draw_footer", check)
            drawn(findings, inputs)
    assert found == []


def test_a_page_is_drawn_alike_whatever_the_user_set_in_matplotlib() -> None:
    import matplotlib as mpl

    findings, inputs = panel_findings(), picture_inputs(("panel",))
    plain = drawn(findings, inputs)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9, "savefig.dpi": 30}):
        np.testing.assert_array_equal(drawn(findings, inputs), plain)


def test_equal_pictures_are_equal_files() -> None:
    with new_page() as page:
        page.text(100, 100, "α β γ 10⁻³")
        rgb = page.rgb()
    assert png_bytes(rgb) == png_bytes(rgb.copy())
    assert rgb.shape == (1200, 1600, 3)


@pytest.mark.parametrize("drawn_on", ["contrast", "bmode"])
def test_a_contour_drawn_on_the_nodes_own_capture_comes_back_to_the_source(drawn_on: str) -> None:
    """The page's own lesion outline is traced on the picture by its colour: the truth is what the findings drew."""
    findings = full_findings()
    with_lesion = drawn(findings, picture_inputs(("lesion", "reference")))
    lesion = dataclasses.replace(findings.rois[0], contour_px=())
    without = drawn(
        dataclasses.replace(findings, rois=(lesion, findings.rois[1])), picture_inputs(("lesion", "reference"))
    )
    changed = (with_lesion != without).any(axis=2) & coloured(with_lesion, COLOURS["lesion"])
    changed[:, 800:] = False
    half = slice(0, 424) if drawn_on == "contrast" else slice(424, 800)
    rows, columns = np.nonzero(changed[320:, half])
    rows, columns = rows + 320, columns + half.start
    # the label above the outline is of the same colour: keep the ring only, by distance from its centre
    centre = np.array([columns.min() + columns.max(), rows.min() + rows.max()]) / 2
    page_contour = ((columns.min(), centre[1]), (centre[0], rows.max()), (columns.max(), centre[1]))
    back = [(x + CONTRAST_BOX.x0, y + CONTRAST_BOX.y0) for x, y in drawn_on_page(page_contour)]
    # the stroke is 2.2 points = 3 page pixels wide, 1.2 page pixels a source pixel: outer edge + 1.5 source pixels
    expected = ((140, 240), (200, 311), (260, 240))
    for index, axis in ((0, 0), (1, 1), (2, 0)):
        assert back[index][axis] == pytest.approx(expected[index][axis], abs=2.5)


@pytest.mark.parametrize("tile", [(0, 0), (0, 1), (1, 0)])
def test_a_contour_drawn_on_a_close_up_of_vessels_comes_back_to_the_source(tile: tuple[int, int]) -> None:
    """As above: what the page drew is found on the picture by its colour, here on each of three close-ups."""
    findings, inputs = full_findings(), picture_inputs(("lesion", "reference"), maps=True)
    with_lesion = super_resolution_page(findings, inputs, context())
    # An outline of nothing but a point keeps the close-up: the lesion's extremes, drawn as points.
    points = np.array(findings.rois[0].contour_px)
    extremes = tuple(map(tuple, points[[*points.argmin(axis=0), *points.argmax(axis=0)]]))
    corners = dataclasses.replace(findings.rois[0], contour_px=extremes[:1] * 2 + extremes)
    without = super_resolution_page(dataclasses.replace(findings, rois=(corners, findings.rois[1])), inputs, context())
    changed = (with_lesion != without).any(axis=2) & coloured(with_lesion, COLOURS["lesion"])
    place = np.s_[160 + 525 * tile[0] : 610 + 525 * tile[0], 100 + 784 * tile[1] : 600 + 784 * tile[1]]
    rows, columns = np.nonzero(changed[place])
    rows, columns = rows + place[0].start, columns + place[1].start
    middle = (columns.min() + columns.max()) / 2
    quarter_turns = (
        (columns.min(), 0.5 * (rows.min() + rows.max())),
        (middle, rows.max()),
        (columns.max(), rows.mean()),
    )
    back = drawn_on_page(quarter_turns, "super_resolution")
    (left, _), (_, bottom), (right, _) = [(x + CONTRAST_BOX.x0, y + CONTRAST_BOX.y0) for x, y in back]
    # the stroke is 3 page pixels wide, 1.9 page pixels a source pixel
    low, high = points.min(axis=0), points.max(axis=0)
    assert (left, right, bottom) == pytest.approx((low[0], high[0], high[1]), abs=1.5)


def test_a_contour_drawn_beside_the_panels_is_refused() -> None:
    with pytest.raises(UnreadableObjectError, match="no panel"):
        drawn_on_page(((1000.0, 900.0), (1100.0, 900.0), (1100.0, 950.0)))
    with pytest.raises(UnreadableObjectError, match="no panel"):  # where the whole panel would lie, but is not shown
        drawn_on_page(((60.0, 300.0), (90.0, 300.0), (90.0, 330.0)), "super_resolution")


def test_a_vessel_one_pixel_wide_stays_a_line_on_a_picture_of_fewer_pixels() -> None:
    values = np.full((90, 60), np.nan, np.float32)
    values[np.arange(90), np.arange(90) // 2] = 1.0
    values[40, 20] = 7.0
    small = gathered(values, 3, DENSITY)
    assert small.shape == (30, 20)
    assert np.isfinite(small).any(axis=1).all(), "no gap in any row"
    assert np.nanmax(small) == 7.0, "the greatest is still there"


def test_directions_are_averaged_around_the_circle() -> None:
    values = np.array([[170.0, -170.0], [np.nan, np.nan]], np.float32)
    assert abs(gathered(values, 2, DIRECTION)[0, 0]) == pytest.approx(180.0)
    assert gathered(values, 2, SPEED)[0, 0] == pytest.approx(0.0)


def drawn_on_page(contour: Sequence[tuple[float, float]], name: PageName = "summary") -> Sequence[tuple[float, float]]:
    """A reader's polyline on a page, as it comes back on the contrast panel."""
    page = ("1.2.840.10008.5.1.4.1.1.7", "2.25.7")
    canvas = page_canvas(name, [CONTRAST_BOX, BMODE_BOX], SPACING, 0, full_findings().rois)
    state = Drawn(context().source.first, target=page).presentation_state("POLYLINE", closed(contour))
    (drawing,) = read_drawings(state, DrawingPlace({page[1]: canvas}, CONTRAST_BOX, "", SPACING))
    return drawing.outline


def test_a_revision_names_its_reason_and_what_it_follows() -> None:
    earlier = EarlierReport(
        "1.2.840.10008.5.1.4.1.1.88.34", "2.25.1", "2.25.2", context().source.first.StudyInstanceUID
    )
    revised = dataclasses.replace(context(), revision=2, revision_reason="contour by reader", predecessor=earlier)
    document = structured_report(panel_findings(), revised)
    (study,) = document.PredecessorDocumentsSequence
    assert study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.1"
    assert document.SeriesDescription.endswith("rev 2: contour by reader")
    assert len(document.SeriesDescription) <= 64


def test_the_pictures_of_a_study_fit_their_budget() -> None:
    """60 MB for an exam's results: four pages and the data objects of one acquisition stay below half of it."""
    results = build_results(panel_findings(), picture_inputs(("panel",)), context())
    assert sum(len(png) for _, png in results.pictures) < 3e6
