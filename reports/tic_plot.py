"""The time-intensity curves on a page: raw points, what was read from them, its instants, frames that were rejected."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from processing.tic import Tic
from reports.findings import Findings
from reports.page import AMBER, COLOURS, LINE, LINE_STYLES, MUTED, SMALL, SURFACE, TEXT, Area, Page, power_of_ten
from reports.pictures import Curve, PictureInputs

TIME_AXIS = {
    "bolus start": "Time after bolus start (s)",
    "event timer": "Time on the scanner's contrast timer (s)",
    "first frame": "Time after the first frame (s)",
}
REJECTED = "#6b7785"
NAMES = {"lesion": "Lesion", "reference": "Reference", "panel": "Whole contrast panel"}


def draw_curves(page: Page, area: Area, findings: Findings, inputs: PictureInputs) -> None:
    """Draw all curves of the acquisition into `area`."""
    axes = page.axes(area.inset(78, 26, 18, 62), facecolor=SURFACE)
    _dress(axes)
    peak = max((float(np.nanmax(tic.power_au)) for tic in inputs.tics), default=1.0) or 1.0
    exponent = 3 * math.floor(math.log10(peak) / 3) if peak < 0.1 or peak >= 1000 else 0
    scale = 10.0**-exponent
    for tic in inputs.tics:
        _draw_samples(axes, tic, scale)
    for curve in inputs.curves:
        _draw_curve(axes, curve, scale)
    _mark_rejected(axes, inputs.tics)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]), top=peak * scale * 1.25)
    if inputs.tics:
        axes.set_xlim(float(inputs.tics[0].time_s[0]), float(inputs.tics[0].time_s[-1]))
    _mark_instants(axes, findings)
    axes.set_xlabel(TIME_AXIS[findings.source.time_zero], color=TEXT, fontsize=SMALL, labelpad=6)
    axes.set_ylabel(
        f"Echo power, linear ({f'{power_of_ten(exponent)} a.u.'.strip()})", color=TEXT, fontsize=SMALL, labelpad=8
    )
    legend = axes.legend(
        loc="upper right",
        fontsize=SMALL,
        facecolor=SURFACE,
        edgecolor=LINE,
        labelcolor=TEXT,
        framealpha=0.85,
        markerscale=2.2,
    )
    legend.get_frame().set_linewidth(0.8)


def _dress(axes: Any) -> None:
    axes.grid(color=LINE, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=SMALL, length=4)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)


def _draw_samples(axes: Any, tic: Tic, scale: float) -> None:
    colour = COLOURS.get(tic.label, TEXT)
    kept = ~tic.rejected
    size = float(np.clip(900 / max(tic.time_s.size, 1), 5, 16))
    axes.scatter(
        tic.time_s[kept],
        tic.power_au[kept] * scale,
        s=size,
        color=colour,
        alpha=0.6,
        lw=0,
        marker="o" if tic.label != "reference" else "D",
        label=f"{NAMES.get(tic.label, tic.label)}, frames",
    )
    if tic.rejected.any():
        axes.scatter(
            tic.time_s[tic.rejected], tic.power_au[tic.rejected] * scale, s=26, color=REJECTED, lw=1.2, marker="x"
        )


def _draw_curve(axes: Any, curve: Curve, scale: float) -> None:
    from matplotlib.patheffects import withStroke

    axes.plot(
        curve.time_s,
        curve.power_au * scale,
        color=COLOURS[curve.label],
        lw=2.6,
        ls=LINE_STYLES[curve.label],
        label=f"{NAMES[curve.label]}, {curve.legend}",
        path_effects=[withStroke(linewidth=4.2, foreground=SURFACE)],
    )


def _mark_rejected(axes: Any, tics: tuple[Tic, ...]) -> None:
    """Grey bands over runs of rejected frames, each as wide as its frames."""
    if not tics:
        return
    rejected = np.any([tic.rejected for tic in tics], axis=0)
    times = tics[0].time_s
    if not rejected.any() or times.size < 2:
        return
    half = float(np.median(np.diff(times))) / 2
    edges = np.flatnonzero(np.diff(np.concatenate(([0], rejected.astype(np.int8), [0]))))
    for number, (start, stop) in enumerate(edges.reshape(-1, 2)):
        label = "Rejected frames" if number == 0 else None
        axes.axvspan(times[start] - half, times[stop - 1] + half, color=REJECTED, alpha=0.35, lw=0, label=label)


def _mark_instants(axes: Any, findings: Findings) -> None:
    """TI, t_p and TO of the first label that has them, as ticks on the curve's time axis."""
    for perfusion in findings.perfusion.by_label.values():
        metrics = perfusion.metrics
        arrival, peak, fall = metrics.arrival_time_s, metrics.time_to_peak_s, metrics.fall_time_s
        instants = [("TI", arrival.value if arrival else None), ("t_p", peak.value if peak else None)]
        instants.append(("TO", peak.value + fall.value if peak and fall else None))
        for name, time_s in instants:
            if time_s is not None and axes.get_xlim()[0] <= time_s <= axes.get_xlim()[1]:
                axes.axvline(time_s, color=AMBER, lw=1.2, ls=(0, (2, 3)), zorder=1)
                axes.annotate(
                    "$t_p$" if name == "t_p" else name,
                    (time_s, 1.0),
                    xycoords=("data", "axes fraction"),
                    xytext=(0, 3),
                    textcoords="offset points",
                    color=AMBER,
                    fontsize=SMALL,
                    ha="right" if name == "TI" else "left",
                    va="bottom",
                )
        return
