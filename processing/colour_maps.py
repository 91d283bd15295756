"""The colour maps that have a name: those that MATLAB and matplotlib give it to, drawn by scanners as well."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# (position, red, green, blue), straight lines between.
_ANCHORS: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "grey": ((0, 0, 0, 0), (1, 1, 1, 1)),
    "copper": ((0, 0, 0, 0), (0.8, 1, 0.625, 0.398), (1, 1, 0.7812, 0.4975)),
    "hot": ((0, 0.0416, 0, 0), (0.365079, 1, 0, 0), (0.746032, 1, 1, 0), (1, 1, 1, 1)),
    "afmhot": ((0, 0, 0, 0), (0.25, 0.5, 0, 0), (0.5, 1, 0.5, 0), (0.75, 1, 1, 0.5), (1, 1, 1, 1)),
    "bone": ((0, 0, 0, 0), (0.365, 0.3194, 0.3194, 0.4444), (0.746, 0.6528, 0.7778, 0.7778), (1, 1, 1, 1)),
}  # fmt: skip
FAMILIES = tuple(_ANCHORS)


def family(name: str) -> NDArray[np.uint8]:
    """The 256 colours of a known family, uint8 (256, 3)."""
    anchors = np.array(_ANCHORS[name])
    level = np.linspace(0.0, 1.0, 256)
    channels = [np.interp(level, anchors[:, 0], anchors[:, c]) for c in (1, 2, 3)]
    return np.asarray(np.rint(255 * np.stack(channels, -1)), np.uint8)
