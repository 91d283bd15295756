"""The error of coverage is what it scatters by from acquisition to acquisition."""

from __future__ import annotations

import numpy as np
import pytest

from processing.coverage_error import coverage_error
from processing.super_resolution_maps import Visits


@pytest.mark.parametrize("lines", [40, 400])
def test_the_error_of_coverage_is_its_scatter_over_acquisitions(lines: int) -> None:
    """Poisson-many bubbles, each on one of some lines of 50 pixels: from sparse to nearly filled."""
    rng = np.random.default_rng(60)
    values, errors = [], []
    for _ in range(300):
        count = rng.poisson(100)
        pixel = (50 * rng.integers(0, lines, count)[:, None] + np.arange(50)).reshape(-1)
        bubble = np.repeat(np.arange(count), 50)
        values.append(len(np.unique(pixel)))
        errors.append(coverage_error(Visits(pixel, bubble, bubble)))
    # 300 acquisitions show their scatter to 4 %.
    assert 0.88 * np.std(values) < np.mean(errors) < 1.12 * np.std(values)
