"""Head and foot of every page: title, permitted use, where the numbers come from."""

from __future__ import annotations

from reports.findings import Findings
from reports.page import AMBER, BODY, HEIGHT_PX, MUTED, SMALL, TITLE, WIDTH_PX, Page
from reports.result_object import ResultContext


def draw_header(page: Page, title: str, subtitle: str, context: ResultContext) -> None:
    """Title, what it is about, and the line that says what it may be used for."""
    page.text(28, 20, title, fontsize=TITLE, fontweight="bold")
    page.text(28, 68, subtitle, color=MUTED, fontsize=BODY)
    lines = page.lines(context.disclaimer, 520, BODY)[:2]
    frame = {"boxstyle": "round,pad=0.55", "facecolor": "none", "edgecolor": AMBER, "linewidth": 1.4}
    page.text(
        WIDTH_PX - 38,
        38,
        "\n".join(lines),
        color=AMBER,
        fontsize=BODY,
        fontweight="bold",
        ha="right",
        va="center",
        bbox=frame,
    )


def draw_footer(page: Page, findings: Findings, context: ResultContext) -> None:
    """Where the numbers come from: source series, instance and frame; software and models by version."""
    page.rule(24, WIDTH_PX - 24, HEIGHT_PX - 50)
    source, frame = context.source.first, context.frame
    series = source.get("SeriesNumber")
    named = [
        "Source: series " + ("–" if series is None else str(series)),
        f"instance {source.get('InstanceNumber', '–')}",
        f"reference frame {context.reference_frame + 1} of {findings.source.frames}",
        f"SOP UID …{frame.sop_instance_uid[-16:]}",
    ]
    page.text(28, HEIGHT_PX - 39, " · ".join(named), color=MUTED, fontsize=SMALL)
    software = findings.software
    models = [f"{model.id} {model.version}" for model in findings.models]
    made_by = " · ".join([f"{software.name} {software.version}", f"profile {software.profile}", *models])
    page.text(WIDTH_PX - 28, HEIGHT_PX - 39, made_by, color=MUTED, fontsize=SMALL, ha="right")
