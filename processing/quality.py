"""How good the pixels of a taken cine are: saturation, floor, gain steps, flash; with the thresholds of the field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from processing.cine import Cine
from processing.limitations import Limitation
from processing.linearize import AMPLITUDES, RATIOS

SATURATION_WARNS = 0.002
SATURATION_UNRELIABLE = 0.01
"""0.9 % saturated pixels cost 12 % of PE, 3.8 % cost 34 % (docs/perfusion.md, linearisation)."""
FLOOR_WARNS = 0.5
"""With more than half of the panel at the lowest level even at the peak, the mean is made of what is not displayed."""
GAIN_STEP_DB = 1.0
"""Knobs turn in steps of 1 to 2 dB; breathing moves the panel mean by less from frame to frame."""
STEP_FRAMES = 5
"""Frames before and after that a jump is taken between."""
FLASH_DB = 6.0
"""A high-MI frame lifts the whole panel by more than any heart beat does."""


@dataclass(frozen=True)
class IntakeQuality:
    """saturated_fraction: largest share of saturated pixels in any frame (smoothed over 3). clipped_fraction: smallest
    share at the floor. gain_step_db: None = none found.
    """

    saturated_fraction: float
    clipped_fraction: float
    gain_step_db: float | None
    gain_step_frame: int | None
    flash_frames: tuple[int, ...]


def judge(
    frame_sums: NDArray[np.float64], cine: Cine, times_s: NDArray[np.float64]
) -> tuple[IntakeQuality, tuple[Limitation, ...]]:
    """Quality from (frame, 3): sum of power, floor pixels, saturated pixels over the valid ones."""
    share = frame_sums / max(int(cine.valid.sum()), 1)
    panel_db = 10.0 * np.log10(np.maximum(share[:, 0], 1e-12))
    flash = _flash_frames(panel_db)
    step_db, step_frame = _gain_step(panel_db, flash)
    if step_db is not None and step_frame is not None and not _lifts_everything(cine, step_frame, step_db):
        step_db = step_frame = None
    # A flash saturates for a frame or two and is rejected by itself: it must not decide here.
    calm = np.setdiff1d(np.arange(len(share)), np.array(flash, np.intp))
    quality = IntakeQuality(
        saturated_fraction=float(share[calm, 2].max(initial=0.0)),
        clipped_fraction=float(share[calm, 1].min(initial=1.0)),
        gain_step_db=step_db,
        gain_step_frame=step_frame,
        flash_frames=flash,
    )
    return quality, _limitations(quality, times_s)


def _flash_frames(panel_db: NDArray[np.float64]) -> tuple[int, ...]:
    """Frames that stand above the frames around them for less than half the window."""
    if panel_db.size < 9:
        return ()
    around = ndimage.median_filter(panel_db, size=9, mode="nearest")
    return tuple(int(i) for i in np.flatnonzero(panel_db - around >= FLASH_DB))


def _gain_step(panel_db: NDArray[np.float64], flash: tuple[int, ...]) -> tuple[float | None, int | None]:
    """The largest lasting jump of the panel mean between two frames that stands out of the frame-to-frame noise."""
    half = STEP_FRAMES
    if panel_db.size < 4 * half:
        return None, None
    curve = panel_db.copy()
    if flash:
        kept = np.setdiff1d(np.arange(curve.size), np.array(flash))
        curve = np.interp(np.arange(curve.size), kept, curve[kept])
    places = np.arange(half, curve.size - half)
    before = np.array([np.median(curve[i - half : i]) for i in places])
    after = np.array([np.median(curve[i : i + half]) for i in places])
    jump = after - before
    single = curve[places] - curve[places - 1]
    noise = 1.4826 * float(np.median(np.abs(np.diff(curve)))) + 1e-9
    # The jump happens in one frame; a fast wash-in takes many.
    lasting = (np.abs(single) >= 0.7 * np.abs(jump)) & (np.abs(jump) >= GAIN_STEP_DB) & (np.abs(single) >= 6.0 * noise)
    if not lasting.any():
        return None, None
    best = int(np.argmax(np.where(lasting, np.abs(jump), 0.0)))
    return float(jump[best]), int(places[best])


def _lifts_everything(cine: Cine, frame: int, step_db: float) -> bool:
    """Whether the typical pixel that stood above the floor jumped too: a bubble that enters an empty panel lifts the
    mean as a knob does, but few pixels."""
    before, after = cine.contrast[frame - STEP_FRAMES : frame], cine.contrast[frame : frame + STEP_FRAMES]
    then, now = (frames.mean(axis=0)[cine.valid] for frames in (before, after))
    seen = then > 2.0 * cine.floor_au
    if not seen.any():
        return False
    typical_db = 10.0 * np.log10(np.median(np.maximum(now[seen], cine.floor_au) / then[seen]))
    return bool(typical_db / step_db >= 0.5)


def _limitations(quality: IntakeQuality, times_s: NDArray[np.float64]) -> tuple[Limitation, ...]:
    found: list[Limitation] = []
    percent = 100 * quality.saturated_fraction
    if quality.saturated_fraction > SATURATION_UNRELIABLE:
        said = f"up to {percent:.1f} % of the panel is saturated: amplitudes are unreliable (lower the gain)"
        found.append(Limitation("saturated", said, "degraded", (*AMPLITUDES, *RATIOS)))
    elif quality.saturated_fraction > SATURATION_WARNS:
        said = f"up to {percent:.1f} % of the panel is saturated: amplitudes are slightly low"
        found.append(Limitation("saturated", said, "note", AMPLITUDES))
    if quality.clipped_fraction > FLOOR_WARNS:
        said = f"at least {100 * quality.clipped_fraction:.0f} % of the panel stays at the lowest displayed level"
        found.append(Limitation("clipped", said, "note", AMPLITUDES))
    if quality.gain_step_db is not None and quality.gain_step_frame is not None:
        said = (
            f"the panel jumped by {quality.gain_step_db:+.1f} dB at {times_s[quality.gain_step_frame]:.1f} s: the "
            "gain or the mechanical index was changed, so amplitudes before and after do not compare"
        )
        found.append(Limitation("gain_step", said, "degraded", (*AMPLITUDES, *RATIOS)))
    if quality.flash_frames:
        said = f"{len(quality.flash_frames)} frames flash (first at {times_s[quality.flash_frames[0]]:.1f} s)"
        found.append(Limitation("flash", said, "note", ()))
    return tuple(found)
