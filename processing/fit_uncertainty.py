"""How far a weighted fit can be trusted when its noise is correlated in time.

Measured coverage of nominal 95 % intervals that ignore this: 50-66 % (plain Jacobian), 70-75 % (speckle that lingers
for 0.3 s), docs/perfusion.md.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def correlation_length(residual: NDArray[np.float64], parameters: int) -> float:
    """Frames that carry one independent sample: 1 + 2 sum of the residuals' autocorrelation, at least 1.

    Summed over the initial positive pairs (Geyer 1992, Statistical Science 7:473). Each lag is raised by what the fit
    of `parameters` took out of it, without which short clips look less correlated than they are.
    """
    n = residual.size
    centred = residual - residual.mean()
    power = float(centred @ centred)
    if n < 8 or power <= 0.0:
        return 1.0
    lags = min(n // 4, 200)
    spectrum = np.fft.rfft(centred, 2 * n)
    rho = np.fft.irfft(np.abs(spectrum) ** 2)[: lags + 1] / power
    length = 1.0
    for _ in range(3):
        raised = rho + parameters * length / n
        total = 1.0
        for k in range(1, lags, 2):
            pair = raised[k] + raised[k + 1]
            if pair <= 0.0:
                break
            total += 2.0 * pair
        length = min(max(total, 1.0), n / 8.0)
    return float(length)


def sandwich_covariance(
    weighted: NDArray[np.float64], residual: NDArray[np.float64], correlation: float
) -> NDArray[np.float64]:
    """Covariance that does not believe the assumed variance: bread of the information, meat of the residuals."""
    bread = np.linalg.pinv(weighted.T @ weighted, rcond=1e-13, hermitian=True)
    # A frame with leverage pulls the curve to itself and hides its own error (HC3, MacKinnon and White 1985).
    leverage = np.einsum("ij,jk,ik->i", weighted, bread, weighted) * correlation
    scores = weighted * (residual / (1.0 - np.minimum(leverage, 0.5)))[:, None]
    return np.asarray(bread @ (scores.T @ scores) @ bread * correlation, np.float64)
