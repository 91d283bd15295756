"""Seeded bubble scenes with their truth, shared by the accuracy tests and the benchmarks.

The benchmark of docs/super-resolution.md: 143 x 84 px, 30 bubbles a frame, Gaussian PSF of sigma 1 px, white noise,
SNR = 20 log10(amplitude / sigma_noise). Nothing here imports the code that it judges.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]
MARGIN_PX = 4.0
"""Keeps the 7 x 7 window of the CRLB inside the frame."""


@dataclass(frozen=True, eq=False)
class Scene:
    """frames float32 (frame, z, x); truth one row a bubble and frame: frame, z, x, amplitude, track."""

    frames: NDArray[np.float32]
    truth: Floats
    sigma_px: float
    noise: float
    tracks: int = field(default=0)


def noise_of(snr_db: float) -> float:
    return float(10 ** (-snr_db / 20))


def render(truth: Floats, frames: int, shape: tuple[int, int], sigma_px: float) -> NDArray[np.float32]:
    """Sum of sampled Gaussians, float32 (frame, z, x)."""
    stack = np.zeros((frames, *shape), dtype=np.float64)
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    reach = int(np.ceil(6 * sigma_px))
    for frame, z, x, amplitude in truth[:, :4]:
        i0, i1 = max(int(z) - reach, 0), min(int(z) + reach + 2, shape[0])
        j0, j1 = max(int(x) - reach, 0), min(int(x) + reach + 2, shape[1])
        gz = np.exp(-((rows[i0:i1] - z) ** 2) / (2 * sigma_px**2))
        gx = np.exp(-((columns[j0:j1] - x) ** 2) / (2 * sigma_px**2))
        stack[int(frame), i0:i1, j0:j1] += amplitude * gz[:, None] * gx
    return stack.astype(np.float32)


def add_gaussian(clean: NDArray[np.float32], noise: float, rng: np.random.Generator) -> NDArray[np.float32]:
    return clean + (noise * rng.standard_normal(clean.shape, dtype=np.float32))


def add_rician(clean: NDArray[np.float32], noise: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Magnitude of complex noise of `noise` per part around the clean amplitude."""
    real = clean + noise * rng.standard_normal(clean.shape, dtype=np.float32)
    return np.hypot(real, noise * rng.standard_normal(clean.shape, dtype=np.float32))


def isolated_truth(
    frames: int, shape: tuple[int, int], rng: np.random.Generator, bubbles: int = 30, separation_px: float = 7.0
) -> Floats:
    """Fresh positions each frame, no two closer than `separation_px`."""
    rows = []
    low, high = np.full(2, MARGIN_PX), np.array(shape) - 1 - MARGIN_PX
    for frame in range(frames):
        placed = np.empty((0, 2))
        while len(placed) < bubbles:
            spot = rng.uniform(low, high)
            if not len(placed) or np.min(np.sum((placed - spot) ** 2, axis=1)) >= separation_px**2:
                placed = np.vstack([placed, spot])
        rows.append(np.column_stack([np.full(bubbles, frame), placed, np.ones(bubbles), np.full(bubbles, -1)]))
    return np.vstack(rows)


def flowing_truth(
    frames: int,
    shape: tuple[int, int],
    rng: np.random.Generator,
    bubbles: int = 30,
    speed_px: tuple[float, float] = (0.2, 1.5),
) -> Floats:
    """30 live straight tracks a frame, life 25 to 60 frames, log-normal amplitude (s 0.3); overlaps are allowed."""
    rows = []
    low, high = np.full(2, MARGIN_PX), np.array(shape) - 1 - MARGIN_PX
    track = 0
    for _ in range(bubbles):
        frame = -int(rng.integers(0, 50))
        while frame < frames:
            life = int(rng.integers(25, 61))
            position = rng.uniform(low, high)
            angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(*speed_px)
            velocity = speed * np.array([np.sin(angle), np.cos(angle)])
            amplitude = float(np.exp(0.3 * rng.standard_normal()))
            for _ in range(life):
                if not (np.all(position >= low) and np.all(position <= high)):
                    break
                if 0 <= frame < frames:
                    rows.append((frame, *position, amplitude, track))
                position = position + velocity
                frame += 1
            track += 1
    truth = np.array(rows)
    return truth[np.lexsort((truth[:, 4], truth[:, 0]))]


def scene(
    kind: str, snr_db: float, frames: int, seed: int, shape: tuple[int, int] = (143, 84), sigma_px: float = 1.0
) -> Scene:
    """`iso`, `flow` or `rice` (iso with the magnitude of complex noise)."""
    rng = np.random.default_rng(seed)
    bubbles = max(round(30 * shape[0] * shape[1] / (143 * 84) / sigma_px**2), 1)
    if kind == "flow":
        truth = flowing_truth(frames, shape, rng, bubbles)
    else:
        truth = isolated_truth(frames, shape, rng, bubbles, 7.0 * sigma_px)
    clean = render(truth, frames, shape, sigma_px)
    add = add_rician if kind == "rice" else add_gaussian
    return Scene(add(clean, noise_of(snr_db), rng), truth, sigma_px, noise_of(snr_db))


@dataclass(frozen=True)
class Screen:
    """How a scanner shows amplitude: log-compressed to 8 bit, full scale `headroom_db` above a bubble; JPEG or not."""

    dynamic_range_db: float = 60.0
    headroom_db: float = 3.0
    jpeg_quality: int | None = None

    @property
    def full_scale(self) -> float:
        return float(10 ** (self.headroom_db / 20))

    @property
    def floor(self) -> float:
        """Amplitude of level 0."""
        return float(self.full_scale * 10 ** (-self.dynamic_range_db / 20))

    def shown(self, amplitude: NDArray[np.float32]) -> NDArray[np.uint8]:
        level_db = 20 * np.log10(np.maximum(amplitude / self.full_scale, 1e-9))
        levels = np.clip(np.round(255 * (1 + level_db / self.dynamic_range_db)), 0, 255).astype(np.uint8)
        if self.jpeg_quality is None:
            return levels
        frames = []
        for frame in levels:
            stored = io.BytesIO()
            Image.fromarray(frame).save(stored, "JPEG", quality=self.jpeg_quality)
            frames.append(np.array(Image.open(stored)))
        return np.stack(frames)

    def linearised(self, levels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return (self.full_scale * 10 ** ((levels / 255 - 1) * self.dynamic_range_db / 20)).astype(np.float32)


def clinical_scene(screen: Screen, frames: int, seed: int, snr_db: float = 30.0) -> Scene:
    """30 isolated bubbles of PSF sigma 2 px under Rician noise, shown by a screen and linearised again."""
    rng = np.random.default_rng(seed)
    shape = (143, 168)
    truth = isolated_truth(frames, shape, rng, 30, 14.0)
    amplitude = add_rician(render(truth, frames, shape, 2.0), noise_of(snr_db), rng)
    return Scene(screen.linearised(screen.shown(amplitude)), truth, 2.0, noise_of(snr_db))


def crlb_px(noise: float, sigma_px: float = 1.0, amplitude: float = 1.0) -> float:
    """Radial Cramer-Rao bound with z, x, amplitude and background unknown, window of 3 sigma, mean over sub-pixels."""
    half = round(3 * sigma_px)
    grid = np.arange(-half, half + 1)
    variances = []
    for dz in np.linspace(-0.5, 0.5, 5):
        for dx in np.linspace(-0.5, 0.5, 5):
            gz = np.exp(-((grid - dz) ** 2) / (2 * sigma_px**2))[:, None]
            gx = np.exp(-((grid - dx) ** 2) / (2 * sigma_px**2))[None, :]
            g = amplitude * gz * gx
            columns = [
                g * (grid[:, None] - dz) / sigma_px**2,
                g * (grid[None, :] - dx) / sigma_px**2,
                g,
                np.ones_like(g),
            ]
            jacobian = np.stack([c.ravel() for c in columns], axis=1)
            covariance = np.linalg.inv(jacobian.T @ jacobian) * noise**2
            variances.append(covariance[0, 0] + covariance[1, 1])
    return float(np.sqrt(np.mean(variances)))


@dataclass(frozen=True, eq=False)
class Score:
    """pairs: (found index, truth index); errors_px (pair, 2)."""

    rmse_px: float
    jaccard: float
    precision: float
    recall: float
    pairs: NDArray[np.int64]
    errors_px: Floats


def score(found: Floats, truth: Floats, gate_px: float = 0.5, true_positive_px: float = 0.25) -> Score:
    """Pair found (frame, z, x) with truth frame by frame (Hungarian, below `gate_px`)."""
    pairs, errors = [], []
    for frame in np.union1d(np.unique(found[:, 0]), np.unique(truth[:, 0])):
        a, b = np.flatnonzero(found[:, 0] == frame), np.flatnonzero(truth[:, 0] == frame)
        if not len(a) or not len(b):
            continue
        distance = cdist(found[a, 1:3], truth[b, 1:3])
        # Pairs beyond the gate all cost the same, so that they never displace one inside it.
        i, j = linear_sum_assignment(np.minimum(distance, gate_px) ** 2)
        inside = distance[i, j] < gate_px
        pairs.append(np.column_stack([a[i[inside]], b[j[inside]]]))
        errors.append(found[a[i[inside]], 1:3] - truth[b[j[inside]], 1:3])
    matched = np.vstack(pairs) if pairs else np.empty((0, 2), dtype=np.int64)
    error = np.vstack(errors) if errors else np.empty((0, 2))
    radius = np.hypot(error[:, 0], error[:, 1])
    true_positive = int((radius < true_positive_px).sum())
    return Score(
        rmse_px=float(np.sqrt(np.mean(radius**2))) if len(radius) else float("nan"),
        jaccard=true_positive / (len(found) + len(truth) - true_positive),
        precision=len(radius) / max(len(found), 1),
        recall=len(radius) / max(len(truth), 1),
        pairs=matched,
        errors_px=error,
    )


@dataclass(frozen=True, eq=False)
class LinkScene:
    """Detections one row each: frame, z, x, track (-1 = false); sigma_px of the positions."""

    detections: Floats
    frames: int
    shape: tuple[int, int]
    sigma_px: float


def link_scene(
    frames: int, speed_px: tuple[float, float], seed: int, missed: float = 0.1, false: float = 0.05
) -> LinkScene:
    """30 bubbles a frame, sigma 0.1 px, 10 % missed, 5 % false: the tracker's benchmark."""
    rng = np.random.default_rng(seed)
    shape = (143, 84)
    truth = flowing_truth(frames, shape, rng, 30, speed_px)
    seen = truth[rng.random(len(truth)) >= missed]
    rows = np.column_stack([seen[:, 0], seen[:, 1:3] + 0.1 * rng.standard_normal((len(seen), 2)), seen[:, 4]])
    count = rng.binomial(30 * frames, false)
    noise = np.column_stack(
        [rng.integers(0, frames, count), rng.uniform(0, shape[0], count), rng.uniform(0, shape[1], count)]
    )
    every = np.vstack([rows, np.column_stack([noise, np.full(count, -1)])])
    return LinkScene(every[np.argsort(every[:, 0], kind="stable")], frames, shape, 0.1)


def true_links(detections: Floats, gap: int) -> set[tuple[int, int]]:
    """Pairs of rows: successive detections of one bubble at most `gap` missed frames apart."""
    links = set()
    order = np.lexsort((detections[:, 0], detections[:, 3]))
    for a, b in pairwise(order):
        same = detections[a, 3] == detections[b, 3] >= 0
        if same and detections[b, 0] - detections[a, 0] <= gap + 1:
            links.add((int(a), int(b)))
    return links
