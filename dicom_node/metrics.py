"""/metrics: what a monitor wants to know, in Prometheus' text format. No patient data, no UID, no job as a label.

Figures of the moment are read from the board at each scrape. Durations are histograms of the jobs that finished while
this process watched: counted once each, so that rates stay true when retention removes old jobs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from dicom_node import version
from dicom_node.audit_forwarding import waiting_bytes
from dicom_node.certificate import holds_until
from dicom_node.config import Settings
from dicom_node.data_folder import DataFolder
from dicom_node.errors import ConfigurationError
from dicom_node.job_board import Board, JobCard
from dicom_node.readiness import Readiness
from dicom_node.results import DELIVERY_STATES

Values = Mapping[tuple[str, ...], float]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "ceus_node"
STAGES = ("arriving", "measuring", "delivering")
BUCKETS_S = (1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600, 1800, 3600)
"""Dense around the budget: summary objects within 30 s, everything within 60 s."""


class Metrics:
    """The durations seen so far, and the figures of a moment."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            f"{PREFIX}_stage_seconds",
            "Duration of each stage of a job, from its last image to its last delivered object",
            ["stage"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        for stage in STAGES:
            self._seconds.labels(stage)
        self._seen: set[tuple[str, str]] | None = None

    def observe(self, board: Board) -> None:
        """Take note of stages that ended since the last look; what ended before the first look is not counted."""
        ended = {(card.name, stage): s for card in board.jobs for stage, s in card.times.stages_s().items()}
        if self._seen is not None:
            for key in ended.keys() - self._seen:
                self._seconds.labels(key[1]).observe(ended[key])
        self._seen = set(ended)

    def render(self, board: Board, readiness: Readiness) -> bytes:
        """The page of a scrape."""
        moment = CollectorRegistry()
        moment.register(_Moment(list(self._moment(board, readiness))))
        return bytes(generate_latest(moment) + generate_latest(self._registry))

    def _moment(self, board: Board, readiness: Readiness) -> Iterator[Metric]:
        yield _gauge("build_info", "Version of the software; always 1", {(version.SOFTWARE_VERSION,): 1}, ["version"])
        yield _gauge("ready", "1: cines are accepted and processed (as /readyz)", {(): int(readiness.ready)})
        parts: Values = {(part.name,): int(part.ready) for part in readiness.parts}
        yield _gauge("part_ready", "1: this part of the node works", parts, ["part"])
        yield _gauge("disk_free_bytes", "Free space where the data folder lies", {(): readiness.free_bytes})
        limit = self._settings.retention.min_free_mb * 2**20
        yield _gauge("disk_limit_bytes", "Below this the receiver refuses cines (0xA700)", {(): limit})
        waiting = (
            waiting_bytes(DataFolder(self._settings.node.data_dir).audit) if self._settings.audit.syslog_host else 0
        )
        yield _gauge("audit_waiting_bytes", "Of the audit trail, not yet taken by the syslog server", {(): waiting})
        if self._settings.security.tls_certificate is not None:
            help_text = "Until our certificate ends; 0: ended, or not to be read"
            yield _gauge("certificate_seconds_left", help_text, {(): _certificate_left_s(self._settings)})
        yield from _arrivals(board)
        yield from _jobs(board)
        yield from self._deliveries(board)

    def _deliveries(self, board: Board) -> Iterator[Metric]:
        names = [destination.name for destination in self._settings.destination]
        found: Counter[tuple[str, ...]] = Counter({(name, state): 0 for name in names for state in DELIVERY_STATES})
        found.update((d.name, d.state) for card in board.jobs for d in card.destinations)
        help_text = "Results by destination and state of their delivery"
        yield _gauge("deliveries", help_text, dict(found), ["destination", "state"])
        help_text = "Age of the oldest result that a destination does not have yet; 0 = none"
        yield _gauge("oldest_undelivered_seconds", help_text, _oldest(board, names, "pending"), ["destination"])
        help_text = "Age of the oldest result that a destination has but has not committed to keep; 0 = none"
        yield _gauge("oldest_uncommitted_seconds", help_text, _oldest(board, names, "committing"), ["destination"])


def _certificate_left_s(settings: Settings) -> float:
    try:
        end = holds_until(settings.security)
    except ConfigurationError:
        return 0.0
    return 0.0 if end is None else max(0.0, (end - datetime.now(UTC)).total_seconds())


def _oldest(board: Board, names: list[str], state: str) -> Values:
    oldest: dict[tuple[str, ...], float] = {(name,): 0.0 for name in names}
    for card in board.jobs:
        for d in card.destinations:
            if d.state == state:
                oldest[(d.name,)] = max(oldest.get((d.name,), 0.0), _age_s(board, card.times.measured_at))
    return oldest


class _Moment:
    """Adapter: prometheus_client asks an object with `collect`."""

    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _arrivals(board: Board) -> Iterator[Metric]:
    counters = dict(board.arrivals.counters)
    received = CounterMetricFamily(
        f"{PREFIX}_received_bytes", "Bytes of acknowledged objects", value=counters.pop("bytes", 0)
    )
    arrivals = CounterMetricFamily(f"{PREFIX}_arrivals", "Objects that peers sent, by outcome", labels=["outcome"])
    for outcome, count in sorted(counters.items()):
        arrivals.add_metric([outcome], count)
    yield received
    yield arrivals
    yield _gauge("open_associations", "Associations open at the receiver", {(): len(board.arrivals.associations)})
    yield _gauge("quarantined", "Objects kept aside, never measured", {(): len(board.arrivals.quarantined)})
    waiting, refused = len(board.arrivals.waiting_contours), len(board.arrivals.refused_contours)
    contours: Values = {("waiting",): waiting, ("refused",): refused}
    yield _gauge("contours", "Readers' contours that no job took, as long as they lie here", contours, ["state"])


def _jobs(board: Board) -> Iterator[Metric]:
    states: Values = {(state,): count for state, count in board.by_state().items()}
    yield _gauge("jobs", "Jobs on this node by state", states, ["state"])
    queued: Values = {
        ("assembly",): len(board.arrivals.unassembled),
        ("analysis",): board.by_state()["waiting"],
        ("delivery",): sum(d.state == "pending" for card in board.jobs for d in card.destinations),
    }
    yield _gauge("queue_depth", "What waits: cines, jobs, results", queued, ["queue"])
    waiting = [_waiting_age_s(board, card) for card in board.jobs]
    help_text = "Age of the oldest job that is not measured yet; 0 = none"
    yield _gauge("oldest_unmeasured_seconds", help_text, {(): max(waiting, default=0.0)})
    yield _gauge("engine_up", "1: the job engine's database answers", {(): int(not board.engine_fault)})


def _waiting_age_s(board: Board, card: JobCard) -> float:
    return _age_s(board, card.times.accepted_at) if card.state in ("waiting", "measuring") else 0.0


def _age_s(board: Board, since: datetime | None) -> float:
    return 0.0 if since is None else max(0.0, (board.made_at - since).total_seconds())


def _gauge(name: str, help_text: str, values: Values, labels: list[str] | None = None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", help_text, labels=labels or [])
    for key, value in values.items():
        family.add_metric(list(key), value)
    return family
