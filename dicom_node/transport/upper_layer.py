"""The DICOM upper layer of one association (PS3.8 9.2), driven by events instead of by polling.

Overrides of pynetdicom 3.0.4, and why:
- the stock loop sleeps 1 ms between looks (50 idle associations: 1.4 cores; 3.5 ms an object): poll(2) and a bell;
- it reads a whole PDU in blocking slices of 4,096 bytes (half a PDU blocks for good, 600 MB are taken against 16 KB
  negotiated): non-blocking reads into one reused buffer, lengths checked before anything is read;
- it writes a temporary file and flushes it a PDV: data sets of C-STORE go to the association's own upload.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import structlog
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import TRANSITION_TABLE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket

from dicom_node.transport.pdu_stream import PduStream, ProtocolError
from dicom_node.transport.store_message import StoreMessage, read_store_request

_BUFFER_BYTES = 1 << 18
_LINGER_S = 1.0  # how long we wait for the peer to close after the last PDU, so that it can read it
_MOST_OTHER_BYTES = 1 << 20  # of commands and of data sets that are no C-STORE: those this node serves are < 100 KB
_MOST_RETRIEVED_BYTES = 256 << 20  # of what we asked for (C-GET), which pynetdicom holds in memory
_A_ASSOCIATE_RQ = 0x01
_OF_THE_USER = ("Evt7", "Evt8", "Evt9", "Evt11", "Evt14", "Evt15")  # primitives, not the network (PS3.8 table 9-10)
_TITLES = (10, 26)  # called and calling, 16 bytes each (PS3.8 table 9-11)
UNNAMED = "UNNAMED"
_STORE_TEXTS = ("AffectedSOPClassUID", "AffectedSOPInstanceUID", "MoveOriginatorApplicationEntityTitle")
_COMMAND, _LAST = 1, 2  # bits of the message control header (PS3.8 E.2)
_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_UNDECODABLE = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, TypeError, ValueError),
    *(NotImplementedError, struct.error),
)
"""What pynetdicom's parsers raise on mutilated PDUs, as fuzzing shows: it has no error of its own for them."""


class Upload(Protocol):
    """Where the data set of a C-STORE goes."""

    def write(self, fragments: Sequence[memoryview]) -> None:
        """Append fragments; never raises."""

    def close(self) -> None:
        """Let go; an upload that was not committed leaves nothing."""


def _with_valid_titles(pdu: bytes) -> bytes:
    """An A-ASSOCIATE-RQ with AE titles that pynetdicom takes; any other PDU as it is.

    Scanners send blank titles, accents and control characters; the stock class drops them without an answer. Whether
    such a peer is known is decided elsewhere.
    """
    if pdu[0] != _A_ASSOCIATE_RQ:
        return pdu
    titles = [pdu[start : start + 16].decode("latin-1").replace("\\", "?") for start in _TITLES]
    valid = ["".join(c if " " <= c <= "~" else "?" for c in title.replace("\0", " ")) for title in titles]
    return pdu[:10] + b"".join((title if title.strip() else UNNAMED).ljust(16).encode() for title in valid) + pdu[42:]


class Bell:
    """Wakes a thread that sleeps in poll(2)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def ring(self) -> None:
        """Wake the sleeper; silent once closed."""
        with self._lock:
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        """Take all rings so far."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.fd)

    def close(self) -> None:
        """Give the descriptor back."""
        with self._lock:
            os.close(self.fd)
            self.fd = -1


class RingingQueue(queue.Queue[Any]):
    """A queue that rings when something is put into it."""

    def __init__(self, ring: Callable[[], None]) -> None:
        super().__init__()
        self._ring = ring

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put and ring."""
        super().put(item, block, timeout)
        self._ring()


def answer_at_once(sock: socket.socket) -> None:
    """No Nagle for what we send, no delayed acknowledgement of what we got: a peer with Nagle waits for it.

    Linux forgets TCP_QUICKACK after a while (tcp(7)); it is set again after each short read.
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class NodeSocket(AssociationSocket):  # type: ignore[misc] # pynetdicom is untyped
    """A socket that never blocks: sending waits in poll(2), at most for the network time-out.

    A TLS session is not for two threads at once (the upper layer reads, a sender writes): `turn` makes them take turns.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.turn = threading.Lock()
        super().__init__(*args, **kwargs)

    def connect(self, primitive: Any) -> None:
        """Connect as the stock class does, then go on without blocking."""
        super().connect(primitive)
        if self.socket is not None and self._is_connected:
            self.socket.setblocking(False)
            answer_at_once(self.socket)

    def _shutdown_socket(self) -> None:
        """Close, whether or not the peer was faster: the stock method then leaves the descriptor to the collector."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()

    def send(self, bytestream: bytes) -> None:
        """Send all of it, or report the connection closed (Evt17)."""
        try:
            self.send_all([memoryview(bytestream)])
        except OSError:
            self.event_queue.put("Evt17")

    def send_all(self, views: Sequence[memoryview]) -> None:
        """Send buffers one after the other. Raises OSError; TimeoutError where the peer takes nothing for too long."""
        left = list(views)
        while left:
            if self.socket is None:
                raise ConnectionError("the connection is closed")
            try:
                sent = self._send_some(left)
            except _WOULD_BLOCK as error:
                self._wait(select.POLLIN if isinstance(error, ssl.SSLWantReadError) else select.POLLOUT)
                continue
            while left and sent >= len(left[0]):
                sent -= len(left.pop(0))
            if sent:
                left[0] = left[0][sent:]

    def _send_some(self, views: list[memoryview]) -> int:
        self.assoc.dul._idle_timer.restart()  # a long object is not silence
        if isinstance(self.socket, ssl.SSLSocket):
            with self.turn:
                return self.socket.send(views[0])
        assert isinstance(self.socket, socket.socket)  # noqa: S101 - for the type checker
        return self.socket.sendmsg(views[:512])

    def receive_into(self, buffer: memoryview) -> int:
        """What is there, 0 where the peer closed. Raises BlockingIOError, ssl.SSLWantReadError, OSError."""
        if isinstance(self.socket, ssl.SSLSocket):
            with self.turn:
                return self.socket.recv_into(buffer)
        assert isinstance(self.socket, socket.socket)  # noqa: S101 - for the type checker
        return self.socket.recv_into(buffer)

    def _wait(self, events: int) -> None:
        poller = select.poll()
        poller.register(self.socket, events)
        timeout_s = self.assoc.network_timeout
        if not poller.poll(None if timeout_s is None else timeout_s * 1000):
            raise TimeoutError("the peer takes no data")


class UpperLayer(DULServiceProvider):  # type: ignore[misc] # pynetdicom is untyped
    """The upper layer state machine of pynetdicom, woken by events."""

    def __init__(self, assoc: Any) -> None:
        super().__init__(assoc)
        self._bell = Bell()
        self.event_queue = RingingQueue(self._bell.ring)
        self.to_provider_queue = RingingQueue(self._bell.ring)
        self.to_user_queue = RingingQueue(assoc.wake)
        self.first_bytes = b""  # what was read before the association had a thread
        self._stream = PduStream(0, self._on_pdu, self._on_fragment)
        self._upload: Upload | None = None
        self._request: StoreMessage | None = None
        self._fragments: list[memoryview] = []
        self._message = bytearray()
        self._other_bytes = 0
        self._linger_until: float | None = None

    def expect(self, maximum_length: int) -> None:
        """Tell the P-DATA-TF length that is offered to the peer."""
        self._stream = PduStream(maximum_length, self._on_pdu, self._on_fragment)

    def kill_dul(self) -> None:
        """End the thread, even when it sleeps."""
        super().kill_dul()
        self._bell.ring()

    def stop_dul(self) -> bool:
        """End the thread if there is no connection (Sta1). Whether it ended."""
        if self.state_machine.current_state != "Sta1":
            return False
        self.kill_dul()
        self.join()
        return True

    def run_reactor(self) -> None:
        """Act on events until the state machine is done; sleep while there are none."""
        self._idle_timer.start()
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        self.assoc._dul_ready.set()
        try:
            while not self._kill_thread:
                progress = self._look(buffer)
                with contextlib.suppress(queue.Empty):
                    self._act(self.event_queue.get_nowait())
                    progress = True
                if not progress:
                    self._sleep()
        finally:
            if self._upload is not None:
                self._upload.close()
            self._bell.close()
            self.to_user_queue.put(None)  # whoever still waits for a primitive: none will come

    def _look(self, buffer: memoryview) -> bool:
        """One look at timers, at the user's primitives, at the network. Whether something happened."""
        state = self.state_machine.current_state
        if not self.event_queue.empty():
            return True
        if self.artim_timer.expired and state in ("Sta2", "Sta13"):  # elsewhere Evt18 has no meaning (table 9-10)
            self.event_queue.put("Evt18")
            return True
        if self._process_recv_primitive():
            return True
        if self.first_bytes and state == "Sta2":
            first, self.first_bytes = self.first_bytes, b""
            self._take(memoryview(first))
            return True
        return self._read(buffer)

    def _read(self, buffer: memoryview) -> bool:
        sock = self.socket.socket if self.socket is not None and self.socket._is_connected else None
        if sock is None:
            return False
        try:
            count = self.socket.receive_into(buffer)
        except _WOULD_BLOCK:
            return self._linger()
        except OSError:
            count = 0
        if count == 0:
            self.event_queue.put("Evt17")
            return True
        self._idle_timer.restart()
        if count < len(buffer):
            answer_at_once(sock)
        if self.state_machine.current_state != "Sta13":  # there, what still comes is read and forgotten
            self._take(buffer[:count])
        return True

    def _linger(self) -> bool:
        """In Sta13 nothing more came: say that we are done, and give the peer a moment to read it and to close."""
        if self.state_machine.current_state != "Sta13" or self.socket is None:
            return False
        if self._linger_until is None:
            self._linger_until = time.monotonic() + _LINGER_S
            with contextlib.suppress(OSError):
                self.socket.socket.shutdown(socket.SHUT_WR)
        elif time.monotonic() > self._linger_until:
            self.socket.close()
            return True
        return False

    def _sleep(self) -> None:
        poller = select.poll()
        poller.register(self._bell.fd, select.POLLIN)
        if self.socket is not None and self.socket._is_connected and self.socket.socket is not None:
            poller.register(self.socket.socket, select.POLLIN)
        waits = []
        if self._linger_until is not None:
            waits.append(self._linger_until - time.monotonic())
        if self.artim_timer.timeout is not None and self.state_machine.current_state in ("Sta2", "Sta13"):
            waits.append(self.artim_timer.remaining)
        poller.poll(max(0.0, min(waits)) * 1000 + 1 if waits else None)
        self._bell.clear()

    def _act(self, event: str) -> None:
        if (event, self.state_machine.current_state) in TRANSITION_TABLE:
            self.state_machine.do_action(event)
        elif event in _OF_THE_USER:  # a primitive that came too late (an answer after an abort): the stock loop dies
            with contextlib.suppress(queue.Empty):
                self.to_provider_queue.get_nowait()

    def _take(self, data: memoryview) -> None:
        try:
            self._stream.feed(data)
            self._flush()
        except (ProtocolError, *_UNDECODABLE) as error:
            structlog.get_logger().warning("association_protocol_error", error=f"{type(error).__name__}: {error}"[:200])
            self._stream.stopped = True
            self.event_queue.put("Evt19")

    def _flush(self) -> None:
        if self._upload is not None and self._fragments:
            self._upload.write(self._fragments)
        self._fragments = []

    def _on_pdu(self, pdu: bytes) -> None:
        self._flush()
        decoded, event = self._decode_pdu(bytearray(_with_valid_titles(pdu)))
        self._recv_pdu.put(decoded)
        self._act(event)
        self._stream.stopped = self.state_machine.current_state == "Sta13" or self._kill_thread

    def _on_fragment(self, context_id: int, control: int, fragment: memoryview, ends: bool) -> None:
        if self.state_machine.current_state not in ("Sta6", "Sta7"):
            raise ProtocolError("data outside of an association")
        if self._upload is not None:
            if control & _COMMAND:
                raise ProtocolError("a command in the middle of a data set")
            self._fragments.append(fragment)
            if ends and control & _LAST:
                self._end_upload(context_id)
            return
        self._message += fragment
        self._other_bytes += len(fragment)
        if self._other_bytes > (_MOST_OTHER_BYTES if self.assoc.is_acceptor else _MOST_RETRIEVED_BYTES):
            raise ProtocolError("a message that is no C-STORE and has no end")
        if ends:
            self._deliver(context_id, bytes([control]) + bytes(self._message))
            self._message.clear()

    def _deliver(self, context_id: int, pdv: bytes) -> None:
        """Hand a whole PDV to DIMSE; where it completes a C-STORE request, what follows is its upload."""
        dimse, serves = self.assoc.dimse, self.assoc.storage is not None
        if serves and dimse.message is None and pdv[0] == _COMMAND | _LAST:
            request = read_store_request(pdv[1:])
            if request is not None:
                self._begin_upload(request, context_id)
                return
        primitive = P_DATA()
        primitive.presentation_data_value_list.append((context_id, pdv))
        dimse.receive_primitive(primitive)
        if dimse.message is None:
            self._other_bytes = 0
        elif serves and isinstance(dimse.message, C_STORE_RQ):  # its command came in pieces
            values = dimse.message.command_set
            texts = [str(values.get(keyword) or "") for keyword in _STORE_TEXTS]
            dimse.message = None
            self._begin_upload(StoreMessage(int(values.MessageID), *texts), context_id)

    def _begin_upload(self, request: StoreMessage, context_id: int) -> None:
        self._other_bytes = 0
        self._request, self._upload = request, self.assoc.begin_upload(request, context_id)

    def _end_upload(self, context_id: int) -> None:
        self._flush()
        assert self._request is not None  # noqa: S101 - it came with the upload
        request, self._request = replace(self._request, upload=self._upload), None
        self._upload = None  # the association's thread has it from here
        self.assoc.dimse.msg_queue.put((context_id, request))
