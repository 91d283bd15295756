"""The baseline's measured region as a picture: cut out of its own summary page, outline and scale bar included.

The page was rendered by this software and says nothing of the patient inside its panels; the cine itself may be long
gone, or lie in a PACS that would need minutes to send it.
"""

from __future__ import annotations

import math

import numpy as np
import pydicom
import structlog
from pydicom.errors import InvalidDicomError

from dicom_node.earlier_results import EarlierResult
from processing.cine import Box, Spacing
from reports.conditions import PANELS, PIXEL_SPACING, SUMMARY_PAGE
from reports.frame_view import fitted
from reports.pictures import BaselineView, PanelView
from reports.summary_page import view_areas

log = structlog.get_logger()


def baseline_view(earlier: EarlierResult) -> BaselineView | None:
    """The contrast panel of an earlier result; None where its page is not at hand or is not the one it names."""
    panel = _panel_on_page(earlier)
    if panel is None:
        return None
    try:
        page = pydicom.dcmread(earlier.summary)
        if str(page.SOPInstanceUID) != earlier.result.conditions.get(SUMMARY_PAGE):
            return None
        pixels = page.pixel_array
    except FileNotFoundError:
        return None
    except (OSError, InvalidDicomError, AttributeError, ValueError, NotImplementedError) as error:
        log.warning("the baseline's picture cannot be read", reason=str(error))
        return None
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or panel.within(*pixels.shape[:2]) != panel:
        return None
    cut = np.ascontiguousarray(pixels[panel.slices])
    return BaselineView(PanelView(cut, Box(0, 0, panel.columns, panel.rows)), (), None)


def _panel_on_page(earlier: EarlierResult) -> Box | None:
    """Where the contrast panel was drawn, in pixels of the page."""
    conditions = earlier.result.conditions
    try:
        boxes = [Box(*(int(edge) for edge in words.split(","))) for words in conditions[PANELS].split(";")]
        written = conditions.get(PIXEL_SPACING)
        spacing = None if written is None else Spacing(*(float(side) for side in written.split(",")))
    except (KeyError, ValueError, TypeError):
        return None
    placed = fitted(view_areas(len(boxes))[0], boxes[0], spacing)
    return Box(math.ceil(placed.x), math.ceil(placed.y), math.floor(placed.right), math.floor(placed.bottom))
