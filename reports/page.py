"""A dark page of 1600 x 1200 pixels: colours, type, boxes, numbers. What is drawn on it is decided elsewhere.

Legible at 1024 pixels: nothing is set below 12 points (17 px here, 11 px there). Colours are Okabe and Ito's (2008),
told apart with any colour vision, and every distinction by colour is repeated by a line style or a word. Rendering is
deterministic: Agg, the font that matplotlib ships, no user settings, no time stamp.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH_PX, HEIGHT_PX, DPI = 1600, 1200, 100
LAYOUT = "page layout 2"
"""Said of every page: what a reader draws on one can be carried back only while pages lie as they did then. 1: maps
showed the whole panel; 2: they are close-ups of the lesion."""
BACKGROUND = "#0a0d12"
SURFACE = "#131922"
LINE = "#2a3441"
TEXT = "#eaf0f6"
MUTED = "#9fb0c0"
AMBER = "#f0b429"
COLOURS = {"lesion": "#e69f00", "reference": "#56b4e9", "panel": "#2fd0a0"}
LINE_STYLES = {"lesion": "-", "reference": (0, (6, 2)), "panel": "-"}
SMALL, BODY, HEADING, TITLE = 12.0, 13.0, 15.0, 25.0

UNITS = {
    "[arb'U]": "a.u.",
    "[arb'U].s": "a.u.·s",
    "[arb'U]/s": "a.u./s",
    "{ratio}": "",
    "1": "",
    "um": "µm",
    "mm2": "mm²",
    "/mm2/s": "/mm²/s",
    "mm/mm2/s": "mm/mm²/s",
    "/s": "1/s",
}


@dataclass(frozen=True)
class Area:
    """A rectangle of the page in pixels from the top left."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def figure_box(self) -> tuple[float, float, float, float]:
        """left, bottom, width, height as matplotlib counts: shares of the page, from the bottom."""
        top = 1.0 - self.y / HEIGHT_PX
        height = self.height / HEIGHT_PX
        return self.x / WIDTH_PX, top - height, self.width / WIDTH_PX, height

    def inset(self, left: float, top: float, right: float, bottom: float) -> Area:
        return Area(self.x + left, self.y + top, self.width - left - right, self.height - top - bottom)


class Page:
    """One page being drawn; `rgb` and `png` render it."""

    def __init__(self, figure: Any) -> None:
        self.figure = figure

    def text(self, x: float, y: float, words: str, **style: Any) -> Any:
        """Words with their top-left corner (or as `ha`, `va` say) at pixel (x, y)."""
        defaults: dict[str, Any] = {"color": TEXT, "fontsize": BODY, "ha": "left", "va": "top", "parse_math": False}
        return self.figure.text(x / WIDTH_PX, 1.0 - y / HEIGHT_PX, words, **(defaults | style))

    def box(self, area: Area, face: str = SURFACE, edge: str = LINE) -> None:
        """A card that holds one subject."""
        from matplotlib.patches import FancyBboxPatch

        left, bottom, width, height = area.figure_box
        style = "round,pad=0,rounding_size=0.006"
        patch = FancyBboxPatch((left, bottom), width, height, boxstyle=style, fc=face, ec=edge, lw=1.0, zorder=-10)
        patch.set_transform(self.figure.transFigure)
        patch.set_mutation_aspect(WIDTH_PX / HEIGHT_PX)
        self.figure.add_artist(patch)

    def rule(self, x0: float, x1: float, y: float, colour: str = LINE) -> None:
        """A horizontal line."""
        from matplotlib.lines import Line2D

        height = 1.0 - y / HEIGHT_PX
        self.figure.add_artist(Line2D([x0 / WIDTH_PX, x1 / WIDTH_PX], [height, height], color=colour, lw=1.0))

    def axes(self, area: Area, **settings: Any) -> Any:
        return self.figure.add_axes(area.figure_box, **settings)

    def width_px(self, artist: Any) -> float:
        """How wide drawn words are."""
        return float(artist.get_window_extent(self.figure.canvas.get_renderer()).width)

    def lines(self, words: str, width_px: float, fontsize: float) -> list[str]:
        """`words` broken where the next word would pass `width_px`, measured in the font that draws it."""
        from matplotlib.font_manager import FontProperties

        renderer, font = self.figure.canvas.get_renderer(), FontProperties(family="DejaVu Sans", size=fontsize)

        def width(text: str) -> float:
            return float(renderer.get_text_width_height_descent(text, font, ismath=False)[0])

        lines = [""]
        left = words.split()
        while left:
            longer = f"{lines[-1]} {left[0]}".strip()
            if width(longer) <= width_px:
                lines[-1] = longer
                del left[0]
            elif lines[-1]:
                lines.append("")
            else:  # a word that no line holds, such as a UID
                fits = max((n for n in range(2, len(left[0])) if width(left[0][:n]) <= width_px), default=1)
                lines[-1], left[0] = left[0][:fits], left[0][fits:]
        return lines

    def rgb(self) -> NDArray[np.uint8]:
        """The rendered page, (1200, 1600, 3)."""
        self.figure.canvas.draw()
        pixels: NDArray[np.uint8] = np.asarray(self.figure.canvas.buffer_rgba())[..., :3].copy()
        return pixels


@contextmanager
def new_page() -> Iterator[Page]:
    """A blank page; draw and render it inside the `with`, where no setting of the user's matplotlib holds."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ours = {"font.family": "DejaVu Sans", "text.color": TEXT, "axes.unicode_minus": True, "path.simplify": False}
    with mpl.rc_context({**mpl.rcParamsDefault, **ours, "backend": "agg"}):
        figure = Figure(figsize=(WIDTH_PX / DPI, HEIGHT_PX / DPI), dpi=DPI, facecolor=BACKGROUND)
        FigureCanvasAgg(figure)
        yield Page(figure)


def png_bytes(rgb: NDArray[np.uint8]) -> bytes:
    """A PNG without time stamp or software name: equal pictures are equal files."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, format="PNG", optimize=False, compress_level=6)
    return buffer.getvalue()


def number(value: float | None, digits: int = 3) -> str:
    """`value` to three significant digits as a reader writes it; an en dash where it does not exist."""
    if value is None:
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        decimals = 0 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return f"{value:.{decimals}f}".replace("-", "−")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa.replace('-', '−')}·{power_of_ten(int(exponent))}"


def with_interval(value: float, low: float | None, high: float | None) -> str:
    """A value and its interval, the bounds to the decimals of the value: columns keep their width."""
    words = number(value)
    if low is None or high is None:
        return words
    if "·" in words:
        return f"{words}  [{number(low)}, {number(high)}]"
    decimals = len(words.partition(".")[2])
    bounds = [f"{bound:.{decimals}f}".replace("-", "−") for bound in (low, high)]
    return f"{words}  [{bounds[0]}, {bounds[1]}]"


def power_of_ten(exponent: int) -> str:
    """10 to an exponent as it is printed; nothing for 0."""
    return "" if exponent == 0 else f"10{str(exponent).translate(SUPERSCRIPTS)}"


SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def unit_words(unit: str) -> str:
    """A UCUM unit as it is printed."""
    return UNITS.get(unit, unit)
