"""The reference parenchyma beside a lesion, chosen by a stated rule when nobody drew it.

Amplitude parameters vary by more than 50 % with depth while times do not (Ignee 2010), so the reference lies at the
lesion's depth. It is chosen from the mask alone: choosing by brightness would decide the comparison beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from processing.cine import Spacing
from processing.errors import UnfitCineError
from processing.limitations import Limitation
from processing.roi import Roi


@dataclass(frozen=True)
class ReferenceParameters:
    """margin_mm: kept free around the lesion, for its rim and residual motion (3 mm is about two resolution cells);
    margin_fraction: the same as a fraction of the lesion's equivalent diameter where nothing is calibrated;
    largest_ratio, smallest_ratio: of the reference's area to the lesion's."""

    margin_mm: float = 3.0
    margin_fraction: float = 0.2
    largest_ratio: float = 2.0
    smallest_ratio: float = 0.25


DEFAULTS = ReferenceParameters()


def choose_reference(
    lesion: Roi,
    assessable: NDArray[np.bool_],
    spacing_mm: Spacing | None,
    parameters: ReferenceParameters = DEFAULTS,
) -> Roi:
    """The lesion's rows, beside it: on the side with more room, the columns nearest to the lesion.

    assessable: bool (z, x), `cine.valid` less what is known to be gas or shadow. Raises UnfitCineError (limitation
    `no_reference`) where less than `smallest_ratio` of the lesion's area is free.
    """
    area = int(lesion.mask.sum())
    diameter_px = 2.0 * np.sqrt(area / np.pi)
    if spacing_mm is None:
        margin = (parameters.margin_fraction * diameter_px,) * 2
    else:
        margin = (parameters.margin_mm / spacing_mm.z_mm, parameters.margin_mm / spacing_mm.x_mm)
    distance = ndimage.distance_transform_edt(~lesion.mask, sampling=(1.0 / margin[0], 1.0 / margin[1]))
    rows = np.flatnonzero(lesion.mask.any(axis=1))
    columns = np.flatnonzero(lesion.mask.any(axis=0))
    band = assessable & (distance > 1.0)
    band[: rows[0]] = False
    band[rows[-1] + 1 :] = False
    sides = []
    for keep in (slice(None, int(columns[0])), slice(int(columns[-1]) + 1, None)):
        side = np.zeros_like(band)
        side[:, keep] = band[:, keep]
        sides.append(side)
    chosen = max(sides, key=lambda side: int(side.sum()))
    if chosen.sum() < parameters.smallest_ratio * area:
        text = "No parenchyma is left beside the lesion at its depth: nothing is compared with a reference."
        raise UnfitCineError(Limitation("no_reference", text, "refused", ("ratio", "difference", "washout", "dvp")))
    return Roi(mask=_nearest(chosen, distance, parameters.largest_ratio * area), label="reference", drawn_by="rule")


def _nearest(side: NDArray[np.bool_], distance: NDArray[np.float64], largest: float) -> NDArray[np.bool_]:
    """The columns nearest to the lesion, until the area is reached."""
    order = np.argsort(np.where(side, distance, np.inf).min(axis=0), kind="stable")
    total = np.cumsum(side.sum(axis=0)[order])
    kept = order[: int(np.searchsorted(total, largest)) + 1]
    mask = np.zeros_like(side)
    mask[:, kept] = side[:, kept]
    return mask
