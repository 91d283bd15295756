"""Motion of the tissue in the image plane: how far each frame lies from a reference frame, and which left the plane.

Estimated on the B-mode panel where there is one (it shows tissue throughout), else on the contrast panel in dB with
the enhancement normalised out. Rigid, at half resolution, by normalised cross-correlation in the Fourier domain; frames
that no shift brings back are out of plane and rejected (Ta et al. 2014, PMC4184933). Nothing is dropped silently: the
result says how much moved and what was rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from processing.cine import Cine, Spacing
from processing.errors import InvalidValueError
from processing.frozen_arrays import frozen_array
from processing.limitations import Limitation

FloatImage = NDArray[np.float32]


@dataclass(frozen=True)
class MotionParameters:
    """How motion is looked for.

    reduction: pixels averaged along each axis before correlating; 2 keeps the error below a tenth of a pixel at a
      quarter of the work. coarse_px, fine_px: the band of detail that is compared, in reduced pixels: coarser is
      shading, finer is noise. largest_fraction: of the panel, beyond which no shift is believed.
    candidates: frames among which the one to compare with is chosen: the most like all others. The reference is then
      the most frequent position (end-expiration in free breathing).
    out_of_plane_sigma, out_of_plane_drop: a frame is rejected when its correlation lies this many robust standard
      deviations, and at least this much, below the median.
    phase_selected: keep only frames near the most frequent position (ventilated patients); gate_fraction: how near, as
      a fraction of the range of motion (5th to 95th percentile).
    """

    reduction: int = 2
    coarse_px: float = 8.0
    fine_px: float = 1.0
    largest_fraction: float = 0.3
    candidates: int = 16
    out_of_plane_sigma: float = 4.0
    out_of_plane_drop: float = 0.15
    phase_selected: bool = False
    gate_fraction: float = 0.25


@dataclass(frozen=True, eq=False)
class Motion:
    """displacement_px: float32 (frame, 2), (z, x) by which tissue in a frame lies away from where it lies in
    `reference_frame`: a position seen in frame k belongs at position - displacement_px[k]. Full-resolution pixels of
    the contrast panel. rejected: bool (frame,), out of plane, or outside the gate in phase-selected mode.
    correlation: float32 (frame,) with the reference after the shift, NaN where a frame shows nothing to correlate.
    p95_px, p95_mm: 95th percentile of the distance from the median position over kept frames; mm None without
    calibration. phase_kept_fraction: None unless phase-selected.
    """

    displacement_px: NDArray[np.float32]
    rejected: NDArray[np.bool_]
    correlation: NDArray[np.float32]
    reference_frame: int
    estimated_on: Literal["B-mode", "contrast"]
    p95_px: float
    p95_mm: float | None
    phase_kept_fraction: float | None
    limitations: tuple[Limitation, ...]

    def __post_init__(self) -> None:
        for name, dtype, ndim in (("displacement_px", np.float32, 2), ("rejected", np.bool_, 1)):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), dtype, ndim))
        object.__setattr__(self, "correlation", frozen_array("correlation", self.correlation, np.float32, 1))


MOTION_DEFAULTS = MotionParameters()


def estimate_motion(cine: Cine, parameters: MotionParameters = MOTION_DEFAULTS) -> Motion:
    """Rigid motion of every frame of `cine`. Raises InvalidValueError for fewer than two frames."""
    frames = cine.frame_times_s.size
    if frames < 2:
        raise InvalidValueError("motion needs at least two frames")
    picture = _picture(cine, parameters.reduction)
    correlator = _Correlator(cine.valid, parameters)
    reference = _reference_frame(picture, frames, correlator, parameters)
    still = correlator.detail(picture(reference))
    spectrum = correlator.spectrum(still)
    shift = np.zeros((frames, 2))
    correlation = np.full(frames, np.nan, np.float32)
    for index in range(frames):
        detail = correlator.detail(picture(index))
        z, x = correlator.shift(spectrum, correlator.spectrum(detail))
        near = round(z), round(x)
        one = spectrum if near == (0, 0) else correlator.spectrum(still, near)
        other = correlator.spectrum(detail, (-near[0], -near[1]))
        energy = correlator.likeness(one, one) * correlator.likeness(other, other)
        if energy > 0.0:
            shift[index], peak = correlator.refined(one, other, near)
            correlation[index] = peak / np.sqrt(energy)
    shift *= parameters.reduction
    return _judged(cine, shift, correlation, reference, parameters)


def _judged(
    cine: Cine,
    shift: NDArray[np.float64],
    correlation: NDArray[np.float32],
    reference: int,
    parameters: MotionParameters,
) -> Motion:
    out_of_plane = _out_of_plane(correlation, parameters)
    shift[out_of_plane | np.isnan(correlation)] = np.nan
    limitations = []
    if out_of_plane.any():
        text = f"{int(out_of_plane.sum())} of {out_of_plane.size} frames left the image plane and are rejected."
        limitations.append(Limitation("out_of_plane_frames", text, "note", ("perfusion",)))
    reference = _most_frequent(shift, reference, parameters)
    shift -= np.nan_to_num(shift[reference])
    rejected, kept_fraction = out_of_plane.copy(), None
    if parameters.phase_selected:
        away = _outside_gate(shift, parameters)
        rejected |= away
        kept_fraction = float((~rejected).mean())
        text = f"Phase-selected: {100 * kept_fraction:.0f} % of the frames, near the most frequent position, are used."
        limitations.append(Limitation("phase_selected", text, "note", ("perfusion",)))
    kept = np.isfinite(shift).all(axis=1) & ~rejected
    return Motion(
        displacement_px=_filled(shift).astype(np.float32),
        rejected=rejected,
        correlation=correlation,
        reference_frame=reference,
        estimated_on="contrast" if cine.bmode is None else "B-mode",
        p95_px=_p95(shift[kept], Spacing(1.0, 1.0)),
        p95_mm=None if cine.spacing_mm is None else _p95(shift[kept], cine.spacing_mm),
        phase_kept_fraction=kept_fraction,
        limitations=tuple(limitations),
    )


def apply_motion(cine: Cine, motion: Motion, out: NDArray[np.float32] | None = None) -> Cine:
    """The cine in the coordinates of the reference frame, moved by whole pixels: no echo is interpolated or blurred.

    `valid` keeps the pixels that every kept frame shows. out: float32 like `cine.contrast`, written frame by frame; it
    may be the array behind `cine` itself (then `cine` must not be used any more), so that a cine is held once. Counts
    of saturation stay where they were counted.
    """
    moved = np.empty(cine.contrast.shape, np.float32) if out is None else out
    bmode = None if cine.bmode is None else np.empty_like(cine.bmode)
    steps = np.rint(motion.displacement_px).astype(np.intp)
    valid = cine.valid.copy()
    for index, (dz, dx) in enumerate(steps):
        moved[index] = _moved(cine.contrast[index], int(dz), int(dx))
        if bmode is not None and cine.bmode is not None:
            bmode[index] = _moved(cine.bmode[index], int(dz), int(dx))
    for dz, dx in np.unique(steps[~motion.rejected], axis=0):
        valid &= _moved(cine.valid, int(dz), int(dx))
    return Cine(
        contrast=moved,
        valid=valid,
        saturated=cine.saturated,
        floor_au=cine.floor_au,
        frame_times_s=cine.frame_times_s,
        time_zero=cine.time_zero,
        spacing_mm=cine.spacing_mm,
        origin_px=cine.origin_px,
        bmode=bmode,
    )


def in_reference_frame(mask: NDArray[np.bool_], motion: Motion, frame: int) -> NDArray[np.bool_]:
    """A mask (z, x) drawn on `frame`, where the same tissue lies in the cine that `apply_motion` gives."""
    dz, dx = np.rint(motion.displacement_px[frame]).astype(np.intp)
    return _moved(mask, int(dz), int(dx))


def _moved(image: NDArray[Any], dz: int, dx: int) -> NDArray[Any]:
    """The image shifted so that what lay at (z + dz, x + dx) lies at (z, x); zero where nothing was seen."""
    rows, columns = image.shape
    moved = np.zeros_like(image)
    if abs(dz) < rows and abs(dx) < columns:
        moved[max(-dz, 0) : rows - max(dz, 0), max(-dx, 0) : columns - max(dx, 0)] = image[
            max(dz, 0) : rows - max(-dz, 0), max(dx, 0) : columns - max(-dx, 0)
        ]
    return moved


def _picture(cine: Cine, reduction: int) -> Callable[[int], FloatImage]:
    """What is correlated, as a function of the frame: B-mode levels, or contrast in dB above the floor."""
    if cine.bmode is not None:
        levels = cine.bmode
        return lambda index: _reduced(levels[index].astype(np.float32), reduction)
    contrast, floor = cine.contrast, np.float32(max(cine.floor_au, 1e-12))
    return lambda index: _reduced(np.log10(np.maximum(contrast[index], floor) / floor), reduction)


def _reduced(image: FloatImage, reduction: int) -> FloatImage:
    """Mean over reduction x reduction pixels; a last odd row or column is dropped."""
    rows, columns = image.shape[0] // reduction, image.shape[1] // reduction
    kept = image[: rows * reduction, : columns * reduction]
    total = np.zeros((rows, columns), np.float32)
    for z in range(reduction):
        for x in range(reduction):
            total += kept[z::reduction, x::reduction]
    return total


class _Correlator:
    """Cross-correlation of the detail of pictures of one size, as if there were no edge.

    Shading is taken off before the edge is tapered, and the correlation is divided by that of the taper itself
    (Padfield 2012, IEEE TIP 21:2706): otherwise the edge, which belongs to the screen, pulls every shift towards zero.
    """

    def __init__(self, valid: NDArray[np.bool_], parameters: MotionParameters) -> None:
        inside = _reduced(valid.astype(np.float32), parameters.reduction) >= 0.5 * parameters.reduction**2
        depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
        width = max(2.0, 0.08 * min(inside.shape))
        self._inside = inside.astype(np.float32)
        self._taper = np.asarray(np.sin(0.5 * np.pi * np.clip(depth / width, 0.0, 1.0)) ** 2, np.float32)
        self._edge_px = 2 * round(parameters.coarse_px) + 1
        self._share = np.maximum(ndimage.uniform_filter(self._inside, self._edge_px, mode="constant"), 1e-3)
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
        shading = ndimage.uniform_filter(picture * self._inside, self._edge_px, mode="constant") / self._share
        return np.asarray(picture - shading, np.float32)

    def spectrum(self, detail: FloatImage, partner: tuple[int, int] = (0, 0)) -> NDArray[np.complex64]:
        """Spectrum inside the taper, and inside the taper of a partner in whose picture this tissue lies `partner`
        (z, x) further: both then see the same tissue with the same weight, and the edge pulls no more."""
        window = self._taper if partner == (0, 0) else self._taper * _moved(self._taper, *partner)
        return np.asarray(fft.rfft2(detail * window, self._size) * self._band)

    def likeness(self, one: NDArray[np.complex64], other: NDArray[np.complex64]) -> float:
        """Correlation where they lie, without any shift (Parseval)."""
        product = one.real * other.real + one.imag * other.imag
        return float((product @ self._twice).sum() / (self._size[0] * self._size[1]))

    def shift(self, reference: NDArray[np.complex64], other: NDArray[np.complex64]) -> tuple[float, float]:
        """Displacement (z, x) of `other` in reduced pixels, anywhere within reach."""
        surface = fft.irfft2(np.conj(reference) * other, self._size)[self._near] / self._overlap
        return _summit(surface)

    def refined(
        self, reference: NDArray[np.complex64], other: NDArray[np.complex64], near: tuple[int, int]
    ) -> tuple[tuple[float, float], float]:
        """Displacement within two pixels of `near`, for which both windows were cut, and the correlation there."""
        surface = fft.irfft2(np.conj(reference) * other, self._size)
        local = surface[np.ix_(near[0] + np.arange(-3, 4), near[1] + np.arange(-3, 4))]
        z, x = _summit(local)
        return (near[0] + z, near[1] + x), float(local[1:-1, 1:-1].max())


def _summit(surface: NDArray[np.float32]) -> tuple[float, float]:
    """Position of the maximum from the middle of the surface, to a fraction of a pixel (its border is not searched)."""
    rows, columns = surface.shape
    z, x = divmod(int(surface[1:-1, 1:-1].argmax()), columns - 2)
    z_part, x_part = _vertex(surface[z : z + 3, x + 1]), _vertex(surface[z + 1, x : x + 3])
    return z + 1 - rows // 2 + z_part, x + 1 - columns // 2 + x_part


def _vertex(three: NDArray[np.float32]) -> float:
    """Where the parabola through three samples around a maximum has its top, in samples from the middle one."""
    curvature = float(three[0] - 2.0 * three[1] + three[2])
    return 0.0 if curvature >= 0.0 else float(np.clip(0.5 * (three[0] - three[2]) / curvature, -0.5, 0.5))


def _reference_frame(
    picture: Callable[[int], FloatImage], frames: int, correlator: _Correlator, parameters: MotionParameters
) -> int:
    """The candidate that lies nearest to all others without being moved: the most frequent position in the plane."""
    candidates = np.unique(np.linspace(0, frames - 1, min(parameters.candidates, frames)).astype(np.intp))
    spectra = [correlator.spectrum(correlator.detail(picture(int(index)))) for index in candidates]
    energies = [correlator.likeness(one, one) for one in spectra]
    likeness = np.zeros((candidates.size, candidates.size))
    for i, j in combinations(range(candidates.size), 2):
        if min(energies[i], energies[j]) > 0.0:
            likeness[i, j] = correlator.likeness(spectra[i], spectra[j]) / np.sqrt(energies[i] * energies[j])
            likeness[j, i] = likeness[i, j]
    return int(candidates[np.median(likeness, axis=0).argmax()])


def _out_of_plane(correlation: NDArray[np.float32], parameters: MotionParameters) -> NDArray[np.bool_]:
    seen = np.isfinite(correlation)
    if not seen.any():
        return np.zeros(correlation.size, np.bool_)
    middle = float(np.median(correlation[seen]))
    spread = 1.4826 * float(np.median(np.abs(correlation[seen] - middle)))
    limit = middle - max(parameters.out_of_plane_sigma * spread, parameters.out_of_plane_drop)
    return np.asarray(seen & (correlation < limit))


def _most_frequent(shift: NDArray[np.float64], first: int, parameters: MotionParameters) -> int:
    """The frame with most others within a reduced pixel of it: positions are measured from there (end-expiration in
    free breathing), whichever frame they were first compared with."""
    seen = np.flatnonzero(np.isfinite(shift).all(axis=1))
    if seen.size < 3:
        return first
    apart = np.hypot(*(shift[seen][:, None] - shift[seen][None]).transpose(2, 0, 1))
    neighbours = (apart <= parameters.reduction).sum(axis=0)
    densest = neighbours == neighbours.max()
    middle = np.median(shift[seen][densest], axis=0)
    return int(seen[densest][np.hypot(*(shift[seen][densest] - middle).T).argmin()])


def _outside_gate(shift: NDArray[np.float64], parameters: MotionParameters) -> NDArray[np.bool_]:
    """Frames away from the most frequent position along the main axis of motion."""
    seen = np.isfinite(shift).all(axis=1)
    centred = shift[seen] - shift[seen].mean(axis=0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0] if seen.sum() > 2 else np.array([1.0, 0.0])
    position = shift @ axis
    low, high = np.percentile(position[seen], [5.0, 95.0])
    half_gate = max(0.5 * parameters.gate_fraction * float(high - low), 0.5)
    # The most frequent position: centre of the gate that holds most frames.
    held = (np.abs(position[seen][:, None] - position[seen][None, :]) <= half_gate).sum(axis=0)
    return np.asarray(~(np.abs(position - position[seen][held.argmax()]) <= half_gate))


def _filled(shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frames without an estimate take that of their neighbours in time."""
    filled = shift.copy()
    seen = np.isfinite(shift).all(axis=1)
    for axis in range(2):
        if seen.any():
            filled[:, axis] = np.interp(np.arange(len(shift)), np.flatnonzero(seen), shift[seen, axis])
        else:
            filled[:, axis] = 0.0
    return filled


def _p95(shift: NDArray[np.float64], scale: Spacing) -> float:
    """95th percentile of the distance from the median position; 0 where no frame has a position."""
    if len(shift) == 0:
        return 0.0
    return float(np.percentile(np.hypot(*((shift - np.median(shift, axis=0)) * np.array(scale)).T), 95.0))
