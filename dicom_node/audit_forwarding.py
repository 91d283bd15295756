"""The audit trail on its way to a syslog server: RFC 5425 over TLS, or RFC 5426 in datagrams.

    data_dir/audit/forwarded.json    file and byte up to which lines were passed on

Lines are passed on in order, from where the last sender stopped; while the server is down they wait in the files.
Syslog has no acknowledgement: what a server lost after its socket took it is lost there; the files still have it.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from pathlib import Path

import structlog

from dicom_node import role_locks
from dicom_node.config import Settings
from dicom_node.data_folder import DataFolder
from dicom_node.results import write_json
from dicom_node.tls import client_context

log = structlog.get_logger()

LOOK_S = 1.0
LONGEST_PAUSE_S = 60.0
_CONNECT_S = 10.0
_LARGEST_DATAGRAM = 65_507  # UDP over IPv4


class AuditForwarder:
    """Passes the audit files on. One at a time on a data folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.audit
        self._folder = DataFolder(settings.node.data_dir).audit
        self._state = self._folder / "forwarded.json"
        # A certificate that cannot be read is said at the start.
        self._context = client_context(settings.security) if self._settings.syslog_transport == "tls" else None
        self._socket: socket.socket | None = None

    def watch(self, stop: threading.Event) -> None:
        """Forward until `stop` is set; another sender's forwarder goes first."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        pause_s = LOOK_S
        while not stop.wait(pause_s):
            with role_locks.only_one(self._folder / "forwarding.lock") as mine:
                if not mine:
                    continue
                try:
                    self.forward()
                    pause_s = LOOK_S
                except OSError as error:
                    if pause_s == LOOK_S:
                        log.warning("audit server does not answer", reason=str(error))
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                    self.close()
        self.close()

    def forward(self) -> int:
        """Pass on every whole line that waits; how many. Raises OSError where the server does not take them."""
        done_file, offset = self._position()
        count = 0
        for file in sorted(self._folder.glob("*.log")):
            if file.name < done_file:
                continue
            start = offset if file.name == done_file else 0
            with file.open("rb") as stream:
                stream.seek(start)
                for line in stream:
                    if not line.endswith(b"\n"):  # being written
                        break
                    self._send(line.rstrip(b"\n"))
                    start += len(line)
                    write_json(self._state, {"file": file.name, "offset": start})
                    count += 1
        return count

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _position(self) -> tuple[str, int]:
        try:
            table = json.loads(self._state.read_bytes())
        except FileNotFoundError:
            return "", 0
        return str(table["file"]), int(table["offset"])

    def _send(self, message: bytes) -> None:
        where = (self._settings.syslog_host, self._settings.syslog_port)
        if self._context is None:
            family, kind, _, _, address = socket.getaddrinfo(*where, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as datagrams:
                datagrams.sendto(message[:_LARGEST_DATAGRAM], address)
            return
        if self._socket is not None and not _open(self._socket):
            self.close()
        if self._socket is None:
            plain = socket.create_connection(where, timeout=_CONNECT_S)
            try:
                self._socket = self._context.wrap_socket(plain, server_hostname=where[0])
            except OSError:
                plain.close()
                raise
        self._socket.sendall(f"{len(message)} ".encode() + message)


def _open(connection: socket.socket) -> bool:
    """Whether the server has not hung up: a write alone would tell one message too late. It says nothing itself, but
    TLS 1.3 sends tickets, so that readable does not mean closed."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except (ssl.SSLWantReadError, BlockingIOError):
        return True
    except OSError:
        return False
    finally:
        connection.settimeout(_CONNECT_S)


def waiting_bytes(folder: Path) -> int:
    """How much of the trail the syslog server does not have yet."""
    files = {file.name: file.stat().st_size for file in folder.glob("*.log")}
    try:
        table = json.loads((folder / "forwarded.json").read_bytes())
    except FileNotFoundError:
        return sum(files.values())
    return sum(size for name, size in files.items() if name >= table["file"]) - int(table["offset"])
