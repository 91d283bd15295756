"""Vessels drawn by tracks: mask, skeleton, diameters, tortuosity, branch points, fractal dimension, centre and rim.

None of these is standardised; the definitions are those of docs/super-resolution.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import remove_small_objects, skeletonize

from processing.frozen_arrays import frozen_array

NEIGHBOURS = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class VesselParameters:
    """threshold: tracks that make a pixel vessel, after smoothing by `smoothing_px` (joins paths some 50 um apart).

    local_share of the mean density around (`local_px`) must be exceeded as well: dense vessels side by side stay apart.
    shortest_mm: shorter dead ends of the skeleton are spurs. smallest_px: smaller islands are stray tracks.
    """

    threshold: float = 0.5
    smoothing_px: float = 2.0
    local_px: float = 8.0
    local_share: float = 0.8
    shortest_mm: float = 0.15
    smallest_px: int = 12


@dataclass(frozen=True, eq=False)
class Vessels:
    """mask, skeleton: bool (z, x). Arrays of one value a vessel (a piece of skeleton between branch points):

    length_mm, tortuosity (path over end-to-end distance, NaN for short links between forks), diameter_um (median along
    it; what lies below the measured resolution is said by the caller). branch_points: where three or more meet.
    """

    mask: NDArray[np.bool_]
    skeleton: NDArray[np.bool_]
    length_mm: NDArray[np.float64]
    tortuosity: NDArray[np.float64]
    diameter_um: NDArray[np.float64]
    branch_points: int
    fractal_dimension: float | None

    def __post_init__(self) -> None:
        for name in ("mask", "skeleton"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), np.bool_, 2))

    def __len__(self) -> int:
        return int(self.length_mm.size)


def vessel_mask(density: NDArray[np.float32], parameters: VesselParameters) -> NDArray[np.bool_]:
    """Pixels whose smoothed track density reaches the threshold, without specks.

    The smoothed peak of a lone one-pixel path of density 1 is 0.4 / smoothing_px: the threshold counts in such paths.
    """
    smooth = ndimage.gaussian_filter(density.astype(np.float64), parameters.smoothing_px)
    level = parameters.threshold * 0.4 / parameters.smoothing_px
    around = ndimage.gaussian_filter(density.astype(np.float64), parameters.local_px)
    mask = (smooth >= level) & (smooth >= parameters.local_share * around)
    return np.asarray(remove_small_objects(mask, max_size=parameters.smallest_px - 1, connectivity=2))


def measure_vessels(mask: NDArray[np.bool_], pixel_mm: float, parameters: VesselParameters) -> Vessels:
    """Skeleton and geometry of a vessel mask."""
    skeleton = np.asarray(skeletonize(mask), dtype=np.bool_)
    neighbours = ndimage.convolve(skeleton.astype(np.int8), NEIGHBOURS.astype(np.int8), mode="constant") - 1
    joints = skeleton & (neighbours >= 3)
    pieces, count = ndimage.label(skeleton & ~joints, structure=NEIGHBOURS)
    forks = ndimage.label(joints, structure=NEIGHBOURS)[0]
    thickness = ndimage.distance_transform_edt(mask)
    length, tortuosity, diameter = [], [], []
    kept = np.zeros(count + 1, dtype=np.bool_)
    for number, box in enumerate(ndimage.find_objects(pieces), start=1):
        around = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        piece = pieces[around] == number
        path, chord = path_and_chord(piece)
        touched = np.unique(forks[around][ndimage.binary_dilation(piece, structure=NEIGHBOURS)])
        if path * pixel_mm < parameters.shortest_mm and (touched > 0).sum() < 2:
            continue
        kept[number] = True
        length.append(path * pixel_mm)
        tortuosity.append(path / chord if path * pixel_mm >= parameters.shortest_mm else np.nan)
        # The distance to the nearest pixel outside is half a pixel more than the radius on a pixel grid.
        diameter.append(2000.0 * pixel_mm * (float(np.median(thickness[around][piece])) - 0.5))
    return Vessels(
        mask=mask,
        skeleton=skeleton,
        length_mm=np.array(length),
        tortuosity=np.array(tortuosity),
        diameter_um=np.array(diameter),
        branch_points=count_branch_points(forks, pieces, kept),
        fractal_dimension=box_dimension(skeleton),
    )


def path_and_chord(piece: NDArray[np.bool_]) -> tuple[float, float]:
    """Length along a thin 8-connected piece and the distance of its ends, in pixels.

    Steps to the side count 0.948 and diagonal ones 1.340, which makes the length of a digital line unbiased over
    directions (Dorst and Smeulders 1987); ends are the two pixels furthest apart along the piece.
    """
    points = np.argwhere(piece)
    if len(points) < 2:
        return 0.0, 0.0
    index = {(int(r), int(c)): k for k, (r, c) in enumerate(points)}
    start = furthest(index, points, 0)[0]
    end, straight, diagonal = furthest(index, points, start)
    return 0.948 * straight + 1.340 * diagonal, float(np.hypot(*(points[start] - points[end])))


def furthest(index: dict[tuple[int, int], int], points: NDArray[np.int64], start: int) -> tuple[int, int, int]:
    """The last pixel reached from `start` breadth first, and the straight and diagonal steps to it."""
    steps = {start: (0, 0)}
    queue = [start]
    for current in queue:
        r, c = int(points[current, 0]), int(points[current, 1])
        # Sides before diagonals: a staircase is walked along its edges' shared corners only where it must.
        for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            other = index.get((r + dr, c + dc))
            if other is not None and other not in steps:
                straight, diagonal = steps[current]
                steps[other] = (straight, diagonal + 1) if dr and dc else (straight + 1, diagonal)
                queue.append(other)
    last = queue[-1]
    return last, *steps[last]


def count_branch_points(forks: NDArray[np.int64], pieces: NDArray[np.int64], kept: NDArray[np.bool_]) -> int:
    """Forks (touching joints are one) where at least three vessels, spurs not counted, meet."""
    branch_points = 0
    for number, box in enumerate(ndimage.find_objects(forks), start=1):
        around = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in box)
        near = ndimage.binary_dilation(forks[around] == number, structure=NEIGHBOURS)
        touching = np.unique(pieces[around][near])
        branch_points += int(kept[touching[touching > 0]].sum() >= 3)
    return branch_points


def box_dimension(skeleton: NDArray[np.bool_]) -> float | None:
    """Box-counting dimension: minus the slope of log(boxes) over log(size), sizes 2 to a quarter of the image."""
    if skeleton.sum() < 50:
        return None
    sizes = 2 ** np.arange(1, int(np.log2(max(min(skeleton.shape) // 4, 2))) + 1)
    if len(sizes) < 3:
        return None
    points = np.argwhere(skeleton)
    counts = [len(np.unique(points // size @ np.array([skeleton.shape[1], 1]))) for size in sizes]
    return float(-np.polyfit(np.log(sizes), np.log(counts), 1)[0])


def centre_and_rim(roi: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The inner half of a ROI by area (furthest from its border) and the rest."""
    depth = ndimage.distance_transform_edt(np.pad(roi, 1))[1:-1, 1:-1]
    middle = np.median(depth[roi]) if roi.any() else 0.0
    return roi & (depth > middle), roi & (depth <= middle)


def centre_rim_ratio(vessels: NDArray[np.bool_], roi: NDArray[np.bool_]) -> float | None:
    """Vessel density of the inner half over that of the rim; None where the rim has none."""
    centre, rim = centre_and_rim(roi)
    if not centre.any() or not vessels[rim].any():
        return None
    return float(vessels[centre].mean() / vessels[rim].mean())
