"""The page of what enhances and what does not, in this plane: a result of its own after ablation.

A plane shows a part of a lesion: the page says how much of what it shows does not enhance, never what that means.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reports.errors import InvalidFindingsError
from reports.findings import Findings
from reports.frame_view import caption, draw_view
from reports.page import BODY, HEADING, MUTED, SMALL, TEXT, Area, Page, new_page, number
from reports.page_frame import draw_footer, draw_header
from reports.pictures import EnhancementView, PictureInputs
from reports.result_object import ResultContext

VIEW, ANSWER = Area(24, 104, 920, 1036), Area(960, 104, 616, 1036)
CLASSES = (
    ("enhances", "#56b4e9", "rises above its own level and comes near the reference"),
    ("does not enhance", "#d55e00", "stays below while the reference enhances"),
    ("not assessable", "#9fb0c0", "gas or shadow already there before contrast"),
)
"""Classes 1 to 3 of `EnhancementView.classes`; colours that are told apart without colour vision (Okabe and Ito)."""


def enhancement_page(findings: Findings, inputs: PictureInputs, context: ResultContext) -> NDArray[np.uint8]:
    """Render the page. Raises InvalidFindingsError without `inputs.enhancement`."""
    view = inputs.enhancement
    if view is None:
        raise InvalidFindingsError("the page of enhancement needs its classes")
    with new_page() as page:
        draw_header(page, view.title, when(findings), context)
        page.box(VIEW)
        placed, axes = draw_view(page, VIEW.inset(14, 20, 14, 38), inputs.contrast, findings)
        painted = np.zeros((*view.classes.shape, 4))
        for number_of, (_, colour, _) in enumerate(CLASSES, start=1):
            painted[view.classes == number_of] = (*_channels(colour), 0.6)
        rows, columns = view.classes.shape
        axes.imshow(painted, extent=(-0.5, columns - 0.5, rows - 0.5, -0.5), interpolation="nearest", zorder=0.5)
        axes.set_xlim(-0.5, columns - 0.5)
        axes.set_ylim(rows - 0.5, -0.5)
        caption(page, placed, "over the contrast panel; one plane")
        _draw_answer(page, findings, view)
        draw_footer(page, findings, context)
        return page.rgb()


def when(findings: Findings) -> str:
    """Hours since treatment, where somebody told."""
    found = findings.perfusion.enhancement
    if found is None or found.hours_since_treatment is None:
        return "Time since treatment not told"
    return f"{number(found.hours_since_treatment)} h after treatment"


def lines(findings: Findings) -> Iterator[tuple[str, str]]:
    """Class and share, the area where the image is calibrated."""
    found = findings.perfusion.enhancement
    if found is None:
        return
    shares = (found.perfused_area_percent, found.non_enhancing_percent, found.not_assessable_percent)
    for (name, _, _), share in zip(CLASSES, shares, strict=True):
        area = found.non_enhancing_area_mm2 if name == "does not enhance" else None
        yield name, f"{number(share)} %" + ("" if area is None else f"  ({number(area)} mm²)")


def _draw_answer(page: Page, findings: Findings, view: EnhancementView) -> None:
    page.box(ANSWER)
    page.text(ANSWER.x + 20, ANSWER.y + 14, "Of the lesion, in this plane", fontsize=HEADING, fontweight="bold")
    y = ANSWER.y + 64
    for (name, words), (_, colour, meaning) in zip(lines(findings), CLASSES, strict=False):
        page.box(Area(ANSWER.x + 20, y + 2, 22, 22), face=colour, edge=colour)
        page.text(ANSWER.x + 56, y, name, color=TEXT, fontsize=BODY, fontweight="bold")
        page.text(ANSWER.right - 20, y, words, fontsize=BODY, ha="right")
        page.text(ANSWER.x + 56, y + 30, meaning, color=MUTED, fontsize=SMALL)
        y += 84
    said = (
        f"Does not enhance: stays more than {number(view.below_reference_db)} dB below the enhancement of the "
        f"reference, or rises by less than {number(view.rise_db)} dB over its own level before contrast. Edges of the "
        "beam spill into a dark area: it reads small by about a third of a millimetre of edge. Other planes were not "
        "seen."
    )
    for line in page.lines(said, ANSWER.width - 40, SMALL):
        page.text(ANSWER.x + 20, y, line, color=MUTED, fontsize=SMALL)
        y += 26


def _channels(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[i : i + 2], 16) / 255.0 for i in (1, 3, 5))
