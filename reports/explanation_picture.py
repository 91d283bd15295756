"""The picture beside an explanation: panels, mask, colour curve and grey map of one cine."""

from __future__ import annotations

import io
import textwrap
from typing import Any

import numpy as np

from processing.cine import Box
from processing.explanation import Explanation
from processing.intake import Examination

CONTRAST, BMODE, MASKED = "#ffb000", "#4fc3f7", (1.0, 0.2, 0.2, 0.45)


def explanation_png(explanation: Explanation) -> bytes:
    """A PNG of 1400 x 900 pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 9), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    if explanation.examination is None:
        _show_frame(figure.subplots(), explanation)
    else:
        places: Any = figure.subplot_mosaic([["frame", "frame", "colour"], ["frame", "frame", "grey"]])
        _show_frame(places["frame"], explanation)
        _show_colour(places["colour"], explanation, explanation.examination)
        _show_grey(places["grey"], explanation, explanation.examination)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _show_frame(axes: Any, explanation: Explanation) -> None:
    axes.imshow(explanation.frame, cmap="gray" if explanation.frame.ndim == 2 else None, interpolation="nearest")
    axes.set_xlabel("column (px)")
    axes.set_ylabel("row (px)")
    examined = explanation.examination
    if examined is None:
        axes.set_title("not examined: " + "; ".join(limit.code for limit in explanation.limitations))
        return
    found = examined.evidence.found
    _outline(axes, examined.panels.contrast, CONTRAST, "contrast" if found else "examined for contrast")
    if examined.panels.bmode is not None:
        _outline(axes, examined.panels.bmode, BMODE, "B-mode")
    box = examined.panels.contrast
    overlay = np.zeros((*examined.furniture.shape, 4))
    overlay[examined.furniture] = MASKED
    axes.imshow(overlay, extent=(box.x0 - 0.5, box.x1 - 0.5, box.y1 - 0.5, box.y0 - 0.5), interpolation="nearest")
    axes.set_xlim(-0.5, explanation.description.columns - 0.5)
    axes.set_ylim(explanation.description.rows - 0.5, -0.5)
    said = f"{'Contrast found' if found else 'NO contrast found'}: {examined.evidence.reason}"
    method = f"panel by {examined.panels.method} (confidence {examined.panels.confidence:.2f}); red = masked, no echo"
    axes.set_title("\n".join((*textwrap.wrap(said, 110), *textwrap.wrap(method, 110))), fontsize=10, loc="left")


def _outline(axes: Any, box: Box, colour: str, name: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((box.x0 - 0.5, box.y0 - 0.5), box.columns, box.rows, fill=False, edgecolor=colour, linewidth=2)
    )
    # Above the panel: what is burned into its corner stays visible.
    placed = {"xy": (box.x0, box.y0), "xytext": (0, 7), "textcoords": "offset points"}
    axes.annotate(name, **placed, color=colour, va="bottom", fontsize=10, backgroundcolor="black")


def _show_colour(axes: Any, explanation: Explanation, examined: Examination) -> None:
    """The channels of the map over the level, and the panel's pixels of this frame at the level they were read as."""
    tint = examined.tint
    for channel, colour in enumerate(("red", "green", "blue")):
        axes.plot(np.arange(256), tint.curve[:, channel], color=colour, linewidth=1.5, label=f"map, {colour}")
    if explanation.frame.ndim == 3:
        inside = explanation.frame[examined.panels.contrast.slices][~examined.furniture]
        some = inside[:: max(len(inside) // 3000, 1)]
        level = tint.levels(some)
        for channel, colour in enumerate(("red", "green", "blue")):
            axes.plot(level, some[:, channel], ".", color=colour, markersize=2, alpha=0.25)
    axes.set_title(f"tint: {tint.name}, residual {tint.residual_levels:.1f} levels", fontsize=10)
    axes.set_xlabel("level")
    axes.set_ylabel("displayed value (dots: pixels of this frame)")
    axes.legend(fontsize=8, loc="upper left")


def _show_grey(axes: Any, explanation: Explanation, examined: Examination) -> None:
    """The level map, and how often this frame's panel shows each level: what stands at either end is not measured."""
    axes.plot(np.arange(256), examined.level_map.level_db, color="black")
    axes.set_title(f"grey to dB: {examined.level_map.compression}, from the {examined.level_map.source}", fontsize=10)
    axes.set_xlabel("level")
    axes.set_ylabel("echo level (dB, 0 = full scale)")
    axes.grid(alpha=0.3)
    inside = explanation.frame[examined.panels.contrast.slices][~examined.furniture]
    level = examined.tint.levels(inside) if explanation.frame.ndim == 3 else inside
    counted = axes.twinx()
    counted.bar(np.arange(256), np.bincount(level, minlength=256) / max(level.size, 1), 1.0, color="#888888", alpha=0.5)
    counted.set_ylabel("share of the panel's pixels (this frame)")
