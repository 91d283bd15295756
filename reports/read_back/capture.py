"""Outlines drawn on our own summary page, carried back to the pixels of the source that it shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from processing.cine import Box, Spacing
from reports.contours import Contour
from reports.errors import UnreadableObjectError
from reports.frame_view import fitted
from reports.summary_page import view_areas


def outline_on_source(on_page: Contour, views: Sequence[Box], spacing: Spacing | None) -> Contour:
    """An outline in pixels of the summary page as one in the source's full frame, on the contrast panel.

    `views`: boxes of the panels that the page shows, contrast first (its B-mode twin shows the same tissue).
    Raises UnreadableObjectError for an outline that does not lie on one of the panels: a drawing on curves or tables.
    """
    points = np.array(on_page, dtype=np.float64) + 0.5  # from pixel centres to the page's own edges
    contrast = views[0]
    for area, box in zip(view_areas(len(views)), views, strict=True):
        placed = fitted(area, box, spacing)
        shares = (points - (placed.x, placed.y)) / (placed.width, placed.height)
        centre = shares.mean(axis=0)
        if (centre >= 0).all() and (centre <= 1).all():
            corner = np.array([contrast.x0, contrast.y0]) - 0.5
            on_source = np.clip(shares, 0, 1) * (contrast.columns, contrast.rows) + corner
            return tuple((float(x), float(y)) for x, y in on_source)
    raise UnreadableObjectError("the outline lies on no panel of the picture")
