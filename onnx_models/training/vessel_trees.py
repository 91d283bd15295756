"""Random vessel trees and the tracks of bubbles in them, as super-resolved density maps with their truth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter1d

FloatArray = NDArray[np.float64]
SMALLEST_RADIUS_PX = 0.8
SPARSE_TRACKS = 600
"""The geometric middle of 60 to 6000: below it a map counts as sparse."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A stretch of vessel: points (n, 2) z, x a pixel apart, one radius."""

    points_px: FloatArray
    radius_px: float


@dataclass(frozen=True, eq=False)
class VesselExample:
    """density: float32 (h, w), tracks through each pixel; vessels: bool (h, w). tracks: how many were drawn."""

    density: NDArray[np.float32]
    vessels: NDArray[np.bool_]
    tracks: int


def draw_vessels(seed: int, size: int = 256) -> VesselExample:
    """One map from its seed: 60 to 6000 tracks, so sparse and dense acquisitions are alike in number."""
    rng = np.random.default_rng((seed, 31))
    segments = grow(rng, size)
    tracks = int(math.exp(rng.uniform(math.log(60), math.log(6000))))
    return VesselExample(_density(segments, tracks, size, rng), _lumen(segments, size), tracks)


def grow(rng: np.random.Generator, size: int) -> list[Segment]:
    """Trees from 2 to 6 roots; branches follow Murray's law (Murray 1926: radii to the third add up)."""
    segments: list[Segment] = []
    largest = rng.uniform(2.0, 7.0)
    wander = rng.uniform(0.02, 0.12)
    reach = rng.uniform(15, 60)
    ends = [
        (rng.uniform(0, size, 2), rng.uniform(0, 2 * math.pi), largest * rng.uniform(0.6, 1))
        for _ in range(rng.integers(2, 7))
    ]
    while ends and len(segments) < 160:
        start, angle, radius = ends.pop(0)
        steps = max(int(rng.gamma(3.0, reach / 3.0)), 6)
        angles = angle + np.cumsum(gaussian_filter1d(rng.normal(0, wander * 3, steps), 3, mode="nearest"))
        points = start + np.cumsum(np.stack([np.sin(angles), np.cos(angles)], axis=1), axis=0)
        segments.append(Segment(points, radius))
        tip = points[-1]
        if not (0 <= tip[0] < size and 0 <= tip[1] < size):
            continue
        first = radius * rng.uniform(0.6, 0.95)
        second = (radius**3 - first**3) ** (1 / 3)
        for child, side in ((first, 1), (second, -1)):
            if child >= SMALLEST_RADIUS_PX:
                ends.append((tip, float(angles[-1]) + side * rng.uniform(0.1, 0.9), child))
    return segments


def _lumen(segments: list[Segment], size: int) -> NDArray[np.bool_]:
    """All pixels closer to a centre line than its radius."""
    inside = np.zeros((size, size), dtype=np.bool_)
    for radius in {round(2 * s.radius_px) / 2 for s in segments}:
        line = np.ones((size, size), dtype=np.bool_)
        for segment in segments:
            if round(2 * segment.radius_px) / 2 == radius:
                place = np.rint(segment.points_px).astype(np.intp)
                place = place[((place >= 0) & (place < size)).all(axis=1)]
                line[place[:, 0], place[:, 1]] = False
        if not line.all():
            inside |= distance_transform_edt(line) <= max(radius, 0.5)
    return inside


def _density(segments: list[Segment], tracks: int, size: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Tracks run along a vessel at a fixed part of its radius, blurred by localization; a few are false."""
    density = np.zeros((size, size), dtype=np.float32)
    # Flow goes with the third power of the radius, tracks that are seen with less: slow bubbles pair better.
    weight = np.array([s.radius_px ** rng.uniform(0.8, 2.0) * len(s.points_px) for s in segments])
    chosen = rng.choice(len(segments), tracks, p=weight / weight.sum())
    jitter_px = rng.uniform(0.2, 1.2)
    for k in chosen:
        segment = segments[k]
        count = len(segment.points_px)
        length = min(int(rng.uniform(8, 60)), count)
        first = int(rng.integers(0, count - length + 1))
        stretch = segment.points_px[first : first + length]
        ahead = _ahead(stretch)
        aside = np.stack([ahead[:, 1], -ahead[:, 0]], axis=1)
        noise = gaussian_filter1d(rng.normal(0, 2 * jitter_px, (length, 2)), 2, axis=0, mode="nearest")
        _mark(density, stretch + aside * rng.uniform(-0.9, 0.9) * segment.radius_px + noise)
    for _ in range(int(tracks * rng.uniform(0, 0.06))):
        angle, length = rng.uniform(0, 2 * math.pi), int(rng.uniform(4, 20))
        way = np.arange(length)[:, None] * np.array([math.sin(angle), math.cos(angle)])
        _mark(density, rng.uniform(0, size, 2) + way)
    return density


def _ahead(points_px: FloatArray) -> FloatArray:
    """Where a line goes at each of its points: `np.gradient`, whose checks take longer than its sums."""
    ahead = np.zeros_like(points_px)
    if len(points_px) > 1:
        ahead[1:-1] = (points_px[2:] - points_px[:-2]) / 2.0
        ahead[0], ahead[-1] = points_px[1] - points_px[0], points_px[-1] - points_px[-2]
    return ahead


def _mark(density: NDArray[np.float32], points_px: FloatArray) -> None:
    place = np.rint(points_px).astype(np.intp)
    place = place[((place >= 0) & (place < density.shape[0])).all(axis=1)]
    # One number a pixel: unique rows take several times as long, and a third of the drawing was spent on them.
    density.reshape(-1)[np.unique(place[:, 0] * density.shape[1] + place[:, 1])] += 1
