"""The maps that models see: one model-free function, used by training and by the run-time alike.

Levels are in dB below the declared full scale, never below anything found in the image: a percentile of the image as
reference leaked the label into the background (docs/models.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from processing.cine import Cine, Spacing
from processing.errors import UnfitCineError
from processing.frozen_arrays import frozen_array
from processing.limitations import Limitation

FloatArray = NDArray[np.float32]

CHANNELS = ("peak", "mean", "standard deviation", "arrival", "half-peak")


@dataclass(frozen=True)
class ModelInputParameters:
    """Grid and smoothing of the maps; the trained models know these numbers, so they are no site's choice.

    cell_mm: models.md section 1. box_mm: three cells, the width of a speckle at 3 MHz, so that a peak is no speckle
    extreme. Small panels have half of both (`parameters_of`). bin_s: frames are averaged into bins first, which bounds
    memory for any frame rate; the level is the mean of two bins. sigmas: of the pre-contrast level, models.md 1.
    """

    cell_mm: float = 0.25
    box_mm: float = 0.75
    bin_s: float = 0.5
    sigmas: float = 3.0
    lasting_bins: int = 3
    floor_db: float = -60.0
    time_unit_s: float = 30.0


SMALL_ANIMAL = ModelInputParameters(cell_mm=0.125, box_mm=0.375)
FIRST, LATEST = "model_inputs 1", "model_inputs 2"
SMALL_PANEL_MM = 30.0
"""Small-animal scanners work at 12 MHz and more: speckle and tumours are half as large or less. On cells of 0.25 mm a
lesion of 3 mm is 12 cells wide, blurred over three, and its overlap with the truth ended at 0.8 (docs/models.md)."""


def parameters_of(cine: Cine, preprocessing: str = LATEST) -> ModelInputParameters:
    """Cells of 0.25 mm; from version 2 of the preprocessing on, of 0.125 mm where the panel is no larger than 30 mm.

    A model is asked with the version that its manifest names: what it was trained on.
    """
    spacing_mm, (rows, columns) = _spacing_of(cine), cine.valid.shape
    longer_mm = max(rows * spacing_mm.z_mm, columns * spacing_mm.x_mm)
    small = preprocessing != FIRST and longer_mm <= SMALL_PANEL_MM
    return SMALL_ANIMAL if small else ModelInputParameters()


@dataclass(frozen=True, eq=False)
class ModelInputs:
    """maps: float32 (5, H, W): peak, mean, standard deviation over time in dB below full scale (-60 to 0); arrival
    after the panel's own arrival and half-peak after the cell's arrival, both in units of 30 s (never arrived: 2, 0).

    valid: bool (H, W). Cell (i, j) covers [i, i + 1) x [j, j + 1) times `cell_mm` from the panel's top-left edge.
    """

    maps: FloatArray
    valid: NDArray[np.bool_]
    cell_mm: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "maps", frozen_array("maps", self.maps, np.float32, 3))
        object.__setattr__(self, "valid", frozen_array("valid", self.valid, np.bool_, 2))


def model_inputs(
    cine: Cine, rejected: NDArray[np.bool_] | None = None, parameters: ModelInputParameters | None = None
) -> ModelInputs:
    """Peak, mean, spread and timing of every cell. `rejected` frames (frame,) are left out.

    Raises UnfitCineError for an uncalibrated panel: cells of 0.25 mm exist only where a millimetre does.
    """
    p = parameters or parameters_of(cine)
    down, right = boxes_of(cine, p)
    weight = down @ cine.valid.astype(np.float32) @ right.T
    # A cell counts where at least half of its box shows echo.
    valid = weight > 0.5 * (down.sum(axis=1)[:, None] * right.sum(axis=1)[None, :])
    levels, times_s = _binned(cine, rejected, (down, right), p)
    levels /= np.where(weight > 0, weight, 1)
    return ModelInputs(_maps(levels, times_s, valid, p), valid, p.cell_mm)


def boxes_of(cine: Cine, parameters: ModelInputParameters) -> tuple[csr_array, csr_array]:
    """Weights down and across of a panel's cells."""
    spacing_mm, (rows, columns) = _spacing_of(cine), cine.valid.shape
    return box_weights(rows, spacing_mm.z_mm, parameters), box_weights(columns, spacing_mm.x_mm, parameters)


def _spacing_of(cine: Cine) -> Spacing:
    if cine.spacing_mm is None:
        text = "the image is not calibrated: models work in millimetres and were not asked"
        raise UnfitCineError(Limitation("model_needs_calibration", text, "degraded", ("rois",)))
    return cine.spacing_mm


def mask_on_cells(mask: NDArray[np.bool_], cine: Cine, inputs: ModelInputs) -> NDArray[np.bool_]:
    """A mask on the panel's pixels (z, x) as cells (H, W) of its maps: whether the middle of a cell lies inside."""
    spacing_mm, (rows, columns) = _spacing_of(cine), inputs.valid.shape
    z = ((np.arange(rows) + 0.5) * inputs.cell_mm / spacing_mm.z_mm).astype(np.intp).clip(0, mask.shape[0] - 1)
    x = ((np.arange(columns) + 0.5) * inputs.cell_mm / spacing_mm.x_mm).astype(np.intp).clip(0, mask.shape[1] - 1)
    inside: NDArray[np.bool_] = mask[z[:, None], x[None, :]] & inputs.valid
    return inside


def box_weights(pixels: int, pitch_mm: float, parameters: ModelInputParameters) -> csr_array:
    """Overlap in mm of each cell's box with each pixel: sparse float32 (cells, pixels)."""
    cells = int(np.ceil(pixels * pitch_mm / parameters.cell_mm - 1e-6))
    centre_mm = (np.arange(cells) + 0.5) * parameters.cell_mm
    edges_mm = np.arange(pixels + 1) * pitch_mm
    low, high = centre_mm - parameters.box_mm / 2, centre_mm + parameters.box_mm / 2
    overlap = np.minimum(high[:, None], edges_mm[1:]) - np.maximum(low[:, None], edges_mm[:-1])
    return csr_array(np.maximum(overlap, 0).astype(np.float32))


def _binned(
    cine: Cine, rejected: NDArray[np.bool_] | None, boxes: tuple[csr_array, csr_array], p: ModelInputParameters
) -> tuple[FloatArray, NDArray[np.float64]]:
    """Weighted sums of power in each cell, averaged over the frames of each bin; empty bins are left out."""
    down, right = boxes
    use = np.ones(cine.frame_times_s.size, dtype=np.bool_) if rejected is None else ~rejected
    bin_of = ((cine.frame_times_s - cine.frame_times_s[0]) / p.bin_s).astype(np.intp)
    filled = np.unique(bin_of[use])
    if filled.size < 2 * p.lasting_bins:
        text = f"{filled.size * p.bin_s:g} s of usable frames are too few for a model's maps"
        raise UnfitCineError(Limitation("model_clip_too_short", text, "degraded", ("rois",)))
    levels = np.empty((filled.size, down.shape[0], right.shape[0]), dtype=np.float32)
    times_s = np.empty(filled.size)
    for place, index in enumerate(filled):
        frames = np.flatnonzero(use & (bin_of == index))
        power = np.zeros(cine.valid.shape, dtype=np.float32)
        for frame in frames:
            power += cine.contrast[frame]
        power *= cine.valid / np.float32(frames.size)
        levels[place] = down @ power @ right.T
        times_s[place] = cine.frame_times_s[frames].mean()
    return levels, times_s


def _maps(
    levels: FloatArray, times_s: NDArray[np.float64], valid: NDArray[np.bool_], p: ModelInputParameters
) -> FloatArray:
    smooth = 0.5 * (levels[1:] + levels[:-1])
    middle_s = 0.5 * (times_s[1:] + times_s[:-1])
    onset = _panel_onset(smooth[:, valid].mean(axis=1) if valid.any() else smooth[:, 0, 0])
    before = smooth[:onset]
    base = before.mean(axis=0) if onset >= 2 else np.zeros_like(smooth[0])
    # Speckle is multiplicative: its relative spread before contrast is one number for the panel; 10 % at least, since
    # a perfectly black pre-contrast image would let one grey level count as an arrival.
    relative = float(np.median((before.std(axis=0) / np.maximum(base, 1e-12))[valid])) if onset >= 2 else 0.1
    threshold = base * np.float32(1 + p.sigmas * max(relative, 0.1)) + np.float32(10 ** (p.floor_db / 10))
    arrived, arrival_s = _first_lasting(smooth > threshold, middle_s, p.lasting_bins)
    peak = smooth.max(axis=0)
    half = base + 0.5 * (peak - base)
    half_s = middle_s[(smooth >= half).argmax(axis=0)]
    panel_s = float(np.median(arrival_s[arrived & valid])) if (arrived & valid).any() else 0.0
    maps = np.empty((5, *valid.shape), dtype=np.float32)
    for channel, power in enumerate((peak, smooth.mean(axis=0), smooth.std(axis=0))):
        maps[channel] = np.clip(10 * np.log10(np.maximum(power, 1e-12)), p.floor_db, 0.0)
    maps[3] = np.where(arrived, np.clip((arrival_s - panel_s) / p.time_unit_s, -1.0, 2.0), 2.0)
    maps[4] = np.where(arrived, np.clip((half_s - arrival_s) / p.time_unit_s, 0.0, 2.0), 0.0)
    maps[:, ~valid] = np.array([p.floor_db] * 3 + [2.0, 0.0], dtype=np.float32)[:, None]
    return maps


def _panel_onset(curve: FloatArray) -> int:
    """Bins before the panel's mean has risen by a tenth of its rise above the lowest early level."""
    peak = int(curve.argmax())
    low = float(curve[: max(peak, 1)].min())
    above = curve > low + 0.1 * (float(curve[peak]) - low)
    return int(above.argmax())


def _first_lasting(
    above: NDArray[np.bool_], times_s: NDArray[np.float64], lasting: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether, and when first, a cell stays above its threshold for `lasting` bins."""
    lasts = above[: above.shape[0] - lasting + 1].copy()
    for later in range(1, lasting):
        lasts &= above[later : above.shape[0] - lasting + 1 + later]
    return np.asarray(lasts.any(axis=0)), times_s[lasts.argmax(axis=0)]
