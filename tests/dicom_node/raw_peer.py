"""Peers that misbehave byte by byte, and the stock pynetdicom server that each fault is shown on."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from pathlib import Path
from typing import Any, Self

from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.pdu import A_ASSOCIATE_RQ, A_RELEASE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    A_RELEASE,
    P_DATA,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
)
from pynetdicom.presentation import build_context

from dicom_node.transport.requestor import OutgoingFile, _command
from tests.dicom_node.network_scenes import MULTI_FRAME, Scene
from tests.peers import LOOPBACK

A_ABORT, A_ASSOCIATE_AC, P_DATA_PDU = 0x07, 0x02, 0x04
VERIFICATION = "1.2.840.10008.1.1"


class RawPeer:
    """A socket that speaks DICOM only as far as the test says. `said` returns one PDU, None once we were hung up on."""

    def __init__(self, port: int, timeout_s: float = 5.0) -> None:
        self.socket = socket.create_connection((LOOPBACK, port), timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def associate(self, sop_class: str = MULTI_FRAME, calling: str = "SCANNER") -> Self:
        """Ask for one context and take the answer."""
        self.socket.sendall(association_request(sop_class, calling))
        answer = self.said()
        assert answer is not None
        assert answer[0] == A_ASSOCIATE_AC
        return self

    def said(self) -> bytes | None:
        """The next PDU of the other side; None where it closed. Raises TimeoutError where it says nothing."""
        header = self._read(6)
        return None if header is None else header + (self._read(int.from_bytes(header[2:6], "big")) or b"")

    def release(self) -> None:
        """End the association in good order."""
        self.socket.sendall(A_RELEASE_RQ(A_RELEASE()).encode())
        self.said()

    def _read(self, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            try:
                piece = self.socket.recv(count - len(data))
            except ConnectionResetError:
                return None
            if not piece:
                return None
            data += piece
        return data


def association_request(sop_class: str = MULTI_FRAME, calling: str = "SCANNER") -> bytes:
    """An A-ASSOCIATE-RQ for one class in explicit little endian."""
    request = A_ASSOCIATE()
    request.application_context_name = "1.2.840.10008.3.1.1.1"
    request.calling_ae_title, request.called_ae_title = "REPLACED", "CEUS_NODE"
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = 16382, UID("1.2.3")
    request.user_information = [length, implementation]
    context = build_context(sop_class, [ExplicitVRLittleEndian])
    context.context_id = 1
    request.presentation_context_definition_list = [context]
    encoded = bytearray(A_ASSOCIATE_RQ(request).encode())
    encoded[26:42] = calling.encode().ljust(16)[:16]  # PS3.8 table 9-11: the calling AE title
    return bytes(encoded)


def store_request(sop_class: str = MULTI_FRAME, scene: Scene | None = None) -> bytes:
    """A C-STORE command on context 1, whatever that context was negotiated for."""
    scene = scene or Scene()
    file = OutgoingFile(Path(), 0, sop_class, scene.sop_instance_uid, ExplicitVRLittleEndian)
    return _command(file, 1, 1, 16382)


def data_fragment(data: bytes, last: bool) -> bytes:
    """One P-DATA-TF with one PDV of a data set on context 1."""
    primitive = P_DATA()
    primitive.presentation_data_value_list.append((1, bytes([2 if last else 0]) + data))
    return bytes(P_DATA_TF(primitive).encode())


class StockNode:
    """pynetdicom's own server, set up as its documentation says; same face as `network_scenes.Node`."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        del folder
        self._ae = AE(ae_title="CEUS_NODE")
        self._ae.add_supported_context(VERIFICATION)
        self._ae.add_supported_context(MULTI_FRAME, ExplicitVRLittleEndian)
        self._ae.network_timeout = settings.get("network_timeout_s", 20.0)
        self._ae.acse_timeout = 8.0  # 30 s by default
        self._ae.maximum_associations = settings.get("maximum_associations", 10)
        self._ssl_context: ssl.SSLContext | None = settings.get("ssl_context")

    def __enter__(self) -> Self:
        handlers = [(evt.EVT_C_STORE, lambda event: 0x0000)]
        self._server = self._ae.start_server(
            (LOOPBACK, 0), block=False, evt_handlers=handlers, ssl_context=self._ssl_context
        )
        self.port = self._server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        for assoc in list(self._ae.active_associations):
            assoc._kill = True
            sock = assoc.dul.socket.socket if assoc.dul.socket is not None else None
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            assoc.dul.kill_dul()
        self._server.shutdown()


def chunked_reception(monkeypatch: Any, folder: Path) -> None:
    """The stock class's own way to disk, with its temporary files in that folder."""
    monkeypatch.setattr(_config, "STORE_RECV_CHUNKED_DATASET", True)
    monkeypatch.setattr("tempfile.tempdir", str(folder))


def wait_until(holds: Any, within_s: float) -> bool:
    """Whether something holds before the time is over; for what announces itself by no event."""
    deadline = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
