"""From a frame source to a linear cine: look at a few dozen frames, decide, then take every frame once.

`examine` decides where contrast is drawn, how level is read from it and whether it is contrast at all; `take_cine`
streams all frames through one table look-up a pixel into the only full-size array there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy import ndimage

from processing.cine import Box, Cine, CineDescription, DisplayProfile, FrameSource, LevelMap, Panels, Spacing
from processing.colour import DECLARED, Tint, cloud_of, find_tint, grey_tint
from processing.colour_bar import find_colour_bars
from processing.errors import UnfitCineError
from processing.evidence import Candidate, ContrastEvidence, contrast_evidence
from processing.frozen_arrays import frozen_array
from processing.furniture import STILL_LEVELS, change, scanned
from processing.kernels.levels import linearise
from processing.limitations import Limitation
from processing.linearize import AMPLITUDES, GREY_LEVELS, RATIOS, level_map, power_table, without_coding_bias
from processing.panels import doubtful, find_panels
from processing.projection import LUMA_WEIGHTS, luma
from processing.quality import IntakeQuality, judge

SAMPLES = (48, 96)
"""About one a second; 96 frames of 800x600 RGB are 138 MB, freed before the cine is taken."""
ARRIVAL_AFFECTS = ("AT", "TTP", "RT", "WiR", "WiAUC", "WiWoAUC", "WiPI", "PE", "AUC", "mTT", "mTTl")
TIME_AFFECTS = ("perfusion", "super_resolution")
NOISE_FRAMES = 6
LIT_LUMA = (25, 250)
"""Between the floor and full scale: where the image is clipped, coding changes less."""
NOTHING_DECLARED = DisplayProfile()

Allocate = Callable[[tuple[int, ...], DTypeLike], NDArray[Any]]


def _unwatched(_block: NDArray[Any]) -> None:
    """Nobody looks while frames are decoded."""


@dataclass(frozen=True)
class Watch:
    """Who is shown each block of frames (frame, z, x), in order, while later ones are still being decoded.

    bmode: uint8, the B-mode panel where there is one. contrast: float32, linear power.
    """

    bmode: Callable[[NDArray[np.uint8]], None] = _unwatched
    contrast: Callable[[NDArray[np.float32]], None] = _unwatched


NOBODY = Watch()


@dataclass(frozen=True, eq=False)
class Examination:
    """What was decided for a cine from sampled frames. furniture: bool (z, x) of the contrast panel, True = no echo."""

    panels: Panels
    furniture: NDArray[np.bool_]
    tint: Tint
    level_map: LevelMap
    spacing_mm: Spacing | None
    evidence: ContrastEvidence
    limitations: tuple[Limitation, ...]
    coding_noise_levels: float = 0.0
    """Rms change of the luma by lossy coding; 0 where nothing is lossy or the coder cannot be run again."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "furniture", frozen_array("furniture", self.furniture, np.bool_, 2))


@dataclass(frozen=True, eq=False)
class Intake:
    """The linear cine, how good its pixels are, and what follows from that."""

    cine: Cine
    quality: IntakeQuality
    limitations: tuple[Limitation, ...]


@runtime_checkable
class LumaSource(Protocol):
    """A frame source that can leave chroma out: more exact where chroma is lossy, and half the work."""

    def luma(self) -> FrameSource: ...


@runtime_checkable
class RecodableSource(Protocol):
    """A frame source that can pass frames once more through their own lossy coder."""

    def coded_again(self, frames: Sequence[int]) -> NDArray[np.uint8] | None:
        """Luma (len(frames), row, column) after one more pass, its blocks shifted; None where there is no coder."""
        ...


def examine(
    source: FrameSource, profile: DisplayProfile = NOTHING_DECLARED, agent_recorded: bool = False
) -> Examination:
    """Decide panels, tint, level map and contrast from 48 to 96 frames.

    `agent_recorded`: the header names a contrast agent; alone it proves nothing.

    Raises UnfitCineError: still, no_time_base, no_echo.
    """
    described = source.description
    _check_is_cine(described)
    chosen = sample_frames(described.frames, _sample_count(described))
    frames = source.sample(chosen.tolist())
    exact = _luma_of(source)
    grey = exact.sample(chosen.tolist()) if exact else luma(frames, described.colour)
    panels = _panels(described, frames, grey, profile)
    inside = (slice(None), *panels.contrast.slices)
    changes = change(grey[inside])
    valid = scanned(changes, np.median(grey[inside], axis=0).astype(np.uint8))
    declared = None if profile.colour_map is None else np.array(profile.colour_map, np.uint8)
    tint = _tint(described, frames, grey, panels.contrast, valid, declared)
    levels_db, limitations = level_map(described.regions, panels.contrast, profile)
    levels = tint.levels(frames[inside]) if described.colour else grey[inside]
    power = power_table(np.arange(GREY_LEVELS, dtype=np.float32), levels_db).astype(np.float64)
    candidate = Candidate(
        levels=levels,
        twin=None if panels.bmode is None else grey[(slice(None), *panels.bmode.slices)],
        times_s=described.frame_times_s[chosen],
        power_of_level=power,
        valid=valid,
        overlay_fraction=tint.overlay_fraction,
        announced=agent_recorded or described.time_zero.kind != "first frame",
    )
    evidence = contrast_evidence(candidate)
    return Examination(
        panels=panels,
        furniture=~valid,
        tint=tint,
        level_map=levels_db,
        spacing_mm=_spacing_mm(described, panels.contrast),
        evidence=evidence,
        limitations=(*limitations, *_unknown_tint(tint, declared), *doubtful(panels), *_no_arrival(evidence)),
        coding_noise_levels=_coding_noise(source, chosen, grey, panels.contrast, valid),
    )


def sample_frames(frames: int, count: int = SAMPLES[0]) -> NDArray[np.intp]:
    """Frames spread over the clip, one a stratum at a golden-ratio place, so that no heart beat is followed in step."""
    if frames <= count:
        return np.arange(frames)
    places = (np.arange(count) * 0.6180339887498949) % 1.0
    chosen = ((np.arange(count) + places) * frames / count).astype(np.intp)
    chosen[0], chosen[-1] = 0, frames - 1
    return chosen


def _sample_count(described: CineDescription) -> int:
    return int(np.clip(np.ptp(described.frame_times_s), *SAMPLES))


def bmode_frames(source: FrameSource, examination: Examination, frames: list[int]) -> NDArray[np.uint8] | None:
    """The B-mode panel of a few frames (frame, z, x), as `take_cine` will read it; None where there is none."""
    if examination.panels.bmode is None:
        return None
    pixels = _read_from(source, examination).sample(frames)[(slice(None), *examination.panels.bmode.slices)]
    return luma(pixels, pixels.ndim == 4)


def take_cine(
    source: FrameSource, examination: Examination, allocate: Allocate = np.empty, watch: Watch = NOBODY
) -> Intake:
    """Decode every frame once into the linear panel (float32) and, where there is one, the B-mode panel (uint8).

    `allocate(shape, dtype)` gives the two large arrays: the caller maps them to a file where they are too large.
    `watch` is shown both panels as they come.
    Raises UnfitCineError (incomplete) when the source yields fewer frames than it described.
    """
    described, panels = source.description, examination.panels
    contrast = np.asarray(allocate((described.frames, panels.contrast.rows, panels.contrast.columns), np.float32))
    bmode = None
    if panels.bmode is not None:
        bmode = np.asarray(allocate((described.frames, panels.bmode.rows, panels.bmode.columns), np.uint8))
    table = linear_levels(examination)
    taken = _stream(_read_from(source, examination), examination, table, _Into(contrast, bmode, watch))
    cine = Cine(
        contrast=contrast,
        valid=~examination.furniture,
        saturated=taken.saturated,
        floor_au=float(table[0]),
        frame_times_s=described.frame_times_s,
        time_zero=described.time_zero,
        spacing_mm=examination.spacing_mm,
        origin_px=(panels.contrast.y0, panels.contrast.x0),
        bmode=bmode,
    )
    quality, limitations = judge(taken.frame_sums, cine, described.frame_times_s)
    return Intake(cine, quality, limitations)


def linear_levels(examination: Examination) -> NDArray[np.float32]:
    """Linear power of each displayed level, float32; the first is the floor."""
    table = power_table(examination.tint.level_of, examination.level_map)
    return without_coding_bias(table, examination.coding_noise_levels)


@dataclass(frozen=True, eq=False)
class _Into:
    """Where frames go: the two large arrays, and who watches."""

    contrast: NDArray[np.float32]
    bmode: NDArray[np.uint8] | None
    watch: Watch


@dataclass(frozen=True, eq=False)
class _Taken:
    saturated: NDArray[np.uint32]
    frame_sums: NDArray[np.float64]


def _stream(source: FrameSource, examination: Examination, table: NDArray[np.float32], into: _Into) -> _Taken:
    contrast, bmode = into.contrast, into.bmode
    saturated = np.zeros(contrast.shape[1:], np.uint32)
    sums = np.zeros((len(contrast), 3))
    weights = np.array(examination.tint.weights, np.int32)
    level = examination.tint.level_of
    # Half a level from either end: what is drawn there stands for everything beyond it, too.
    limits = np.array([np.flatnonzero(level <= 0.5).max(initial=-1), np.searchsorted(level, 254.5)], np.int32)
    valid = ~examination.furniture
    done = 0
    for block in source.blocks():
        pixels = block.pixels[(slice(None), *examination.panels.contrast.slices)]
        part = slice(block.first_frame, block.first_frame + len(pixels))
        channels = pixels if pixels.ndim == 4 else pixels[..., None]
        linearise(channels, weights, table, limits, valid, contrast[part], saturated, sums[part])
        if bmode is not None and examination.panels.bmode is not None:
            twin = block.pixels[(slice(None), *examination.panels.bmode.slices)]
            bmode[part] = luma(twin, pixels.ndim == 4)
            into.watch.bmode(bmode[part])
        into.watch.contrast(contrast[part])
        done += len(pixels)
    if done != len(contrast):
        raise UnfitCineError(
            Limitation(
                "incomplete", f"only {done} of {len(contrast)} frames could be decoded: send the clip again", "refused"
            )
        )
    return _Taken(saturated, sums)


def _read_from(source: FrameSource, examination: Examination) -> FrameSource:
    """The luma of a lossy colour source where the tint is read off luma, else the source itself."""
    exact = _luma_of(source) if examination.tint.weights == LUMA_WEIGHTS else None
    return exact or source


def _luma_of(source: FrameSource) -> FrameSource | None:
    """The luma of a lossy colour source, where it offers one."""
    wanted = source.description.lossy and source.description.colour
    return source.luma() if wanted and isinstance(source, LumaSource) else None


def _coding_noise(
    source: FrameSource, chosen: NDArray[np.intp], grey: NDArray[np.uint8], box: Box, valid: NDArray[np.bool_]
) -> float:
    """Rms change of the luma by one more pass through the coder, on the brightest of the sampled frames.

    What a second pass does is what the first did: within 3 % on simulated speckle, JPEG at q90 and q95.
    """
    if not (source.description.lossy and isinstance(source, RecodableSource)):
        return 0.0
    inside = (slice(None), *box.slices)
    brightest = np.argsort([float(frame[valid].mean()) for frame in grey[inside]])[-NOISE_FRAMES:]
    again = source.coded_again(chosen[brightest].tolist())
    if again is None:
        return 0.0
    once = grey[inside][brightest]
    lit = valid & (once >= LIT_LUMA[0]) & (once <= LIT_LUMA[1])
    moved = again[inside][lit].astype(np.float64) - once[lit]
    return float(np.sqrt(np.mean(moved**2))) if moved.size else 0.0


def _check_is_cine(described: CineDescription) -> None:
    if described.frames < 2:
        raise UnfitCineError(
            Limitation(
                "still", "this is a still image: perfusion needs a loop", "refused", ("perfusion", "super_resolution")
            )
        )
    if described.frame_times_source == "none":
        raise UnfitCineError(
            Limitation(
                "no_time_base",
                "no usable frame times are stored: nothing that needs time can be measured",
                "refused",
                TIME_AFFECTS,
            )
        )


def _panels(
    described: CineDescription, frames: NDArray[np.uint8], grey: NDArray[np.uint8], profile: DisplayProfile
) -> Panels:
    panels = find_panels(described, frames, grey, profile)
    if panels is None:
        said = "nothing in this clip changes from frame to frame: no ultrasound image was found"
        raise UnfitCineError(Limitation("no_echo", said, "refused"))
    return panels


def _tint(
    described: CineDescription,
    frames: NDArray[np.uint8],
    grey: NDArray[np.uint8],
    box: Box,
    valid: NDArray[np.bool_],
    declared: NDArray[np.uint8] | None,
) -> Tint:
    if not described.colour:
        return grey_tint()
    middle = len(frames) // 2
    bars = find_colour_bars(frames[middle], grey[middle], change(grey) <= STILL_LEVELS, described.lossy)
    # The rim may show the neighbour: a panel's edge is known to a pixel or two, and compression smears it.
    inner = ndimage.binary_erosion(valid, iterations=3, border_value=0)
    inner = inner if inner.any() else valid
    inside = (slice(None), *box.slices)
    return find_tint(cloud_of(frames[inside], grey[inside], inner, described.lossy), bars, declared)


def _unknown_tint(tint: Tint, declared: NDArray[np.uint8] | None) -> tuple[Limitation, ...]:
    if tint.known and declared is not None and DECLARED not in tint.name:
        said = f"the panel is not drawn with the colour map that its profile declares: {tint.name} was read instead"
        return (Limitation("tint_not_as_declared", said, "degraded", AMPLITUDES),)
    if tint.known:
        return ()
    said = (
        f"the colour map of the contrast panel is not known (the nearest differs by {tint.residual_levels:.0f} levels, "
        "no colour bar): luma keeps the order of levels only, so amplitudes are withheld"
    )
    return (Limitation("tint_unknown", said, "refused", (*AMPLITUDES, *RATIOS)),)


def _no_arrival(evidence: ContrastEvidence) -> tuple[Limitation, ...]:
    if not evidence.found or evidence.before_contrast:
        return ()
    said = "the loop shows contrast from its first frame on: its arrival and its baseline are not recorded"
    return (Limitation("no_pre_contrast", said, "refused", ARRIVAL_AFFECTS),)


def _spacing_mm(described: CineDescription, contrast: Box) -> Spacing | None:
    """Spacing of the region that covers most of the contrast panel, at least half of it."""
    best, spacing = 0.5 * contrast.rows * contrast.columns, None
    for region in described.regions:
        width = min(region.box.x1, contrast.x1) - max(region.box.x0, contrast.x0)
        height = min(region.box.y1, contrast.y1) - max(region.box.y0, contrast.y0)
        if min(width, height) > 0 and width * height >= best:
            best, spacing = float(width * height), region.spacing_mm
    return spacing
