"""How alike two pictures of tissue are, and by which shift they become so: normalised correlation by Fourier transform.

Pictures are reduced images (z, x) of one size; everything is in reduced pixels. What to do with a shift is for
`processing.motion` (the whole panel) and `processing.local_motion` (its parts).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

FloatImage = NDArray[np.float32]


@dataclass(frozen=True)
class Detail:
    """What is compared. coarse_px, fine_px: the band of detail, in reduced pixels: coarser is shading, finer is noise.
    largest_fraction: of the picture, beyond which no shift is believed."""

    coarse_px: float
    fine_px: float
    largest_fraction: float


def shifted(image: NDArray[Any], dz: int, dx: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """The image shifted so that what lay at (z + dz, x + dx) lies at (z, x); zero where nothing was seen.

    Into `out` where one is given, which may be the image itself.
    """
    rows, columns = image.shape
    moved = np.empty_like(image) if out is None else out
    top, bottom, left, right = max(-dz, 0), rows - max(dz, 0), max(-dx, 0), columns - max(dx, 0)
    if top >= rows or bottom <= 0 or left >= columns or right <= 0:
        moved[:] = 0
        return moved
    moved[top:bottom, left:right] = image[max(dz, 0) : rows - top, max(dx, 0) : columns - left]
    moved[:top], moved[bottom:], moved[:, :left], moved[:, right:] = 0, 0, 0, 0
    return moved


def reduced(image: FloatImage, reduction: int) -> FloatImage:
    """Mean over reduction x reduction pixels; a last odd row or column is dropped."""
    rows, columns = image.shape[0] // reduction, image.shape[1] // reduction
    kept = image[: rows * reduction, : columns * reduction]
    total = np.zeros((rows, columns), np.float32)
    for z in range(reduction):
        for x in range(reduction):
            total += kept[z::reduction, x::reduction]
    return total


class Correlator:
    """Cross-correlation of the detail of pictures of one size, as if there were no edge.

    Shading is taken off before the edge is tapered, and the correlation is divided by that of the taper itself
    (Padfield 2012, IEEE TIP 21:2706): otherwise the edge, which belongs to the screen, pulls every shift towards zero.
    """

    def __init__(self, inside: NDArray[np.bool_], parameters: Detail) -> None:
        depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
        width = max(2.0, 0.08 * min(inside.shape))
        self.inside = inside.astype(np.float32)
        self._taper = np.asarray(np.sin(0.5 * np.pi * np.clip(depth / width, 0.0, 1.0)) ** 2, np.float32)
        self._edge_px = 2 * round(parameters.coarse_px) + 1
        self._share = np.maximum(ndimage.uniform_filter(self.inside, self._edge_px, mode="constant"), 1e-3)
        self._size = tuple(fft.next_fast_len(n, real=True) for n in inside.shape)
        frequency_z, frequency_x = np.fft.fftfreq(self._size[0])[:, None], np.fft.rfftfreq(self._size[1])[None, :]
        radius2 = (2.0 * np.pi) ** 2 * (frequency_z**2 + frequency_x**2)
        self._band = np.exp(-0.5 * radius2 * parameters.fine_px**2).astype(np.float32)
        # A real transform holds each column but the first (and the last of an even size) for two.
        self._twice = np.full(self._band.shape[1], 2.0, np.float32)
        self._twice[[0] if self._size[1] % 2 else [0, -1]] = 1.0
        rows, columns = (max(2, int(parameters.largest_fraction * n)) for n in inside.shape)
        self._near = np.ix_(np.r_[-rows - 1 : rows + 2], np.r_[-columns - 1 : columns + 2])
        overlap = fft.irfft2(np.abs(fft.rfft2(self._taper, self._size)) ** 2, self._size)[self._near]
        self._overlap = np.maximum(overlap / max(float(overlap.max()), 1e-30), 0.1)

    def detail(self, picture: FloatImage) -> FloatImage:
        """The picture without its shading."""
        shading = ndimage.uniform_filter(picture * self.inside, self._edge_px, mode="constant") / self._share
        return np.asarray(picture - shading, np.float32)

    def spectrum(self, detail: FloatImage, partner: tuple[int, int] = (0, 0)) -> NDArray[np.complex64]:
        """Spectrum inside the taper, and inside the taper of a partner in whose picture this tissue lies `partner`
        (z, x) further: both then see the same tissue with the same weight, and the edge pulls no more."""
        window = self._taper if partner == (0, 0) else self._taper * shifted(self._taper, *partner)
        return np.asarray(fft.rfft2(detail * window, self._size) * self._band)

    def likeness(self, one: NDArray[np.complex64], other: NDArray[np.complex64]) -> float:
        """Correlation where they lie, without any shift (Parseval)."""
        product = one.real * other.real + one.imag * other.imag
        return float((product @ self._twice).sum() / (self._size[0] * self._size[1]))

    def shift(self, reference: NDArray[np.complex64], other: NDArray[np.complex64]) -> tuple[float, float]:
        """Displacement (z, x) of `other` in reduced pixels, anywhere within reach."""
        surface = fft.irfft2(np.conj(reference) * other, self._size)[self._near] / self._overlap
        return summit(surface)

    def refined(
        self, reference: NDArray[np.complex64], other: NDArray[np.complex64], near: tuple[int, int]
    ) -> tuple[tuple[float, float], float]:
        """Displacement within two pixels of `near`, for which both windows were cut, and the correlation there."""
        surface = fft.irfft2(np.conj(reference) * other, self._size)
        local = surface[np.ix_(near[0] + np.arange(-3, 4), near[1] + np.arange(-3, 4))]
        z, x = summit(local)
        return (near[0] + z, near[1] + x), float(local[1:-1, 1:-1].max())


def summit(surface: NDArray[np.float32]) -> tuple[float, float]:
    """Position of the maximum from the middle of the surface, to a fraction of a pixel (its border is not searched)."""
    rows, columns = surface.shape
    z, x = divmod(int(surface[1:-1, 1:-1].argmax()), columns - 2)
    z_part, x_part = vertex(surface[z : z + 3, x + 1]), vertex(surface[z + 1, x : x + 3])
    return z + 1 - rows // 2 + z_part, x + 1 - columns // 2 + x_part


def vertex(three: NDArray[np.float32]) -> float:
    """Where the parabola through three samples around a maximum has its top, in samples from the middle one."""
    curvature = float(three[0] - 2.0 * three[1] + three[2])
    return 0.0 if curvature >= 0.0 else float(np.clip(0.5 * (three[0] - three[2]) / curvature, -0.5, 0.5))
