"""Level from colour: contrast panels are tinted, and amplitude lies in the level, not in the colour.

In this order (docs/perfusion.md): the colour bar in the image; the map that the site's profile declares; a known family
of maps; else unknown, and then the luma keeps the order of levels but not their spacing, so amplitudes are withheld.
Where chroma is lossy, level is read from luma alone, which is where decoders agree.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from processing.colour_bar import ColourBar, bar_curve
from processing.colour_maps import FAMILIES, family
from processing.frozen_arrays import frozen_array
from processing.projection import EVEN_WEIGHTS, LUMA_WEIGHTS, PROJECTION_SIZE, exact_luma, projection

RESIDUAL_LEVELS = 1.0
LOSSY_RESIDUAL_LEVELS = 8.0
"""JPEG 4:2:0 at q75 to q95 leaves 0.6 to 1.6 levels of copper and 6 to 7.4 of hot, whose chroma leaves the cube and is
clipped (measured on simulated speckle); the known families differ from each other by 20 and more."""
OVERLAY_DISTANCE = 40.0
LOSSY_OVERLAY_DISTANCE = 60.0
"""Doppler and elastography colours lie 60 to 250 levels off the panel's own curve. JPEG 4:2:0 smears the chroma of a
`hot` panel: at q75 to q95, 0.004 % of its chroma samples lie 60 off, against 4 to 30 % of the simulated overlays'."""
DECLARED = "declared in the profile"
MIN_BIN_PIXELS = 20
CODED_SQUARE_PX = 4
"""Two chroma samples of 4:2:0 a side."""
CLOUD_PIXELS = 400_000
SAME_SPACING_LEVELS = 4.0
"""What JPEG leaves of the luma of a bar three pixels wide; the known families differ by 12 and more."""


@dataclass(frozen=True, eq=False)
class Tint:
    """How level is read from colour.

    level_of: float32 (1021,), level 0 to 255 of each projection (weights . rgb) >> 6. `known` False: the luma stands in
    for the level, order only. `residual_levels`: rms distance of the panel's colours from the map. `overlay_fraction`:
    share of the pixels whose colour belongs to no single map (Doppler, elastography).
    """

    name: str
    known: bool
    weights: tuple[int, int, int]
    level_of: NDArray[np.float32]
    residual_levels: float
    overlay_fraction: float
    curve: NDArray[np.uint8]

    def __post_init__(self) -> None:
        object.__setattr__(self, "level_of", frozen_array("level_of", self.level_of, np.float32, 1))
        object.__setattr__(self, "curve", frozen_array("curve", self.curve, np.uint8, 2))

    def levels(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Level of each pixel, rounded: uint8 of the shape without the colour axis."""
        table = np.rint(self.level_of).astype(np.uint8)
        return table[projection(pixels, self.weights)]


@dataclass(frozen=True, eq=False)
class ColourCloud:
    """Some pixels of the contrast panel, in squares of CODED_SQUARE_PX a side where chroma is lossy, else one by one.

    colours: uint8 (square, pixel, 3); luma: uint8 (square, pixel), as coded where it is.
    """

    colours: NDArray[np.uint8]
    luma: NDArray[np.uint8]
    lossy: bool


def cloud_of(frames: NDArray[np.uint8], grey: NDArray[np.uint8], inner: NDArray[np.bool_], lossy: bool) -> ColourCloud:
    """Sample frames (frame, z, x, 3) of the panel and their luma; `inner`: bool (z, x), its pixels."""
    side = CODED_SQUARE_PX if lossy else 1
    rows, columns = (length // side for length in inner.shape)
    whole = (slice(rows * side), slice(columns * side))
    full = _squares(inner[whole], side).all(axis=1)
    step = max(int(full.sum()) * len(frames) * side**2 // CLOUD_PIXELS, 1)
    chosen = [np.flatnonzero(full)[i % step :: step] for i in range(len(frames))]
    colours = [_squares(frame[whole], side)[squares] for frame, squares in zip(frames, chosen, strict=True)]
    lumas = [_squares(frame[whole], side)[squares] for frame, squares in zip(grey, chosen, strict=True)]
    return ColourCloud(np.concatenate(colours), np.concatenate(lumas), lossy)


def _squares(image: NDArray[Any], side: int) -> NDArray[Any]:
    """(row, column[, 3]) as (square, pixel[, 3])."""
    rows, columns, *channels = image.shape
    tiled = image.reshape(rows // side, side, columns // side, side, *channels).swapaxes(1, 2)
    return tiled.reshape(-1, side * side, *channels)


def find_tint(cloud: ColourCloud, bars: tuple[ColourBar, ...] = (), declared: NDArray[np.uint8] | None = None) -> Tint:
    """The map that these pixels of the contrast panel are drawn with; `declared`: 256 colours of the profile."""
    lossy = cloud.lossy
    overlay = _overlay_fraction(cloud)
    tolerance = LOSSY_RESIDUAL_LEVELS if lossy else RESIDUAL_LEVELS
    known = {name: family(name) for name in FAMILIES} | ({} if declared is None else {DECLARED: declared})
    residuals = {name: _residual(cloud, curve) for name, curve in known.items()}
    nearest = sorted(residuals, key=lambda name: (name != DECLARED, residuals[name]))
    fitting = [name for name in nearest if residuals[name] <= tolerance]
    for bar in bars:
        curve, shades = bar_curve(bar)
        bar_residual = _residual(cloud, curve)
        # A bar a few pixels wide is drawn in fewer levels and blurred by coding: half as much again is allowed.
        if bar_residual <= 1.5 * tolerance + 0.5:
            alike = [name for name in nearest if residuals[name] <= 1.5 * tolerance] or nearest[:1]
            named = min(alike, key=lambda name: _spacing_difference(shades, known[name]))
            same_spacing = _spacing_difference(shades, known[named]) <= SAME_SPACING_LEVELS
            if residuals[named] <= 1.5 * tolerance and same_spacing:
                return _tint(f"colour bar ({named})", known[named], lossy, residuals[named], overlay)
            return _bar_tint(curve, shades, lossy, bar_residual, overlay)
    if fitting:
        return _tint(fitting[0], known[fitting[0]], lossy, residuals[fitting[0]], overlay)
    luma_alone = _tint("unknown", family("grey"), True, min(residuals.values()), overlay)
    return replace(luma_alone, known=False)


def grey_tint() -> Tint:
    """The map of an image without colour."""
    return _tint("grey", family("grey"), True, 0.0, 0.0)


def _tint(name: str, curve: NDArray[np.uint8], lossy: bool, residual: float, overlay: float) -> Tint:
    rising = (np.diff(projection(curve, EVEN_WEIGHTS)) > 0).all()
    weights = EVEN_WEIGHTS if rising and not lossy else LUMA_WEIGHTS
    # Coded luma was made from the unrounded sum; what is not lossy is projected as its pixels are.
    projected = 4.0 * exact_luma(curve) if lossy else projection(curve, weights).astype(np.float64)
    level_of = _inverse(projected)
    return Tint(name, True, weights, level_of, residual, overlay, curve)


def _bar_tint(
    curve: NDArray[np.uint8], shades: NDArray[np.float64], lossy: bool, residual: float, overlay: float
) -> Tint:
    """A map that only its bar tells: from its luma where chroma is lossy."""
    if not lossy:
        return _tint("colour bar", curve, lossy, residual, overlay)
    return Tint("colour bar", True, LUMA_WEIGHTS, _inverse(4.0 * shades), residual, overlay, curve)


def _inverse(projected: NDArray[np.float64]) -> NDArray[np.float32]:
    """Level of every projection, from the (rising) projection of each of the 256 levels."""
    steps, first = np.unique(np.maximum.accumulate(projected), return_index=True)
    counts = np.diff(np.append(first, 256))
    middle = first + (counts - 1) / 2  # several levels of one projection: their middle
    return np.interp(np.arange(PROJECTION_SIZE), steps, middle).astype(np.float32)


def _residual(cloud: ColourCloud, curve: NDArray[np.uint8]) -> float:
    """Rms distance of the squares' mean colours from those that the curve gives their luma, in levels of 0 to 255.

    Squares of one luma are averaged first, which takes coding noise out. Where chroma is coded at half resolution, a
    pixel's colour is its neighbourhood's; a square's is its own.
    """
    shade = projection(curve, LUMA_WEIGHTS) / 4.0
    given = np.stack([np.interp(np.arange(256), shade, curve[:, c]) for c in range(3)], -1).astype(np.float32)
    away = cloud.colours.mean(axis=1, dtype=np.float32) - given[cloud.luma].mean(axis=1)
    index = np.rint(cloud.luma.mean(axis=1)).astype(np.intp)
    count = np.bincount(index, minlength=256)
    seen = count >= MIN_BIN_PIXELS
    if not seen.any():
        return 0.0
    sums = np.stack([np.bincount(index, weights=away[:, c], minlength=256) for c in range(3)], -1)
    return float(np.sqrt(np.mean((sums[seen] / count[seen, None]) ** 2)))


def _overlay_fraction(cloud: ColourCloud) -> float:
    """Share of colours far from the median one of their luma: one map is a curve, an overlay is a second one."""
    colours, luma = cloud.colours.reshape(-1, 3).astype(np.float32), cloud.luma.ravel()
    distance = OVERLAY_DISTANCE
    if cloud.lossy:
        colours, luma = _chroma_samples(cloud.colours), np.rint(_chroma_samples(cloud.luma)).astype(np.uint8)
        distance = LOSSY_OVERLAY_DISTANCE
    order = np.argsort(luma, kind="stable")
    bounds = np.searchsorted(luma[order], np.arange(257))
    far = 0
    for a, b in itertools.pairwise(bounds):
        if b - a >= MIN_BIN_PIXELS:
            group = colours[order[a:b]]
            far += int((np.abs(group - np.median(group, axis=0)).max(axis=1) > distance).sum())
    return far / max(len(luma), 1)


def _chroma_samples(squares: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Means over 2 x 2 pixels, which share one chroma sample: (square, 16[, 3]) as (4 squares[, 3])."""
    half = CODED_SQUARE_PX // 2
    parted = squares.reshape(len(squares), half, 2, half, 2, *squares.shape[2:])
    return np.asarray(parted.mean(axis=(2, 4), dtype=np.float32).reshape(-1, *squares.shape[2:]), np.float32)


def _spacing_difference(shades: NDArray[np.float64], known: NDArray[np.uint8]) -> float:
    """Rms difference of two maps' luma over the levels."""
    return float(np.sqrt(np.mean((shades - projection(known, LUMA_WEIGHTS) / 4.0) ** 2)))
