"""Where our own pages show the panels of the source: what is drawn there can be carried back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from processing.cine import Box, Spacing
from reports.findings import RoiFinding
from reports.frame_view import close_up, fitted, whole
from reports.map_pages import map_views
from reports.page import HEIGHT_PX, WIDTH_PX, Area
from reports.read_back.drawings import Canvas, View
from reports.summary_page import view_areas

PageName = Literal["summary", "maps", "super_resolution"]


def page_canvas(
    page: PageName, panels: Sequence[Box], spacing: Spacing | None, frame: int, rois: Sequence[RoiFinding] = ()
) -> Canvas:
    """A page as something to draw on.

    panels: boxes of the contrast panel and of its B-mode twin, which shows the same tissue, where there is one. The
    summary page shows both; maps lie over the twin, or else over the contrast panel, close to the lesion among `rois`.
    frame: of the acquisition, from 0, that the page shows.
    """
    if page == "summary":
        places = [(area, box, whole(box)) for area, box in zip(view_areas(len(panels)), panels, strict=True)]
    else:
        shown = close_up(rois, (panels[0].x0, panels[0].y0), panels[-1])
        places = [(area, panels[-1], shown) for area in map_views(page)]
    return Canvas(HEIGHT_PX, WIDTH_PX, tuple(_view(area, box, shown, spacing) for area, box, shown in places), frame)


def _view(area: Area, panel: Box, shown: Box, spacing: Spacing | None) -> View:
    seen = fitted(area, shown, spacing)
    x, y = seen.width / shown.columns, seen.height / shown.rows  # page pixels of one of the panel's
    lies = Area(seen.x - shown.x0 * x, seen.y - shown.y0 * y, panel.columns * x, panel.rows * y)
    return View(lies, seen)
