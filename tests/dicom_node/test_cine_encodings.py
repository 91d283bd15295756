"""What goes in through an encoding comes out: exactly where it is lossless, within its loss elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.uid import (
    HTJ2K,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    RLELossless,
)

from dicom_node.cine_reader import open_cine
from dicom_node.errors import UnreadableCineError
from processing.simulation.scenes import SMALL_BOLUS, bolus_scene
from tests.dicom_node.cine_files import HIGH_THROUGHPUT, LOSSLESS, LOSSY, NATIVE, VIDEO, jpeg, region, write_cine

SCENE = bolus_scene(SMALL_BOLUS, seed=4)
FRAMES = SCENE.sample([150, 200, 250, 300, 350])
GREY = np.ascontiguousarray(FRAMES[..., 1])
LUMA = np.array([0.299, 0.587, 0.114])


def decoded(path: Path) -> np.ndarray:
    return np.concatenate([block.pixels for block in open_cine(path).blocks()])


@pytest.mark.parametrize("syntax", [*NATIVE, *LOSSLESS], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("frames", [FRAMES, GREY], ids=["rgb", "grey"])
def test_a_lossless_encoding_gives_every_pixel_back(tmp_path: Path, syntax: UID, frames: np.ndarray) -> None:
    path = write_cine(tmp_path, frames, syntax)
    np.testing.assert_array_equal(decoded(path), frames)
    np.testing.assert_array_equal(open_cine(path).sample([3, 0]), frames[[3, 0]])


@pytest.mark.parametrize("syntax", [*LOSSY, *VIDEO], ids=lambda syntax: syntax.keyword)
def test_a_lossy_encoding_keeps_luma(tmp_path: Path, syntax: UID) -> None:
    cine = open_cine(write_cine(tmp_path, FRAMES, syntax))
    assert cine.description.lossy
    luma = np.concatenate([block.pixels for block in cine.luma().blocks()]).astype(float)
    error = luma - FRAMES @ LUMA
    # Speckle at q90: 2 levels rms; video at its best quantiser: below 3. No offset: the range is right.
    assert abs(error.mean()) < 0.6
    assert np.sqrt((error**2).mean()) < 3.5


@pytest.mark.peers
@pytest.mark.parametrize("syntax", HIGH_THROUGHPUT, ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("frames", [FRAMES, GREY], ids=["rgb", "grey"])
def test_high_throughput_jpeg_2000_of_another_coder_is_read(tmp_path: Path, syntax: UID, frames: np.ndarray) -> None:
    cine = open_cine(write_cine(tmp_path, frames, syntax))
    error = np.concatenate([block.pixels for block in cine.blocks()]).astype(int) - frames
    assert cine.description.lossy is (syntax == HTJ2K)
    if cine.description.lossy:
        # A quantiser step of 1 % of full scale: 2.55 levels, so below one level rms; no offset.
        assert np.sqrt((error**2).mean()) < 2.0
        assert abs(error.mean()) < 0.6
    else:
        assert not error.any()


def test_fragments_without_an_offset_table_are_put_together(tmp_path: Path) -> None:
    coded = [jpeg(frame) for frame in FRAMES]
    whole = write_cine(tmp_path, FRAMES, JPEGBaseline8Bit)
    expected = decoded(whole)
    torn = write_cine(
        tmp_path, FRAMES, JPEGBaseline8Bit, PixelData=encapsulate(coded, fragments_per_frame=5, has_bot=False)
    )
    np.testing.assert_array_equal(decoded(torn), expected)


def test_an_extended_offset_table_is_no_obstacle(tmp_path: Path) -> None:
    data, offsets, lengths = encapsulate_extended([jpeg(frame) for frame in FRAMES])
    path = write_cine(
        tmp_path,
        FRAMES,
        JPEGBaseline8Bit,
        PixelData=data,
        ExtendedOffsetTable=offsets,
        ExtendedOffsetTableLengths=lengths,
    )
    assert len(decoded(path)) == len(FRAMES)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGBaseline8Bit], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("declared", [1, 3, 9])
def test_the_frames_that_are_there_count_not_the_number_that_is_written(
    tmp_path: Path, syntax: UID, declared: int
) -> None:
    cine = open_cine(write_cine(tmp_path, FRAMES, syntax, NumberOfFrames=declared))
    assert cine.description.frames == len(FRAMES)
    assert "frames_lie" in {limitation.code for limitation in cine.limitations}
    assert sum(len(block.pixels) for block in cine.blocks()) == len(FRAMES)


def test_monochrome1_is_shown_inverted(tmp_path: Path) -> None:
    path = write_cine(tmp_path, 255 - GREY, ExplicitVRLittleEndian, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(decoded(path), GREY)


def test_planes_are_put_together(tmp_path: Path) -> None:
    planes = np.ascontiguousarray(FRAMES.transpose(0, 3, 1, 2))
    path = write_cine(tmp_path, FRAMES, ExplicitVRLittleEndian, PlanarConfiguration=1, PixelData=planes.tobytes())
    np.testing.assert_array_equal(decoded(path), FRAMES)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian], ids=lambda syntax: syntax.keyword)
@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_of_either_byte_order_shows_its_colours(tmp_path: Path, syntax: UID, bits: int) -> None:
    rng = np.random.default_rng(3)
    colours = rng.integers(0, 256, (256, 3))
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    if bits == 16:
        tables = [(colours[:, c] * 257).astype(order + "u2").tobytes() for c in range(3)]
    else:
        tables = [colours[:, c].astype("u1").tobytes() for c in range(3)]
        if order == ">":
            tables = [np.frombuffer(table, "u1").reshape(-1, 2)[:, ::-1].tobytes() for table in tables]
    changed: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        changed[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        changed[f"{name}PaletteColorLookupTableData"] = table
    path = write_cine(tmp_path, GREY, syntax, **changed)
    np.testing.assert_array_equal(decoded(path), colours.astype(np.uint8)[GREY])


def test_native_422_shares_chroma_between_two_pixels(tmp_path: Path) -> None:
    """Y1 Y2 Cb Cr: a grey image has neutral chroma and comes back as its luma."""
    words = np.full((*GREY.shape[:2], GREY.shape[2] // 2, 4), 128, np.uint8)
    words[..., 0], words[..., 1] = GREY[..., 0::2], GREY[..., 1::2]
    path = write_cine(
        tmp_path, FRAMES, ExplicitVRLittleEndian, PhotometricInterpretation="YBR_FULL_422", PixelData=words.tobytes()
    )
    np.testing.assert_array_equal(decoded(path), np.repeat(GREY[..., None], 3, axis=-1))


@pytest.mark.parametrize(
    ("uid", "code"),
    [
        ("1.2.840.10008.1.2.4.110", "unsupported_transfer_syntax"),  # JPEG XL lossless
        ("1.2.840.10008.1.2.4.112", "unsupported_transfer_syntax"),  # JPEG XL
        ("1.2.840.113619.5.2", "unsupported_transfer_syntax"),  # GE private
        (JPEGLosslessSV1, "undecodable_frame"),  # JPEG baseline behind another label
        (HTJ2KLossless, "undecodable_frame"),
        (RLELossless, "undecodable_frame"),
    ],
)
def test_what_cannot_be_decoded_is_refused_by_name(tmp_path: Path, uid: str, code: str) -> None:
    path = write_cine(tmp_path, FRAMES, JPEGBaseline8Bit)
    raw = path.read_bytes()
    was, now = str(JPEGBaseline8Bit).encode(), str(uid).encode()
    assert len(was) == 22
    relabelled = tmp_path / "relabelled.dcm"
    # The label is patched in place, padded to its even length with the NUL that UIDs are padded with.
    assert len(now) <= 24
    relabelled.write_bytes(_with_label(raw, was, now))
    with pytest.raises(UnreadableCineError) as refusal:
        for _ in open_cine(relabelled).blocks():
            pass
    assert refusal.value.code == code


def _with_label(raw: bytes, was: bytes, now: bytes) -> bytes:
    """Exchange (0002,0010) and correct the group length (0002,0000)."""
    import struct

    at = raw.index(b"\x02\x00\x10\x00UI")
    (length,) = struct.unpack("<H", raw[at + 6 : at + 8])
    assert raw[at + 8 : at + 8 + len(was)] == was
    value = now + b"\x00" * (len(now) % 2)
    patched = raw[: at + 6] + struct.pack("<H", len(value)) + value + raw[at + 8 + length :]
    (group,) = struct.unpack("<L", patched[140:144])
    return patched[:140] + struct.pack("<L", group + len(value) - length) + patched[144:]


def test_twelve_bit_extended_jpeg_is_refused_by_name(tmp_path: Path) -> None:
    path = write_cine(tmp_path, GREY, JPEGBaseline8Bit, BitsAllocated=16, BitsStored=12, HighBit=11)
    relabelled = tmp_path / "extended.dcm"
    was, now = str(JPEGBaseline8Bit).encode(), str(JPEGExtended12Bit).encode()
    relabelled.write_bytes(_with_label(path.read_bytes(), was, now))
    with pytest.raises(UnreadableCineError) as refusal:
        open_cine(relabelled)
    assert refusal.value.code == "pixel_format"


@pytest.mark.parametrize("cut", [0.2, 0.5, 0.95])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, cut: float) -> None:
    whole = write_cine(tmp_path, FRAMES, JPEGBaseline8Bit)
    raw = whole.read_bytes()
    torn = tmp_path / "torn.dcm"
    torn.write_bytes(raw[: int(cut * len(raw))])
    with pytest.raises(UnreadableCineError) as refusal:
        open_cine(torn)
    assert refusal.value.code == "truncated"


def test_regions_leave_in_mm_whatever_their_sign(tmp_path: Path) -> None:
    items = [region((0, 0, 99, 199), (-0.03, 0.01)), region((100, 0, 320, 239), (0.01, -0.02))]
    described = open_cine(
        write_cine(tmp_path, GREY, ExplicitVRLittleEndian, SequenceOfUltrasoundRegions=items)
    ).description
    first, second = described.regions
    assert first.spacing_mm == pytest.approx((0.1, 0.3))
    assert second.spacing_mm == pytest.approx((0.2, 0.1))
    assert second.box == (100, 0, 320, 240)  # X1 = Columns: one too many, clipped


def test_reading_loads_no_numeric_stack() -> None:
    """Receiver, assembler and fuzzed readers open cines: kernels and their compiler would cost each 100 MB and 2 s."""
    loaded = "import sys, dicom_node.cine_reader; print({'numba', 'scipy', 'onnxruntime'} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "set()\n"
    )
