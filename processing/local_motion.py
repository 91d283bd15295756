"""What bends: displacement that differs between the parts of a panel, beyond the rigid shift of each frame.

Tissue that is pressed or turned by breathing does not move as one. A smooth field (a polynomial of the second degree
over the panel: stretch, shear, rotation, bending) is fitted to the shifts of overlapping windows. It is followed only
where it pays: where it makes the tissue markedly more alike to the reference frame than the rigid shift does, measured
on sampled frames, and moves it by a pixel or more. Both figures go into the findings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from processing.frozen_arrays import frozen_array
from processing.kernels.jit import side_by_side
from processing.limitations import Limitation
from processing.tissue_correlation import FloatImage, shifted, vertex

TERMS = 6
"""1, v, u, v^2, vu, u^2 of the depth v and the width u, each -1 to 1 over the panel."""


@dataclass(frozen=True)
class LocalMotionParameters:
    """Windows and the decision.

    windows: along each axis; window_fraction: of the panel, a window's extent; largest_px: reduced pixels beyond the
    rigid shift within which a window is searched. sampled: frames on which is decided, over the whole range of motion.
    smallest_gain: of correlation with the reference, and smallest_px, of displacement, from which on a frame counts
    as bent: rigid motion of speckle gains 0.00 to 0.01 (tests/processing/test_motion.py). bent_share: of the sampled
    frames that must be bent; breathing rests half of the time.
    """

    windows: int = 4
    window_fraction: float = 0.3
    largest_px: int = 6
    sampled: int = 24
    smallest_gain: float = 0.05
    smallest_px: float = 1.0
    bent_share: float = 0.15


LOCAL_DEFAULTS = LocalMotionParameters()


@dataclass(frozen=True, eq=False)
class LocalMotion:
    """coefficients: float32 (frame, 2, 6), of the field (z, x) in full-resolution pixels on top of the rigid shift.
    shape: of the panel. rigid_correlation, local_correlation: mean over the bent sampled frames. p95_px: 95th
    percentile of the field's length over the panel in the bent sampled frames."""

    coefficients: NDArray[np.float32]
    shape: tuple[int, int]
    rigid_correlation: float
    local_correlation: float
    p95_px: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "coefficients", frozen_array("coefficients", self.coefficients, np.float32, 3))

    @cached_property
    def _axes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return tuple(np.linspace(-1.0, 1.0, n, dtype=np.float32) for n in self.shape)  # type: ignore[return-value]

    def field_px(self, frame: int) -> tuple[FloatImage, FloatImage]:
        """Displacement (z, x) of every pixel of the panel in this frame, beyond the rigid shift."""
        v, u = self._axes[0][:, None], self._axes[1][None, :]
        c = self.coefficients[frame]
        z, x = (a[0] + v * (a[1] + a[3] * v) + u * (a[2] + a[4] * v + a[5] * u) for a in c)
        return z, x


@dataclass(frozen=True, eq=False)
class Followed:
    """What is looked at: pictures' detail by frame, the reference frame's, and the rigid shifts, all in reduced pixels
    (factor `reduction`). usable: bool (frame,), neither dark nor out of plane. shape: of the panel, full resolution."""

    detail: Callable[[int], FloatImage]
    still: FloatImage
    shift: NDArray[np.float64]
    usable: NDArray[np.bool_]
    reduction: int
    shape: tuple[int, int]


def follow_local(
    followed: Followed, parameters: LocalMotionParameters
) -> tuple[LocalMotion | None, tuple[Limitation, ...]]:
    """Decide on sampled frames whether the tissue bends; if so follow it in every usable frame."""
    frames = np.flatnonzero(followed.usable)
    if frames.size < 8 or min(followed.still.shape) * parameters.window_fraction < 4 * parameters.largest_px:
        return None, ()
    windows = _Windows(followed, parameters)
    far = np.argsort(np.hypot(*followed.shift[frames].T), kind="stable")
    sampled = frames[far[np.linspace(0, frames.size - 1, min(parameters.sampled, frames.size)).astype(np.intp)]]
    seen = side_by_side(windows.look, sampled.tolist())
    length_px = np.array([one.p95_px * followed.reduction for one in seen])
    gain = np.array([one.after - one.before for one in seen])
    bent = (gain >= parameters.smallest_gain) & (length_px >= parameters.smallest_px)
    if bent.mean() < parameters.bent_share:
        return None, ()
    coefficients = np.zeros((followed.usable.size, 2, TERMS), np.float32)
    looks = side_by_side(windows.look, frames.tolist())
    coefficients[frames] = followed.reduction * np.array([look.coefficients for look in looks])
    before, after = (float(np.mean([getattr(s, n) for s, b in zip(seen, bent, strict=True) if b])) for n in SIDES)
    local = LocalMotion(coefficients, followed.shape, before, after, float(np.percentile(length_px[bent], 95.0)))
    return local, (_followed(local, float(bent.mean())),)


SIDES = ("before", "after")


@dataclass(frozen=True, eq=False)
class _Look:
    """One frame: coefficients (2, 6) in reduced pixels, mean correlation of the windows before and after."""

    coefficients: NDArray[np.float64]
    before: float
    after: float
    p95_px: float


class _Windows:
    """Overlapping windows of the reference frame, and the field that their shifts follow in another frame."""

    def __init__(self, followed: Followed, parameters: LocalMotionParameters) -> None:
        self._followed, self._reach = followed, parameters.largest_px
        rows, columns = followed.still.shape
        size = [max(1, round(parameters.window_fraction * n)) for n in (rows, columns)]
        starts = [
            np.linspace(0, n - s, parameters.windows).astype(np.intp)
            for n, s in zip((rows, columns), size, strict=True)
        ]
        self._z = (starts[0][:, None, None, None] + np.arange(size[0])[:, None]).repeat(parameters.windows, axis=1)
        self._x = (starts[1][None, :, None, None] + np.arange(size[1])[None, :]).repeat(parameters.windows, axis=0)
        taper = np.outer(np.hanning(size[0] + 2)[1:-1], np.hanning(size[1] + 2)[1:-1]).astype(np.float32)
        self._taper, self._root = taper, np.sqrt(taper)
        self._size = tuple(fft.next_fast_len(n, real=True) for n in size)
        middle = [(s + 0.5 * (n - 1)) for s, n in zip(starts, size, strict=True)]
        v, u = (2.0 * m / (n - 1) - 1.0 for m, n in zip(middle, (rows, columns), strict=True))
        v, u = (a.ravel() for a in np.meshgrid(v, u, indexing="ij"))
        self._terms = np.stack([np.ones(v.size), v, u, v * v, v * u, u * u], axis=1)
        still = self._cut(followed.still)
        self._energy = (still**2).sum(axis=(1, 2))
        self._still = np.conj(fft.rfft2(still, self._size))

    def _cut(self, picture: FloatImage) -> FloatImage:
        """float32 (window, z, x), tapered. Squared in a product, the two tapers weigh as one Hann window."""
        return np.asarray((picture[self._z, self._x] * self._root).reshape(-1, *self._taper.shape), np.float32)

    def look(self, frame: int) -> _Look:
        """The field of one frame relative to its rigid shift."""
        shift = self._followed.shift[frame]
        near = np.rint(shift).astype(np.intp)
        picture = self._cut(shifted(self._followed.detail(frame), int(near[0]), int(near[1])))
        surface = fft.irfft2(self._still * fft.rfft2(picture, self._size), self._size)
        around = np.arange(-self._reach, self._reach + 1)
        surface = surface[:, around[:, None], around[None, :]]
        energy = self._energy * (picture**2).sum(axis=(1, 2))
        surface /= np.sqrt(np.maximum(energy, 1e-30))[:, None, None]
        rigid = np.tile(shift - near, (len(surface), 1))
        found, height = _summits(surface)
        weight = np.where(energy > 0.0, np.clip(height, 0.0, None), 0.0) ** 2
        coefficients = self._fitted(found - rigid, weight)
        field = self._terms @ coefficients.T
        counted = weight > 0.0
        if not counted.any():
            return _Look(np.zeros((2, TERMS)), 0.0, 0.0, 0.0)
        before = float(_value(surface, rigid)[counted].mean())
        after = float(_value(surface, rigid + field)[counted].mean())
        return _Look(coefficients, before, after, float(np.percentile(np.hypot(*field[counted].T), 95.0)))

    def _fitted(self, shift: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted least squares, once more without the windows that lie far off (another tissue, a shadow)."""
        coefficients = np.zeros((2, TERMS))
        for _ in range(2):
            if np.count_nonzero(weight) < 2 * TERMS:
                return np.zeros((2, TERMS))
            root = np.sqrt(weight)[:, None]
            coefficients = np.linalg.lstsq(self._terms * root, shift * root, rcond=1e-6)[0].T
            off = np.hypot(*(shift - self._terms @ coefficients.T).T)
            weight = np.where(off > max(3.0 * float(np.median(off)), 0.5), 0.0, weight)
        return coefficients


def _summits(surface: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Position (window, 2) of each surface's maximum from its middle, to a fraction of a pixel, and its height."""
    reach = surface.shape[1] // 2
    inner = surface[:, 1:-1, 1:-1].reshape(len(surface), -1)
    best = inner.argmax(axis=1)
    z, x = np.divmod(best, surface.shape[2] - 2)
    found = np.empty((len(surface), 2))
    for window, (row, column) in enumerate(zip(z, x, strict=True)):
        found[window, 0] = row + 1 - reach + vertex(surface[window, row : row + 3, column + 1])
        found[window, 1] = column + 1 - reach + vertex(surface[window, row + 1, column : column + 3])
    return found, inner[np.arange(len(surface)), best]


def _value(surface: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each surface (window, z, x) read at a position (window, 2) from its middle, between pixels by a parabola."""
    reach = surface.shape[1] // 2
    at = np.clip(at, 1.0 - reach, reach - 1.0)
    nearest = np.rint(at).astype(np.intp)
    index, (z, x), part = np.arange(len(surface)), (nearest + reach).T, at - nearest
    value = surface[index, z, x].astype(np.float64)
    for axis, (dz, dx) in enumerate(((1, 0), (0, 1))):
        before, after = surface[index, z - dz, x - dx], surface[index, z + dz, x + dx]
        middle = surface[index, z, x]
        value = value + part[:, axis] * 0.5 * (after - before) + part[:, axis] ** 2 * (0.5 * (after + before) - middle)
    return np.asarray(value, np.float64)


def _followed(local: LocalMotion, share: float) -> Limitation:
    text = (
        f"The tissue bends within the panel, by up to {local.p95_px:.1f} px in {100.0 * share:.0f} % of the frames: "
        f"followed in parts, which raises its likeness to the reference frame from {local.rigid_correlation:.2f} to "
        f"{local.local_correlation:.2f}. Bubbles are then placed to half a pixel."
    )
    return Limitation("local_motion", text, "note", ("perfusion", "super_resolution"))
