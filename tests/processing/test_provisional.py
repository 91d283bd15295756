"""A loop that still arrives already shows its vessels; what it holds does not grow with the loop."""

from __future__ import annotations

import numpy as np

from processing.cine import Spacing
from processing.provisional import ArrivingBubbles, ArrivingPanel, ProvisionalParameters
from tests.accuracy.ulm_scenes import add_rician, noise_of, render

SHAPE, SPACING, RATE_HZ = (48, 96), Spacing(0.1, 0.1), 30.0


def one_vessel(frames: int) -> np.ndarray:
    """Power of bubbles that follow each other along row 20.3 at 1.5 px a frame, 15 px apart."""
    rows = [
        (f, 20.3, x, 0.3, k) for f in range(frames) for k in range(-frames // 10, 7) if 4 < (x := 15 * k + 1.5 * f) < 92
    ]
    clean = render(np.array(rows), frames, SHAPE, 2.0)
    return add_rician(clean, 0.3 * noise_of(30.0), np.random.default_rng(9001)) ** 2


def test_a_vessel_shows_while_its_loop_arrives() -> None:
    arriving = ArrivingBubbles(
        ArrivingPanel(np.ones(SHAPE, np.bool_), SPACING, RATE_HZ, 1e-8), ProvisionalParameters(block_frames=50)
    )
    power = one_vessel(130)
    assert not arriving.take(power[:30])
    assert arriving.maps().density.sum() == 0
    assert arriving.take(power[30:64])
    assert arriving.frames_done == 50
    first = int((arriving.maps().density > 0).sum())
    assert first > 0
    arriving.take(power[64:])
    assert arriving.frames_done == 100
    assert arriving.localizations.frame.max() == 99
    maps = arriving.maps()
    crossed = np.argwhere(maps.density > 0)
    # Row 20.3 of 0.1 mm pixels; the speed is 1.5 px of 0.1 mm at 30 Hz.
    assert np.abs(crossed[:, 0] - 20.3).max() < 1.0
    assert abs(np.nanmedian(maps.speed_mm_per_s) - 4.5) < 0.05


def test_blocks_of_any_length_give_the_same() -> None:
    power = one_vessel(100)
    found = []
    for length in (7, 100):
        arriving = ArrivingBubbles(
            ArrivingPanel(np.ones(SHAPE, np.bool_), SPACING, RATE_HZ, 1e-8), ProvisionalParameters(block_frames=50)
        )
        for first in range(0, 100, length):
            arriving.take(power[first : first + length])
        found.append(arriving.localizations)
    assert found[0].z_mm.tobytes() == found[1].z_mm.tobytes()
    assert found[0].x_mm.tobytes() == found[1].x_mm.tobytes()


def test_a_block_that_comes_too_fast_is_passed_over_and_the_next_keeps_its_frames() -> None:
    arriving = ArrivingBubbles(
        ArrivingPanel(np.ones(SHAPE, np.bool_), SPACING, RATE_HZ, 1e-8), ProvisionalParameters(block_frames=50)
    )
    power = one_vessel(100)
    assert not arriving.take(power[:50], in_time=False)
    assert (arriving.frames_done, len(arriving.localizations)) == (50, 0)
    assert arriving.take(power[50:])
    assert arriving.localizations.frame.min() >= 50
    assert arriving.localizations.frame.max() == 99


def test_noise_that_arrives_shows_nothing() -> None:
    arriving = ArrivingBubbles(
        ArrivingPanel(np.ones(SHAPE, np.bool_), SPACING, RATE_HZ, 1e-8), ProvisionalParameters(block_frames=50)
    )
    rng = np.random.default_rng(9002)
    noise = rng.standard_normal((2, 50, *SHAPE)).astype(np.float32)
    arriving.take(1e-4 * (noise[0] ** 2 + noise[1] ** 2))
    assert arriving.frames_done == 50
    assert len(arriving.localizations) == 0
