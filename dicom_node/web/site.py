"""What the pages are made from: the board and the readiness, read at most once a second for all who look."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from dicom_node.config import Settings
from dicom_node.job_board import Board, BoardReader
from dicom_node.metrics import Metrics
from dicom_node.readiness import Readiness, probe

FRESH_S = 1.0
"""Ten open pages and a monitor cost the disk no more than one."""


@dataclass(frozen=True)
class View:
    """The node at one moment."""

    board: Board
    readiness: Readiness


class Site:
    """Reads the node for the pages. Called from the web server's worker threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.metrics = Metrics(settings)
        self._reader = BoardReader(settings)
        self._lock = threading.Lock()
        self._view: View | None = None
        self._read_s = 0.0

    def view(self, *, fresh: bool = False) -> View:
        """The node now; with `fresh` not even a second old."""
        with self._lock:
            now_s = time.monotonic()
            if fresh or self._view is None or now_s - self._read_s > FRESH_S:
                self._view = View(self._reader.read(datetime.now(UTC)), probe(self.settings))
                self._read_s = now_s
                self.metrics.observe(self._view.board)
            return self._view

    def close(self) -> None:
        """Give the engine's connections back."""
        with self._lock:
            self._reader.close()
