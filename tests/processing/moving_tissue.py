"""Tissue that moves by known amounts: a complex speckle field, moved by the Fourier shift theorem, so that the truth
has no interpolation in it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from processing.cine import Cine, Spacing, TimeZero


def tissue(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.complex128]:
    """A periodic field of fully developed speckle over slow echogenicity."""
    real, imaginary = (ndimage.gaussian_filter(rng.normal(size=shape), (1.0, 1.8), mode="wrap") for _ in range(2))
    slow = ndimage.gaussian_filter(rng.normal(size=shape), 12.0, mode="wrap")
    return (real + 1j * imaginary) * np.exp(1.2 * slow / slow.std())


def moved(field: NDArray[np.complex128], dz: float, dx: float) -> NDArray[np.complex128]:
    """The field displaced by (dz, dx) pixels."""
    z, x = np.fft.fftfreq(field.shape[0])[:, None], np.fft.fftfreq(field.shape[1])[None, :]
    return np.fft.ifft2(np.fft.fft2(field) * np.exp(-2j * np.pi * (z * dz + x * dx)))


def bent(field: NDArray[np.complex128], displacement_px: NDArray[np.float64]) -> NDArray[np.complex128]:
    """The periodic field with each point of the picture showing the tissue that lies `displacement_px` (2, z, x) before
    it; cubic interpolation of real and imaginary part."""
    at = np.indices(field.shape) - displacement_px
    real, imaginary = (
        ndimage.map_coordinates(part, at, order=3, mode="grid-wrap") for part in (field.real, field.imag)
    )
    return real + 1j * imaginary


def stretch_and_turn(shape: tuple[int, int], stretch: float, turn: float) -> NDArray[np.float64]:
    """Displacement (2, z, x) of a panel that is stretched along depth and turned about its centre (rad)."""
    z, x = np.indices(shape) - 0.5 * (np.array(shape) - 1.0)[:, None, None]
    return np.stack([stretch * z - turn * x, turn * z])


def bmode_levels(field: NDArray[np.complex128], range_db: float = 60.0) -> NDArray[np.uint8]:
    level_db = 20.0 * np.log10(np.abs(field) / np.percentile(np.abs(field), 99.5) + 1e-12)
    return np.clip(255.0 * (1.0 + level_db / range_db), 0, 255).astype(np.uint8)


def cine_of(
    contrast: NDArray[np.float32], bmode: NDArray[np.uint8] | None, rate_hz: float = 10.0, spacing_mm: float = 0.2
) -> Cine:
    frames, *panel = contrast.shape
    return Cine(
        contrast=contrast,
        valid=np.ones(panel, np.bool_),
        saturated=np.zeros(panel, np.uint32),
        floor_au=1e-6,
        frame_times_s=np.arange(frames) / rate_hz,
        time_zero=TimeZero(),
        spacing_mm=Spacing(spacing_mm, spacing_mm),
        origin_px=(0, 0),
        bmode=bmode,
    )
