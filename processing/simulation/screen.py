"""The simulated scanner's screen: where the panels lie, and the furniture that is burned in around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from processing.cine import Box, Spacing
from processing.errors import InvalidValueError
from processing.simulation.display import Tint, tint_table
from processing.simulation.lettering import write_text

Layout = Literal["contrast left", "contrast right", "single"]
ImageArray = NDArray[np.uint8]


@dataclass(frozen=True)
class Screen:
    """Size of the frame and what stands where. The image is `depth_mm` deep and its pixels are square.

    "single" shows one panel only. "convex" scans a fan inside each panel and leaves its corners black.
    """

    rows: int = 600
    columns: int = 800
    layout: Layout = "contrast left"
    depth_mm: float = 80.0
    aperture: Literal["linear", "convex"] = "linear"
    tint: Tint = "copper"
    furniture: bool = True
    text_in_panel: bool = False
    mechanical_index: float = 0.08

    def __post_init__(self) -> None:
        if self.rows < 96 or self.columns < 128:
            raise InvalidValueError("a screen has at least 96 rows and 128 columns")

    @property
    def _margin(self) -> int:
        return self.columns // 32

    @property
    def _panel_rows(self) -> tuple[int, int]:
        return self.rows // 10, self.rows - self.rows // 20

    def _panel(self, place: Literal["left", "right", "whole"]) -> Box:
        margin, (top, bottom) = self._margin, self._panel_rows
        if place == "whole":
            side = min(self.columns - 4 * margin, (bottom - top) * 5 // 4)
            start = (self.columns - side) // 2
            return Box(start, top, start + side, bottom)
        width = (self.columns - 5 * margin) // 2
        start = 2 * margin if place == "left" else 3 * margin + width
        return Box(start, top, start + width, bottom)

    @property
    def first(self) -> Box:
        """The panel of the contrast image, or the only one."""
        if self.layout == "single":
            return self._panel("whole")
        return self._panel("left" if self.layout == "contrast left" else "right")

    @property
    def twin(self) -> Box | None:
        """The B-mode panel beside it."""
        if self.layout == "single":
            return None
        return self._panel("right" if self.layout == "contrast left" else "left")

    @property
    def spacing_mm(self) -> Spacing:
        pitch = self.depth_mm / self.first.rows
        return Spacing(pitch, pitch)

    @property
    def text_scale_px(self) -> int:
        return max(self.rows // 240, 1)

    def scanned(self) -> NDArray[np.bool_]:
        """The pixels of a panel that show echo: bool (z, x)."""
        box = self.first
        scanned = np.ones((box.rows, box.columns), dtype=np.bool_)
        if self.aperture == "convex":
            # Apex above the panel: the skin line is an arc of a probe with a radius of 0.6 panel widths.
            z = np.arange(box.rows)[:, None] + 0.5
            x = np.arange(box.columns)[None, :] + 0.5 - box.columns / 2
            radius_px = 0.6 * box.columns
            reach = np.hypot(z + 0.75 * radius_px, x)
            inside = np.abs(np.arctan2(x, z + 0.75 * radius_px)) < np.deg2rad(28)
            scanned = (reach > radius_px) & (reach < box.rows + 0.74 * radius_px) & inside
        if self.text_in_panel:
            scanned[: 7 * self.text_scale_px, : 18 * self.text_scale_px] = False
        return scanned

    def background(self) -> ImageArray:
        """Everything that never changes: RGB (row, column, 3)."""
        image = np.zeros((self.rows, self.columns, 3), dtype=np.uint8)
        if not self.furniture:
            return image
        scale = self.text_scale_px
        line = 7 * scale
        write_text(image, "SIMULATED ULTRASOUND", (scale * 2, self._margin), scale, 220)
        write_text(
            image,
            f"{self.depth_mm / 10:.1f} CM  MI {self.mechanical_index:.2f}  C5-1",
            (scale * 2 + line, self._margin),
            scale,
            150,
        )
        self._draw_beside(image, self.first, tint_table(self.tint))
        if self.twin is not None:
            self._draw_beside(image, self.twin, tint_table("grey"))
        return image

    def _draw_beside(self, image: ImageArray, box: Box, table: ImageArray) -> None:
        """On the outer side of a panel: a tick a centimetre, the caret of the focus, and the bar of its colours."""
        # Columns are counted away from the panel.
        outwards = -1 if box.x0 < self.columns - box.x1 or self.layout == "single" else 1
        edge = box.x0 - 1 if outwards < 0 else box.x1
        margin = self._margin
        for centimetre in range(int(self.depth_mm // 10) + 1):
            row = box.y0 + round(centimetre * 10 / self.spacing_mm.z_mm)
            length = margin // (4 if centimetre % 5 else 3)
            if row < box.y1:
                image[row, edge + outwards * (2 + np.arange(length))] = 180
        focus = box.y0 + int(0.6 * box.rows)
        for step in range(max(margin // 4, 2)):
            image[focus - step : focus + step + 1, edge + outwards * (2 + margin // 3 + step)] = (255, 200, 0)
        # Full scale on top. As wide as real bars: JPEG blurs the chroma of narrower ones.
        rows, width = box.rows // 3, margin // 2
        levels = np.rint(np.linspace(255, 0, rows)).astype(np.intp)
        columns = edge + outwards * (margin + np.arange(width))
        image[box.y0 : box.y0 + rows, columns] = table[levels][:, None, :]

    def draw_clock(self, image: ImageArray, time_s: float) -> None:
        """The contrast timer, top right, and the panel's name where it is burned into the image."""
        scale = self.text_scale_px
        if self.text_in_panel:
            box = self.first
            write_text(image, "CEUS", (box.y0 + scale, box.x0 + scale), scale, 255)
        if not self.furniture:
            return
        sign = "-" if time_s < 0 else " "
        minutes, seconds = divmod(abs(time_s), 60.0)
        text = f"{sign}{int(minutes):02d}:{int(seconds):02d}.{int(seconds % 1 * 10)}"
        write_text(image, text, (scale * 2, self.columns - self._margin - 4 * scale * len(text)), scale, 220)
