"""/metrics: read back with Prometheus' own parser."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dicom_node.config import load_settings
from dicom_node.data_folder import DataFolder
from dicom_node.job_board import BoardReader
from dicom_node.metrics import CONTENT_TYPE, Metrics
from dicom_node.readiness import Part, Readiness
from dicom_node.results import Commitment
from tests.dicom_node.web.conftest import Pages
from tests.dicom_node.web.ward_day import DESTINATIONS, MEASURING, UNREACHABLE, WardDay

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
ALLOWED_LABELS = {"state", "destination", "outcome", "queue", "part", "stage", "le", "version"}


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def at(found: Samples, name: str, **labels: str) -> float:
    return found[(f"ceus_node_{name}", tuple(sorted(labels.items())))]


def test_a_scrape_counts_the_ward(pages: Pages, day: WardDay) -> None:
    answer = pages.get("/metrics")
    assert answer.headers["content-type"] == CONTENT_TYPE
    found = samples(answer.text)
    for state in ("waiting", "measuring", "delivering", "delivered", "measured", "failed"):
        wanted = sum(expected == state for expected, _ in day.expected.values())
        assert at(found, "jobs", state=state) == wanted
    assert at(found, "deliveries", destination="pacs", state="failed") == 1
    assert at(found, "deliveries", destination="pacs", state="pending") == 1
    assert at(found, "queue_depth", queue="assembly") == 1
    assert at(found, "queue_depth", queue="delivery") == 1
    assert at(found, "part_ready", part="spool") == 1
    assert at(found, "disk_free_bytes") > 0


def test_no_label_can_carry_a_patient_a_uid_or_a_job(pages: Pages) -> None:
    for (name, labels), _ in samples(pages.get("/metrics").text).items():
        assert name.startswith("ceus_node_")
        assert {label for label, _ in labels} <= ALLOWED_LABELS


def test_the_oldest_undelivered_result_ages_at_its_own_destination(tmp_path: Path) -> None:
    settings = load_settings(None, node={"data_dir": tmp_path}, destination=DESTINATIONS)
    DataFolder(tmp_path).prepare()
    node = WardDay(settings, datetime.now(UTC))
    for minutes_ago in (30.0, 10.0):
        result = node.measure(node.order(f"job{minutes_ago:.0f}", minutes_ago))
        node.deliver(result, "pacs", answer=UNREACHABLE)
        node.deliver(result, "research")
    board = BoardReader(settings).read(node.now)
    found = samples(Metrics(settings).render(board, Readiness((Part("disk", True, ""),), 1)).decode())
    # accepted 1800 s ago, measured a stage later; the file system keeps microseconds at worst
    waited_s = 1800 - MEASURING.total_seconds()
    assert at(found, "oldest_undelivered_seconds", destination="pacs") == pytest.approx(waited_s, abs=0.01)
    assert at(found, "oldest_undelivered_seconds", destination="research") == 0


def test_a_result_that_a_pacs_has_but_has_not_committed_to_is_not_called_delivered(tmp_path: Path) -> None:
    settings = load_settings(None, node={"data_dir": tmp_path}, destination=DESTINATIONS)
    DataFolder(tmp_path).prepare()
    node = WardDay(settings, datetime.now(UTC))
    result = node.measure(node.order("job", 30.0))
    for name in ("pacs", "research"):
        node.deliver(result, name)
    asked = Commitment(("2.25.1", "2.25.2"), 2, node.now.isoformat())
    result.write_ledger(replace(result.ledger("pacs"), finished_at=None, commitment=asked))
    board = BoardReader(settings).read(node.now)
    (card,) = board.jobs
    assert card.state == "delivering"
    assert card.cause == "pacs: has every object and has not committed to keep them yet (asked 2 times)"
    found = samples(Metrics(settings).render(board, Readiness((Part("disk", True, ""),), 1)).decode())
    waited_s = 1800 - MEASURING.total_seconds()
    assert at(found, "oldest_uncommitted_seconds", destination="pacs") == pytest.approx(waited_s, abs=0.01)
    assert at(found, "oldest_undelivered_seconds", destination="pacs") == 0
    assert at(found, "deliveries", destination="pacs", state="committing") == 1


def test_a_stage_is_counted_once_and_retention_takes_nothing_back(tmp_path: Path) -> None:
    settings = load_settings(None, node={"data_dir": tmp_path}, destination=DESTINATIONS)
    DataFolder(tmp_path).prepare()
    node = WardDay(settings, datetime.now(UTC))
    reader, metrics = BoardReader(settings), Metrics(settings)
    node.measure(node.order("before", 20.0))
    metrics.observe(reader.read(node.now))
    node.measure(node.order("watched", 10.0))
    for _ in range(3):
        metrics.observe(reader.read(node.now))
    for file in node.folder.jobs.iterdir():
        file.unlink()
    metrics.observe(reader.read(node.now))
    found = samples(metrics.render(reader.read(node.now), Readiness((), 1)).decode())
    assert at(found, "stage_seconds_count", stage="measuring") == 1
    assert at(found, "stage_seconds_sum", stage="measuring") == pytest.approx(MEASURING.total_seconds(), abs=0.01)
