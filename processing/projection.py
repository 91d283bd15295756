"""From a colour to one number that rises with the level: a weighted sum of the channels, with a quarter level kept.

Plain arithmetic apart from whatever decides by it: reading frames must not load the numeric stack.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LUMA_WEIGHTS = (77, 150, 29)
"""BT.601 luma in 1/256: what JPEG and MPEG code with full resolution."""
_FINE_LUMA = (19595, 38470, 7471)
"""The same in 1/65536, as JPEG coders have it: a blue of 255 is a third of a level off in 1/256."""
EVEN_WEIGHTS = (85, 86, 85)
"""Mean of the channels: maps like `hot` rise evenly in it, while their luma hardly moves in its last third."""
PROJECTION_SHIFT = 6
PROJECTION_SIZE = 1021
"""Weights add up to 256, so (w . rgb) >> 6 runs from 0 to 1020."""


def projection(pixels: NDArray[np.uint8], weights: tuple[int, int, int]) -> NDArray[np.int32]:
    """(weights . rgb) >> 6 of RGB pixels (..., 3)."""
    channels = [np.multiply(pixels[..., c], weights[c], dtype=np.int32) for c in range(3)]
    return (channels[0] + channels[1] + channels[2]) >> PROJECTION_SHIFT


def exact_luma(colours: NDArray[np.uint8]) -> NDArray[np.float64]:
    """BT.601 luma of RGB colours (..., 3) before it is rounded."""
    return np.asarray(colours @ np.array([0.299, 0.587, 0.114]), np.float64)


def luma(pixels: NDArray[np.uint8], colour: bool) -> NDArray[np.uint8]:
    """BT.601 luma of frames, rounded; one frame at a time so that no wide copy of the stack is made."""
    if not colour:
        return pixels
    out = np.empty(pixels.shape[:-1], np.uint8)
    for frame, place in zip(pixels, out, strict=True):
        channels = [np.multiply(frame[..., c], weight, dtype=np.int32) for c, weight in enumerate(_FINE_LUMA)]
        place[...] = (channels[0] + channels[1] + channels[2] + 32768) >> 16
    return out
