"""The page of the predicted response: every probability of both models, what they are worth, and the lesion they saw.

It stands alone, never on the summary page: a prediction from simulated training is no finding of this patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from reports.findings import Findings, Response
from reports.frame_view import caption, draw_panel
from reports.model_use import ModelUse
from reports.page import AMBER, BODY, HEADING, MUTED, SMALL, SURFACE, TEXT, Area, Page, new_page, number
from reports.page_frame import draw_footer, draw_header
from reports.pictures import PictureInputs
from reports.response_groups import is_response_model
from reports.result_object import ResultContext

VIEW = Area(24, 104, 700, 1036)
ANSWERS = Area(740, 104, 836, 560)
WORTH = Area(740, 680, 836, 460)
CLASS_WORDS = {"responsive": "responsive", "stable": "stable", "non_responsive": "non-responsive"}
NETWORK_COLOUR, GLASS_BOX_COLOUR = "#56b4e9", "#e69f00"
DISAGREES = 0.2
"""Total variation above which the page says so in amber: a fifth of the probability stands elsewhere."""


def response_page(findings: Findings, inputs: PictureInputs, context: ResultContext) -> NDArray[np.uint8]:
    """Render the page of a performed prediction."""
    with new_page() as page:
        response = findings.response
        draw_header(page, "Predicted response (research)", response.evidence or "evidence not stated", context)
        _draw_view(page, findings, inputs)
        _draw_answers(page, findings)
        _draw_worth(page, findings)
        draw_footer(page, findings, context)
        return page.rgb()


def _draw_view(page: Page, findings: Findings, inputs: PictureInputs) -> None:
    page.box(VIEW)
    page.text(VIEW.x + 20, VIEW.y + 14, "The lesion that was classified", fontsize=HEADING, fontweight="bold")
    panel = findings.source.contrast_panel
    box = inputs.contrast.box if panel is None else panel.contrast
    corner, spacing_mm = (box.x0, box.y0), findings.source.pixel_spacing_mm
    placed, _ = draw_panel(page, VIEW.inset(14, 48, 14, 38), inputs.contrast, findings.rois, corner, spacing_mm)
    lesion = findings.roi("lesion")
    confirmed = lesion is not None and lesion.confirmed
    caption(page, placed, "contour confirmed" if confirmed else "contour not confirmed by a reader")


def _draw_answers(page: Page, findings: Findings) -> None:
    """Bars of all three probabilities, both models; the class that is printed is the network's, or none."""
    response, area = findings.response, ANSWERS
    page.box(area, edge=AMBER)
    page.text(area.x + 20, area.y + 14, "Predicted, never observed", fontsize=HEADING, fontweight="bold")
    colour = AMBER if response.abstained else TEXT
    page.text(area.x + 20, area.y + 50, response.label_text or "", color=colour, fontsize=HEADING)
    axes = page.axes(area.inset(190, 110, 90, 60), facecolor=SURFACE)
    for offset, (name, probabilities, shade) in enumerate(_answers(response)):
        places = np.arange(len(CLASS_WORDS)) + 0.36 * (offset - 0.5)
        found = [probabilities.get(key, 0.0) for key in CLASS_WORDS]
        axes.barh(places, found, 0.32, color=shade, hatch=("", "//")[offset], edgecolor=SURFACE, label=name)
        for place, value in zip(places, found, strict=True):
            axes.text(value + 0.02, place, number(value, 2), color=TEXT, fontsize=BODY, va="center")
    axes.set_xlim(0, 1)
    axes.set_yticks(range(len(CLASS_WORDS)), list(CLASS_WORDS.values()))
    axes.invert_yaxis()
    axes.tick_params(colors=TEXT, labelsize=BODY, length=0)
    axes.legend(loc="lower right", fontsize=SMALL, facecolor=SURFACE, edgecolor=MUTED, labelcolor=TEXT)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)
    page.text(area.x + 190, area.bottom - 30, "calibrated probability, 0 to 1", color=MUTED, fontsize=SMALL)


def _answers(response: Response) -> Iterator[tuple[str, Mapping[str, float], str]]:
    yield "network on maps", response.probabilities or {}, NETWORK_COLOUR
    if response.glass_box:
        yield "glass box on named parameters", response.glass_box, GLASS_BOX_COLOUR


def _draw_worth(page: Page, findings: Findings) -> None:
    """What the figures are worth, line by line."""
    area = WORTH
    page.box(area)
    page.text(area.x + 20, area.y + 14, "What this is worth", fontsize=HEADING, fontweight="bold")
    y = area.y + 54
    for name, words, colour in _worth_lines(findings):
        lines = page.lines(words, area.width - 200, SMALL)
        page.text(area.x + 20, y, name, color=MUTED, fontsize=SMALL)
        page.text(area.x + 180, y, "\n".join(lines), color=colour, fontsize=SMALL, linespacing=1.25)
        y += 22 * len(lines) + 10


def _worth_lines(findings: Findings) -> Iterator[tuple[str, str, str]]:
    response = findings.response
    yield "Evidence", response.evidence or "not stated", AMBER
    if response.disagreement is None:
        yield "Disagreement", "the glass box gave no answer", AMBER
    else:
        apart = response.disagreement > DISAGREES
        words = f"{number(response.disagreement, 2)} of 1: " + ("the two models DISAGREE" if apart else "alike")
        yield "Disagreement", words, AMBER if apart else TEXT
    yield "Made for", "tumours before treatment; after it, or where nobody states it, nothing is predicted", TEXT
    yield "Not for", "any decision about treatment", AMBER
    for model in findings.models:
        if is_response_model(model):
            yield model.id, _model_words(model), MUTED
    yield "Demographics", "not assessed", MUTED


def _model_words(model: ModelUse) -> str:
    parts = [f"version {model.version}", f"state {model.state}", f"sha256 {model.sha256[:16]}…"]
    if model.ood_score is not None:
        parts.append(f"input score {number(model.ood_score, 2)}")
    if model.temperature is not None:
        parts.append(f"temperature {number(model.temperature, 3)}")
    return ", ".join(parts)
