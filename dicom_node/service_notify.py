"""Word to the service manager (sd_notify(3), sd_watchdog_enabled(3)): started, still well, stopping.

A role is "still well" only while what it lives from works and its loop moves; when the word stays away for WatchdogSec
the service manager ends and restarts it. Without a service manager nothing here does anything.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STARTING_POLL_S = 0.25
LONGEST_POLL_S = 20.0
STILL_S = 120.0
"""A loop that has not moved for so long hangs: one round reads headers and job files, a second on a slow disk."""


def notify(state: str) -> None:
    """Send one message, if a service manager listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
        manager.connect("\0" + address[1:] if address.startswith("@") else address)
        manager.sendall(state.encode())


class Pulse:
    """The moving loop of a role. A role that has none never beats and is not asked."""

    def __init__(self) -> None:
        self._beaten_s: float | None = None

    def beat(self) -> None:
        """The loop moved."""
        self._beaten_s = time.monotonic()

    def fault(self) -> str:
        """Why the loop counts as hanging; empty while it moves."""
        if self._beaten_s is None or time.monotonic() - self._beaten_s < STILL_S:
            return ""
        return f"its loop has not moved for {STILL_S:.0f} s"


@contextmanager
def watched(fault: Callable[[], str]) -> Iterator[None]:
    """Tell the service manager how the block fares: READY at the first moment without `fault`, then WATCHDOG as long as
    there is none; a fault itself is told as STATUS. `fault` is called in a thread of its own."""
    if not os.environ.get("NOTIFY_SOCKET"):
        yield
        return
    over = threading.Event()
    teller = threading.Thread(target=_tell, args=(fault, over), name="service notify", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
        notify("STOPPING=1")


def for_children() -> dict[str, str]:
    """The environment without the service manager's address: it listens to the main process only."""
    return {k: v for k, v in os.environ.items() if k not in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")}


def _tell(fault: Callable[[], str], over: threading.Event) -> None:
    teller = Teller()
    while not over.wait(teller.pause_s):
        teller.tell(fault())


class Teller:
    """What was told so far, and when the next word is due."""

    def __init__(self) -> None:
        self._told_ready = False
        self._told_s = -LONGEST_POLL_S

    @property
    def pause_s(self) -> float:
        """Time between two words: three in each watchdog interval, so that one may be late."""
        if not self._told_ready:
            return STARTING_POLL_S
        return min(int(os.environ.get("WATCHDOG_USEC", "60000000")) / 3e6, LONGEST_POLL_S)

    def tell_when_due(self) -> None:
        """Tell that all is well, if the last word is old enough: for a loop that comes by often."""
        if time.monotonic() - self._told_s >= self.pause_s:
            self.tell("")

    def tell(self, reason: str) -> None:
        """Tell the fault, or that there is none."""
        self._told_s = time.monotonic()
        if reason:
            notify(f"STATUS={reason}")
        else:
            notify(("WATCHDOG=1" if self._told_ready else "READY=1") + "\nSTATUS=working")
            self._told_ready = True
