"""Where our own pages show the panels of the source: what is drawn there can be carried back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from processing.cine import Box, Spacing
from reports.frame_view import fitted
from reports.map_pages import map_views
from reports.page import HEIGHT_PX, WIDTH_PX
from reports.read_back.drawings import Canvas
from reports.summary_page import view_areas

PageName = Literal["summary", "maps", "super_resolution"]


def page_canvas(page: PageName, panels: Sequence[Box], spacing: Spacing | None, frame: int) -> Canvas:
    """A page as something to draw on.

    panels: boxes of the contrast panel and of its B-mode twin, which shows the same tissue, where there is one. The
    summary page shows both; maps lie over the twin, or else over the contrast panel. frame: of the acquisition, from
    0, that the page shows.
    """
    if page == "summary":
        places = list(zip(view_areas(len(panels)), panels, strict=True))
    else:
        places = [(area, panels[-1]) for area in map_views(page)]
    return Canvas(HEIGHT_PX, WIDTH_PX, tuple(fitted(area, box, spacing) for area, box in places), frame)
