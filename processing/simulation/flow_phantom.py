"""A flow phantom: single microbubbles that run through a small vessel tree, drawn as points of echo power.

Positions are in mm from the centre of the contrast panel's top-left pixel, as in `localizations.csv`. A bubble keeps
its streamline: at a fraction r of the radius it moves with (1 - r^2) of the axial speed (Poiseuille).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from processing.cine import Spacing
from processing.errors import InvalidValueError
from processing.simulation.truth import FlowTruth

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Branch:
    """One vessel: its centre line in mm (z, x), downstream, the speed on its axis, and the branch it leaves."""

    line_mm: tuple[tuple[float, float], ...]
    axial_speed_mm_per_s: float
    radius_mm: float = 0.12
    parent: int | None = None


def bowed(start: tuple[float, float], end: tuple[float, float], bow: float) -> tuple[tuple[float, float], ...]:
    """A curved line between two points that leaves the chord by `bow` of its length."""
    a, b = np.array(start), np.array(end)
    across = np.array([b[1] - a[1], a[0] - b[0]])
    along = np.linspace(0, 1, 21)[:, None]
    points = a + along * (b - a) + bow * 4 * along * (1 - along) * across
    return tuple((float(z), float(x)) for z, x in points)


SMALL_TREE = (
    Branch(bowed((1.0, 12.0), (8.0, 11.0), 0.08), 9.0, 0.25),
    Branch(bowed((8.0, 11.0), (14.0, 6.0), -0.10), 6.0, 0.18, parent=0),
    Branch(bowed((8.0, 11.0), (15.0, 15.0), 0.10), 6.5, 0.18, parent=0),
    Branch(bowed((14.0, 6.0), (23.0, 3.0), 0.10), 3.0, 0.10, parent=1),
    Branch(bowed((14.0, 6.0), (24.0, 9.0), -0.08), 3.5, 0.12, parent=1),
    Branch(bowed((15.0, 15.0), (25.0, 13.0), 0.08), 3.0, 0.10, parent=2),
    Branch(bowed((15.0, 15.0), (23.0, 19.0), -0.10), 4.0, 0.12, parent=2),
)
"""A root that divides twice, inside a panel of 30 mm depth and 20 mm width."""


@dataclass(frozen=True)
class BubbleFlow:
    """How bubbles enter the tree and how one looks. `peak_au` is the median peak power of a bubble.

    `psf_sigma_mm` (z, x) is the standard deviation of the *power* spot. Noise is the receiver's: complex Gaussian,
    white, of mean power `noise_au`, added to the amplitude (Rician, as after envelope detection).
    `arrive_at_s`: no bubble enters before; None = the tree is full from the first frame on.
    """

    bubbles_per_s: float = 3.0
    peak_au: float = 0.1
    log_amplitude_spread: float = 0.3
    psf_sigma_mm: tuple[float, float] = (0.25, 0.35)
    noise_au: float = 1e-4
    largest_offset: float = 0.8
    arrive_at_s: float | None = None


@dataclass(frozen=True, eq=False)
class _Streamline:
    """The way from a root to a leaf, sampled finely: axial travel time, position and sideways radius vector."""

    travel_s: Floats
    position_mm: Floats
    sideways_mm: Floats

    def at(self, travel_s: Floats, offset: float) -> Floats:
        columns = [
            np.interp(travel_s, self.travel_s, self.position_mm[:, axis] + offset * self.sideways_mm[:, axis])
            for axis in (0, 1)
        ]
        return np.stack(columns, axis=-1)


def _streamline(branches: list[Branch], step_mm: float = 0.02) -> _Streamline:
    points, speeds, radii = [], [], []
    for branch in branches:
        line = np.array(branch.line_mm)
        length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
        at = np.arange(0, length[-1], step_mm)
        points.append(np.stack([np.interp(at, length, line[:, axis]) for axis in (0, 1)], axis=-1))
        speeds.append(np.full(at.size, branch.axial_speed_mm_per_s))
        radii.append(np.full(at.size, branch.radius_mm))
    position = np.concatenate(points)
    tangent = np.gradient(position, axis=0)
    # Averaged over 1 mm, so that a bubble off the axis turns into a branch instead of jumping.
    window = np.ones(51) / 51
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=-1) / np.hypot(*tangent.T)[:, None]
    sideways = normal * np.concatenate(radii)[:, None]
    padded = np.pad(sideways, ((25, 25), (0, 0)), mode="edge")
    smooth = np.stack([np.convolve(padded[:, axis], window, "valid") for axis in (0, 1)], axis=-1)
    steps = np.hypot(*np.diff(position, axis=0).T)
    travel = np.concatenate([[0], np.cumsum(steps / np.concatenate(speeds)[:-1])])
    return _Streamline(travel, position, smooth)


def _streamlines(tree: tuple[Branch, ...]) -> list[_Streamline]:
    parents = {branch.parent for branch in tree}
    lines = []
    for leaf in (number for number in range(len(tree)) if number not in parents):
        chain: list[Branch] = []
        number: int | None = leaf
        while number is not None:
            chain.insert(0, tree[number])
            number = tree[number].parent
        lines.append(_streamline(chain))
    return lines


@dataclass(frozen=True, eq=False)
class FlowPhantom:
    """Bubbles in a vessel tree, seen at `frame_times_s` on a panel of `shape` pixels; the truth is drawn at birth.

    `shift_px`: displacement (frame, 2) of the tissue by breathing; the truth stays in the coordinates at rest.
    """

    tree: tuple[Branch, ...]
    flow: BubbleFlow
    shape: tuple[int, int]
    spacing_mm: Spacing
    frame_times_s: Floats
    seed: int
    shift_px: Floats | None = None
    truth: FlowTruth = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.tree:
            raise InvalidValueError("a flow phantom needs at least one vessel")
        object.__setattr__(self, "truth", self._let_bubbles_run())

    def _let_bubbles_run(self) -> FlowTruth:
        rng = np.random.default_rng((self.seed, 41))
        lines = _streamlines(self.tree)
        # The tree is full at the first frame: bubbles enter from one slowest passage before it.
        passage_s = max(float(line.travel_s[-1]) for line in lines) / (1 - self.flow.largest_offset**2)
        first_s = float(self.frame_times_s[0]) - passage_s
        if self.flow.arrive_at_s is not None:
            first_s = max(first_s, self.flow.arrive_at_s)
        span_s = max(float(self.frame_times_s[-1]) - first_s, 0.0)
        rows: list[Floats] = []
        for bubble in range(rng.poisson(self.flow.bubbles_per_s * span_s)):
            line = lines[rng.integers(len(lines))]
            offset = rng.uniform(-1, 1) * self.flow.largest_offset
            born_s = first_s + rng.uniform(0, span_s)
            peak = self.flow.peak_au * math.exp(self.flow.log_amplitude_spread * 2 * rng.standard_normal())
            rows.append(self._track(line, offset, born_s, peak, bubble))
        table = np.concatenate(rows) if rows else np.zeros((0, 6))
        table = table[np.lexsort((table[:, 3], table[:, 0]))]
        numbers = [np.ascontiguousarray(column) for column in table.T]
        frame, z_mm, x_mm, identity, speed, power = numbers
        return FlowTruth(frame.astype(np.int64), z_mm, x_mm, identity.astype(np.int64), speed, power)

    def _track(self, line: _Streamline, offset: float, born_s: float, peak: float, bubble: int) -> Floats:
        """Rows (frame, z, x, bubble, speed, peak) of one bubble while it is inside tree and panel."""
        factor = 1 - offset**2
        travel = (self.frame_times_s - born_s) * factor
        half_s = 1e-3 * factor
        inside = (travel >= half_s) & (travel <= line.travel_s[-1] - half_s)
        z, x = line.at(travel, offset).T
        bottom = (self.shape[0] - 1) * self.spacing_mm.z_mm
        right = (self.shape[1] - 1) * self.spacing_mm.x_mm
        inside &= (z >= 0) & (z <= bottom) & (x >= 0) & (x <= right)
        apart = line.at(travel + half_s, offset) - line.at(travel - half_s, offset)
        speed = np.hypot(*apart.T) / 2e-3
        frames = np.flatnonzero(inside)
        size = frames.size
        columns = (frames, z[inside], x[inside], np.full(size, bubble), speed[inside], np.full(size, peak))
        return np.stack(columns, axis=-1).astype(np.float64)

    def clean_power(self, frame: int) -> NDArray[np.float32]:
        """Power of the bubbles alone, without noise: float32 (z, x). Overlapping bubbles add in power."""
        truth = self.truth
        first, last = np.searchsorted(truth.frame, [frame, frame + 1])
        shift = (0.0, 0.0) if self.shift_px is None else tuple(self.shift_px[frame])
        z_px = truth.z_mm[first:last] / self.spacing_mm.z_mm + shift[0]
        x_px = truth.x_mm[first:last] / self.spacing_mm.x_mm + shift[1]
        sigma_z = self.flow.psf_sigma_mm[0] / self.spacing_mm.z_mm
        sigma_x = self.flow.psf_sigma_mm[1] / self.spacing_mm.x_mm
        # Separable spots: a sum of outer products is one matrix product.
        z = np.exp(-0.5 * ((np.arange(self.shape[0])[:, None] - z_px) / sigma_z) ** 2)
        x = np.exp(-0.5 * ((np.arange(self.shape[1])[:, None] - x_px) / sigma_x) ** 2)
        power: NDArray[np.float32] = ((z * truth.peak_au[first:last]) @ x.T).astype(np.float32)
        return power

    def power(self, frame: int) -> NDArray[np.float32]:
        """Linear power with receiver noise: float32 (z, x), full scale = 1."""
        amplitude = np.sqrt(self.clean_power(frame))
        rng = np.random.default_rng((self.seed, 43, frame))
        noise = rng.standard_normal((2, *self.shape), dtype=np.float32) * np.float32(math.sqrt(self.flow.noise_au / 2))
        power: NDArray[np.float32] = (amplitude + noise[0]) ** 2 + noise[1] ** 2
        return power
