"""The receiver: associations to disk, and nothing else. Its own process; several may share a port and a spool.

In: associations of scanners and destinations. Out: acknowledged objects in the spool, and a notice an association.
Never decodes, computes or runs workflows. It offers no storage commitment (the node is a second destination, no
archive); it hears the reports of destinations that we asked for theirs.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import structlog
from pydicom.dataset import Dataset
from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext

from dicom_node.acquisition import ANY, AssociationSummary, Origin, Peer, PeerRole
from dicom_node.audit import RECEIVED, AuditTrail, Far, Study, trail_of
from dicom_node.commitments import PUSH_MODEL, CommitmentDesk, take_report
from dicom_node.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from dicom_node.inbox import AssociationLedger, Inbox, SpoolLimits, StoreRequest, Upload
from dicom_node.retrieve_desk import RetrieveDesk
from dicom_node.routing import PLAIN_SYNTAXES, acceptable_syntaxes, find_peer, origin_of
from dicom_node.spool import Spool
from dicom_node.status import Status
from dicom_node.transport.association import (
    CALLING_TITLE_UNKNOWN,
    NodeAssociation,
    NodeEntity,
    Rejection,
    running_associations,
)
from dicom_node.transport.lobby import Lobby, Port
from dicom_node.transport.store_message import StoreMessage

if TYPE_CHECKING:  # the receiver's process starts faster and smaller without the settings' machinery
    from dicom_node.config import Settings

MAXIMUM_PDU_BYTES = 128 << 10  # x1.45 over the default of 16 KB, measured
_RESOLVED_FOR_S = 60.0


@dataclass(frozen=True)
class ReceiverSettings:
    """The receiver's part of the configuration.

    `any_peer_is_scanner`: strangers count as scanners; else a stranger may associate where `require_known_peers` is
    off, but its cines are refused (0x0124). `share_port`: several receivers on one port (SO_REUSEPORT).
    """

    ae_title: str = "CEUS_NODE"
    host: str = "127.0.0.1"
    port: int = 11112
    peers: tuple[Peer, ...] = ()
    require_known_peers: bool = True
    any_peer_is_scanner: bool = False
    maximum_associations: int = 64
    network_timeout_s: float = 60.0
    handshake_timeout_s: float = 10.0
    ssl_context: ssl.SSLContext | None = None
    share_port: bool = False
    limits: SpoolLimits = field(default_factory=SpoolLimits)
    audit: AuditTrail = field(default_factory=AuditTrail)


def receiver_settings(settings: Settings, ssl_context: ssl.SSLContext | None = None) -> ReceiverSettings:
    """The receiver's part of the node's configuration. With `ssl_context`: for the TLS port.

    A destination is known by its title, and by its address under any title: a PACS often calls by another name than
    it answers to. Where any peer counts as a scanner, only by its title.
    """
    scanners = [
        Peer(
            scanner.ae_title,
            scanner.host or ANY,
            profile=scanner.profile or None,
            priority=scanner.priority,
            drop_unwanted=scanner.unwanted == "accept_and_drop",
        )
        for scanner in settings.scanner
    ]
    known_only = settings.security.require_known_peers
    places = [(each.ae_title, ANY, each.storage_commitment) for each in settings.destination]
    places += [(ANY, each.host, each.storage_commitment) for each in settings.destination if known_only]
    destinations = [Peer(title, host, PeerRole.DESTINATION, commits=commits) for title, host, commits in places]
    return ReceiverSettings(
        ae_title=settings.node.ae_title,
        host=settings.node.host,
        port=settings.node.port if ssl_context is None else settings.security.tls_port,
        peers=(*scanners, *destinations),
        require_known_peers=known_only,
        any_peer_is_scanner=not known_only,
        ssl_context=ssl_context,
        share_port=settings.node.receivers > 1,
        limits=SpoolLimits(reserve_bytes=settings.retention.min_free_mb << 20),
        audit=trail_of(settings, "receiver"),
    )


class Receiver:
    """A running receiver; ends with `stop`."""

    def __init__(self, ae: NodeEntity, lobby: Lobby, inbox: Inbox) -> None:
        self._ae = ae
        self._lobby = lobby
        self._inbox = inbox
        self.port = lobby.port

    def stop(self, grace_s: float = 5.0) -> None:
        """Listen no longer, let associations end within the grace time, abort the others."""
        self._lobby.stop()
        deadline = time.monotonic() + grace_s
        for assoc in running_associations(self._ae):
            assoc.join(max(0.0, deadline - time.monotonic()))
            if assoc.is_alive():
                assoc.abort()
                assoc.join()
        self._inbox.__exit__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve_receiver(
    settings: ReceiverSettings, spool: Spool, notify: Callable[[AssociationSummary], None] | None = None
) -> Receiver:
    """Listen and spool until stopped. `notify` is called at each association's end, from its thread; the spool's
    doorbell was rung before.

    Raises PortInUseError, NetworkError, SpoolError.
    """
    ae = NodeEntity(ae_title=settings.ae_title)
    ae.maximum_pdu_size = MAXIMUM_PDU_BYTES
    ae.maximum_associations = settings.maximum_associations
    ae.network_timeout = settings.network_timeout_s
    ae.acse_timeout = settings.handshake_timeout_s
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION
    inbox = Inbox(spool, settings.limits).__enter__()
    port = Port(settings.host, settings.port, settings.ssl_context, settings.share_port, settings.handshake_timeout_s)
    try:
        lobby = Lobby(ae, port, SpoolingStorage(settings, inbox, notify))
    except BaseException:
        inbox.__exit__()
        raise
    lobby.start()
    structlog.get_logger().info("receiver_listening", port=lobby.port, ae_title=settings.ae_title)
    return Receiver(ae, lobby, inbox)


class SpoolingStorage:
    """Decides on associations and takes their objects into the spool (`transport.association.StorageService`)."""

    def __init__(
        self, settings: ReceiverSettings, inbox: Inbox, notify: Callable[[AssociationSummary], None] | None
    ) -> None:
        self._settings = settings
        self._inbox = inbox
        self._desk = CommitmentDesk(inbox.spool.root / "commitments")
        self._asked_for = RetrieveDesk(inbox.spool.root)
        self._notify = notify
        self._ledgers: dict[Any, AssociationLedger] = {}
        self._resolved: dict[str, tuple[float, frozenset[str]]] = {}

    def requested(self, assoc: NodeAssociation, request: Any) -> Rejection | list[PresentationContext]:
        """Whether the peer may associate, and which of its contexts are taken."""
        title, host = str(request.calling_ae_title), str(assoc.requestor.address_info.address)
        peer = self._peer(title, host)
        if peer is None:
            structlog.get_logger().warning("association_rejected", reason="unknown peer", calling=title, host=host)
            self._settings.audit.turned_away(Far(title, host), "an unknown peer asked for an association")
            return CALLING_TITLE_UNKNOWN
        self._ledgers[assoc] = self._inbox.begin(peer, title, host)
        proposed: dict[str, dict[str, None]] = {}
        for context in request.presentation_context_definition_list:
            proposed.setdefault(str(context.abstract_syntax), {}).update(
                dict.fromkeys(map(str, context.transfer_syntax))
            )
        accepted = {uid: list(acceptable_syntaxes(uid, offer, peer)) for uid, offer in proposed.items()}
        contexts = [build_context(uid, taken) for uid, taken in accepted.items() if taken]
        if PUSH_MODEL in proposed and self._may_report(assoc, title, host):
            reports = build_context(PUSH_MODEL, [uid for uid in proposed[PUSH_MODEL] if uid in PLAIN_SYNTAXES])
            reports.scu_role, reports.scp_role = False, True  # of the peer: it serves, we are its user
            contexts.append(reports)
        return contexts

    def _may_report(self, assoc: NodeAssociation, title: str, host: str) -> bool:
        """Whether a peer that proposes Storage Commitment is one that we ask for it. To a scanner, and to whoever
        wants us to commit, it is not offered.

        Without role selection (PS3.7 D.3.3.4) a peer would be the user of the service; PACS that merely forget it are
        heard, scanners are not.
        """
        proposal = assoc.requestor.role_selection.get(PUSH_MODEL)
        if proposal is not None and not proposal.scp_role:
            return False
        matching = self._matching(title, host)
        if proposal is None and any(peer.role is PeerRole.SCANNER for peer in matching):
            return False
        return any(peer.commits for peer in matching)

    def reported(self, assoc: NodeAssociation, information: Dataset) -> int:
        """Keep the N-EVENT-REPORT of a Storage Commitment; on success it is on disk."""
        try:
            taken = take_report(self._desk, information)
        except OSError as error:
            structlog.get_logger().error("report_not_kept", error=error.strerror)
            return int(Status.PROCESSING_FAILURE)
        calling = str(assoc.requestor.ae_title)
        structlog.get_logger().info("commitment_reported", calling=calling, asked_for=taken)
        return int(Status.SUCCESS if taken else Status.INVALID_ARGUMENT)

    def begin(self, assoc: NodeAssociation, request: StoreMessage, context: PresentationContext | None) -> Upload:
        """Where the data set of a C-STORE goes."""
        ledger = self._ledgers[assoc]
        origin = origin_of(ledger.peer, request.move_originator, self._settings.ae_title)
        syntax = str(context.transfer_syntax[0]) if context is not None else ""
        answers = self._asked_for.folders_for(request.sop_instance_uid)
        if answers and origin is not Origin.RETRIEVE and not self._is_destination(*ledger.caller):
            answers = ()
        wanted = StoreRequest(request.sop_class_uid, request.sop_instance_uid, syntax, origin, answers)
        announced = context is not None and context.abstract_syntax == request.sop_class_uid
        return ledger.upload(wanted, None if announced else Status.SOP_CLASS_NOT_SUPPORTED)

    def commit(self, assoc: NodeAssociation, upload: Any) -> int:
        """The status of a complete object; on success it is on disk."""
        ledger = self._ledgers[assoc]
        known = len(ledger.studies)
        status = ledger.commit(upload)
        if len(ledger.studies) > known:
            study, patient = list(ledger.studies)[-1]
            self._settings.audit.begins(Far(*ledger.caller), Study(study, patient), RECEIVED)
        if status is not Status.SUCCESS:
            structlog.get_logger().warning("object_refused", status=f"0x{status:04X}", bytes=upload.bytes)
        return int(status)

    def distrusted(self, host: str, reason: str) -> None:
        """A peer whose TLS handshake failed."""
        structlog.get_logger().warning("tls_handshake_failed", host=host, reason=reason)
        self._settings.audit.turned_away(Far("", host), f"TLS handshake failed: {reason}")

    def ended(self, assoc: NodeAssociation) -> None:
        """Close the association's ledger and tell who waits."""
        ledger = self._ledgers.pop(assoc, None)
        if ledger is None:
            return
        summary = ledger.close()
        self._settings.audit.received(Far(*ledger.caller), ledger.studies)
        structlog.get_logger().info("association_ended", **Counter(ledger.counts), association=ledger.association_id)
        if self._notify is not None:
            self._notify(summary)

    def _peer(self, title: str, host: str) -> Peer | None:
        known = find_peer(self._matching(title, host), title, (host,))
        if known is not None:
            return known
        if self._settings.any_peer_is_scanner:
            return Peer(ANY)
        return None if self._settings.require_known_peers else Peer(ANY, role=PeerRole.UNKNOWN)

    def _is_destination(self, title: str, host: str) -> bool:
        return any(peer.role is PeerRole.DESTINATION for peer in self._matching(title, host))

    def _matching(self, title: str, host: str) -> list[Peer]:
        """Every configured peer that a caller may be."""
        peers = self._settings.peers
        configured = (replace(peer, host=host) if self._is_host(peer.host, host) else peer for peer in peers)
        return [peer for peer in configured if peer.matches(title, (host,))]

    def _is_host(self, name: str, address: str) -> bool:
        """Whether a configured host name has that address; names are looked up once a minute at most."""
        if name in (ANY, address):
            return name == address
        now = time.monotonic()
        looked_up, addresses = self._resolved.get(name, (-_RESOLVED_FOR_S, frozenset()))
        if now - looked_up >= _RESOLVED_FOR_S:
            try:
                addresses = frozenset(str(info[4][0]) for info in socket.getaddrinfo(name, None))
            except OSError:
                addresses = frozenset()
            self._resolved[name] = (now, addresses)
        return address in addresses
