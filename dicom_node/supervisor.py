"""The supervisor: `ceus-node run` starts one process a role, watches them and stops them. It never looks at data."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from dicom_node import service_notify
from dicom_node.config import Settings
from dicom_node.errors import ConfigurationError
from dicom_node.numeric_children import PR_SET_PDEATHSIG

log = structlog.get_logger()

USAGE_EXIT = 2
"""A role that ends with it at its first start was configured wrongly: starting it again would say the same. Later it is
a configuration edited, or a port taken, under a running node, whose other roles go on."""
SHORT_LIFE_S = 5.0
LONGEST_PAUSE_S = 30.0
GRACE_S = 15.0


class RoleFailedError(ConfigurationError):
    """A role cannot run with this configuration; it has said why on its own output."""


@dataclass
class _Child:
    """One supervised process. `pause_s` grows while it keeps dying young."""

    role: str
    process: subprocess.Popen[bytes]
    started_s: float = field(default_factory=time.monotonic)
    starts: int = 1
    pause_s: float = 0.0
    restart_at_s: float | None = None


class Supervisor:
    """Starts the roles of one machine and keeps them running."""

    def __init__(self, settings: Settings, config: Path | None) -> None:
        self._config = config
        self._stop = threading.Event()
        roles = ["receiver"] * settings.node.receivers + ["worker", "sender"]
        self._roles = roles + (["web"] if settings.web.enabled else [])
        self._children: list[_Child] = []

    def run(self) -> None:
        """Run until SIGTERM or SIGINT. Raises RoleFailedError when a role cannot run as configured."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        self._children = [_Child(role, self._spawn(role)) for role in self._roles]
        teller = service_notify.Teller()
        try:
            while not self._stop.wait(0.1):
                for child in self._children:
                    self._look_after(child)
                # No thread tells it (a fork needs a process without threads); a loop that hangs falls silent by itself.
                teller.tell_when_due()
        finally:
            service_notify.notify("STOPPING=1")
            self._end_all()

    def _spawn(self, role: str) -> subprocess.Popen[bytes]:
        arguments = [sys.executable, "-m", "dicom_node", "run", role]
        if self._config is not None:
            arguments += ["--config", str(self._config)]
        environment = service_notify.for_children()
        return subprocess.Popen(arguments, preexec_fn=_die_with_the_supervisor, env=environment)  # noqa: PLW1509  # no thread runs yet

    def _look_after(self, child: _Child) -> None:
        now_s = time.monotonic()
        if child.restart_at_s is not None:
            if now_s >= child.restart_at_s:
                child.process, child.started_s, child.restart_at_s = self._spawn(child.role), now_s, None
                child.starts += 1
            return
        code = child.process.poll()
        if code is None:
            return
        if code == USAGE_EXIT and child.starts == 1:
            raise RoleFailedError(f"the {child.role} cannot run as configured (its reason stands above)")
        young = now_s - child.started_s < SHORT_LIFE_S
        child.pause_s = min(max(1.0, 2 * child.pause_s), LONGEST_PAUSE_S) if young else 0.0
        child.restart_at_s = now_s + child.pause_s
        log.error("role ended", restarting=child.role, exit_code=code, pause_s=child.pause_s)

    def _end_all(self) -> None:
        running = [child.process for child in self._children if child.process.poll() is None]
        for process in running:
            process.terminate()
        deadline_s = time.monotonic() + GRACE_S
        for process in running:
            try:
                process.wait(max(0.1, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("role did not stop in time", pid=process.pid)
                process.kill()


def _die_with_the_supervisor() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() == 1:
        os._exit(1)
