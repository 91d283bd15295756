"""Motion of the tissue in the image plane: how far each frame lies from a reference frame, and which left the plane.

Estimated on the B-mode panel where there is one (it shows tissue throughout), else on the contrast panel in dB with
the enhancement normalised out. Rigid, at half resolution, by normalised cross-correlation in the Fourier domain; frames
that no shift brings back are out of plane and rejected (Ta et al. 2014, PMC4184933). Where the B-mode panel shows that
the tissue bends, its parts are followed (`processing.local_motion`). Nothing is dropped silently: the result says how
much moved and what was rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from processing.cine import Cine, Spacing
from processing.errors import InvalidValueError
from processing.frozen_arrays import frozen_array
from processing.kernels.jit import side_by_side
from processing.limitations import Limitation
from processing.local_motion import LOCAL_DEFAULTS, Followed, LocalMotion, LocalMotionParameters, follow_local
from processing.tissue_correlation import Correlator, Detail, FloatImage, reduced, shifted


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
    local: how parts of the panel are followed where that pays; None: rigid only.
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
    local: LocalMotionParameters | None = LOCAL_DEFAULTS
    phase_selected: bool = False
    gate_fraction: float = 0.25


@dataclass(frozen=True, eq=False)
class Motion:
    """displacement_px: float32 (frame, 2), (z, x) by which tissue in a frame lies away from where it lies in
    `reference_frame`: a position seen in frame k belongs at position - displacement_px[k]. Full-resolution pixels of
    the contrast panel. rejected: bool (frame,), out of plane, or outside the gate in phase-selected mode.
    correlation: float32 (frame,) with the reference after the shift, NaN where a frame shows nothing to correlate.
    p95_px, p95_mm: 95th percentile of the distance from the median position over kept frames; mm None without
    calibration. phase_kept_fraction: None unless phase-selected. local: what the parts of the panel do beyond that,
    None where the tissue moves as one.
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
    local: LocalMotion | None = None

    def __post_init__(self) -> None:
        for name, dtype, ndim in (("displacement_px", np.float32, 2), ("rejected", np.bool_, 1)):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), dtype, ndim))
        object.__setattr__(self, "correlation", frozen_array("correlation", self.correlation, np.float32, 1))

    @property
    def moved(self) -> NDArray[np.bool_]:
        """bool (frame,): frames of which the correction moves a pixel."""
        moved = np.rint(self.displacement_px).any(axis=1)
        bent = np.zeros(moved.shape, np.bool_) if self.local is None else self.local.coefficients.any(axis=(1, 2))
        return np.asarray(moved | bent)

    @property
    def reach_px(self) -> NDArray[np.float32]:
        """float32 (frame,): no tissue of a frame lies farther than this from where it lies in the reference frame."""
        reach = np.abs(self.displacement_px)
        if self.local is not None:
            reach = reach + np.abs(self.local.coefficients).sum(axis=2)  # of a field over [-1, 1]: its largest value
        return np.asarray(np.hypot(reach[:, 0], reach[:, 1]), np.float32)

    @property
    def still(self) -> NDArray[np.bool_]:
        """bool (frame,): frames that show the tissue where it lies in the reference frame: kept ones, else (a gated
        protocol may keep another phase only) any, else the nearest kept one."""
        near = self.reach_px <= STILL_PX
        if (near & ~self.rejected).any() or not near.any():
            nearest = float(self.reach_px[~self.rejected].min(initial=np.inf))
            near = ~self.rejected & (self.reach_px <= max(nearest, STILL_PX))
        return np.asarray(near)


MOTION_DEFAULTS = MotionParameters()
STILL_PX = 1.0
"""An outline that is drawn a pixel beside its tissue is drawn within its own line's width."""


def estimate_motion(cine: Cine, parameters: MotionParameters = MOTION_DEFAULTS) -> Motion:
    """Motion of every frame of `cine`. Raises InvalidValueError for fewer than two frames."""
    frames = cine.frame_times_s.size
    if frames < 2:
        raise InvalidValueError("motion needs at least two frames")
    picture = _picture(cine, parameters.reduction)
    correlator = _correlator(cine.valid, parameters)
    candidates = candidate_frames(frames, parameters)
    reference = _Reference(correlator, {index: picture(index) for index in candidates})
    compared = side_by_side(lambda index: reference.compare(picture(index)), range(frames))
    return _finished(cine, reference, compared, parameters)


class MotionFollower:
    """Rigid motion while a cine is still being decoded: each block of B-mode frames is compared with the reference
    frame as it comes. Which frames left the plane, where tissue rests and whether it bends is judged at the end.

    candidates: B-mode frames (z, x) by number, those of `candidate_frames`. valid: bool (z, x).
    """

    def __init__(
        self,
        candidates: dict[int, NDArray[np.uint8]],
        valid: NDArray[np.bool_],
        parameters: MotionParameters = MOTION_DEFAULTS,
    ) -> None:
        self._parameters = parameters
        pictures = {index: self._picture(frame) for index, frame in candidates.items()}
        self._reference = _Reference(_correlator(valid, parameters), pictures)
        self._compared: list[Compared] = []

    def take(self, bmode: NDArray[np.uint8]) -> None:
        """The next frames (frame, z, x), in order."""
        self._compared += side_by_side(lambda frame: self._reference.compare(self._picture(frame)), bmode)

    def motion(self, cine: Cine) -> Motion:
        """Motion of the cine whose frames have all been taken. Raises InvalidValueError where they are not."""
        if len(self._compared) != cine.frame_times_s.size:
            raise InvalidValueError(f"{len(self._compared)} of {cine.frame_times_s.size} frames were followed")
        return _finished(cine, self._reference, self._compared, self._parameters)

    def _picture(self, frame: NDArray[np.uint8]) -> FloatImage:
        return reduced(frame.astype(np.float32), self._parameters.reduction)


def candidate_frames(frames: int, parameters: MotionParameters = MOTION_DEFAULTS) -> list[int]:
    """Frames, evenly spread, among which the one to compare with is chosen."""
    count = min(parameters.candidates, frames)
    return [int(index) for index in np.unique(np.linspace(0, frames - 1, count).astype(np.intp))]


def _correlator(valid: NDArray[np.bool_], parameters: MotionParameters) -> Correlator:
    inside = reduced(valid.astype(np.float32), parameters.reduction) >= 0.5 * parameters.reduction**2
    return Correlator(inside, Detail(parameters.coarse_px, parameters.fine_px, parameters.largest_fraction))


class Compared(NamedTuple):
    """Shift (z, x) from the reference frame in reduced pixels, and the correlation there, NaN for dark frames."""

    z: float
    x: float
    correlation: float


class _Reference:
    """The frame that all others are compared with: of the candidates the one that lies nearest to all others without
    being moved, in the most frequent position in the plane."""

    def __init__(self, correlator: Correlator, candidates: dict[int, FloatImage]) -> None:
        self.correlator = correlator
        details = {index: correlator.detail(picture) for index, picture in candidates.items()}
        self.frame = _most_alike(correlator, details)
        still = details[self.frame]
        # Tissue comes back to the same places: the reference behind the window of a shift is kept (17 MB at 512 x 512).
        self._at = lru_cache(maxsize=64)(lambda near: correlator.spectrum(still, near))

    def compare(self, picture: FloatImage) -> Compared:
        correlator, detail = self.correlator, self.correlator.detail(picture)
        whole = correlator.spectrum(detail)
        z, x = correlator.shift(self._at((0, 0)), whole)
        near = round(z), round(x)
        one = self._at(near)
        other = whole if near == (0, 0) else correlator.spectrum(detail, (-near[0], -near[1]))
        energy = correlator.likeness(one, one) * correlator.likeness(other, other)
        if not energy > 0.0:
            return Compared(0.0, 0.0, np.nan)
        (z, x), peak = correlator.refined(one, other, near)
        return Compared(z, x, peak / float(np.sqrt(energy)))


def _most_alike(correlator: Correlator, details: dict[int, FloatImage]) -> int:
    spectra = [correlator.spectrum(detail) for detail in details.values()]
    energies = [correlator.likeness(one, one) for one in spectra]
    likeness = np.zeros((len(spectra), len(spectra)))
    for i, j in combinations(range(len(spectra)), 2):
        if min(energies[i], energies[j]) > 0.0:
            likeness[i, j] = correlator.likeness(spectra[i], spectra[j]) / np.sqrt(energies[i] * energies[j])
            likeness[j, i] = likeness[i, j]
    return list(details)[int(np.median(likeness, axis=0).argmax())]


def _finished(cine: Cine, reference: _Reference, compared: list[Compared], parameters: MotionParameters) -> Motion:
    """What needs the whole clip: planes, rest position, bending."""
    table = np.array(compared)
    correlation = table[:, 2].astype(np.float32)
    motion = _judged(cine, parameters.reduction * table[:, :2], correlation, reference.frame, parameters)
    # Without B-mode, what changes within the panel is the agent, not the shape of the tissue.
    if parameters.local is None or cine.bmode is None:
        return motion
    local, limitations = follow_local(_followed(cine, motion, reference.correlator, parameters), parameters.local)
    return replace(motion, local=local, limitations=(*motion.limitations, *limitations))


def _followed(cine: Cine, motion: Motion, correlator: Correlator, parameters: MotionParameters) -> Followed:
    picture = _picture(cine, parameters.reduction)

    def detail(frame: int) -> FloatImage:
        smooth = ndimage.gaussian_filter(correlator.detail(picture(frame)), parameters.fine_px)
        return np.asarray(smooth * correlator.inside, np.float32)

    return Followed(
        detail=detail,
        still=detail(motion.reference_frame),
        shift=motion.displacement_px.astype(np.float64) / parameters.reduction,
        usable=~motion.rejected & np.isfinite(motion.correlation),
        reduction=parameters.reduction,
        shape=cine.valid.shape,
    )


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
    whole = np.rint(motion.displacement_px).astype(int).tolist()

    def bring(index: int) -> None:
        brought = _brought(motion, index, whole[index])
        brought(cine.contrast[index], moved[index])
        if bmode is not None and cine.bmode is not None:
            brought(cine.bmode[index], bmode[index])

    side_by_side(bring, range(len(whole)))
    valid, seen = cine.valid.copy(), set()
    for index, (dz, dx) in enumerate(whole):
        if not motion.rejected[index] and (motion.local is not None or (dz, dx) not in seen):
            seen.add((dz, dx))
            valid &= _brought(motion, index, (dz, dx))(cine.valid, np.empty_like(valid))
    return replace(cine, contrast=moved, valid=valid, bmode=bmode)


def in_reference_frame(image: NDArray[Any], motion: Motion, frame: int) -> NDArray[Any]:
    """A mask or picture (z, x) of `frame`, with its tissue where it lies in the cine that `apply_motion` gives."""
    dz, dx = np.rint(motion.displacement_px[frame]).astype(int).tolist()
    return _brought(motion, frame, (dz, dx))(image, np.empty_like(image))


def _brought(
    motion: Motion, frame: int, whole: tuple[int, int]
) -> Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]:
    """What brings images of one frame back to the reference frame, zero where nothing was seen, into a second array."""
    if motion.local is None or not motion.local.coefficients[frame].any():
        return lambda image, out: shifted(image, *whole, out)
    field_z, field_x = motion.local.field_px(frame)
    rows, columns = motion.local.shape
    dz, dx = motion.displacement_px[frame]
    z = np.rint(np.arange(rows)[:, None] + dz + field_z).astype(np.intp)
    x = np.rint(np.arange(columns)[None, :] + dx + field_x).astype(np.intp)
    outside = (z < 0) | (z >= rows) | (x < 0) | (x >= columns)
    flat = np.where(outside, 0, z * columns + x)

    def gathered(image: NDArray[Any], out: NDArray[Any]) -> NDArray[Any]:
        out[:] = image.reshape(-1)[flat]
        out[outside] = 0
        return out

    return gathered


def _picture(cine: Cine, reduction: int) -> Callable[[int], FloatImage]:
    """What is correlated, as a function of the frame: B-mode levels, or contrast in dB above the floor."""
    if cine.bmode is not None:
        levels = cine.bmode
        return lambda index: reduced(levels[index].astype(np.float32), reduction)
    contrast, floor = cine.contrast, np.float32(max(cine.floor_au, 1e-12))
    return lambda index: reduced(np.log10(np.maximum(contrast[index], floor) / floor), reduction)


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
