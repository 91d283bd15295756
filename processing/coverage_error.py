"""Standard error of coverage: how far the share of pixels that bubbles entered would move in another acquisition.

Drawn with replacement, bubbles that fall twice on the same pixels take others away: a bootstrap sees half of the
scatter of a sparse map. Bubbles come as a Poisson process, and of any figure of one the sum over bubbles of the squared
difference that leaving it out makes is the variance or more (Efron and Stein 1981; Last and Penrose 2011). For a pixel
that lambda bubbles enter on average it is lambda exp(-lambda) of exp(-lambda) (1 - exp(-lambda)); lambda is twice the
pixels entered by two over those entered by one (Good 1953, Chao 1987).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def coverage_errors(
    pixel: NDArray[np.int64], bubble: NDArray[np.int64], rows: NDArray[np.int64], rarefied_to: int
) -> tuple[float, float]:
    """Standard errors of the number of covered pixels, and of that expected from `rarefied_to` localizations.

    pixel, bubble: int64 (visit,). rows: int64 (bubble,), localizations of each bubble.
    """
    pair, visits = np.unique(np.stack([bubble, pixel], axis=1), axis=0, return_counts=True)
    index = np.unique(pair[:, 1], return_inverse=True)[1]
    every = np.bincount(index, weights=visits)
    before, owner, count = every[index], pair[:, 0], len(rows)
    alone = np.bincount(owner, weights=(before == visits).astype(np.float64), minlength=count)
    total = max(float(rows.sum()), 1.0)
    depth, pixels = np.unique(every, return_counts=True)
    share = np.minimum(rarefied_to / np.maximum(total - rows, 1.0), 1.0)
    # Without a bubble the others are drawn with a larger share, and its own pixels are entered less often.
    others = ((1 - (1 - share[:, None]) ** depth) * pixels).sum(axis=1)
    missed = 1 - share[owner]
    lost = np.bincount(owner, weights=missed ** (before - visits) - missed**before, minlength=count)
    whole = float(((1 - (1 - min(rarefied_to / total, 1.0)) ** depth) * pixels).sum())
    entered = np.bincount(index)
    twice = 2.0 * float((entered == 2).sum()) / max(float((entered == 1).sum()), 1.0)
    kept = -np.expm1(-twice) / twice if twice > 0 else 1.0
    return float(np.sqrt(kept * (alone**2).sum())), float(np.sqrt(kept * ((whole - others + lost) ** 2).sum()))
