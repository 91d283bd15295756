"""Whatever a header holds, the answer is a description or a named refusal (hypothesis)."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.cine_reader import open_cine
from dicom_node.cine_times import frame_times, time_zero
from dicom_node.errors import UnreadableCineError
from tests.dicom_node.cine_files import region, write_cine

FRAMES = np.zeros((3, 8, 10), np.uint8)
floats = st.floats(-1e9, 1e9, width=32)
words = st.integers(0, 65535)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "NumberOfFrames": st.integers(-5, 2**31 - 1),
        "Rows": words,
        "Columns": words,
        "SamplesPerPixel": st.integers(0, 5),
        "BitsAllocated": st.sampled_from([0, 1, 8, 12, 16, 32]),
        "BitsStored": st.integers(0, 40),
        "PixelRepresentation": st.integers(0, 2),
        "PhotometricInterpretation": st.sampled_from(
            ["RGB", "MONOCHROME1", "YBR_FULL_422", "PALETTE COLOR", "XYZ", ""]
        ),
        "FrameTime": floats,
        "FrameTimeVector": st.lists(floats, max_size=6),
        "FrameIncrementPointer": st.sampled_from([0x00181063, 0x00181065, 0x00280008]),
        "CineRate": st.integers(-5, 1000),
        "EffectiveDuration": floats,
        "AcquisitionDateTime": st.sampled_from(["", "2026", "20260102", "20260102030405.5", "20260102030405.5+0900"]),
        "ContrastBolusStartTime": st.sampled_from(["", "03", "030405", "235959.999999"]),
        "SequenceOfUltrasoundRegions": st.lists(
            st.builds(
                region,
                st.tuples(*[st.integers(0, 70000)] * 4),
                st.tuples(floats, floats),
            ),
            max_size=3,
        ),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed=HEADERS)
def test_any_header_is_described_or_refused_by_name(tmp_path: Path, changed: dict[str, object]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the values are meant to be odd
        path = write_cine(tmp_path, FRAMES, ExplicitVRLittleEndian, **changed)
        try:
            cine = open_cine(path)
        except UnreadableCineError as refusal:
            assert refusal.code.islower()  # noqa: PT017
            return
    described = cine.description
    assert described.frames >= 1
    assert (np.diff(described.frame_times_s) > 0).all()
    for known in described.regions:
        assert 0 <= known.box.x0 < known.box.x1 <= described.columns
        assert known.spacing_mm is None or min(known.spacing_mm) > 0
    assert sum(len(block.pixels) for block in cine.blocks()) == described.frames


@settings(max_examples=100, deadline=None)
@given(
    frames=st.integers(1, 6),
    vector=st.lists(st.floats(0.1, 500), max_size=8),
    step=st.one_of(st.none(), st.floats(-10, 500)),
)
def test_times_always_rise_or_are_absent(frames: int, vector: list[float], step: float | None) -> None:
    ds = Dataset()
    ds.FrameIncrementPointer = 0x00181065
    ds.FrameTimeVector = [round(value, 6) for value in vector]
    if step is not None:
        ds.FrameTime = round(step, 6)
    found = frame_times(ds, frames)
    assert found.times_s.size == (0 if found.source == "none" else frames)
    assert (np.diff(found.times_s) > 0).all()
    assert time_zero(ds)[0].kind == "first frame"
