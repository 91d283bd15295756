"""What an arriving object is to this node, and what the peer is answered. Pure: no socket, no file.

Only scanners start jobs. What a scanner sends beside cines is accepted and dropped, so that its queue never blocks,
or refused at negotiation where the configuration says so. Own objects coming back and answers to own retrieves never
start a job: what is waited for goes to whoever asked, before it is routed here.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from pydicom import uid

from dicom_node.acquisition import ANY, ArrivalKind, Origin, Peer, PeerRole
from dicom_node.status import Status

OWN_EQUIPMENT = "CEUS Node"
"""Manufacturer or Manufacturer's Model Name of every object this node makes."""

_ULTRASOUND = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.3",  # Ultrasound Multi-frame Image Storage (Retired): still arrives
        "1.2.840.10008.5.1.4.1.1.3.1",
        "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound Image Storage (Retired)
        "1.2.840.10008.5.1.4.1.1.6.1",
    }
)
_CONTOURS = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
        "1.2.840.10008.5.1.4.1.1.88.22",  # Enhanced SR
        "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR
        "1.2.840.10008.5.1.4.1.1.88.34",  # Comprehensive 3D SR
        "1.2.840.10008.5.1.4.1.1.11.1",  # Grayscale Softcopy Presentation State
        "1.2.840.10008.5.1.4.1.1.11.2",  # Color
        "1.2.840.10008.5.1.4.1.1.11.3",  # Pseudo-Color
        "1.2.840.10008.5.1.4.1.1.11.4",  # Blending
    }
)
_VERIFICATION = "1.2.840.10008.1.1"
_STANDARD_ROOT = "1.2.840.10008."
_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."
_NOT_STORAGE = tuple(f"{_STORAGE_ROOT}{arc}" for arc in ("200.4", "200.5", "200.6", "200.7", "201."))
"""Query, retrieve and print services that live under the storage root (PS3.6 table A-1)."""

PLAIN_SYNTAXES = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian)
READABLE_SYNTAXES = frozenset(
    str(syntax)
    for syntax in (
        *(*PLAIN_SYNTAXES, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless),
        *(uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1),
        *(uid.JPEGLSLossless, uid.JPEGLSNearLossless, uid.JPEG2000Lossless, uid.JPEG2000),
        *(uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K),
        *(uid.MPEG2MPML, uid.MPEG2MPMLF, uid.MPEG2MPHL, uid.MPEG2MPHLF),
        *(uid.MPEG4HP41, uid.MPEG4HP41F, uid.MPEG4HP41BD, uid.MPEG4HP41BDF),
        *(uid.MPEG4HP422D, uid.MPEG4HP422DF, uid.MPEG4HP423D, uid.MPEG4HP423DF, uid.MPEG4HP42STEREO),
        *(uid.MPEG4HP42STEREOF, uid.HEVCMP51, uid.HEVCM10P51),
    )
)
"""What the cine reader decodes. JPEG XL is not among them: the scanner is told at negotiation, while it can choose."""


@dataclass(frozen=True)
class Route:
    """Where an object goes. `keep`: into the spool; else it is dropped (success) or refused with `status`."""

    kind: ArrivalKind
    keep: bool
    status: Status
    reason: str = ""


@dataclass(frozen=True)
class Arrival:
    """What decides the route of one object."""

    sop_class_uid: str
    frames: int
    manufacturer: str
    model: str
    has_pixels: bool
    sop_instance_uid: str = ""


def find_peer(peers: Iterable[Peer], ae_title: str, addresses: tuple[str, ...]) -> Peer | None:
    """The configured peer that calls, scanners before destinations; None for a stranger."""
    matching = [peer for peer in peers if peer.matches(ae_title, addresses)]
    return min(matching, key=lambda peer: (peer.role is not PeerRole.SCANNER, peer.ae_title == ANY), default=None)


def acceptable_syntaxes(abstract_syntax: str, proposed: Iterable[str], peer: Peer) -> tuple[str, ...]:
    """Which of the proposed transfer syntaxes are taken, in the peer's own order: the site set that order.

    What will be dropped anyway is taken in any encoding, private classes included.
    """
    if abstract_syntax == _VERIFICATION:
        return tuple(syntax for syntax in proposed if syntax in PLAIN_SYNTAXES)
    if is_kept_class(abstract_syntax):
        return tuple(syntax for syntax in proposed if syntax in READABLE_SYNTAXES)
    return tuple(proposed) if peer.drop_unwanted and is_storage(abstract_syntax) else ()


def is_kept_class(sop_class_uid: str) -> bool:
    """Whether objects of this class may enter the spool."""
    return sop_class_uid in _ULTRASOUND or sop_class_uid in _CONTOURS


def is_storage(sop_class_uid: str) -> bool:
    """Standard storage classes and private ones; services (query, commitment, print) are not."""
    if not sop_class_uid.startswith(_STANDARD_ROOT):
        return True
    return sop_class_uid.startswith(_STORAGE_ROOT) and not sop_class_uid.startswith(_NOT_STORAGE)


def origin_of(peer: Peer, move_originator: str, own_ae_title: str) -> Origin:
    """Why an object came. A C-STORE that names us as the C-MOVE's originator answers our own retrieve (PS3.7 9.1.1)."""
    if move_originator.strip() and move_originator.strip().casefold() == own_ae_title.strip().casefold():
        return Origin.RETRIEVE
    return Origin.SCANNER if peer.role is PeerRole.SCANNER else Origin.OTHER


def classify(arrival: Arrival) -> ArrivalKind:
    """What the object is. Frames decide, not the class: 2 frames arrive under the single-frame class too.

    Viewers that edit one of our masks or outlines may keep our equipment in it; what makes it a reader's is its UID.
    """
    if OWN_EQUIPMENT in (arrival.manufacturer, arrival.model) and (
        arrival.sop_class_uid not in _CONTOURS or _is_own_uid(arrival.sop_instance_uid)
    ):
        return ArrivalKind.OWN_OBJECT
    if arrival.sop_class_uid in _ULTRASOUND:
        return ArrivalKind.CINE if arrival.frames > 1 else ArrivalKind.STILL
    return ArrivalKind.CONTOUR if arrival.sop_class_uid in _CONTOURS else ArrivalKind.UNWANTED


def _is_own_uid(sop_instance_uid: str) -> bool:
    """Results are named by 2.25 and a name-based UUID, version 5 (PS3.5 B.2); others take random ones."""
    root, _, number = sop_instance_uid.rpartition(".")
    if root != "2.25" or not number.isdigit() or int(number) >= 1 << 128:
        return False
    return uuid.UUID(int=int(number)).version == 5


def route_class(sop_class_uid: str, peer: Peer) -> Route | None:
    """The route of what its class alone decides, before a byte of it is written; None where the header must be seen."""
    if is_kept_class(sop_class_uid):
        return None
    if not peer.drop_unwanted or not is_storage(sop_class_uid):
        return Route(ArrivalKind.UNWANTED, False, Status.SOP_CLASS_NOT_SUPPORTED, "this node takes ultrasound cines")
    return Route(ArrivalKind.UNWANTED, False, Status.SUCCESS, "no cine")


def route(arrival: Arrival, peer: Peer, origin: Origin) -> Route:
    """The route of an object whose header was read, unless somebody waits for it (`retrieve_desk`)."""
    by_class = route_class(arrival.sop_class_uid, peer)
    if by_class is not None:
        return by_class
    kind = classify(arrival)
    if origin is Origin.RETRIEVE:
        return Route(kind, False, Status.SUCCESS, "the answer to a retrieve that nobody waits for any longer")
    if kind is ArrivalKind.OWN_OBJECT:
        return Route(kind, False, Status.SUCCESS, "made by this node")
    return (
        Route(kind, True, Status.SUCCESS) if kind is ArrivalKind.CONTOUR else _route_image(kind, arrival, peer, origin)
    )


def _route_image(kind: ArrivalKind, arrival: Arrival, peer: Peer, origin: Origin) -> Route:
    if not arrival.has_pixels:
        return Route(kind, False, Status.DATASET_DOES_NOT_MATCH_SOP_CLASS, "an ultrasound image without pixel data")
    if origin is Origin.SCANNER:
        return Route(kind, True, Status.SUCCESS)
    if peer.role is PeerRole.UNKNOWN:
        return Route(kind, False, Status.NOT_AUTHORISED, "only configured scanners start jobs")
    return Route(kind, False, Status.SUCCESS, "a destination's copy of a cine")
