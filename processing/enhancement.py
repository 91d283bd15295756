"""Which part of a lesion takes up contrast, which does not, and which cannot be assessed.

A place enhances when it rises above its own pre-contrast level and comes near the reference's enhancement. Gas that was
bright before contrast, what lies in its shadow, and what B-mode showed dark before contrast (shadow) are "not
assessable": they are never counted as non-enhancing. After ablation the non-enhancing part is the result; it is an area
in this plane and nothing more.
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
from processing.roi import Roi
from processing.speckle_size import speckle_cell_px
from processing.tic import Tic, time_intensity_curve


@dataclass(frozen=True)
class EnhancementParameters:
    """rise_db: above the place's own pre-contrast level (twice the 3 dB that speckle averaged over 3 s may show).
    below_reference_db: how far the enhancement may stay below the reference's; 10 dB keeps hypo-enhancing viable
    tissue and lies above what a beam of -10 dB side response spills over an edge. window_s: over which the highest
    level is taken. dark_bmode_level: pre-contrast grey level below which B-mode shows shadow (of 255). smallest_cells:
    patches of fewer speckle cells take the class around them. gas_margin_cells: around gas, in speckle cells."""

    rise_db: float = 6.0
    below_reference_db: float = 10.0
    window_s: float = 3.0
    dark_bmode_level: float = 8.0
    smallest_cells: float = 6.0
    gas_margin_cells: float = 1.0


@dataclass(frozen=True, eq=False)
class Enhancement:
    """Three masks, bool (z, x), that share out the lesion; percentages of its area, which add to 100."""

    perfused: NDArray[np.bool_]
    non_enhancing: NDArray[np.bool_]
    not_assessable: NDArray[np.bool_]
    perfused_area_percent: float
    non_enhancing_percent: float
    not_assessable_percent: float
    non_enhancing_area_mm2: float | None
    limitations: tuple[Limitation, ...]


DEFAULTS = EnhancementParameters()


def enhancement(
    cine: Cine,
    lesion: Roi,
    reference: Roi | None = None,
    rejected: NDArray[np.bool_] | None = None,
    parameters: EnhancementParameters = DEFAULTS,
) -> Enhancement:
    """Share out the lesion. Without a reference the whole panel's brighter half stands for it (said in a limitation).

    Raises UnfitCineError: `no_precontrast_frames` (gas and shadow could not be told from tissue),
    `reference_not_enhancing` (then nothing in the lesion means anything).
    """
    beside = reference.mask if reference is not None else cine.valid & ~lesion.mask
    standard = Roi(beside if beside.any() else cine.valid.copy(), "reference", "rule")
    tic = time_intensity_curve(cine, standard, rejected)
    before = _before_contrast(tic, time_intensity_curve(cine, lesion, rejected))
    bright = np.flatnonzero(~tic.rejected)[np.argsort(tic.power_au[~tic.rejected])[-24:]]
    cell = speckle_cell_px(np.asarray(cine.contrast[np.sort(bright)]), cine.valid & (lesion.mask | standard.mask))
    edge = (max(1, round(cell[0])), max(1, round(cell[1])))
    floor = max(cine.floor_au, 1e-12)
    dark = np.maximum(ndimage.uniform_filter(cine.contrast[before].mean(axis=0), edge), floor)
    lit = np.maximum(ndimage.uniform_filter(_highest(cine, tic, parameters.window_s), edge), floor)
    inside = standard.mask & cine.valid
    gain_db = 10.0 * np.log10(np.median(lit[inside]) / np.median(dark[inside]))
    if gain_db < parameters.rise_db:
        raise UnfitCineError(_reference_dark(gain_db))
    enough = (np.median(lit[inside]) - np.median(dark[inside])) * 10.0 ** (-parameters.below_reference_db / 10.0)
    rises = (lit > dark * 10.0 ** (parameters.rise_db / 10.0)) & (lit - dark > enough)
    patch = parameters.smallest_cells * cell[0] * cell[1]
    # Own level before contrast as bright as enhancement would be: a rise could not be seen there.
    gas = _without_patches(dark > enough, patch)
    hidden = _hidden(cine, gas, rises, before, cell, parameters)
    return _shared_out(cine, lesion, _without_patches(rises, patch), hidden, reference is not None)


def _before_contrast(reference: Tic, lesion: Tic) -> NDArray[np.intp]:
    """Frames before contrast arrives in either of them, at least three: a hypervascular lesion lights up first."""
    if (~reference.rejected).sum() < 8:
        raise UnfitCineError(_no_precontrast())
    outlines = [outline_curve(tic, 1.0) for tic in (reference, lesion)]
    arrival_s = min(outline.arrival_s for outline in outlines if not outline.flat or outline is outlines[0])
    before = np.flatnonzero(~reference.rejected & (reference.time_s < arrival_s - 0.5))
    if before.size < 3 or outlines[0].flat:
        raise UnfitCineError(_no_precontrast())
    return before


def _highest(cine: Cine, tic: Tic, window_s: float) -> NDArray[np.float32]:
    """Highest mean over consecutive windows of every pixel: arrival may differ between places."""
    kept = np.flatnonzero(~tic.rejected)
    number = ((cine.frame_times_s[kept] - cine.frame_times_s[kept[0]]) / window_s).astype(np.intp)
    highest = np.zeros(cine.valid.shape, np.float32)
    for index in np.unique(number):
        members = kept[number == index]
        if members.size >= max(2, np.bincount(number).max() // 2):
            np.maximum(highest, cine.contrast[members].mean(axis=0), out=highest)
    return highest


def _hidden(
    cine: Cine,
    gas: NDArray[np.bool_],
    rises: NDArray[np.bool_],
    before: NDArray[np.intp],
    cell: tuple[float, float],
    parameters: EnhancementParameters,
) -> NDArray[np.bool_]:
    """Gas with a margin, what does not enhance underneath it, and what B-mode showed dark before contrast."""
    margin = [2 * max(1, round(parameters.gas_margin_cells * extent)) + 1 for extent in cell]
    around = ndimage.maximum_filter(gas, size=margin)
    hidden = around | (np.logical_or.accumulate(around, axis=0) & ~rises)
    if cine.bmode is not None:
        grey = ndimage.uniform_filter(cine.bmode[before].astype(np.float32).mean(axis=0), margin)
        hidden |= (grey < parameters.dark_bmode_level) & ~rises
    return np.asarray(hidden | ~cine.valid)


def _without_patches(mask: NDArray[np.bool_], smallest_px: float) -> NDArray[np.bool_]:
    """Holes and islands smaller than that take the class around them (speckle is dark somewhere by chance)."""
    clean = mask.copy()
    for value in (True, False):
        labels, count = ndimage.label(clean == value)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        small = sizes < smallest_px
        small[0] = False
        clean[small[labels]] = not value
    return clean


def _shared_out(
    cine: Cine, lesion: Roi, rises: NDArray[np.bool_], hidden: NDArray[np.bool_], with_reference: bool
) -> Enhancement:
    not_assessable = lesion.mask & hidden
    perfused = lesion.mask & ~hidden & rises
    dark = lesion.mask & ~hidden & ~rises
    area = float(lesion.mask.sum())
    limitations = []
    if not_assessable.any():
        share = 100.0 * float(not_assessable.sum()) / area
        text = f"{share:.0f} % of the lesion was gas or shadow before contrast: not assessable."
        limitations.append(Limitation("not_assessable", text, "note", ("enhancement",)))
    if not with_reference:
        text = "Enhancement is judged against the rest of the panel: no reference was given."
        limitations.append(Limitation("enhancement_without_reference", text, "degraded", ("enhancement",)))
    spacing = cine.spacing_mm
    return Enhancement(
        perfused=perfused,
        non_enhancing=dark,
        not_assessable=not_assessable,
        perfused_area_percent=100.0 * float(perfused.sum()) / area,
        non_enhancing_percent=100.0 * float(dark.sum()) / area,
        not_assessable_percent=100.0 * float(not_assessable.sum()) / area,
        non_enhancing_area_mm2=None if spacing is None else float(dark.sum()) * spacing.z_mm * spacing.x_mm,
        limitations=tuple(limitations),
    )


def _no_precontrast() -> Limitation:
    text = "The clip shows nothing before contrast: gas and shadow cannot be told from tissue without perfusion."
    return Limitation("no_precontrast_frames", text, "refused", ("enhancement",))


def _reference_dark(gain_db: float) -> Limitation:
    text = f"The reference enhances by {gain_db:.1f} dB only: a dark lesion beside it means nothing."
    return Limitation("reference_not_enhancing", text, "refused", ("enhancement",))
