"""Samples of a map: areas of several speckles on a regular grid, over bins of frames, and back to pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from processing.cine import Cine


@dataclass(frozen=True, eq=False)
class SampleGrid:
    """Sample centres (rows, columns) half an averaging area apart over a mask's bounding box.

    inside: bool (rows, columns), centres inside the mask. edge: px (z, x) of the averaging area; step: px between
    centres. mask: bool (z, x), the pixels that are averaged.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    inside: NDArray[np.bool_]
    edge: tuple[int, int]
    step: tuple[int, int]
    mask: NDArray[np.bool_]


def sample_grid(mask: NDArray[np.bool_], cell: tuple[float, float], speckles: float) -> SampleGrid:
    """Averaging areas of `speckles` speckle cells (z, x) px, as square in speckles as whole pixels allow."""
    edge = (max(1, round(cell[0] * speckles**0.5)), max(1, round(cell[1] * speckles**0.5)))
    step = (max(1, edge[0] // 2), max(1, edge[1] // 2))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    z = np.arange(rows[0], rows[-1] + 1, step[0])
    x = np.arange(columns[0], columns[-1] + 1, step[1])
    return SampleGrid(z, x, mask[np.ix_(z, x)], edge, step, mask)


def frame_bins(frames: NDArray[np.intp], most: int) -> list[NDArray[np.intp]]:
    """Consecutive frames in at most `most` bins of nearly equal size."""
    return [part for part in np.array_split(frames, min(most, frames.size)) if part.size] if frames.size else []


def sampled_power(cine: Cine, bins: list[NDArray[np.intp]], grid: SampleGrid) -> NDArray[np.float32]:
    """float32 (sample, bin): mean power of the averaging area of every centre inside the mask."""
    # Only the mask's box with the reach of an averaging area is looked at: beyond it lie zeros, as beyond the edge.
    rows, columns = np.flatnonzero(grid.mask.any(axis=1)), np.flatnonzero(grid.mask.any(axis=0))
    z0, x0 = max(int(rows[0]) - grid.edge[0], 0), max(int(columns[0]) - grid.edge[1], 0)
    box = slice(z0, int(rows[-1]) + 1 + grid.edge[0]), slice(x0, int(columns[-1]) + 1 + grid.edge[1])
    mask, nodes = grid.mask[box].astype(np.float32), np.ix_(grid.rows - z0, grid.columns - x0)
    share = ndimage.uniform_filter(mask, grid.edge, mode="constant")[nodes][grid.inside]
    power = np.empty((share.size, len(bins)), np.float32)
    for index, members in enumerate(bins):
        image = mask * sum(cine.contrast[frame][box] for frame in members)
        mean = ndimage.uniform_filter(image, grid.edge, mode="constant")
        power[:, index] = mean[nodes][grid.inside] / (members.size * np.maximum(share, 1e-6))
    return power


def interpolated(values: NDArray[np.float64], grid: SampleGrid) -> NDArray[np.float32]:
    """float32 (z, x) from one value a sample: linear between finite samples; a pixel whose nearer half of samples is
    missing, or that lies outside the mask, is NaN."""
    sampled = np.full(grid.inside.shape, np.nan)
    sampled[grid.inside] = values
    known = np.isfinite(sampled)
    z, x = np.nonzero(grid.mask)
    where = np.array([(z - grid.rows[0]) / grid.step[0], (x - grid.columns[0]) / grid.step[1]])
    share = ndimage.map_coordinates(known.astype(np.float64), where, order=1, mode="nearest")
    total = ndimage.map_coordinates(np.where(known, sampled, 0.0), where, order=1, mode="nearest")
    image = np.full(grid.mask.shape, np.nan, np.float32)
    image[z, x] = np.where(share >= 0.5, total / np.maximum(share, 0.5), np.nan)
    return image


def nearest(classes: NDArray[np.uint8], grid: SampleGrid) -> NDArray[np.uint8]:
    """uint8 (z, x) from one class a sample: that of the nearest centre inside the mask, 0 outside the mask."""
    sampled = np.zeros(grid.inside.shape, np.uint8)
    sampled[grid.inside] = classes
    indices = ndimage.distance_transform_edt(~grid.inside, sampling=grid.step, return_indices=True)[1]
    filled = sampled[tuple(indices)]
    z, x = np.nonzero(grid.mask)
    row = np.rint((z - grid.rows[0]) / grid.step[0]).astype(np.intp).clip(0, grid.rows.size - 1)
    column = np.rint((x - grid.columns[0]) / grid.step[1]).astype(np.intp).clip(0, grid.columns.size - 1)
    image = np.zeros(grid.mask.shape, np.uint8)
    image[z, x] = filled[row, column]
    return image
