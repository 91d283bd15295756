"""From a whole loop to localizations, block by block: amplitude, motion, clutter, calibration, localization.

Memory: one block (at most 450 frames) as float32. Blocks are independent, so a loop can be localized while it arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from processing.bubbles import Localizations, no_localizations
from processing.cine import Cine, Spacing
from processing.clutter import ClutterParameters, block_starts, filter_block
from processing.errors import InvalidValueError
from processing.explained_echo import explained_share
from processing.kernels.jit import side_by_side
from processing.localize import Calibration, LocalizationParameters, calibrate, localize
from processing.point_spread import PointSpread

FWHM = 2.3548
"""Full width at half maximum of a Gaussian over its sigma."""


@dataclass(frozen=True, eq=False)
class FrameMotion:
    """Rigid motion of the tissue. displacement_px: float (frame, 2), (z, x) away from the reference frame.

    rejected: bool (frame,), frames that no localization may come from.
    """

    displacement_px: NDArray[np.floating]
    rejected: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.displacement_px.shape != (self.rejected.size, 2) or not np.isfinite(self.displacement_px).all():
            raise InvalidValueError("displacement_px must be finite, (frame, 2), with one `rejected` a frame")


def no_motion(frames: int) -> FrameMotion:
    """Nothing moved, nothing rejected."""
    return FrameMotion(np.zeros((frames, 2)), np.zeros(frames, dtype=np.bool_))


@dataclass(frozen=True)
class Progress:
    """How far localization has come; `provisional` are the localizations so far."""

    frames_done: int
    frames: int
    provisional: Localizations

    @property
    def localizations(self) -> int:
        """How many were found so far."""
        return len(self.provisional)


@dataclass(frozen=True)
class BubbleParameters:
    """Parameters of the way from power to localizations.

    faintest_share: of the median amplitude in a block; what is fainter is no bubble, whatever it stands above: 26 dB
    lie below all of a population (log-normal, spread 0.3 to 1), and above the noise where bubbles are bright.
    hopeless_snr_db, hopeless_coverage: a block whose sample is fainter than this, or whose bubble images cover more of
    the panel, is not localized: 3 dB and four times beyond what super-resolution needs (`processing.suitability`).
    """

    clutter: ClutterParameters = field(default_factory=ClutterParameters)
    localization: LocalizationParameters = field(default_factory=LocalizationParameters)
    faintest_share: float = 0.05
    hopeless_snr_db: float = 7.0
    hopeless_coverage: float = 0.2


@dataclass(frozen=True, eq=False)
class Bubbles:
    """Localizations of a loop and what was measured on the way.

    fwhm_mm: PSF (z, x), median over depth. calibrated_on: clear bubbles the PSF was measured on, 0 = none stood out.
    snr_db: median amplitude over pixel noise. clutter_rank: vectors taken out of each block. saturated_share: bubbles
    whose peak pixel stood at full scale. hopeless: float64 (frame,), coverage in the sample of blocks that were not
    localized (infinite: too faint), NaN where bubbles were looked for. explained: float64 (frame,), share of the clear
    echo that the bubbles explain, NaN where they were not looked for.
    """

    localizations: Localizations
    fwhm_mm: tuple[float, float]
    calibrated_on: int
    snr_db: float
    clutter_rank: tuple[int, ...]
    saturated_share: float
    hopeless: NDArray[np.float64]
    explained: NDArray[np.float64]


def localize_loop(
    cine: Cine,
    inside: NDArray[np.bool_],
    motion: FrameMotion,
    parameters: BubbleParameters,
    progress: Callable[[Progress], None] | None = None,
) -> Bubbles:
    """Localize the bubbles of `cine` whose motion-corrected position lies in the mask `inside` (z, x)."""
    spacing = cine.spacing_mm
    if spacing is None:
        raise InvalidValueError("localizations are lengths: the cine has no pixel spacing")
    starts = block_starts(len(cine.contrast), parameters.clutter)
    found, ranks, calibrations, saturated = [no_localizations()], [], [], 0.0
    hopeless, explained = np.full((2, len(cine.contrast)), np.nan)
    start: PointSpread | None = None
    floor = float(np.sqrt(cine.floor_au))
    # One block's memory serves all: asking the system for it anew costs as much as filling it.
    memory = np.empty((max(np.diff(starts)), *cine.valid.shape), np.float32)
    for first, last in pairwise(starts):
        block = aligned_amplitude(cine, slice(first, last), motion, memory[: last - first])
        block, rank = filter_block(block, cine.frame_rate_hz, parameters.clutter)
        calibration = calibrate(block, parameters.localization, floor, start)
        start = calibration.spread if calibration.spread.spots else start
        ranks.append(rank)
        calibrations.append(calibration)
        hopeless[first:last] = without_hope(calibration, parameters)
        if np.isnan(hopeless[first]):
            here = localize(block, spacing, calibration, parameters.localization, first)
            explained[first:last] = explained_share(block, here, first, spacing, calibration)
            here = without_faint(here, parameters)
            seen = was_seen(here, motion, cine.valid.shape, spacing, calibration.spread.half_px)
            here = corrected(here.part(seen), motion, spacing)
            here = here.part(within(here, inside, spacing) & ~motion.rejected[here.frame])
            saturated += peaks_at_full_scale(here, cine, motion, spacing)
            found.append(here)
        if progress is not None:
            progress(Progress(last, len(cine.contrast), joined(found)))
    every = joined(found)
    summary = measured(every, calibrations, spacing, tuple(ranks), saturated / max(len(every), 1))
    return replace(summary, hopeless=hopeless, explained=explained)


def without_faint(found: Localizations, parameters: BubbleParameters) -> Localizations:
    """Localizations of a block that are as bright as bubbles."""
    if not len(found):
        return found
    return found.part(found.amplitude_au >= parameters.faintest_share * np.median(found.amplitude_au))


def without_hope(calibration: Calibration, parameters: BubbleParameters) -> float:
    """Coverage where the sample of a block shows that single bubbles cannot be told, infinite where they are too faint
    for that; NaN where they may be."""
    sigma_z, sigma_x = np.median(calibration.spread.sigma_px, axis=0)
    pixels = calibration.threshold_au.size
    coverage = calibration.bubbles_per_frame * np.pi / 4 * FWHM**2 * sigma_z * sigma_x / pixels
    if calibration.snr_db < parameters.hopeless_snr_db:
        return float("inf")
    return float(coverage) if coverage > parameters.hopeless_coverage else float("nan")


def joined(parts: list[Localizations]) -> Localizations:
    """Localizations of successive blocks in one."""
    return Localizations(*(
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("frame", "z_mm", "x_mm", "amplitude_au", "sigma_mm")
    ))  # fmt: skip


def measured(
    every: Localizations, calibrations: list[Calibration], spacing: Spacing, ranks: tuple[int, ...], saturated: float
) -> Bubbles:
    """Summary over the blocks; the PSF is the median of the blocks in which bubbles stood out."""
    clear = [c for c in calibrations if c.spread.spots] or calibrations
    sigma = np.median([np.median(c.spread.sigma_px, axis=0) for c in clear], axis=0)
    noise = np.array([c.spread.noise_au for c in clear])
    noise = noise[np.isfinite(noise)]
    if len(every) and len(noise):
        snr = 20 * np.log10(np.median(every.amplitude_au) / np.median(noise))
    else:
        snr = max((c.snr_db for c in calibrations if np.isfinite(c.snr_db)), default=-np.inf)
    return Bubbles(
        localizations=every,
        fwhm_mm=(float(FWHM * sigma[0] * spacing.z_mm), float(FWHM * sigma[1] * spacing.x_mm)),
        calibrated_on=sum(c.spread.spots for c in calibrations),
        snr_db=float(snr),
        clutter_rank=ranks,
        saturated_share=saturated,
        hopeless=np.empty(0),
        explained=np.empty(0),
    )


def aligned_amplitude(
    cine: Cine, frames: slice, motion: FrameMotion, block: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Fill `block` with the linear amplitude of these frames, each moved back by whole pixels; what is left is taken
    from the positions.

    Interpolating would blur the bubbles and colour the noise; a whole-pixel shift keeps both, and moves a static
    pattern by less than one pixel, which a few more clutter vectors hold. Pixels without data get the floor.
    """
    floor, unknown = np.float32(np.sqrt(cine.floor_au)), ~cine.valid
    power, shifts = cine.contrast[frames], whole_pixels(motion)[frames].tolist()

    def fill(index: int) -> None:
        """One frame, through all steps while it lies in the cache."""
        frame = block[index]
        np.maximum(power[index], 0, out=frame)
        # A maximum hands NaN on: what is finite at its largest is finite everywhere, and is not looked at again.
        if not np.isfinite(frame.max()):
            np.nan_to_num(frame, copy=False, nan=float(cine.floor_au), posinf=1.0)
        np.sqrt(frame, out=frame)
        frame[unknown] = floor
        dz, dx = shifts[index]
        if dz or dx:
            frame[:] = shifted(frame, dz, dx)

    side_by_side(fill, range(len(block)))
    return block


def whole_pixels(motion: FrameMotion) -> NDArray[np.int64]:
    """Displacement rounded to pixels, (frame, 2)."""
    return np.round(motion.displacement_px).astype(np.int64)


def shifted(frame: NDArray[np.float32], dz: int, dx: int) -> NDArray[np.float32]:
    """frame[z + dz, x + dx] at (z, x); where that lies outside the frame stays as it is, noise among noise."""
    out = frame.copy()
    rows, columns = frame.shape
    if abs(dz) < rows and abs(dx) < columns:
        out[max(-dz, 0) : rows - max(dz, 0), max(-dx, 0) : columns - max(dx, 0)] = frame[
            max(dz, 0) : rows - max(-dz, 0), max(dx, 0) : columns - max(-dx, 0)
        ]
    return out


def corrected(found: Localizations, motion: FrameMotion, spacing: Spacing) -> Localizations:
    """Positions with the sub-pixel part of the displacement taken out as well."""
    rest = (motion.displacement_px - whole_pixels(motion))[found.frame]
    z, x = found.z_mm - rest[:, 0] * spacing.z_mm, found.x_mm - rest[:, 1] * spacing.x_mm
    return Localizations(found.frame, z, x, found.amplitude_au, found.sigma_mm)


def nearest_pixel(
    found: Localizations, shape: tuple[int, ...], spacing: Spacing, offset_px: NDArray[np.floating] | float = 0.0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixel (z, x) of each localization, moved by an offset (localization, 2) in pixels."""
    offset = np.broadcast_to(offset_px, (len(found), 2))
    z = np.clip(np.round(found.z_mm / spacing.z_mm + offset[:, 0]), 0, shape[0] - 1).astype(np.int64)
    x = np.clip(np.round(found.x_mm / spacing.x_mm + offset[:, 1]), 0, shape[1] - 1).astype(np.int64)
    return z, x


def within(found: Localizations, inside: NDArray[np.bool_], spacing: Spacing) -> NDArray[np.bool_]:
    """Whether each localization lies in a mask of the panel."""
    return np.asarray(inside[nearest_pixel(found, inside.shape, spacing)])


def was_seen(
    found: Localizations, motion: FrameMotion, shape: tuple[int, ...], spacing: Spacing, margin_px: tuple[int, int]
) -> NDArray[np.bool_]:
    """Whether the window of each localization in a shifted frame lay in the frame: what stands in for the rest shows
    the bubbles of the edge a second time, where they are not, and makes half bubbles where the two meet."""
    seen = np.ones(len(found), dtype=np.bool_)
    for axis, (at_mm, step_mm) in enumerate(((found.z_mm, spacing.z_mm), (found.x_mm, spacing.x_mm))):
        whole = whole_pixels(motion)[found.frame, axis]
        place = at_mm / step_mm + whole
        seen &= (whole <= 0) | (place <= shape[axis] - 1 - margin_px[axis])
        seen &= (whole >= 0) | (place >= margin_px[axis])
    return seen


def peaks_at_full_scale(found: Localizations, cine: Cine, motion: FrameMotion, spacing: Spacing) -> float:
    """How many localizations stand on a saturated pixel of the displayed frame."""
    z, x = nearest_pixel(found, cine.valid.shape, spacing, motion.displacement_px[found.frame])
    return float((cine.contrast[found.frame, z, x] >= 1.0).sum())


def safe_inside(cine: Cine, roi: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The ROI without furniture and its immediate surroundings, whose edges would pass for bubbles."""
    burned = binary_dilation(~cine.valid, iterations=2) if not cine.valid.all() else ~cine.valid
    return np.asarray(roi & ~burned)
