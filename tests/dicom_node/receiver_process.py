"""A receiver in a process of its own, as the node runs it: `python -m tests.dicom_node.receiver_process SPOOL [PORT]`.

Prints its port when it listens. `ReceiverProcess` starts it, looks at its memory and kills it.
"""

from __future__ import annotations

import logging
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

import psutil
import structlog

from dicom_node.inbox import SpoolLimits
from dicom_node.receiver import ReceiverSettings, serve_receiver
from dicom_node.spool import Spool

ROOT = Path(__file__).parent.parent.parent


def main(spool: str, port: str, largest_file_bytes: str, reserve_bytes: str, durable: str) -> None:
    if durable == "False":  # for the benchmark that says what durability costs
        os.fsync = lambda handle: None
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    limits = SpoolLimits(reserve_bytes=int(reserve_bytes))
    settings = ReceiverSettings(port=int(port), any_peer_is_scanner=True, share_port=True, limits=limits)
    receiver = serve_receiver(settings, Spool(Path(spool)))
    if int(largest_file_bytes):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest_file_bytes), resource.RLIM_INFINITY))
    sys.stdout.write(f"{receiver.port}\n")
    sys.stdout.flush()
    threading.Event().wait()


class ReceiverProcess:
    """`largest_file_bytes`: the kernel refuses to let a file grow beyond, as a full disk would."""

    def __init__(
        self, spool: Path, port: int = 0, largest_file_bytes: int = 0, reserve_bytes: int = 0, durable: bool = True
    ) -> None:
        arguments = [str(spool), str(port), str(largest_file_bytes), str(reserve_bytes), str(durable)]
        self._command = [sys.executable, "-W", "ignore", "-m", "tests.dicom_node.receiver_process", *arguments]

    def __enter__(self) -> Self:
        from tests.peers import tied  # not in the child: it would bring pytest into the measured process

        self.process = subprocess.Popen(tied(self._command), stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def peak_rss_bytes(self) -> int:
        """The largest resident set so far, as the kernel counts it (VmHWM, proc(5))."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024

    def rss_bytes(self) -> int:
        """The resident set now."""
        return int(psutil.Process(self.process.pid).memory_info().rss)


if __name__ == "__main__":
    main(*sys.argv[1:])
