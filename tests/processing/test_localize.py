"""What the localizer refuses."""

from __future__ import annotations

import numpy as np
import pytest

from processing.errors import InvalidValueError
from processing.localize import LocalizationParameters, calibrate, localize
from tests.accuracy.ulm_readings import PIXEL
from tests.accuracy.ulm_scenes import scene


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("pixel", [(0, 0), (70, 40), (142, 83)])
def test_a_pixel_without_a_number_is_refused_wherever_it_lies(value: float, pixel: tuple[int, int]) -> None:
    made = scene("iso", 20, 20, 62)
    calibration = calibrate(made.frames, LocalizationParameters())
    frames = made.frames.copy()
    frames[(17, *pixel)] = value
    with pytest.raises(InvalidValueError, match="finite"):
        localize(frames, PIXEL, calibration, LocalizationParameters())
