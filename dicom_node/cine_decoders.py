"""One pinned decoder a transfer syntax: bytes of one frame in, samples out.

Decoders disagree by 3 to 43 grey levels in chroma, so there is one for each syntax and no fallback to another.
A decoder that refuses, or whose answer has another size than the header says, ends as `undecodable_frame`.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import uid

from dicom_node.errors import UnreadableCineError

Samples = NDArray[Any]
SOF_LOSSLESS, SOF_JPEG_LS = 0xC3, 0xF7


@dataclass(frozen=True)
class SampleFormat:
    """How a frame's samples are stored (PS3.3 C.7.6.3).

    `byte_swapped`: 8-bit samples in big-endian words (VR OW), so every pair of bytes is exchanged (PS3.5 8.1.1).
    """

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    planar: bool
    photometric: str
    big_endian: bool
    byte_swapped: bool = False

    @property
    def pixels(self) -> int:
        return self.rows * self.columns

    @property
    def dtype(self) -> np.dtype[Any]:
        width = "u1" if self.bits_allocated <= 8 else "u2"
        return np.dtype(width).newbyteorder(">" if self.big_endian else "<")


@dataclass(frozen=True, eq=False)
class Decoded:
    """Samples (row, column[, 3]), and whether the decoder already turned them to RGB."""

    samples: Samples
    photometric: str


class DecoderError(Exception):
    """The frame's code stream is broken or not what the header says; becomes `undecodable_frame` with its number."""


Decoder = Callable[[bytes, SampleFormat], Decoded]


def native(raw: bytes, stored: SampleFormat) -> Decoded:
    """Uncompressed samples; native YBR_FULL_422 holds Y1 Y2 Cb Cr for every two pixels (PS3.3 C.7.6.3.1.2)."""
    flat = np.frombuffer(raw, stored.dtype)
    if stored.byte_swapped:
        flat = flat.reshape(-1, 2)[:, ::-1].ravel()
    if stored.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        pairs = flat[: stored.pixels * 2].reshape(stored.rows, stored.columns // 2, 4)
        samples = np.empty((stored.rows, stored.columns, 3), flat.dtype)
        samples[:, 0::2, 0], samples[:, 1::2, 0] = pairs[..., 0], pairs[..., 1]
        samples[..., 1] = pairs[..., 2].repeat(2, axis=1)
        samples[..., 2] = pairs[..., 3].repeat(2, axis=1)
        return Decoded(samples, stored.photometric)
    return Decoded(_shaped(flat[: stored.pixels * stored.samples], stored, stored.planar), stored.photometric)


def rle(raw: bytes, stored: SampleFormat) -> Decoded:
    """RLE Lossless, PS3.5 annex G, by pylibjpeg-rle; always plane by plane."""
    from rle.utils import decode_frame  # type: ignore[attr-defined]  # its Rust module carries no stubs

    decoded = decode_frame(raw, stored.pixels, stored.bits_allocated, "<")
    flat = np.frombuffer(decoded, stored.dtype)
    return Decoded(_shaped(flat, stored, planar=True), stored.photometric)


def jpeg(raw: bytes, stored: SampleFormat) -> Decoded:
    """JPEG baseline and 8-bit extended by Pillow's libjpeg-turbo, RGB or grey.

    Whether the components are YCbCr is the stream's own word (JFIF, Adobe APP14); without one it is the header's.
    """
    from PIL import Image

    image = Image.open(io.BytesIO(raw), formats=("JPEG",))
    if image.size != (stored.columns, stored.rows):
        raise DecoderError(f"the code stream is {image.size[0]}x{image.size[1]}")
    if stored.samples == 1:
        if image.mode != "L":
            raise DecoderError(f"the code stream has mode {image.mode}, the header one sample a pixel")
        return Decoded(np.asarray(image), stored.photometric)
    if image.mode == "L":
        raise DecoderError("the code stream has one component, the header three samples a pixel")
    if stored.photometric == "RGB" and "adobe_transform" not in image.info and "jfif" not in image.info:
        image.draft("YCbCr", image.size)  # leave the components alone: they are RGB already
        return Decoded(np.asarray(image), "RGB")
    if image.mode != "RGB":
        raise DecoderError(f"the code stream has mode {image.mode}")
    return Decoded(np.asarray(image), "RGB")


def jpeg_luma(raw: bytes, stored: SampleFormat) -> Decoded:
    """The Y' component alone of a JPEG frame: where decoders agree, and half the work of RGB."""
    from PIL import Image

    image = Image.open(io.BytesIO(raw), formats=("JPEG",))
    if image.size != (stored.columns, stored.rows):
        raise DecoderError(f"the code stream is {image.size[0]}x{image.size[1]}")
    image.draft("L", image.size)
    # RGB components have no luma of their own: it is a sum of them.
    return Decoded(np.asarray(image if image.mode == "L" else image.convert("L")), "MONOCHROME2")


def jpeg_again(raw: bytes, stored: SampleFormat) -> Samples | None:
    """The luma of a frame after one more pass through its own quantisation, the grid of 8 x 8 blocks shifted by half.

    None where the components are not luma and chroma (Adobe's transform 0 is RGB).
    """
    from PIL import Image

    image = Image.open(io.BytesIO(raw), formats=("JPEG",))
    tables = image.quantization  # type: ignore[attr-defined]  # of JPEG images only
    luma = jpeg_luma(raw, stored).samples
    image.draft("L", image.size)
    if image.mode != "L" or 0 not in tables or image.info.get("adobe_transform") == 0:
        return None
    half = 4
    coded = io.BytesIO()
    shifted = Image.fromarray(np.pad(luma, ((half, 0), (half, 0)), mode="edge"))
    shifted.save(coded, "JPEG", qtables={0: tables[0]})
    return np.asarray(Image.open(coded, formats=("JPEG",)))[half:, half:]


def jpeg_lossless(raw: bytes, stored: SampleFormat) -> Decoded:
    """JPEG lossless (process 14) by GDCM."""
    import gdcm

    # GDCM ends the process where the pixel format and the code stream disagree: they are compared first.
    precision = _check_frame_header(raw, stored, SOF_LOSSLESS)
    if not (precision == stored.bits_allocated == 8 or (stored.bits_allocated == 16 and 8 < precision <= 16)):
        raise DecoderError(f"the code stream has {precision} bits, the header {stored.bits_allocated}")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(raw)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((stored.columns, stored.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType("RGB" if stored.samples == 3 else "MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(uid.JPEGLosslessSV1))))
    image.SetPixelFormat(gdcm.PixelFormat(stored.samples, stored.bits_allocated, precision, precision - 1, 0))
    # GDCM hands its char* out as str; surrogateescape gives the bytes back.
    buffer = image.GetBuffer().encode("utf-8", "surrogateescape")
    return Decoded(_shaped(np.frombuffer(buffer, stored.dtype), stored, stored.planar), stored.photometric)


def jpeg_ls(raw: bytes, stored: SampleFormat) -> Decoded:
    """JPEG-LS lossless and near-lossless by CharLS (pyjpegls)."""
    import jpeg_ls as charls

    _check_frame_header(raw, stored, SOF_JPEG_LS)
    buffer, info = charls.decode_pixel_data(raw)
    flat = np.frombuffer(buffer, "u1" if info["bits_per_sample"] <= 8 else "<u2")
    planar = info["components"] > 1 and info["interleave_mode"] == 0
    return Decoded(_shaped(flat, stored, planar), stored.photometric)


def jpeg_2000(raw: bytes, stored: SampleFormat) -> Decoded:
    """JPEG 2000 and HTJ2K by OpenJPEG (pylibjpeg-openjpeg), which undoes RCT and ICT itself."""
    import openjpeg

    meta = openjpeg.get_parameters(io.BytesIO(raw))
    found = (meta["rows"], meta["columns"], meta["samples_per_pixel"])
    if found != (stored.rows, stored.columns, stored.samples) or meta["is_signed"]:
        raise DecoderError(f"the code stream is {found[1]}x{found[0]} with {found[2]} components")
    flat = np.frombuffer(openjpeg.decode_pixel_data(raw, version=2), "u1" if meta["precision"] <= 8 else "<u2")
    became_rgb = stored.photometric in ("YBR_RCT", "YBR_ICT")
    return Decoded(_shaped(flat, stored, planar=False), "RGB" if became_rgb else stored.photometric)


def _shaped(flat: Samples, stored: SampleFormat, planar: bool) -> Samples:
    if flat.size != stored.pixels * stored.samples:
        raise DecoderError(f"it holds {flat.size} samples instead of {stored.pixels * stored.samples}")
    if stored.samples == 1:
        return flat.reshape(stored.rows, stored.columns)
    if planar:
        return flat.reshape(stored.samples, stored.rows, stored.columns).transpose(1, 2, 0)
    return flat.reshape(stored.rows, stored.columns, stored.samples)


def _check_frame_header(raw: bytes, stored: SampleFormat, process: int) -> int:
    """Precision in the SOFn marker, whose process and size must be the header's (ISO 10918-1 B.2.2)."""
    position = 2
    while position + 9 < len(raw) and raw[position] == 0xFF:
        marker = raw[position + 1]
        if (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7:
            precision, rows, columns, components = struct.unpack(">BHHB", raw[position + 4 : position + 10])
            if marker != process:
                raise DecoderError("the code stream is of another JPEG process than the transfer syntax says")
            if (rows, columns, components) != (stored.rows, stored.columns, stored.samples):
                raise DecoderError(f"the code stream is {columns}x{rows} with {components} components")
            return int(precision)
        position += 2 + int.from_bytes(raw[position + 2 : position + 4], "big")
    raise DecoderError("no frame header was found")


DECODERS: dict[str, Decoder] = {
    uid.ImplicitVRLittleEndian: native,
    uid.ExplicitVRLittleEndian: native,
    uid.ExplicitVRBigEndian: native,
    uid.DeflatedExplicitVRLittleEndian: native,
    uid.RLELossless: rle,
    uid.JPEGBaseline8Bit: jpeg,
    uid.JPEGExtended12Bit: jpeg,
    uid.JPEGLossless: jpeg_lossless,
    uid.JPEGLosslessSV1: jpeg_lossless,
    uid.JPEGLSLossless: jpeg_ls,
    uid.JPEGLSNearLossless: jpeg_ls,
    uid.JPEG2000Lossless: jpeg_2000,
    uid.JPEG2000: jpeg_2000,
    uid.HTJ2KLossless: jpeg_2000,
    uid.HTJ2KLosslessRPCL: jpeg_2000,
    uid.HTJ2K: jpeg_2000,
}
VIDEO_SYNTAXES = frozenset(
    str(syntax)
    for syntax in (
        uid.MPEG2MPML, uid.MPEG2MPMLF, uid.MPEG2MPHL, uid.MPEG2MPHLF,
        uid.MPEG4HP41, uid.MPEG4HP41F, uid.MPEG4HP41BD, uid.MPEG4HP41BDF,
        uid.MPEG4HP422D, uid.MPEG4HP422DF, uid.MPEG4HP423D, uid.MPEG4HP423DF, uid.MPEG4HP42STEREO,
        uid.MPEG4HP42STEREOF, uid.HEVCMP51, uid.HEVCM10P51,
    )
)  # fmt: skip
JPEG_8_BIT = frozenset({str(uid.JPEGBaseline8Bit), str(uid.JPEGExtended12Bit)})
"""libjpeg as pinned decodes eight bits; extended JPEG of twelve is refused."""
LOSSY_SYNTAXES = VIDEO_SYNTAXES | {
    str(s) for s in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K)
}


def decoder_for(syntax: uid.UID) -> Decoder:
    """The pinned decoder. Raises UnreadableCineError (unsupported_transfer_syntax) naming the syntax."""
    try:
        return DECODERS[syntax]
    except KeyError:
        name = syntax.name if syntax.is_transfer_syntax or syntax.name != str(syntax) else str(syntax)
        raise UnreadableCineError(
            "unsupported_transfer_syntax",
            f"the transfer syntax {name} cannot be decoded: configure the scanner to send JPEG, RLE or uncompressed",
        ) from None
