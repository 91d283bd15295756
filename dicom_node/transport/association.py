"""One association, as acceptor or as requestor, on the event-driven upper layer.

Overrides of pynetdicom 3.0.4, and why:
- the stock reactor wakes every millisecond: it sleeps until a message, a release or an abort comes;
- on a requestor it takes DIMSE messages from the queue and so swallows answers that the sender waits for (2 of
  15,000 fast sends end in a 30 s time-out): here it never does;
- a C-STORE of a class that pynetdicom does not know, or on a rejected context, aborts the association: it is answered;
- contexts are copied for each association (57 ms with all classes): they are made from what the peer proposes.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu_primitives import A_ASSOCIATE, P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation

from dicom_node.transport.store_message import StoreMessage, store_answer
from dicom_node.transport.upper_layer import NodeSocket, RingingQueue, Upload, UpperLayer

_NOT_AUTHORISED = 0x0124  # PS3.7 C.5.13
_LAST_COMMAND = b"\x03"  # message control header: the last fragment of a command (PS3.8 E.2)


@dataclass(frozen=True)
class Rejection:
    """A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    result: int
    source: int
    diagnostic: int


CALLING_TITLE_UNKNOWN = Rejection(1, 1, 3)
CALLED_TITLE_UNKNOWN = Rejection(1, 1, 7)


class StorageService(Protocol):
    """Who decides on an acceptor's associations and takes its objects: one a listening port."""

    def requested(self, assoc: Any, request: A_ASSOCIATE) -> Rejection | list[PresentationContext]:
        """Whether the peer may associate, and with which contexts."""

    def begin(self, assoc: Any, request: StoreMessage, context: PresentationContext | None) -> Upload:
        """A C-STORE request came (on `context`, None where that was not accepted): where its data set goes."""

    def commit(self, assoc: Any, upload: Upload) -> int:
        """The data set is complete: the status to answer."""

    def reported(self, assoc: Any, information: Dataset) -> int:
        """An N-EVENT-REPORT of Storage Commitment came (PS3.4 J.3.3): the status to answer."""

    def distrusted(self, host: str, reason: str) -> None:
        """A connection from there failed its TLS handshake: no certificate, an unknown one, no common cipher."""

    def ended(self, assoc: Any) -> None:
        """The association is over, however it ended."""


class NodeAssociation(Association):  # type: ignore[misc] # pynetdicom is untyped
    """An association that sleeps until something happens."""

    is_established: bool

    def __init__(self, ae: ApplicationEntity, mode: str, storage: StorageService | None = None) -> None:
        self._wake = threading.Event()
        super().__init__(ae, mode)
        self.storage = storage
        self.dul = UpperLayer(self)
        self.dimse.msg_queue = RingingQueue(self.wake)
        # Into the new upper layer's timers:
        self.acse_timeout, self.network_timeout = ae.acse_timeout, ae.network_timeout
        self._uploads: set[Upload] = set()
        self._end_told = False

    def _bind_defaults(self) -> None:
        """Intervention handlers only: the stock logging handlers format every PDU."""
        for event in evt._INTERVENTION_EVENTS:
            self.bind(event, evt.get_default_handler(event))

    def wake(self) -> None:
        """Make the reactor look."""
        self._wake.set()

    def begin_upload(self, request: StoreMessage, context_id: int) -> Upload:
        """Called by the upper layer when a C-STORE request is complete but for its data set."""
        assert self.storage is not None  # noqa: S101 - acceptors have one
        upload = self.storage.begin(self, request, self._accepted_cx.get(context_id))
        self._uploads.add(upload)
        return upload

    def run_reactor(self) -> None:
        """Negotiate and serve (acceptor), or watch over the association (requestor)."""
        if self.is_requestor:
            super().run_reactor()
            return
        try:
            self.dul.start()
            self._started_dul = True
            request = self.dul.receive_pdu(wait=True, timeout=self.acse_timeout)
            if isinstance(request, A_ASSOCIATE):
                self._answer(request)
            else:
                self.kill()
            if self.is_established:
                self._run_reactor()
        finally:
            self._close()

    def _answer(self, request: A_ASSOCIATE) -> None:
        assert self.storage is not None  # noqa: S101 - acceptors have one
        self.requestor.primitive = request
        self.requestor.ae_title = request.calling_ae_title
        verdict = self.storage.requested(self, request)
        if isinstance(verdict, Rejection):
            self.acse.send_reject(verdict.result, verdict.source, verdict.diagnostic)
            self.is_rejected = True
            self.kill()
            return
        self.acceptor.supported_contexts = verdict
        self.acse.negotiate_association()

    def _close(self) -> None:
        self.dul.kill_dul()
        self.dul.join()
        if self.dul.socket is not None:
            self.dul.socket._shutdown_socket()
        while self._uploads:
            self._uploads.pop().close()
        self._tell_end()

    def _tell_end(self) -> None:
        if self.storage is not None and not self._end_told:
            self._end_told = True
            self.storage.ended(self)

    def _run_reactor(self) -> None:
        """The stock reactor's checks (association.py, `_run_reactor`), made when there is something to check."""
        while not self._kill:
            self._is_paused = True
            remaining = self.dul._idle_timer.remaining if self.network_timeout is not None else None
            self._wake.wait(None if remaining is None else max(0.0, remaining) + 0.001)
            self._wake.clear()
            self._reactor_checkpoint.wait()
            self._is_paused = False
            self._serve_messages()
            if self.is_established and self.acse.is_release_requested():
                self._accept_release()
            elif self.acse.is_aborted():
                self.dul.receive_pdu(wait=False)
                self.is_aborted, self.is_established = True, False
                self._tell_end()
                evt.trigger(self, evt.EVT_ABORTED, {})
                self.kill()
            elif not self.dul.is_alive():
                self.kill()
            elif self.dul.idle_timer_expired():
                structlog.get_logger().warning("association_timed_out")
                self.abort()
                self.kill()

    def _serve_messages(self) -> None:
        """All messages that wait: there is no second ring for the second of two. A requestor's are not ours to take."""
        while self.is_acceptor:
            context_id, message = self.dimse.get_msg(block=False)
            if message is None:
                return
            self._serve_request(message, context_id)

    def _accept_release(self) -> None:
        self._tell_end()  # before the peer knows: whoever sees it leave finds the ledger closed
        self.acse.send_release(is_response=True)
        self.is_released, self.is_established = True, False
        evt.trigger(self, evt.EVT_RELEASED, {})
        self.kill()

    def _serve_request(self, msg: Any, context_id: int) -> None:
        if isinstance(msg, StoreMessage | C_STORE) and self.storage is not None:
            self._serve_store(msg if isinstance(msg, StoreMessage) else _without_data_set(msg), context_id)
            return
        super()._serve_request(msg, context_id)
        if self.is_requestor:
            # pynetdicom serves an N-EVENT-REPORT in a thread of its own and leaves the sleeping reactor marked as busy:
            # a release would wait for it for ever.
            self._is_paused = True

    def _serve_store(self, request: StoreMessage, context_id: int) -> None:
        assert self.storage is not None  # noqa: S101 - checked by the caller
        upload = request.upload or self.begin_upload(request, context_id)
        status = self.storage.commit(self, upload)
        self._uploads.discard(upload)
        self.dul._idle_timer.restart()  # a slow disk is not the peer's silence
        answer = P_DATA()
        answer.presentation_data_value_list.append((context_id, _LAST_COMMAND + store_answer(request, status)))
        self.dul.send_pdu(answer)


def _without_data_set(request: C_STORE) -> StoreMessage:
    """A request that announced no data set: nothing will come, and the answer will say so."""
    uids = (str(request.AffectedSOPClassUID or ""), str(request.AffectedSOPInstanceUID or ""))
    return StoreMessage(int(request.MessageID or 0), *uids)


def running_associations(ae: ApplicationEntity) -> list[NodeAssociation]:
    """All that have a thread, those too that only wait for the peer to close."""
    running = [thread for thread in threading.enumerate() if isinstance(thread, NodeAssociation)]
    return [assoc for assoc in running if assoc.ae is ae]


class NodeEntity(ApplicationEntity):  # type: ignore[misc] # pynetdicom is untyped
    """An application entity whose associations are node associations."""

    @property
    def active_associations(self) -> list[Association]:
        """Those that count against the limit: what was released or rejected, and only waits for the peer to close,
        does not."""
        return [
            assoc
            for assoc in super().active_associations
            if not (assoc.is_released or assoc.is_rejected or assoc.is_aborted)
        ]


def acceptor(ae: ApplicationEntity, storage: StorageService, local: AddressInformation) -> NodeAssociation:
    """An association for a peer whose A-ASSOCIATE-RQ has come; the socket is set by the caller."""
    assoc = NodeAssociation(ae, MODE_ACCEPTOR, storage)
    assoc.name = f"AcceptorThread@{time.monotonic_ns()}"  # the stock server finds its associations by this word
    assoc.acceptor.maximum_length = ae.maximum_pdu_size
    assoc.acceptor.ae_title = ae.ae_title
    assoc.acceptor.address_info = local
    assoc.acceptor.implementation_class_uid = ae.implementation_class_uid
    assoc.acceptor.implementation_version_name = ae.implementation_version_name
    assoc.dul.expect(ae.maximum_pdu_size)
    assoc.bind(evt.EVT_N_EVENT_REPORT, lambda event: (storage.reported(assoc, event.event_information), None))
    # Where a destination may report, it could also ask: we keep nothing for others.
    assoc.bind(evt.EVT_N_ACTION, lambda _: (_NOT_AUTHORISED, None))
    return assoc


def attach(assoc: NodeAssociation, sock: Any, first_bytes: bytes) -> None:
    """Give an acceptor its connected, non-blocking socket and what was already read from it."""
    assoc.dul.first_bytes = first_bytes
    assoc.set_socket(NodeSocket(assoc, client_socket=sock))
