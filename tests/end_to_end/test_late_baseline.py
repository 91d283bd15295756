"""Baselines that come late, are corrected, or lie in a PACS where another node put them, for a real node and a real
Orthanc: each makes the comparison anew. Objects come back by C-MOVE."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.simulation.scenes import TINY_BOLUS, bolus_scene
from processing.simulation.truth import SceneTruth
from tests.dicom_node.reader_objects import Drawn, saved
from tests.end_to_end.running_node import FINISH_LIMIT_S, RunningNode, until
from tests.peers import Orthanc, storescu

pytestmark = [pytest.mark.peers, pytest.mark.timeout(1500)]

AT = datetime(2026, 11, 18, 9, 30)  # noqa: DTZ001  # the scanner's own clock
LOOKS_MIN = [0.2 * number for number in range(1, 100)]
"""Every 12 s, so that one comes soon after another node's report, whenever that is stored."""
SETTINGS = f"""
[series]
quiet_s = 1.0
[comparison]
look_again_min = {LOOKS_MIN}
[profile.simulated]
manufacturer = "CEUS Node Simulation"
dynamic_range_db = 50.0
[analysis]
roi = "reader"
super_resolution = false
response = "off"
protocol = "bedside_bolus"
"""
LATE, CORRECTED = "a late baseline arrived", "its baseline was corrected"


def mask_on(cine: Path, truth: SceneTruth, number: int, *, half: bool = False) -> Dataset:
    """A reader's mask of the lesion, or of its upper half, and of the reference beside it."""
    header = pydicom.dcmread(cine, stop_before_pixels=True)
    assert truth.contrast is not None
    assert truth.lesion_mask is not None
    assert truth.reference_mask is not None
    masks = {}
    for label, of_it in (("Lesion", truth.lesion_mask), ("Reference", truth.reference_mask)):
        whole = np.zeros((header.Rows, header.Columns), bool)
        whole[truth.contrast.slices] = of_it
        masks[label] = whole
    if half:
        rows = np.flatnonzero(masks["Lesion"].any(axis=1))
        masks["Lesion"][rows[rows.size // 2] :] = False
    return Drawn(header, number).segmentation(masks)


def of_another_node(report: Dataset, acquired_at: datetime) -> Dataset:
    """A report as another CEUS Node would have written it of a study at that time."""
    report.StudyInstanceUID, report.SeriesInstanceUID, report.SOPInstanceUID = "2.25.11", "2.25.12", "2.25.13"
    report.file_meta.MediaStorageSOPInstanceUID = "2.25.13"
    report.StudyDate, report.StudyTime = f"{acquired_at:%Y%m%d}", f"{acquired_at:%H%M%S}"
    (said,) = [item for item in texts(report) if str(item.TextValue).startswith("acquired at: ")]
    said.TextValue = f"acquired at: {acquired_at.isoformat()}"
    return report


def texts(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", ()):
        if child.get("ValueType") == "TEXT":
            yield child
        yield from texts(child)


def revisions_of(node: RunningNode, study: str) -> list[Dataset]:
    """The reports of a study, oldest revision first."""
    reports = [pydicom.dcmread(folder / "sr.dcm") for folder in node.results()]
    return sorted((r for r in reports if r.StudyInstanceUID == study), key=lambda r: str(r.ContentTime))


def compared_with(node: RunningNode, report: Dataset) -> dict[str, Any]:
    (folder,) = [f for f in node.results() if pydicom.dcmread(f / "sr.dcm").SOPInstanceUID == report.SOPInstanceUID]
    found: dict[str, Any] = json.loads((folder / "findings.json").read_text())["comparison"]
    return found


def test_a_late_a_corrected_and_another_nodes_baseline_each_make_the_comparison_anew(tmp_path: Path) -> None:
    scene = bolus_scene(TINY_BOLUS, seed=2)
    before, after = (
        write_cine(scene, tmp_path, CineIdentity(AT + timedelta(hours=hours), study=f"study {hours}"))
        for hours in (0, 20)
    )
    studies = [str(pydicom.dcmread(cine, stop_before_pixels=True).StudyInstanceUID) for cine in (before, after)]
    node = RunningNode(tmp_path / "node", extra=SETTINGS)
    with Orthanc(tmp_path, node_port=node.port) as orthanc:
        node.destinations = {"pacs": (orthanc.ae_title, orthanc.dicom_port)}
        node.destination = 'retrieve = "move"'
        node.configure(SETTINGS)

        def drawn(dataset: Dataset) -> None:
            sent = storescu([saved(dataset, tmp_path / f"{dataset.SOPInstanceUID}.dcm")], node.port, calling="ORTHANC")
            assert sent.returncode == 0, sent.stderr

        def revision(study: str, number: int) -> Dataset:
            found = until(
                lambda: r[number - 1] if len(r := revisions_of(node, study)) >= number else None,
                FINISH_LIMIT_S,
                f"revision {number}",
            )
            assert isinstance(found, Dataset)
            return found

        with node:
            node.scan(after)
            revision(studies[1], 1)
            drawn(mask_on(after, scene.truth, 1))
            alone = revision(studies[1], 2)
            assert not compared_with(node, alone)["performed"]
            node.scan(before)
            revision(studies[0], 1)
            drawn(mask_on(before, scene.truth, 2))
            baseline = revision(studies[0], 2)
            late = revision(studies[1], 3)
            drawn(mask_on(before, scene.truth, 3, half=True))
            smaller = revision(studies[0], 3)
            corrected = revision(studies[1], 4)
            held = node.wait_for_delivery(orthanc, len(node.results()))
            nearer = of_another_node(revision(studies[0], 2), AT + timedelta(hours=10))
            saved(nearer, tmp_path / "elsewhere.dcm")
            sent = storescu([tmp_path / "elsewhere.dcm"], orthanc.dicom_port, called="ORTHANC", calling="OTHER_NODE")
            assert sent.returncode == 0, sent.stderr
            noticed = revision(studies[1], 5)
            node.wait_for_delivery(orthanc, len(node.results()))
            comparisons = [compared_with(node, report) for report in (late, corrected, noticed)]
            assert held <= {item["SOPInstanceUID"] for item in orthanc.instances()}, "nothing sent is taken back"
            counters = node.command("status").stdout
    used = [comparison["baseline"]["sr_sop_instance_uid"] for comparison in comparisons]
    assert used == [baseline.SOPInstanceUID, smaller.SOPInstanceUID, nearer.SOPInstanceUID]
    assert [comparison["hours_since"] for comparison in comparisons] == [20.0, 20.0, 10.0]
    reports = [alone, late, corrected, noticed]
    for number, (earlier, report, reason) in enumerate(
        zip(reports, reports[1:], (LATE, CORRECTED, LATE), strict=False), start=3
    ):
        assert report.SeriesDescription.endswith(f"rev {number}: {reason}")
        (study,) = report.PredecessorDocumentsSequence
        (named,) = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert named.ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    assert "arrivals retrieved" in counters, "the PACS stored it to the node's own receiver"
