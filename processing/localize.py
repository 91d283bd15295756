"""Localization of bubbles: from linear amplitude to positions with a calibrated standard error.

`calibrate` measures PSF width, noise and threshold on a sample of frames; `localize` then treats every frame alike, so
a loop can also be localized block by block as it arrives. Sources and figures: docs/super-resolution.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from processing.bubbles import Localizations, no_localizations
from processing.cine import Spacing
from processing.detection import (
    DetectionParameters,
    choose_sigma,
    measure_noise,
    rayleigh_noise,
    rice_table,
    thresholds,
)
from processing.errors import InvalidValueError
from processing.frozen_arrays import frozen_array
from processing.kernels.centroid import reposition
from processing.kernels.gauss_newton import (
    AMPLITUDE,
    COLUMNS,
    CURVE_X,
    CURVE_Z,
    NOISE,
    OVERLAP,
    PEAK_X,
    PEAK_Z,
    SCORE,
    VAR_X,
    VAR_Z,
    X,
    Z,
)
from processing.kernels.jit import in_blocks
from processing.kernels.localization import localize_frames, subtract_spots
from processing.kernels.maxima import BLOCK_FRAMES, matched_filter_stack
from processing.point_spread import LARGEST_SIGMA_PX, SMALLEST_SIGMA_PX, PointSpread, guessed_spread
from processing.position_error import excess_of_fitted_amplitude, noise_colour, unseen_neighbours

CLEAR_SCORE = 8.0
"""Spots this clear make the width: at 8 standard errors their own width is known to about 10 % each."""
FEWEST_CLEAR_SPOTS = 20
ODD = 3.0
"""A residual power of so many medians is no noise: two bubbles in one spot, or the edge of something."""
CLEAR_SHARE = 0.1
WIDTH_SETTLED = 0.003
WIDTH_ROUNDS = 6
ENOUGH_SPOTS = 400
"""Clear spots whose median width is known to 0.6 %; each of them to 10 %."""
FEWEST_SAMPLED = 16
"""Frames, whatever their size: what they show should not hang on a single moment."""
SPOT_BYTES = 64_000_000
"""Working memory of one chunk of frames."""
POOLED_FREEDOM = 60.0
"""Weight of the pooled noise against a spot's own, in residual pixels; its own window carries about 15 that matter."""


@dataclass(frozen=True)
class LocalizationParameters:
    """method: "gaussian" is the default; the others take its detections and give positions without a standard error.

    sweeps: passes over overlapping spots with their neighbours subtracted, before and after the search of the residual
    (6: J .835 in the `flow` scene at 20 dB, .829 with 4, .820 with 2, .80 without).
    sample_frames: frames used to measure PSF and noise; sample_pixels: of large frames so many pixels are enough (the
    noise of a tile is then known to half a percent), unless too few bubbles stand in them.
    score_share: a fit must exceed this share of the detection threshold in units of its own standard error, which
    is what turns away maxima that are not the shape of a bubble.
    """

    detection: DetectionParameters = field(default_factory=DetectionParameters)
    sweeps: int = 6
    sample_frames: int = 64
    sample_pixels: int = 4_000_000
    method: Literal["gaussian", "radial symmetry", "weighted average"] = "gaussian"
    score_share: float = 0.75


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was measured before localizing.

    threshold_au: on the matched filter's answer, float32 (z, padded_width). threshold_sigma: the same in units of the
    filtered noise (Gaussian equivalent). bubbles_per_frame: found in the sample, NaN before it was searched.
    rician_au: noise of one part where amplitudes are magnitudes, 0 = Gaussian noise. snr_db: median amplitude in the
    sample over pixel noise, NaN without spots. noise_colour, unseen: see `processing.position_error`.
    """

    spread: PointSpread
    threshold_au: NDArray[np.float32]
    threshold_sigma: float
    bubbles_per_frame: float
    rician_au: float = 0.0
    snr_db: float = float("nan")
    noise_colour: float = 1.0
    unseen: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "threshold_au", frozen_array("threshold_au", self.threshold_au, np.float32, 2))


def calibrate(
    amplitude_au: NDArray[np.float32],
    parameters: LocalizationParameters,
    floor_au: float = 0.0,
    start: PointSpread | None = None,
) -> Calibration:
    """Measure PSF width (linear in depth), noise and threshold on evenly spread frames of (frame, z, x).

    `floor_au`: amplitude of the lowest displayed level, 0 where nothing is clipped. `start`: a PSF known from
    an earlier block of the same loop.
    """
    pixels = max(amplitude_au[0].size, 1)
    many = max(parameters.sample_pixels // pixels, FEWEST_SAMPLED)
    few = min(many, parameters.sample_frames)
    # Where no spot stands out the first width is the last one: it rests on more frames than a fit of spots needs.
    first = start or guessed_spread(sampled(amplitude_au, many))
    found = calibrated_on(sampled(amplitude_au, few), parameters, floor_au, first)
    if few == parameters.sample_frames or found.spread.spots >= ENOUGH_SPOTS:
        return found
    return calibrated_on(sampled(amplitude_au, parameters.sample_frames), parameters, floor_au, first)


def calibrated_on(
    sample: NDArray[np.float32], parameters: LocalizationParameters, floor_au: float, first: PointSpread
) -> Calibration:
    """What a sample of frames shows, searched with a `first` width."""
    spread, spots = first, np.empty((0, COLUMNS + 1))
    for _ in range(WIDTH_ROUNDS):
        spots = find(sample, threshold(sample, spread, spots, parameters, floor_au), parameters)
        before, spread = spread, refined(spread, spots)
        if np.allclose(before.sigma_px, spread.sigma_px, rtol=WIDTH_SETTLED):
            break
    found = threshold(sample, spread, spots, parameters, floor_au)
    spots = find(sample, found, parameters)
    pooled = pooled_noise(found.spread, spots)
    snr_db = float(20 * np.log10(np.median(spots[:, AMPLITUDE]) / pooled.noise_au)) if len(spots) else float("nan")
    return replace(
        found,
        spread=pooled,
        bubbles_per_frame=len(spots) / max(len(sample), 1),
        snr_db=snr_db,
        noise_colour=noise_colour(sample, pooled, spots, found.rician_au),
        unseen=unseen_neighbours(pooled, spots),
    )


def sampled(frames: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """At most `count` frames, evenly spread."""
    index = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(np.int64))
    return frozen_array("frames", np.ascontiguousarray(frames[index]), np.float32, 3)


def threshold(
    sample: NDArray[np.float32],
    spread: PointSpread,
    known: NDArray[np.float64],
    parameters: LocalizationParameters,
    floor_au: float,
) -> Calibration:
    """Noise and threshold for a given PSF; the noise is measured on what the spots already `known` leave."""
    filtered = answers(sample, spread)
    left = filtered if not len(known) else answers(without(sample, spread, known), spread)
    noise = measure_noise(sample, left, spread, floor_au, parameters.detection.tile_px)
    k = choose_sigma(filtered, noise, spread, parameters.detection)
    part = rayleigh_noise(beside(sample, spread, known), floor_au) if noise.rician else 0.0
    return Calibration(spread, thresholds(noise, k), k, float("nan"), part)


def answers(frames: NDArray[np.float32], spread: PointSpread) -> NDArray[np.float32]:
    """The matched filter's answer to each frame."""
    out = np.empty(frames.shape, dtype=np.float32)
    matched_filter_stack(frames, *spread.taps(), out)
    return out


def beside(frames: NDArray[np.float32], spread: PointSpread, spots: NDArray[np.float64]) -> NDArray[np.float32]:
    """Pixels further from these spots than the window of a fit."""
    taken = np.zeros(frames.shape, dtype=np.bool_)
    half_z, half_x = spread.half_px
    taken[tuple(spots[:, [COLUMNS, PEAK_Z, PEAK_X]].astype(np.int64).T)] = True
    if len(spots):
        taken = maximum_filter(taken, (1, 2 * half_z + 1, 2 * half_x + 1), mode="constant")
    return frames[~taken]


def without(frames: NDArray[np.float32], spread: PointSpread, spots: NDArray[np.float64]) -> NDArray[np.float32]:
    """Frames minus the model of these spots (rows as `find` gives them)."""
    left = frames.copy()
    subtract_spots(left, spots, spread.sigma_px.copy(), spread.half_px)
    return frozen_array("frames", left, np.float32, 3)


def refined(spread: PointSpread, spots: NDArray[np.float64]) -> PointSpread:
    """The PSF after one step of the width that clear isolated spots ask for; unchanged when there are too few."""
    clear = spots[spots[:, SCORE] >= CLEAR_SCORE]
    alone = clear[clear[:, OVERLAP] == 0]
    # In a vessel hardly a bubble is alone; the median over parted ones is then the best there is.
    clear = alone if len(alone) >= 5 * FEWEST_CLEAR_SPOTS else clear
    # A small share of clear spots is the bright tail of noise, and its width with it.
    if len(clear) < max(FEWEST_CLEAR_SPOTS, CLEAR_SHARE * len(spots)):
        return PointSpread(spread.sigma_px.copy(), spread.noise_au, 0)
    depth = clear[:, Z]
    rows = np.arange(len(spread.sigma_px))
    widths = []
    for axis, column in enumerate((CURVE_Z, CURVE_X)):
        at_spot = spread.sigma_px[clear[:, PEAK_Z].astype(np.int64), axis]
        step = np.clip(clear[:, column], -0.3 * at_spot, 0.3 * at_spot)
        line = line_through_medians(depth, at_spot + step, rows)
        widths.append(np.clip(line, SMALLEST_SIGMA_PX, LARGEST_SIGMA_PX))
    return PointSpread(np.stack(widths, axis=1), spread.noise_au, len(clear))


def line_through_medians(
    depth: NDArray[np.float64], width: NDArray[np.float64], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Width of each row: a line through the medians of four equally filled depth bands, or the median of few spots."""
    if len(depth) < 200:
        return np.full(len(rows), float(np.median(width)))
    bands = np.array_split(np.argsort(depth, kind="stable"), 4)
    middle = np.array([np.median(depth[band]) for band in bands])
    slope, offset = np.polyfit(middle, [np.median(width[band]) for band in bands], 1)
    # Beyond the outermost bands the width stays: a line does not carry into depths without bubbles.
    return np.asarray(offset + slope * np.clip(rows, middle[0], middle[-1]))


def pooled_noise(spread: PointSpread, spots: NDArray[np.float64]) -> PointSpread:
    """The PSF with the noise under its spots: that of isolated ones, freed of what the fit absorbs.

    Spots of an odd residual are left out: two bubbles in one (at 30 dB 30 of them a frame make the noise .044 of .032).
    """
    alone = spots[spots[:, OVERLAP] == 0] if (spots[:, OVERLAP] == 0).sum() >= FEWEST_CLEAR_SPOTS else spots
    power = alone[:, NOISE] ** 2
    usual = power[power <= ODD * np.median(power)] if len(power) else power
    noise = float(np.sqrt(np.mean(usual) / spread.residual_share())) if len(usual) else float("nan")
    return PointSpread(spread.sigma_px.copy(), noise, spread.spots)


def find(
    frames: NDArray[np.float32], calibration: Calibration, parameters: LocalizationParameters
) -> NDArray[np.float64]:
    """Spots of all frames in order, float64 (spot, COLUMNS + 1); the last column is the frame."""
    rows, columns = frames.shape[1:]
    most = ((rows + 1) // 2) * ((columns + 1) // 2) + 1
    known = calibration.bubbles_per_frame
    capacity = min(most, int(4 * known) + 64 if np.isfinite(known) else 512)
    found: list[NDArray[np.float64]] = [np.empty((0, COLUMNS + 1))]
    first = 0
    while first < len(frames):
        last = min(first + max(SPOT_BYTES // (capacity * COLUMNS * 8), 1), len(frames))
        spots, counts = find_at_most(frames[first:last], calibration, parameters, capacity)
        if counts.min() < 0:
            raise InvalidValueError("amplitude_au must be finite: masked pixels are filled before (fill_masked)")
        if counts.max() > capacity // 2 and capacity < most:
            # Spots may have been turned away for want of room: once more with enough.
            capacity = min(4 * capacity, most)
            continue
        table = np.empty((int(counts.sum()), COLUMNS + 1))
        np.concatenate([own[:count] for own, count in zip(spots, counts.tolist(), strict=True)], out=table[:, :COLUMNS])
        table[:, COLUMNS] = np.repeat(np.arange(first, last), counts)
        found.append(table)
        first = last
    return np.concatenate(found)


def find_at_most(
    frames: NDArray[np.float32], calibration: Calibration, parameters: LocalizationParameters, capacity: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Spots of each frame, (frame, capacity, COLUMNS), and how many there are, (frame,)."""
    spots = np.empty((len(frames), capacity, COLUMNS))
    counts = np.zeros(len(frames), dtype=np.int64)
    taps_z, taps_x = calibration.spread.taps()

    def work(first: int, last: int) -> None:
        localize_frames(
            frames, first, last, calibration.threshold_au, calibration.spread.sigma_px, taps_z, taps_x,
            parameters.sweeps, parameters.score_share * calibration.threshold_sigma, calibration.rician_au,
            rice_table(), spots, counts,
        )  # fmt: skip

    in_blocks(work, len(frames), BLOCK_FRAMES)
    return spots, counts


def localize(
    amplitude_au: NDArray[np.float32],
    spacing_mm: Spacing,
    calibration: Calibration,
    parameters: LocalizationParameters,
    first_frame: int = 0,
) -> Localizations:
    """Localize every bubble of (frame, z, x), linear amplitude, finite; frames count from `first_frame`."""
    frames = np.ascontiguousarray(frozen_array("amplitude_au", amplitude_au, np.float32, 3))
    if not len(frames):
        return no_localizations()
    spots = find(frames, calibration, parameters)
    # A spot's own residual follows local disturbance, the pooled one is steady: weighted by what each rests on.
    own = spots[:, NOISE] ** 2 / calibration.spread.residual_share()
    freedom = 15.0
    pooled = calibration.spread.noise_au**2 if np.isfinite(calibration.spread.noise_au) else own
    variance = (POOLED_FREEDOM * pooled + freedom * own) / (POOLED_FREEDOM + freedom)
    if parameters.method != "gaussian":
        spots = repositioned(frames, spots, calibration.spread, parameters.method == "radial symmetry")
        variance = np.full(len(spots), np.nan)
    variance = variance * calibration.noise_colour**2 * excess_of_fitted_amplitude(spots[:, SCORE])
    width = calibration.spread.sigma_px[spots[:, PEAK_Z].astype(np.int64)]
    var_z, var_x = variance * spots[:, VAR_Z], variance * spots[:, VAR_X]
    var_z, var_x = var_z + calibration.unseen * width[:, 0] ** 2, var_x + calibration.unseen * width[:, 1] ** 2
    sigma = np.sqrt((var_z * spacing_mm.z_mm**2 + var_x * spacing_mm.x_mm**2) / 2)
    return Localizations(
        frame=spots[:, COLUMNS].astype(np.int64) + first_frame,
        z_mm=spots[:, Z] * spacing_mm.z_mm,
        x_mm=spots[:, X] * spacing_mm.x_mm,
        amplitude_au=spots[:, AMPLITUDE].astype(np.float32),
        sigma_mm=sigma.astype(np.float32),
    )


def repositioned(
    frames: NDArray[np.float32], spots: NDArray[np.float64], spread: PointSpread, radial: bool
) -> NDArray[np.float64]:
    """Spots at the positions that another method gives around the same peaks."""
    positions = np.empty((len(spots), 2))
    reposition(
        frozen_array("frames", frames, np.float32, 3),
        spots[:, COLUMNS].astype(np.int64),
        np.ascontiguousarray(spots[:, [PEAK_Z, PEAK_X]]).astype(np.int64),
        np.array(spread.half_px, dtype=np.int64),
        radial,
        positions,
    )
    moved = spots.copy()
    moved[:, [Z, X]] = positions
    return moved[np.isfinite(positions).all(axis=1)]
