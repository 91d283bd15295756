"""Ultrasound clips that are no contrast examination, drawn without any code of the product or its simulator.

Four families at random: moving B-mode (breathing, drift, out-of-plane change, gain steps and ramps, probe contact),
colour and power Doppler, elastography, microflow (coloured on grey, or monochrome beside a B-mode twin).
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from processing.cine import CineDescription, FrameBlock

FAMILIES = ("moving b-mode", "doppler", "elastography", "microflow")
Rgb = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Clip:
    """A frame source held in memory: uint8 (frame, row, column, 3)."""

    family: str
    pixels: Rgb
    times_s: NDArray[np.float64]
    lossy: bool = False

    @property
    def description(self) -> CineDescription:
        frames, rows, columns, _ = self.pixels.shape
        return CineDescription(frames, rows, columns, True, self.times_s, "frame time", lossy=self.lossy)

    def blocks(self) -> Iterator[FrameBlock]:
        for first in range(0, len(self.pixels), 64):
            yield FrameBlock(self.pixels[first : first + 64], first)

    def sample(self, frames: Sequence[int]) -> Rgb:
        return self.pixels[list(frames)]


def random_clip(seed: int) -> Clip:
    """One clip of the family `seed % 4`: 12 to 60 s at 5 frames/s, panels of 110 x 120 pixels; half are JPEG at q90."""
    rng = np.random.default_rng((seed, 7919))
    family = FAMILIES[seed % 4]
    times_s = np.arange(int(rng.uniform(12, 60) * 5)) / 5.0
    tissue = _tissue(rng, times_s, calm=family != "moving b-mode")
    paint = {"doppler": _doppler, "elastography": _elastography, "microflow": _microflow}.get(family)
    panels = [_grey(tissue)] if paint is None else paint(rng, tissue, times_s)
    if paint is None and rng.random() < 0.4:
        panels = [panels[0], panels[0]]  # compound on and off, side by side
    screen = _screen(rng, panels)
    lossy = seed // 4 % 2 == 1
    if lossy:
        for frame in screen:
            frame[...] = _coded(frame)
    return Clip(family, screen, times_s, lossy)


def _coded(frame: Rgb) -> Rgb:
    coded = io.BytesIO()
    Image.fromarray(frame).save(coded, "JPEG", quality=90)
    return np.asarray(Image.open(coded))


def _speckle(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Level in dB of fully developed speckle with a grain of about 2 x 3 pixels."""
    field = rng.standard_normal((2, *shape)).astype(np.float32)
    grain = [ndimage.gaussian_filter(part, (1.0, 1.6)) for part in field]
    power = grain[0] ** 2 + grain[1] ** 2
    return 10 * np.log10(power / power.mean() + 1e-6)


def _tissue(rng: np.random.Generator, times_s: NDArray[np.float64], calm: bool) -> NDArray[np.uint8]:
    """Grey levels (frame, z, x) of moving tissue."""
    rows, columns, margin = 110, 120, 24
    shape = (rows + 2 * margin, columns + 2 * margin)
    echo = 8 * ndimage.gaussian_filter(rng.standard_normal(shape), 14) * 14
    planes = [_speckle(rng, shape) + echo, _speckle(rng, shape) + np.roll(echo, 15, axis=1)]
    amount = 3 if calm else rng.uniform(2, 12)
    period_s = rng.uniform(3, 6)
    drift = 0 if calm else rng.uniform(-0.2, 0.2)
    swing = 0.0 if calm else rng.uniform(0, 1)
    gain_db = _gain(rng, times_s, calm)
    out = np.empty((times_s.size, rows, columns), np.uint8)
    for i, t in enumerate(times_s):
        mix = swing * 0.5 * (1 - np.cos(2 * np.pi * t / (period_s * 1.7)))
        plane = (1 - mix) * planes[0] + mix * planes[1]
        dz = int(margin + amount * np.sin(2 * np.pi * t / period_s))
        dx = int(np.clip(margin + drift * t * 5, 0, 2 * margin))
        view = plane[dz : dz + rows, dx : dx + columns]
        level = 130 + (view + gain_db[i]) * 255 / 60 + 3 * rng.standard_normal(view.shape)
        out[i] = np.clip(level, 0, 255)
    return out


def _gain(rng: np.random.Generator, times_s: NDArray[np.float64], calm: bool) -> NDArray[np.float64]:
    """Gain in dB: steady, a step, a ramp, or a probe that comes into contact or is lifted."""
    start, end = times_s[-1] * np.sort(rng.uniform(0.2, 0.8, 2))
    kind = "steady" if calm else rng.choice(["steady", "step", "ramp", "contact", "lift"])
    if kind == "step":
        return rng.uniform(-12, 12) * (times_s > start)
    if kind == "ramp":
        return rng.uniform(-10, 10) * np.clip((times_s - start) / (end - start + 1), 0, 1)
    if kind in ("contact", "lift"):
        touching = np.clip((times_s - start) / 0.6, 0, 1)
        return -28 * (1 - touching if kind == "contact" else touching)
    return np.zeros(times_s.size)


def _grey(levels: NDArray[np.uint8]) -> Rgb:
    return np.repeat(levels[..., None], 3, axis=-1)


def _vessels(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Profiles (0 to 1) of a few winding vessels."""
    z, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    out = np.zeros(shape, np.float32)
    for _ in range(rng.integers(2, 7)):
        slope, offset, wave = rng.uniform(-1, 1), rng.uniform(0.2, 0.8), rng.uniform(0, 8)
        line = offset * shape[0] + slope * (x - shape[1] / 2) + wave * np.sin(x / rng.uniform(6, 20))
        out = np.maximum(out, np.clip(1 - ((z - line) / rng.uniform(1.5, 5)) ** 2, 0, 1))
    return out


def _pulse(rng: np.random.Generator, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Flow strength over the heart beat, 0 to 1."""
    floor = rng.uniform(0, 0.5)
    return floor + (1 - floor) * np.sin(np.pi * (times_s * rng.uniform(0.9, 1.8) % 1.0)) ** 2


def _doppler(rng: np.random.Generator, tissue: NDArray[np.uint8], times_s: NDArray[np.float64]) -> list[Rgb]:
    """Red and blue, or one hot map (power Doppler), over the grey image."""
    image = _grey(tissue)
    vessels, pulse = _vessels(rng, tissue.shape[1:]), _pulse(rng, times_s)
    power = rng.random() < 0.4
    direction = np.where(ndimage.gaussian_filter(rng.standard_normal(vessels.shape), 20) > 0, 1, -1)
    for frame, strength in zip(image, pulse, strict=True):
        speed = vessels * (0.3 + 0.7 * strength) * rng.uniform(0.8, 1.2, vessels.shape)
        shown = speed > 0.25
        bright = np.clip(100 + 180 * speed[shown], 0, 255)
        low = np.clip(2 * bright - 300, 0, 255)
        red = np.stack([bright, low, np.zeros_like(bright)], -1)
        blue = np.stack([np.zeros_like(bright), low, bright], -1)
        frame[shown] = red if power else np.where(direction[shown][:, None] > 0, red, blue)
    return [image]


def _elastography(rng: np.random.Generator, tissue: NDArray[np.uint8], times_s: NDArray[np.float64]) -> list[Rgb]:
    """A half-transparent jet map over a box, flickering slowly; sometimes it only appears after a while."""
    image = _grey(tissue).astype(np.float32)
    rows, columns = tissue.shape[1:]
    box = (slice(rows // 6, rows - rows // 6), slice(columns // 6, columns - columns // 6))
    stiff = ndimage.gaussian_filter(rng.standard_normal((rows, columns)), 10)
    stiff = (stiff - stiff.min()) / np.ptp(stiff)
    begins_s = rng.choice([0.0, times_s[-1] / 3])
    for frame, t in zip(image, times_s, strict=True):
        if t < begins_s:
            continue
        value = np.clip(stiff + 0.15 * np.sin(2 * np.pi * t / 4), 0, 1)
        jet = 255 * np.clip(1.5 - np.abs(4 * value[..., None] - np.array([3.0, 2.0, 1.0])), 0, 1)
        frame[box] = 0.45 * frame[box] + 0.55 * jet[box]
    return [np.clip(image, 0, 255).astype(np.uint8)]


def _microflow(rng: np.random.Generator, tissue: NDArray[np.uint8], times_s: NDArray[np.float64]) -> list[Rgb]:
    """Slow-flow imaging: coloured on grey, or monochrome with the tissue subtracted beside the B-mode image."""
    vessels, pulse = _vessels(rng, tissue.shape[1:]), _pulse(rng, times_s)
    if rng.random() < 0.5:
        image = _grey(tissue)
        for frame, strength in zip(image, pulse, strict=True):
            shown = vessels * strength > 0.2
            frame[shown] = np.stack([255 * vessels[shown], 160 * vessels[shown], 30 * np.ones(shown.sum())], -1)
        return [image]
    held_s = rng.uniform(0, times_s[-1] / 2)
    flow = np.empty_like(tissue)
    for frame, t, strength in zip(flow, times_s, pulse, strict=True):
        clutter = 90 if t < held_s and rng.random() < 0.3 else 0  # the hand moves: the whole panel flashes
        noise = 18 * rng.standard_normal(vessels.shape) + 12
        frame[...] = np.clip(210 * vessels * strength + noise + clutter * rng.random(vessels.shape), 0, 255)
    tint = np.array(rng.choice([[1.0, 1.0, 1.0], [1.0, 0.8, 0.4], [0.5, 0.8, 1.0]]))
    return [np.clip(flow[..., None] * tint, 0, 255).astype(np.uint8), _grey(tissue)][:: rng.choice([-1, 1])]


def _screen(rng: np.random.Generator, panels: list[Rgb]) -> Rgb:
    """The panels side by side on black, with a depth scale."""
    frames, rows, columns, _ = panels[0].shape
    gap = int(rng.integers(4, 12))
    image = np.zeros((frames, rows + 24, len(panels) * (columns + gap) + gap, 3), np.uint8)
    for i, panel in enumerate(panels):
        x0 = gap + i * (columns + gap)
        image[:, 16 : 16 + rows, x0 : x0 + columns] = panel
    image[:, 16 : 16 + rows : 10, :3] = 180
    return image
