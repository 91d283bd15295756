"""Where our own summary page shows the panels of the source: what is drawn there can be carried back."""

from __future__ import annotations

from collections.abc import Sequence

from processing.cine import Box, Spacing
from reports.frame_view import fitted
from reports.page import HEIGHT_PX, WIDTH_PX, Area
from reports.read_back.drawings import Canvas
from reports.summary_page import view_areas


def summary_canvas(panels: Sequence[Box], spacing: Spacing | None, frame: int) -> Canvas:
    """The summary page as something to draw on.

    panels: boxes of the panels that it shows, contrast first (its B-mode twin shows the same tissue). frame: of the
    acquisition, from 0, that it shows.
    """
    areas = zip(view_areas(len(panels)), panels, strict=True)
    views: tuple[Area, ...] = tuple(fitted(area, box, spacing) for area, box in areas)
    return Canvas(HEIGHT_PX, WIDTH_PX, views, frame)
