"""What is known of microbubbles: where each was, which path it took, and the maps that the paths draw.

Positions are mm from the centre of the contrast panel's top-left pixel, (z, x), in motion-corrected coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from processing.cine import Spacing
from processing.errors import InvalidValueError
from processing.frozen_arrays import check_finite, frozen_array


@dataclass(frozen=True, eq=False)
class Localizations:
    """Bubbles found, sorted by frame. All arrays have one value a bubble; none at all is a value.

    frame: int64, counted from the first frame of the cine. z_mm, x_mm: float64. amplitude_au: float32, peak of the
    fitted spot on the linear amplitude. sigma_mm: float32, standard error of the position in one axis (root mean square
    of both), calibrated against the truth in tests/accuracy; NaN where the method gives none.
    """

    frame: NDArray[np.int64]
    z_mm: NDArray[np.float64]
    x_mm: NDArray[np.float64]
    amplitude_au: NDArray[np.float32]
    sigma_mm: NDArray[np.float32]

    def __post_init__(self) -> None:
        dtypes = {"frame": np.int64, "z_mm": np.float64, "x_mm": np.float64}
        for name in ("frame", "z_mm", "x_mm", "amplitude_au", "sigma_mm"):
            array = frozen_array(name, getattr(self, name), dtypes.get(name, np.float32), 1)
            if array.size != self.frame.size:
                raise InvalidValueError(f"{name} holds {array.size} values for {self.frame.size} localizations")
            object.__setattr__(self, name, array)
        check_finite("z_mm", self.z_mm)
        check_finite("x_mm", self.x_mm)
        if (np.diff(self.frame) < 0).any():
            raise InvalidValueError("localizations must be sorted by frame")

    def __len__(self) -> int:
        return int(self.frame.size)

    def part(self, index: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Localizations:
        """The localizations that a mask, slice or increasing index names."""
        return Localizations(
            self.frame[index], self.z_mm[index], self.x_mm[index], self.amplitude_au[index], self.sigma_mm[index]
        )


def no_localizations() -> Localizations:
    """Nothing found."""
    empty, single = np.empty(0), np.empty(0, dtype=np.float32)
    return Localizations(np.empty(0, dtype=np.int64), empty, empty, single, single)


@dataclass(frozen=True, eq=False)
class Tracks:
    """Paths of bubbles, one after another: rows starts[k] to starts[k + 1] belong to track k, in order of frames.

    A track has a row for every frame from its first to its last. localization: int64 (row,), index into the
    `Localizations` it was linked from, -1 where the bubble was not seen and its way is interpolated. frame: int64;
    time_s, z_mm, x_mm, vz_mm_per_s, vx_mm_per_s: float64 (row,), of the smoothed path.
    starts: int64 (track + 1,). confidence: float32 (track,), share of its links that the search backwards in time
    repeats. counts_as: float64 (track,), bubbles it stands for in a count; alone: bool (track, 2), whether its first
    and its last row lie alone, so that the bubble came or went there (both: `processing.track_joining`).
    trackable_speed_mm_per_s: the speed gate; a faster bubble cannot have been followed.
    """

    localization: NDArray[np.int64]
    frame: NDArray[np.int64]
    time_s: NDArray[np.float64]
    z_mm: NDArray[np.float64]
    x_mm: NDArray[np.float64]
    vz_mm_per_s: NDArray[np.float64]
    vx_mm_per_s: NDArray[np.float64]
    starts: NDArray[np.int64]
    confidence: NDArray[np.float32]
    counts_as: NDArray[np.float64]
    alone: NDArray[np.bool_]
    trackable_speed_mm_per_s: float

    def __post_init__(self) -> None:
        for name in ("localization", "frame", "starts"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), np.int64, 1))
        for name in ("time_s", "z_mm", "x_mm", "vz_mm_per_s", "vx_mm_per_s"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), np.float64, 1))
            if getattr(self, name).size != self.frame.size:
                raise InvalidValueError(f"{name} must have one value a row")
        object.__setattr__(self, "confidence", frozen_array("confidence", self.confidence, np.float32, 1))
        object.__setattr__(self, "counts_as", frozen_array("counts_as", self.counts_as, np.float64, 1))
        object.__setattr__(self, "alone", frozen_array("alone", self.alone, np.bool_, 2))
        if self.counts_as.size != self.confidence.size or self.alone.shape != (self.confidence.size, 2):
            raise InvalidValueError("counts_as must have one value a track, and alone two")
        if self.starts.size != self.confidence.size + 1 or self.starts[0] != 0 or self.starts[-1] != self.frame.size:
            raise InvalidValueError("starts must begin at 0, end at the number of rows and have one more than tracks")

    def __len__(self) -> int:
        return int(self.confidence.size)

    @property
    def track_of_row(self) -> NDArray[np.int64]:
        """Number of the track of each row."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.starts))

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Whether the bubble was localized in each row."""
        return np.asarray(self.localization >= 0)

    def speed_mm_per_s(self) -> NDArray[np.float64]:
        """Speed at each row."""
        return np.hypot(self.vz_mm_per_s, self.vx_mm_per_s)

    def track_of_localization(self, localizations: int) -> NDArray[np.int64]:
        """Track of each of so many localizations, -1 = none (the column `track` of localizations.csv)."""
        tracks = np.full(localizations, -1, dtype=np.int64)
        tracks[self.localization[self.seen]] = self.track_of_row[self.seen]
        return tracks


@dataclass(frozen=True, eq=False)
class FlowMaps:
    """Super-resolved maps of one panel, (z, x) on a grid of `pixel_mm`, its first pixel centred on `origin_mm`.

    density: float32, tracks that crossed the pixel. speed_mm_per_s: float32, mean over tracks, NaN = no track crossed
    here. direction_rad: float32, atan2(-vz, vx): 0 to the right, pi/2 towards the transducer; NaN likewise.
    dispersion: float32, 1 - |mean unit vector| of the directions. speed_error_mm_per_s: float32, standard error of the
    mean speed over tracks, NaN below two tracks.
    """

    density: NDArray[np.float32]
    speed_mm_per_s: NDArray[np.float32]
    direction_rad: NDArray[np.float32]
    dispersion: NDArray[np.float32]
    speed_error_mm_per_s: NDArray[np.float32]
    pixel_mm: Spacing
    origin_mm: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("density", "speed_mm_per_s", "direction_rad", "dispersion", "speed_error_mm_per_s"):
            object.__setattr__(self, name, frozen_array(name, getattr(self, name), np.float32, 2))
