"""Associations that we ask for, and files that go out over them without being decoded.

Overrides of pynetdicom 3.0.4, and why: the stock sender makes a primitive of each fragment, queues the whole data set
in memory and copies it three times; here fragments go from the file to the socket, many PDUs a system call.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

from pydicom.uid import UID
from pynetdicom._globals import MODE_REQUESTOR
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation

from dicom_node.transport.association import NodeAssociation, NodeEntity
from dicom_node.transport.upper_layer import NodeSocket

MAXIMUM_PDU_BYTES = 128 << 10
_BATCH_BYTES = 256 << 10
_LAST_FRAGMENT, _FRAGMENT = 0x02, 0x00  # message control header of a data set (PS3.8 E.2)


@dataclass(frozen=True)
class Timeouts:
    """In s: TCP connect, association and release, an answer to a request, no byte moving at all."""

    connect_s: float = 10.0
    acse_s: float = 30.0
    dimse_s: float = 60.0
    network_s: float = 60.0


@dataclass(frozen=True)
class RemoteNode:
    """A peer that we call. `ssl_context`: TLS; the host's name is checked as that context says."""

    ae_title: str
    host: str
    port: int
    ssl_context: ssl.SSLContext | None = None


def associate(
    remote: RemoteNode,
    calling_ae_title: str,
    contexts: Sequence[PresentationContext],
    timeouts: Timeouts,
    negotiation: Sequence[Any] = (),
) -> NodeAssociation:
    """Ask for an association. It may be rejected, aborted or never have connected: look at its `is_...` attributes.

    `negotiation`: further items of the request, such as the role selection of a C-GET (PS3.7 annex D.3.3).
    Raises OSError where the host has no address.
    """
    ae = NodeEntity(ae_title=calling_ae_title)
    ae.acse_timeout, ae.dimse_timeout = timeouts.acse_s, timeouts.dimse_s
    ae.network_timeout, ae.connection_timeout = timeouts.network_s, timeouts.connect_s
    there = AddressInformation.from_addr_port(remote.host, remote.port)
    here = AddressInformation("::" if there.is_ipv6 else "0.0.0.0", 0)  # noqa: S104 - of an outgoing connection
    assoc = NodeAssociation(ae, MODE_REQUESTOR)
    assoc.name = f"RequestorThread@{time.monotonic_ns()}"
    sock = NodeSocket(assoc, address=here)
    sock.tls_args = None if remote.ssl_context is None else (remote.ssl_context, remote.host)
    assoc.set_socket(sock)
    assoc.acceptor.ae_title, assoc.acceptor.address_info = remote.ae_title, there
    assoc.requestor.ae_title, assoc.requestor.address_info = calling_ae_title, here
    assoc.requestor.maximum_length = MAXIMUM_PDU_BYTES
    assoc.requestor.implementation_class_uid = ae.implementation_class_uid
    assoc.requestor.implementation_version_name = ae.implementation_version_name
    for item in negotiation:
        assoc.requestor.add_negotiation_item(item)
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    assoc.requestor.requested_contexts = list(contexts)
    assoc.dul.expect(MAXIMUM_PDU_BYTES)
    assoc.request()
    if assoc.is_established:
        assoc.start()
    return assoc


@dataclass(frozen=True)
class OutgoingFile:
    """A file to store as it is: its data set begins at `offset`."""

    path: Path
    offset: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str


def store_file(assoc: NodeAssociation, file: OutgoingFile, context_id: int, message_id: int) -> int | None:
    """C-STORE of a file over an accepted context: the peer's status, None where none came.

    Raises OSError: the file cannot be read, or the connection broke while sending.
    """
    socket = assoc.dul.socket
    if socket is None:
        raise ConnectionError("the connection is closed")
    maximum = assoc.acceptor.maximum_length or MAXIMUM_PDU_BYTES
    with file.path.open("rb", buffering=0) as stream:
        left = os.fstat(stream.fileno()).st_size - file.offset
        stream.seek(file.offset)
        first = _command(file, context_id, message_id, maximum)
        for views in _batches(stream, left, context_id, min(maximum, _BATCH_BYTES) - 6):
            socket.send_all([memoryview(first), *views] if first else views)
            first = b""
    _, answer = assoc.dimse.get_msg(block=True)
    return None if answer is None or answer.Status is None else int(answer.Status)


def _command(file: OutgoingFile, context_id: int, message_id: int, maximum: int) -> bytes:
    """The C-STORE-RQ command as P-DATA-TF PDUs (PS3.7 9.3.1.1)."""
    request = C_STORE()
    request.MessageID, request.Priority = message_id, 0
    request.AffectedSOPClassUID = UID(file.sop_class_uid)
    request.AffectedSOPInstanceUID = UID(file.sop_instance_uid)
    request._dataset_path = (file.path, file.offset)  # says that a data set follows
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    message.data_set = message._data_set_path = None  # it is sent by us
    return b"".join(P_DATA_TF(primitive).encode() for primitive in message.encode_msg(context_id, maximum))


def _batches(stream: FileIO, left: int, context_id: int, most: int) -> Iterator[list[memoryview]]:
    """The data set as lists of buffers, each a run of P-DATA-TF PDUs of one PDV of at most `most` bytes."""
    count = max(1, _BATCH_BYTES // most)
    buffer = memoryview(bytearray(count * most))
    while left > 0:
        wanted = min(left, len(buffer))
        got = 0
        while got < wanted:
            read = stream.readinto(buffer[got:wanted])
            if not read:
                raise OSError("the file became shorter while it was sent")
            got += read
        left -= wanted
        views: list[memoryview] = []
        for start in range(0, wanted, most):
            fragment = buffer[start : min(start + most, wanted)]
            control = _LAST_FRAGMENT if left == 0 and start + most >= wanted else _FRAGMENT
            size = len(fragment) + 2
            header = (
                b"\x04\x00" + (size + 4).to_bytes(4, "big") + size.to_bytes(4, "big") + bytes((context_id, control))
            )
            views += [memoryview(header), fragment]
        yield views
