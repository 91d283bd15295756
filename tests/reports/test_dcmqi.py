"""dcmqi, an independent reader in C++, reads report, masks and maps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reports.result_object import dicom_bytes
from tests.peers import dcmqi
from tests.reports.rig import everything, inputs, region_masks
from tests.reports.scenes import full_findings

pytestmark = pytest.mark.peers


def stored(name: str, folder: Path) -> str:
    path = folder / name
    path.write_bytes(dicom_bytes(dict(everything().objects)[name]))
    return str(path)


def nrrd_pixels(path: Path, dtype: str) -> np.ndarray:
    """Pixels of a raw or gzipped NRRD file of one slice."""
    import gzip

    head, _, data = path.read_bytes().partition(b"\n\n")
    sizes = next(line for line in head.decode().splitlines() if line.startswith("sizes:")).split()[1:]
    raw = gzip.decompress(data) if b"encoding: gzip" in head else data
    columns, rows = int(sizes[0]), int(sizes[1])
    return np.frombuffer(raw, dtype=dtype).reshape(rows, columns)


def test_the_report_is_read_group_by_group(tmp_path: Path) -> None:
    dcmqi("tid1500reader", "--inputDICOM", stored("sr.dcm", tmp_path), "--outputMetadata", str(tmp_path / "sr.json"))
    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    lesion = next(group for group in groups if group["TrackingIdentifier"] == "Lesion 1")
    said = {m["quantity"]["CodeValue"]: float(m["value"]) for m in lesion["measurementItems"]}
    meant = full_findings().perfusion.by_label["lesion"].metrics
    assert meant.peak_enhancement_au is not None
    assert meant.mean_transit_time_s is not None
    assert said["126376"] == pytest.approx(meant.peak_enhancement_au.value, rel=1e-6)
    assert said["113052"] == pytest.approx(meant.mean_transit_time_s.value, rel=1e-6)


def test_the_masks_are_read_pixel_by_pixel(tmp_path: Path) -> None:
    source = stored("seg.dcm", tmp_path)
    out = ["--outputDirectory", str(tmp_path), "--outputType", "nrrd"]
    dcmqi("segimage2itkimage", "--inputDICOM", source, *out)
    for number, segment in enumerate(region_masks(full_findings()).regions, start=1):
        pixels = nrrd_pixels(tmp_path / f"{number}.nrrd", "<i2")
        np.testing.assert_array_equal(pixels > 0, segment.mask)


def test_a_map_is_read_with_its_unit(tmp_path: Path) -> None:
    source = stored("pm_pe.dcm", tmp_path)
    dcmqi("paramap2itkimage", "--inputDICOM", source, "--outputDirectory", str(tmp_path), "--outputType", "nrrd")
    said = json.loads((tmp_path / "meta.json").read_text())
    assert said["MeasurementUnitsCode"]["CodeValue"] == "[arb'U]"
    assert said["QuantityValueCode"]["CodeValue"] == "126376"
    values, known = inputs().perfusion_maps[0].values, np.isfinite(inputs().perfusion_maps[0].values)
    np.testing.assert_array_equal(nrrd_pixels(tmp_path / "pmap.nrrd", "<f4")[known], values[known])
