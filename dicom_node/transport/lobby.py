"""The listening port. One thread holds every connection until its A-ASSOCIATE-RQ is complete.

Overrides of pynetdicom 3.0.4, and why:
- the stock listener makes the TLS handshake itself (one silent client blocks everybody): it goes on in turns here;
- each TCP connection costs two threads and counts as an association for 30 s (12 silent ones, or a load balancer's
  probes, use the limit up): here it has neither before it asks for an association;
- listen backlog 5 (a dropped SYN costs the sender a second): 128.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field

import structlog
from pynetdicom.ae import ApplicationEntity
from pynetdicom.transport import AddressInformation

from dicom_node.errors import NetworkError, PortInUseError
from dicom_node.transport.association import StorageService, acceptor, attach
from dicom_node.transport.pdu_stream import LARGEST_CONTROL_PDU
from dicom_node.transport.upper_layer import Bell, answer_at_once

_BACKLOG = 128
_MOST_GUESTS = 256
_A_ASSOCIATE_RQ = 0x01
_A_ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x02"  # PS3.8 9.3.8: service provider, unexpected PDU


@dataclass(frozen=True)
class Port:
    """Where to listen. `handshake_timeout_s`: for the TLS handshake and the A-ASSOCIATE-RQ together (ARTIM)."""

    host: str
    number: int
    ssl_context: ssl.SSLContext | None = None
    share: bool = False
    handshake_timeout_s: float = 10.0


@dataclass(eq=False)
class _Guest:
    sock: socket.socket
    address: tuple[str, int]
    leave_at: float
    shaking_hands: bool
    said: bytearray = field(default_factory=bytearray)


class Lobby(threading.Thread):
    """Listens on a port; hands a connection to an association of its own once that was asked for.

    Raises PortInUseError, NetworkError.
    """

    def __init__(self, ae: ApplicationEntity, port: Port, storage: StorageService) -> None:
        super().__init__(name="lobby", daemon=True)
        self._ae = ae
        self._port = port
        self._storage = storage
        self._bell = Bell()
        self._stopping = False
        self._guests: dict[int, _Guest] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = _listen(port)
        self.port: int = self._listener.getsockname()[1]

    def run(self) -> None:
        """Serve until `stop`."""
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._bell.fd, selectors.EVENT_READ)
        while not self._stopping:
            for key, _ in self._selector.select(self._time_left_s()):
                if key.fileobj is self._listener:
                    self._admit()
                elif isinstance(key.data, _Guest):
                    self._hear(key.data)
            now = time.monotonic()
            for guest in [guest for guest in self._guests.values() if guest.leave_at <= now]:
                self._dismiss(guest, "silent" if not guest.said else "incomplete")

    def stop(self) -> None:
        """Listen no longer; associations go on."""
        self._stopping = True
        self._bell.ring()
        self.join()
        for guest in list(self._guests.values()):
            self._dismiss(guest, "stopping")
        self._listener.close()
        self._selector.close()
        self._bell.close()

    def _time_left_s(self) -> float | None:
        if not self._guests:
            return None
        return max(0.0, min(guest.leave_at for guest in self._guests.values()) - time.monotonic())

    def _admit(self) -> None:
        while True:
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE) and self._guests:
                    self._dismiss(next(iter(self._guests.values())), "too many open files")
                    continue
                structlog.get_logger().error("accept_failed", error=error.strerror)
                return
            self._welcome(sock, address)

    def _welcome(self, sock: socket.socket, address: tuple[str, int]) -> None:
        sock.setblocking(False)
        answer_at_once(sock)
        context = self._port.ssl_context
        try:
            if context is not None:
                sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError:  # it left before the handshake
            sock.close()
            return
        if len(self._guests) >= _MOST_GUESTS:
            self._dismiss(next(iter(self._guests.values())), "lobby full")
        leave_at = time.monotonic() + self._port.handshake_timeout_s
        host = address[0].removeprefix("::ffff:")  # an IPv4 peer on a socket for both (RFC 4291 2.5.5.2)
        guest = _Guest(sock, (host, address[1]), leave_at, context is not None)
        self._guests[sock.fileno()] = guest
        self._selector.register(sock, selectors.EVENT_READ, guest)

    def _hear(self, guest: _Guest) -> None:
        """Read what a guest says, until it has asked for an association or nothing more is there."""
        try:
            if guest.shaking_hands:
                guest.sock.do_handshake()  # type: ignore[attr-defined]
                guest.shaking_hands = False
            while not self._has_asked(guest):
                said = guest.sock.recv(LARGEST_CONTROL_PDU)
                if not said:
                    self._dismiss(guest, "closed")
                    return
                guest.said += said
                if not self._makes_sense(guest):
                    with contextlib.suppress(OSError):
                        guest.sock.send(_A_ABORT)
                    self._dismiss(guest, "not DICOM")
                    return
        except ssl.SSLWantWriteError:
            self._selector.modify(guest.sock, selectors.EVENT_WRITE, guest)
        except (BlockingIOError, ssl.SSLWantReadError):
            self._selector.modify(guest.sock, selectors.EVENT_READ, guest)
        except OSError as error:  # a reset, or a TLS handshake that failed
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
                self._storage.distrusted(guest.address[0], error.reason or type(error).__name__)
            self._dismiss(guest, type(error).__name__)
        else:
            self._lead_in(guest)

    @staticmethod
    def _makes_sense(guest: _Guest) -> bool:
        length = int.from_bytes(guest.said[2:6], "big") if len(guest.said) >= 6 else 0
        return guest.said[0] == _A_ASSOCIATE_RQ and length <= LARGEST_CONTROL_PDU

    @staticmethod
    def _has_asked(guest: _Guest) -> bool:
        return len(guest.said) >= 6 and len(guest.said) >= 6 + int.from_bytes(guest.said[2:6], "big")

    def _lead_in(self, guest: _Guest) -> None:
        self._forget(guest)
        name = guest.sock.getsockname()
        assoc = acceptor(self._ae, self._storage, AddressInformation(name[0], name[1]))
        assoc.requestor.address_info = AddressInformation(guest.address[0], guest.address[1])
        attach(assoc, guest.sock, bytes(guest.said))
        assoc.start()

    def _dismiss(self, guest: _Guest, reason: str) -> None:
        self._forget(guest)
        guest.sock.close()
        structlog.get_logger().debug("connection_dismissed", reason=reason, host=guest.address[0])

    def _forget(self, guest: _Guest) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(guest.sock)
        for handle in [handle for handle, other in self._guests.items() if other is guest]:
            del self._guests[handle]


def _listen(port: Port) -> socket.socket:
    family = socket.AF_INET6 if ":" in port.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if port.share:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((port.host, port.number))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        kind = PortInUseError if error.errno == errno.EADDRINUSE else NetworkError
        raise kind(f"cannot listen on {port.host}:{port.number}: {error.strerror}") from error
    return listener
