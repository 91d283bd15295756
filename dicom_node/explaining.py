"""`ceus-node process --explain`: what is decided for each cine and why, with a picture.

No result is written. Where the cine shows contrast its bubbles are followed over the whole panel, and what the links
look like is said, so that a site can set the gates of super-resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from dicom_node.cine_reader import open_cine
from dicom_node.config import Settings
from dicom_node.errors import ConfigurationError, UnreadableCineError
from dicom_node.site_profiles import match_profile
from dicom_node.super_resolution_stage import rest_of
from processing.errors import UnfitCineError
from processing.explanation import Explanation, explain
from processing.intake import Examination, examine, take_cine
from processing.linking_gates import linking_gates
from processing.motion import apply_motion, estimate_motion
from processing.roi import panel_roi
from processing.super_resolution import super_resolve
from reports.explanation_picture import explanation_png


def explain_paths(settings: Settings, paths: Sequence[Path], out: Path, console: Console) -> bool:
    """Explain every file below the paths; say whether any of them was refused. Pictures go to `out`.

    Raises ConfigurationError where a path does not exist.
    """
    refused = False
    for path in paths:
        if not path.exists():
            raise ConfigurationError(f"{path} does not exist")
        for file in sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]:
            refused |= not _explain_file(settings, file, out, console)
    return refused


def explain_cine(settings: Settings, file: Path) -> Explanation:
    """The decisions for one file. Raises UnreadableCineError where it is no cine."""
    cine = open_cine(file)
    profile, profile_limits = match_profile(settings, cine.facts)
    frame = cine.sample([cine.description.frames // 2])[0]
    known = (*cine.limitations, *profile_limits)
    try:
        examination = examine(cine, profile, agent_recorded=bool(cine.facts.agent))
    except UnfitCineError as error:
        return explain(cine.description, profile, None, (*known, error.limitation), frame)
    return explain(cine.description, profile, examination, known, frame)


def linking_lines(file: Path, examination: Examination | None) -> tuple[str, ...]:
    """Histograms of distance and gaps of the links in the whole panel, or why there are none; () without contrast."""
    if examination is None or not examination.evidence.found:
        return ()
    cine = take_cine(open_cine(file), examination, np.empty).cine
    motion = estimate_motion(cine)
    cine = apply_motion(cine, motion)
    result = super_resolve(cine, panel_roi(cine.valid), rest_of(motion))
    if result.tracks is None:
        return (str(result.reason),)
    return linking_gates(result.localizations, result.tracks, 1.0 / cine.frame_rate_hz).lines()


def _explain_file(settings: Settings, file: Path, out: Path, console: Console) -> bool:
    console.print(f"[bold]{escape(file.name)}[/]")
    try:
        explanation = explain_cine(settings, file)
    except UnreadableCineError as error:
        console.print(f"  [red]refused[/]  {error.code}: {escape(str(error))}", highlight=False, soft_wrap=True)
        return False
    for topic, decision in explanation.lines():
        console.print(f"  {topic:15s}{escape(decision)}", highlight=False, soft_wrap=True)
    for line in linking_lines(file, explanation.examination):
        console.print(f"  {'links':15s}{escape(line)}", highlight=False, soft_wrap=True)
    picture = out / f"{file.stem}.explained.png"
    picture.write_bytes(explanation_png(explanation))
    console.print(f"  {'picture':15s}{escape(str(picture))}", highlight=False, soft_wrap=True)
    return explanation.examination is not None and explanation.examination.evidence.found
