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
from dicom_node.wishes import Wish

FRESH_S = 1.0
"""Ten open pages and a monitor cost the disk no more than one."""
SHARE = 0.2
"""Of one core at most, however much lies on the node: measured 0.17 s a look at 3,000 jobs."""


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
        self._stale_s = 0.0

    def view(self) -> View:
        """The node now, or a moment ago."""
        with self._lock:
            now_s = time.monotonic()
            if self._view is None or now_s >= self._stale_s:
                self._view = View(self._reader.read(datetime.now(UTC)), probe(self.settings))
                self.metrics.observe(self._view.board)
                done_s = time.monotonic()
                self._stale_s = done_s + max(FRESH_S, (done_s - now_s) / SHARE)
            return self._view

    def ask(self, wish: Wish) -> None:
        """Have something done with a job. Raises UnknownJobError."""
        self.view().board.job(wish.job)
        with self._lock:
            self._reader.ask(wish)
            self._view = None

    def close(self) -> None:
        """Give the engine's connections back."""
        with self._lock:
            self._reader.close()
