"""What the service manager hears: read from the socket that it would listen on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicom_node import service_notify
from dicom_node.config import load_settings
from dicom_node.data_folder import DataFolder
from dicom_node.readiness import role_fault
from tests.dicom_node.web.conftest import free_port

WAIT_S = 30.0
"""A role imports its libraries first, on a machine that may run other tests."""


@contextmanager
def manager(monkeypatch: pytest.MonkeyPatch, address: str) -> Iterator[socket.socket]:
    """Stands in for systemd: a datagram socket named in NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + address[1:] if address.startswith("@") else address)
        listener.settimeout(WAIT_S)
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        yield listener


def heard(listener: socket.socket) -> str:
    return listener.recv(4096).decode()


@pytest.mark.parametrize("abstract", [False, True])
def test_a_message_arrives_at_either_kind_of_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, abstract: bool
) -> None:
    address = f"@ceus-node-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with manager(monkeypatch, address) as listener:
        service_notify.notify("READY=1")
        assert heard(listener) == "READY=1"


def test_without_a_service_manager_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    threads = threading.active_count()
    service_notify.notify("READY=1")
    with service_notify.watched(lambda: "never asked"):
        assert threading.active_count() == threads


def test_ready_waits_for_the_fault_to_go_and_the_watchdog_stops_while_it_is_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "60000")  # a word every 20 ms
    monkeypatch.setattr(service_notify, "STARTING_POLL_S", 0.01)
    faults = {"now": "the disk is gone"}
    with manager(monkeypatch, str(tmp_path / "notify")) as listener:
        with service_notify.watched(lambda: faults["now"]):
            assert heard(listener) == "STATUS=the disk is gone"
            faults["now"] = ""
            while (word := heard(listener)).startswith("STATUS="):
                assert "gone" in word
            assert word.startswith("READY=1")
            assert heard(listener).startswith("WATCHDOG=1")
            faults["now"] = "the database is gone"
            while (word := heard(listener)).startswith("WATCHDOG=1"):
                pass  # at most the one that was under way
            assert word == "STATUS=the database is gone"
            assert heard(listener) == "STATUS=the database is gone"
        words = [heard(listener)]
        while words[-1] != "STOPPING=1":
            words.append(heard(listener))
        assert not any("WATCHDOG" in word for word in words)


def test_a_hanging_loop_is_a_fault_and_a_role_without_a_loop_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pulse = service_notify.Pulse()
    assert pulse.fault() == ""
    pulse.beat()
    assert pulse.fault() == ""
    monkeypatch.setattr(service_notify, "STILL_S", -1.0)
    assert "has not moved" in pulse.fault()


def test_children_do_not_speak_for_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.setenv(name, "1")
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(service_notify.for_children())
    assert "PATH" in service_notify.for_children()


def test_a_role_says_ready_when_it_serves_and_stopping_when_it_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    port = free_port()
    environment = {"CEUS_NODE_NODE__DATA_DIR": str(tmp_path / "data"), "CEUS_NODE_WEB__PORT": str(port)}
    with manager(monkeypatch, str(tmp_path / "notify")) as listener:
        role = subprocess.Popen([sys.executable, "-m", "dicom_node", "run", "web"], env={**os.environ, **environment})
        try:
            while not (word := heard(listener)).startswith("READY=1"):
                assert "nothing listens" in word
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            role.send_signal(signal.SIGTERM)
            while heard(listener) != "STOPPING=1":
                pass
            assert role.wait(WAIT_S) == 0
        finally:
            role.kill()
            role.wait()


def test_a_full_disk_is_no_reason_to_restart_the_receiver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It must stay to answer 0xA700; a spool that cannot be written for another reason is one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = load_settings(None, node={"data_dir": tmp_path, "port": server.getsockname()[1]})
        DataFolder(tmp_path).prepare()
        reasons = []
        for number in (28, 30):  # ENOSPC, EROFS
            with monkeypatch.context() as patch:
                patch.setattr(Path, "write_bytes", _failing_with(number))
                reasons.append(role_fault(settings, "receiver"))
    assert reasons[0] == ""
    assert "Read-only file system" in reasons[1]


def _failing_with(number: int) -> object:
    def fail(self: Path, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    return fail
