"""A scene: a simulated cine that can be read like a received one (`processing.cine.FrameSource`), and its truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from processing.cine import FRAMES_PER_BLOCK, Box, CineDescription, FrameBlock, TimeZero, TissueRegion
from processing.errors import InvalidValueError
from processing.simulation.display import Display
from processing.simulation.screen import ImageArray, Screen
from processing.simulation.truth import SceneTruth


class Painter(Protocol):
    """Draws the inside of one panel: uint8 (z, x, 3) of one frame, in any order of frames."""

    def paint(self, frame: int) -> ImageArray: ...


class PowerField(Protocol):
    """Linear echo power of one frame: float32 (z, x), full scale = 1."""

    def power(self, frame: int) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Timing:
    """When frames are taken, in seconds after the injection.

    "vector" alternates short and long increments (4 : 6), as scanners that share their time between two images do.
    With `time_zero` "first frame" nobody recorded the injection: the cine counts from its first frame.
    """

    start_s: float = -5.0
    duration_s: float = 60.0
    frame_rate_hz: float = 15.0
    time_zero: Literal["bolus start", "first frame"] = "bolus start"
    increments: Literal["uniform", "vector"] = "uniform"

    def __post_init__(self) -> None:
        if self.duration_s <= 0 or self.frame_rate_hz <= 0:
            raise InvalidValueError("duration_s and frame_rate_hz must be positive")

    @property
    def frames(self) -> int:
        return max(round(self.duration_s * self.frame_rate_hz), 1)

    def after_injection_s(self) -> NDArray[np.float64]:
        """Time of each frame after the injection, float64 (frame,)."""
        increments = np.full(self.frames, 1.0 / self.frame_rate_hz)
        if self.increments == "vector":
            increments[1::2] *= 0.8
            increments[2::2] *= 1.2
        increments[0] = 0.0
        return self.start_s + np.cumsum(increments)

    @property
    def zero_s(self) -> float:
        """The cine's time zero, in seconds after the injection."""
        return 0.0 if self.time_zero == "bolus start" else self.start_s

    def time_zero_of_cine(self) -> TimeZero:
        return TimeZero("bolus start", self.start_s) if self.time_zero == "bolus start" else TimeZero()


@dataclass(frozen=True, eq=False)
class TintedPanel:
    """A panel whose power is compressed by the display and coloured by a table of 256 RGB values."""

    field: PowerField
    display: Display
    table: ImageArray
    scanned: NDArray[np.bool_]
    times_s: NDArray[np.float64]

    def paint(self, frame: int) -> ImageArray:
        levels = self.display.levels(self.field.power(frame), float(self.times_s[frame]))
        levels[~self.scanned] = 0
        return self.table.take(levels, axis=0)


@dataclass(frozen=True, eq=False)
class Scene:
    """A simulated cine. Every frame is drawn from the seed alone, so blocks and samples agree.

    `times_after_injection_s` runs on the injection's clock even where the cine's description counts from its first
    frame. `contrast` is the field behind the contrast panel, None in a scene without contrast.
    """

    name: str
    seed: int
    screen: Screen
    display: Display
    description: CineDescription
    times_after_injection_s: NDArray[np.float64]
    painters: tuple[tuple[Box, Painter], ...]
    background: ImageArray
    truth: SceneTruth
    contrast: PowerField | None = None

    def frame(self, index: int) -> ImageArray:
        """One whole screen: uint8 (row, column, 3), or (row, column) where the description says grey."""
        image = self.background.copy()
        for box, painter in self.painters:
            image[box.slices] = painter.paint(index)
        self.screen.draw_clock(image, float(self.times_after_injection_s[index]))
        return image if self.description.colour else image[..., 0].copy()

    def blocks(self) -> Iterator[FrameBlock]:
        for first in range(0, self.description.frames, FRAMES_PER_BLOCK):
            indices = range(first, min(first + FRAMES_PER_BLOCK, self.description.frames))
            yield FrameBlock(self.sample(indices), first)

    def sample(self, frames: Sequence[int]) -> NDArray[np.uint8]:
        d = self.description
        pixels = np.empty((len(frames), d.rows, d.columns, *((3,) if d.colour else ())), dtype=np.uint8)
        for place, index in enumerate(frames):
            pixels[place] = self.frame(index)
        return pixels

    def linear(self, index: int) -> NDArray[np.float32]:
        """Linear power of the contrast panel before the display: float32 (z, x), full scale = 1."""
        if self.contrast is None:
            raise InvalidValueError(f"the scene {self.name} shows no contrast")
        return self.contrast.power(index)


def describe(
    screen: Screen, timing: Timing, colour: bool = True, grey_to_db: tuple[float, ...] | None = None
) -> CineDescription:
    """What a scanner's header says of such a cine: one calibrated region a panel, `grey_to_db` with the first one."""
    boxes = [box for box in (screen.first, screen.twin) if box is not None]
    regions = tuple(
        TissueRegion(box, screen.spacing_mm, grey_to_db if box == screen.first else None) for box in sorted(boxes)
    )
    return CineDescription(
        frames=timing.frames,
        rows=screen.rows,
        columns=screen.columns,
        colour=colour,
        frame_times_s=timing.after_injection_s() - timing.zero_s,
        frame_times_source="frame time" if timing.increments == "uniform" else "frame time vector",
        time_zero=timing.time_zero_of_cine(),
        regions=regions,
    )
