"""From stored samples to displayed 8-bit grey or RGB: photometric interpretation (PS3.3 C.7.6.3.1.2) and palettes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicom_node.cine_decoders import Decoded, SampleFormat
from dicom_node.cine_palette import Palette

Pixels = NDArray[np.uint8]
GREY = ("MONOCHROME1", "MONOCHROME2")
# JFIF / BT.601 full range, as PS3.3 C.7.6.3.1.2 defines YBR_FULL: R = Y + 1.402 Cr, ...
YBR_TO_RGB = np.array([[1.0, 0.0, 1.402], [1.0, -0.344136, -0.714136], [1.0, 1.772, 0.0]])


def display(decoded: Decoded, stored: SampleFormat, palette: Palette | None) -> Pixels:
    """Displayed pixels, (row, column) grey or (row, column, 3) RGB, uint8."""
    samples = decoded.samples
    if palette is not None:
        index = np.clip(samples.astype(np.int32) - palette.first, 0, len(palette.table) - 1)
        return palette.table[index]
    if samples.dtype.itemsize > 1:
        samples = samples >> max(stored.bits_stored - 8, 0)
    shown = samples.astype(np.uint8, copy=False)
    if decoded.photometric == "MONOCHROME1":
        return 255 - shown
    if decoded.photometric in ("RGB", *GREY):
        return shown
    return _from_ybr(shown, limited=decoded.photometric.startswith("YBR_PARTIAL"))


def _from_ybr(ybr: Pixels, limited: bool) -> Pixels:
    centred = ybr.astype(np.float32)
    centred[..., 1:] -= 128.0
    if limited:  # BT.601 studio range: Y 16 to 235, chroma 16 to 240
        centred[..., 0] = (centred[..., 0] - 16.0) * (255.0 / 219.0)
        centred[..., 1:] *= 255.0 / 224.0
    rgb = centred @ YBR_TO_RGB.T.astype(np.float32)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
