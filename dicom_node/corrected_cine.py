"""The displayed frames of the contrast panel, thinned out and moved onto the reference frame: for looking only."""

from __future__ import annotations

import numpy as np

from dicom_node.analysis import Analysis
from processing.motion import in_reference_frame
from reports.cine_capture import CineView

MOST_FRAMES = 200
"""A bolus of 60 s at 3.3 frames/s: the wash-in and every breath are still seen, and the panel's pixels stay below
150 MB while they are drawn."""
AT_ONCE = 16
"""Whole frames decoded before their panels are cut out."""


def corrected_cine(analysis: Analysis) -> CineView | None:
    """None where nothing was measured or the cine has no time base."""
    source, panels, motion = analysis.source, analysis.findings.source.contrast_panel, analysis.motion
    times_s = source.description.frame_times_s
    if motion is None or panels is None or times_s.size < 2:
        return None
    box = panels.contrast
    frames = np.arange(0, times_s.size, -(-times_s.size // MOST_FRAMES))
    pixels = np.empty((frames.size, box.rows, box.columns, 3), np.uint8)
    for first in range(0, frames.size, AT_ONCE):
        chosen = frames[first : first + AT_ONCE].tolist()
        for place, (frame, shown) in enumerate(zip(chosen, source.sample(chosen), strict=True), start=first):
            cut = shown[box.slices]
            channels = [cut] * 3 if cut.ndim == 2 else [cut[..., channel] for channel in range(3)]
            pixels[place] = np.stack([in_reference_frame(channel, motion, frame) for channel in channels], axis=-1)
    return CineView(pixels, times_s[frames].copy(), motion.rejected[frames].copy(), box)
