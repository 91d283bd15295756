"""The first width: read off the autocorrelation, whatever light all lags share."""

from __future__ import annotations

import numpy as np
import pytest

from processing.point_spread import correlation_width, guessed_spread
from tests.accuracy.ulm_scenes import scene


@pytest.mark.parametrize("offset", [-0.05, 0.0, 0.3])
@pytest.mark.parametrize("sigma_px", [0.9, 1.6, 3.0])
def test_light_that_all_lags_share_does_not_change_the_width(sigma_px: float, offset: float) -> None:
    lags = np.arange(1, round(6 * sigma_px) + 1)
    # The widths tried lie half a percent apart.
    assert correlation_width(np.exp(-(lags**2) / (4 * sigma_px**2)) + offset) == pytest.approx(sigma_px, rel=0.005)


def test_too_few_lags_tell_no_width() -> None:
    assert correlation_width(np.array([1.0, 0.2])) == 1.0


@pytest.mark.parametrize("kind", ["iso", "flow"])
def test_bubbles_that_drown_in_noise_still_show_their_width(kind: str) -> None:
    """10 dB: no spot is clear, so this width is the one that is used. 4 Mpx know it to 1.5 %, thrice."""
    assert guessed_spread(scene(kind, 10, 333, 61).frames).sigma_px == pytest.approx(1.0, rel=0.045)
