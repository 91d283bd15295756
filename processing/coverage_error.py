"""Standard error of coverage: how far the number of pixels that bubbles entered would move in another acquisition.

Drawn with replacement, bubbles that fall twice on the same pixels take others away: a bootstrap sees half of the
scatter of a sparse map. Bubbles come as a Poisson process, and of any figure of one the sum over bubbles of the squared
difference that leaving it out makes is the variance or more (Efron and Stein 1981; Last and Penrose 2011). For a pixel
that lambda bubbles enter on average it is lambda exp(-lambda) of exp(-lambda) (1 - exp(-lambda)); lambda is twice the
pixels entered by two over those entered by one (Good 1953, Chao 1987).
"""

from __future__ import annotations

import numpy as np

from processing.super_resolution_maps import Visits


def coverage_error(visits: Visits) -> float:
    """Standard error of the number of pixels with visits, of which a track has one a pixel."""
    entered = np.unique(visits.pixel, return_inverse=True, return_counts=True)
    alone = np.bincount(visits.track, weights=entered[2][entered[1]] == 1)
    twice = 2.0 * float((entered[2] == 2).sum()) / max(float((entered[2] == 1).sum()), 1.0)
    kept = -np.expm1(-twice) / twice if twice > 0 else 1.0
    return float(np.sqrt(kept * (alone**2).sum()))
