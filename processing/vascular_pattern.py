"""Dynamic vascular pattern: in one image, how every part of a lesion differs from the reference over the whole bolus.

Rognin 2010 (IEEE TUFFC 57:2503): the signature is the part's curve minus the reference's; its lobes above and below a
dead band give four classes. Here the curves are of areas of several speckles, with their pre-contrast level taken off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from processing.cine import Cine
from processing.curve_outline import outline_curve
from processing.errors import UnfitCineError
from processing.limitations import Limitation
from processing.map_samples import frame_bins, nearest, sample_grid, sampled_power
from processing.roi import Roi
from processing.speckle_size import speckle_cell_px
from processing.tic import Tic

CLASSES = ("hyper", "hypo", "hyper-then-hypo", "hypo-then-hyper")
"""Values 1 to 4 of `VascularPattern.classes`; 0 is "iso" (within the dead band throughout)."""


@dataclass(frozen=True)
class PatternParameters:
    """dead_band: of the reference's peak enhancement (domain knowledge, docs/perfusion.md). smoothing_s, speckles:
    36 speckles over 4 s leave 2.6 % of noise at 10 fps, 4 % at 4 fps, inside the band. lasting_s: a lobe shorter than
    this is noise. most_frames: bins over the clip."""

    dead_band: float = 0.10
    speckles: float = 36.0
    smoothing_s: float = 4.0
    lasting_s: float = 2.0
    most_frames: int = 300


@dataclass(frozen=True, eq=False)
class VascularPattern:
    """classes: uint8 (z, x), index into CLASSES plus 1, 0 outside the lesion and where nothing differs. fractions: of
    the lesion's samples, by class and "iso". dominant: the most frequent of them.
    resolution_px: edge (z, x) of the area that one sample averages."""

    classes: NDArray[np.uint8]
    fractions: dict[str, float]
    dominant: str
    resolution_px: tuple[int, int]


DEFAULTS = PatternParameters()


def dynamic_vascular_pattern(
    cine: Cine, lesion: Roi, reference: Tic, parameters: PatternParameters = DEFAULTS
) -> VascularPattern:
    """Classes of the lesion against the reference's curve; frames that `reference` rejects are left out.

    Raises UnfitCineError (limitation `no_pattern`) where the reference does not enhance or the clip is too short.
    """
    kept = ~reference.rejected
    if kept.sum() < 8:
        raise UnfitCineError(_no_pattern("too few frames are usable"))
    outline = outline_curve(reference, parameters.smoothing_s)
    if outline.flat or outline.scale_au < outline.baseline_au:
        raise UnfitCineError(_no_pattern("the reference does not enhance by 3 dB"))
    mask = lesion.mask & cine.valid
    bright = np.flatnonzero(kept)[np.argsort(outline.smooth_au)[-24:]]
    cell = speckle_cell_px(np.asarray(cine.contrast[np.sort(bright)]), mask)
    grid = sample_grid(mask, cell, parameters.speckles)
    bins = frame_bins(np.flatnonzero(kept), parameters.most_frames)
    time_s = np.array([cine.frame_times_s[members].mean() for members in bins])
    power = np.vstack([sampled_power(cine, bins, grid), [[reference.power_au[m].mean() for m in bins]]])
    width = max(1, round(parameters.smoothing_s / float(np.median(np.diff(time_s)))))
    smooth = ndimage.uniform_filter1d(power.astype(np.float64), width, axis=1, mode="nearest")
    # Before anything arrived, in the lesion (which may be first) or in the reference.
    early = time_s < outline.arrival_s - 5.0
    early[: max(1, min(3, early.size))] = True
    enhancement = smooth - smooth[:, early].mean(axis=1, keepdims=True)
    band = parameters.dead_band * float(enhancement[-1].max())
    found = _classes(time_s, enhancement[:-1] - enhancement[-1], band, parameters.lasting_s)
    shares = {name: float((found == number).mean()) for number, name in enumerate(("iso", *CLASSES))}
    return VascularPattern(
        classes=nearest(found, grid),
        fractions=shares,
        dominant=max(shares, key=lambda name: shares[name]),
        resolution_px=grid.edge,
    )


def _classes(
    time_s: NDArray[np.float64], signature: NDArray[np.float64], band: float, lasting_s: float
) -> NDArray[np.uint8]:
    """uint8 (sample,): which lobes (sample, bin) of the signature leave the dead band, and which comes first."""
    frames = max(1, round(lasting_s / float(np.median(np.diff(time_s)))))
    lasting = np.ones((1, frames), np.bool_)
    above = ndimage.binary_opening(signature > band, lasting)
    below = ndimage.binary_opening(signature < -band, lasting)
    hyper, hypo = above.any(axis=1), below.any(axis=1)
    centre = [
        (time_s * np.abs(signature) * lobe).sum(axis=1) / np.maximum((np.abs(signature) * lobe).sum(axis=1), 1e-300)
        for lobe in (above, below)
    ]
    first_hyper = centre[0] < centre[1]
    return np.select(
        [hyper & ~hypo, hypo & ~hyper, hyper & hypo & first_hyper, hyper & hypo], [1, 2, 3, 4], default=0
    ).astype(np.uint8)


def _no_pattern(reason: str) -> Limitation:
    return Limitation("no_pattern", f"No dynamic vascular pattern: {reason}.", "refused", ("dvp",))
