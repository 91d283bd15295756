"""Heterogeneity of a map inside the lesion, by the names of the Image Biomarker Standardisation Initiative.

Zwanenburg et al., IBSI reference manual (arXiv 1612.07003): coefficient of variation (CWYJ), discretised intensity
entropy (TLU2), quartile coefficient of dispersion (SLWD). Population statistics, as IBSI defines them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class HeterogeneityParameters:
    """bins: fixed bin number between minimum and maximum, 32 as in IBSI's reference values; minimum_samples: fewer
    independent samples than bins make the entropy a count of samples."""

    bins: int = 32
    minimum_samples: int = 32


@dataclass(frozen=True)
class Heterogeneity:
    """cov and quartile_coefficient: ratios; entropy: bits, 0 to log2(bins)."""

    cov: float
    entropy: float
    quartile_coefficient: float


DEFAULTS = HeterogeneityParameters()


def heterogeneity(values: NDArray[np.floating], parameters: HeterogeneityParameters = DEFAULTS) -> Heterogeneity | None:
    """Of the finite values (any shape) of a positive quantity; None where there are too few or their mean is not
    positive.

    Give one value a resolution cell (`PerfusionMaps.samples`), not one a pixel: interpolated pixels add no information.
    """
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    if finite.size < parameters.minimum_samples or finite.mean() <= 0.0:
        return None
    low, high = np.percentile(finite, [25.0, 75.0])
    if high + low <= 0.0:
        return None
    span = float(finite.max() - finite.min())
    scaled = (finite - finite.min()) / span * parameters.bins if span > 0.0 else np.zeros(finite.size)
    counts = np.bincount(np.minimum(scaled.astype(np.intp), parameters.bins - 1))
    share = counts[counts > 0] / finite.size
    return Heterogeneity(
        cov=float(finite.std() / finite.mean()),
        entropy=float(max(-(share * np.log2(share)).sum(), 0.0)),
        quartile_coefficient=float((high - low) / (high + low)),
    )
