"""The types that a cine is made of on its way from decoded frames to linear echo power.

Axes are always (frame, z, x), z downwards (away from the transducer), x to the right; positions are (z, x).
A `Box` is in full-frame pixels, x1 and y1 exclusive.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from processing.errors import InvalidValueError
from processing.frozen_arrays import check_finite, frozen_array

FRAMES_PER_BLOCK = 64
"""A block of 64 RGB frames of 800x600 is 92 MB: large enough to amortise a call, small enough to hold a few."""

FrameTimesSource = Literal["frame time vector", "frame time", "acquisition times", "cine rate", "none"]
TimeZeroKind = Literal["bolus start", "event timer", "first frame"]
Compression = Literal["log", "none", "table"]
DynamicRangeSource = Literal["pixel value table", "profile", "default"]


class Box(NamedTuple):
    """A rectangle in full-frame pixels; x1 and y1 are exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def rows(self) -> int:
        return self.y1 - self.y0

    @property
    def columns(self) -> int:
        return self.x1 - self.x0

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the box in an array whose leading axes are (row, column)."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def within(self, rows: int, columns: int) -> Box:
        """The part of the box that lies inside an image of this size (real regions exceed their image)."""
        return Box(max(self.x0, 0), max(self.y0, 0), min(self.x1, columns), min(self.y1, rows))


class Spacing(NamedTuple):
    """Pixel spacing in mm, rows (depth) first."""

    z_mm: float
    x_mm: float


@dataclass(frozen=True)
class TissueRegion:
    """A calibrated 2D tissue region of the image: PS3.3 C.8.5.5, Region Spatial Format 1, in mm.

    `grey_to_db` is the pixel-component table of that region (256 levels in dB, 0 = full scale) where it carries one.
    """

    box: Box
    spacing_mm: Spacing | None
    grey_to_db: tuple[float, ...] | None = None


@dataclass(frozen=True)
class TimeZero:
    """What the frame times are counted from. `offset_s` is the time of the first frame after that event."""

    kind: TimeZeroKind = "first frame"
    offset_s: float = 0.0


@dataclass(frozen=True, eq=False)
class CineDescription:
    """What is known of a cine before a pixel is decoded, in SI-like units and free of DICOM.

    frame_times_s: float64 (frame,), strictly increasing, seconds after `time_zero`; empty where no time base exists
    (`frame_times_source` "none"). `regions` holds tissue regions only, in the order of the header.
    """

    frames: int
    rows: int
    columns: int
    colour: bool
    frame_times_s: NDArray[np.float64]
    frame_times_source: FrameTimesSource
    time_zero: TimeZero = TimeZero()
    regions: tuple[TissueRegion, ...] = ()
    lossy: bool = False

    def __post_init__(self) -> None:
        times = frozen_array("frame_times_s", self.frame_times_s, np.float64, 1)
        check_finite("frame_times_s", times)
        if self.frame_times_source != "none" and times.size != self.frames:
            raise InvalidValueError(f"frame_times_s holds {times.size} times for {self.frames} frames")
        if (np.diff(times) <= 0).any():
            raise InvalidValueError("frame_times_s must increase")
        object.__setattr__(self, "frame_times_s", times)


@dataclass(frozen=True, eq=False)
class FrameBlock:
    """At most 64 decoded frames, in order.

    pixels: uint8 (frame, row, column) grey, or (frame, row, column, 3) RGB. `first_frame` counts from 0.
    """

    pixels: NDArray[np.uint8]
    first_frame: int

    def __post_init__(self) -> None:
        if self.pixels.shape[0] > FRAMES_PER_BLOCK:
            raise InvalidValueError(f"a block holds at most {FRAMES_PER_BLOCK} frames, not {self.pixels.shape[0]}")
        object.__setattr__(self, "pixels", frozen_array("pixels", self.pixels, np.uint8, (3, 4)))


class FrameSource(Protocol):
    """A cine that can be decoded, whole or by sample. Implemented by `dicom_node.cine_reader` and by simulations."""

    @property
    def description(self) -> CineDescription: ...

    def blocks(self) -> Iterator[FrameBlock]:
        """All frames in order, each decoded once."""
        ...

    def sample(self, frames: Sequence[int]) -> NDArray[np.uint8]:
        """The named frames, (len(frames), row, column[, 3])."""
        ...


@dataclass(frozen=True)
class DisplayProfile:
    """How a scanner draws contrast, as its site declared it; the default declares nothing.

    `colour_map`: (red, green, blue) of the 256 levels where the site names the panel's map. `grey_to_db`: 256 levels in
    dB (0 = full scale) where `compression` is "table". `dynamic_range_db` None = nobody declared it. `commissioned_on`
    is an ISO date, None = amplitudes were never checked on this scanner.
    """

    name: str = "default"
    contrast_panel: Literal["auto", "left", "right", "whole"] | Box = "auto"
    compression: Compression = "log"
    dynamic_range_db: float | None = None
    grey_to_db: tuple[float, ...] | None = None
    colour_map: tuple[tuple[int, int, int], ...] | None = None
    time_tag: Literal["loop start", "loop end", "saved"] | None = None
    commissioned_by: str | None = None
    commissioned_on: str | None = None


@dataclass(frozen=True)
class Panels:
    """Where the contrast image and its B-mode twin are drawn; `confidence` 0 to 1, `method` says how it was found."""

    contrast: Box
    bmode: Box | None
    side: Literal["left", "right", "whole"]
    confidence: float
    method: str


@dataclass(frozen=True)
class LevelMap:
    """From displayed grey level to echo level: 256 values in dB below full scale, and where they come from."""

    level_db: tuple[float, ...]
    compression: Compression
    dynamic_range_db: float | None
    source: DynamicRangeSource


@dataclass(frozen=True, eq=False)
class Cine:
    """A contrast cine as linear echo power, held once, read-only.

    contrast: float32 (frame, z, x), linear power in arbitrary units, full scale = 1.
    valid: bool (z, x), False where furniture is burned in or nothing is scanned.
    saturated: uint32 (z, x), the number of frames in which the pixel stood at full scale.
    floor_au: power that the lowest displayed level stands for; below it nothing is known.
    frame_times_s: float64 (frame,), seconds after `time_zero`, strictly increasing.
    spacing_mm: None where the image is not calibrated: areas, speeds and super-resolution are then refused.
    origin_px: (row, column) of the contrast panel's top-left pixel in the full frame.
    bmode: uint8 (frame, z, x) of the same geometry where a B-mode twin is shown, else None.
    """

    contrast: NDArray[np.float32]
    valid: NDArray[np.bool_]
    saturated: NDArray[np.uint32]
    floor_au: float
    frame_times_s: NDArray[np.float64]
    time_zero: TimeZero
    spacing_mm: Spacing | None
    origin_px: tuple[int, int]
    bmode: NDArray[np.uint8] | None = field(default=None)

    def __post_init__(self) -> None:
        arrays = {
            "contrast": frozen_array("contrast", self.contrast, np.float32, 3),
            "valid": frozen_array("valid", self.valid, np.bool_, 2),
            "saturated": frozen_array("saturated", self.saturated, np.uint32, 2),
            "frame_times_s": frozen_array("frame_times_s", self.frame_times_s, np.float64, 1),
        }
        if self.bmode is not None:
            arrays["bmode"] = frozen_array("bmode", self.bmode, np.uint8, 3)
        frames, *panel = arrays["contrast"].shape
        for name in ("valid", "saturated"):
            if list(arrays[name].shape) != panel:
                raise InvalidValueError(f"{name} has shape {arrays[name].shape}, the panel {tuple(panel)}")
        if arrays["frame_times_s"].size != frames:
            raise InvalidValueError(f"{arrays['frame_times_s'].size} frame times for {frames} frames")
        if (np.diff(arrays["frame_times_s"]) <= 0).any():
            raise InvalidValueError("frame_times_s must increase")
        for name, array in arrays.items():
            object.__setattr__(self, name, array)

    @property
    def frame_rate_hz(self) -> float:
        """Median frame rate; 0 for a single frame."""
        return float(1.0 / np.median(np.diff(self.frame_times_s))) if self.frame_times_s.size > 1 else 0.0

    @property
    def duration_s(self) -> float:
        return float(self.frame_times_s[-1] - self.frame_times_s[0])
