"""What the network side knows of an arrival: peers, kinds of arrival, the ledger's record of an instance."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

ANY = "*"


class PeerRole(StrEnum):
    """What a peer is to this node."""

    SCANNER = "scanner"
    DESTINATION = "destination"
    UNKNOWN = "unknown"


def _same_title(ours: str, theirs: str) -> bool:
    """AE titles compare without leading and trailing blanks (PS3.5 6.2, VR AE) and, as scanners are typed in by hand
    at two ends, without case."""
    return ours.strip() == ANY or ours.strip().casefold() == theirs.strip().casefold()


@dataclass(frozen=True)
class Peer:
    """A configured peer, or the one that stands for all unknown ones.

    `ae_title` and `host` may be "*". `priority`: 1 is served first. `drop_unwanted`: what is no cine is accepted,
    counted and dropped, so that the peer's queue never blocks; else it is refused at negotiation. `commits`: it is
    asked for Storage Commitment, so its reports are heard.
    """

    ae_title: str
    host: str = ANY
    role: PeerRole = PeerRole.SCANNER
    profile: str | None = None
    priority: int = 10
    drop_unwanted: bool = True
    commits: bool = False

    def matches(self, ae_title: str, addresses: tuple[str, ...]) -> bool:
        """Whether a calling title from one of `addresses` (the peer's address and its names) is this peer."""
        return _same_title(self.ae_title, ae_title) and (
            self.host == ANY or self.host.casefold() in {address.casefold() for address in addresses}
        )


class ArrivalKind(StrEnum):
    """What an arriving object is to this node."""

    CINE = "cine"
    STILL = "still"  # one frame of ultrasound: part of an acquisition only where a series of them forms a cine
    OWN_OBJECT = "own_object"
    CONTOUR = "contour"  # a reader's SEG, SR or presentation state
    UNWANTED = "unwanted"


class Origin(StrEnum):
    """Why an object came."""

    SCANNER = "scanner"
    RETRIEVE = "retrieve"  # the answer to our own retrieve
    OTHER = "other"


class Verdict(StrEnum):
    """What became of a reader's contour that no job took."""

    REFUSED = "refused"
    SET_ASIDE = "set aside"

    def mark(self, words: str) -> str:
        """The mark beside the instance: no name of a job holds a colon."""
        return f"{self}: {words}"


@dataclass(frozen=True)
class ReceivedInstance:
    """The ledger's record of one acknowledged instance.

    Date-times are as the file says them: aware only where the file gives an offset, None where it gives none.
    `received_at` is UTC. `duration_s` follows Frame Increment Pointer (PS3.3 C.7.6.5): first to last frame.
    `injected_at`: Contrast/Bolus Start Time. `view`: a word for image size, regions and transducer; equal = same view.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_key: str
    kind: ArrivalKind
    origin: Origin
    peer_ae_title: str
    peer_host: str
    association_id: str
    received_at: datetime
    transfer_syntax_uid: str
    path: Path
    profile: str | None = None
    priority: int = 10
    frames: int = 1
    rows: int = 0
    columns: int = 0
    acquired_at: datetime | None = None
    content_at: datetime | None = None
    duration_s: float | None = None
    injected_at: datetime | None = None
    view: str = ""
    series_number: int | None = None
    instance_number: int | None = None
    manufacturer: str = ""
    model: str = ""
    station_name: str = ""
    contrast_agent: str | None = None
    consumed_by: str | None = None

    @property
    def starts_jobs(self) -> bool:
        """Only what a scanner sends on its own may start a job."""
        return self.origin is Origin.SCANNER and self.kind in (ArrivalKind.CINE, ArrivalKind.STILL)

    @property
    def refusal(self) -> str:
        """Why a reader's contour is not measured, in words; empty where it is, or still waits."""
        verdict, _, words = (self.consumed_by or "").partition(": ")
        return words if verdict == Verdict.REFUSED else ""


@dataclass(frozen=True)
class QuarantinedInstance:
    """An instance that is kept but never measured, with the reason in words."""

    instance: ReceivedInstance
    reason: str


@dataclass(frozen=True)
class OpenAssociation:
    """An association over which objects may still arrive."""

    association_id: str
    peer_ae_title: str
    peer_host: str
    opened_at: datetime


@dataclass(frozen=True)
class AssociationSummary:
    """What one association brought: the receiver's notice at its end."""

    association_id: str
    peer_ae_title: str
    peer_host: str
    stored: int = 0
    duplicate: int = 0
    quarantined: int = 0
    dropped: int = 0
    retrieved: int = 0
    refused: int = 0
    failed: int = 0
    bytes: int = 0


def patient_key(patient_id: str, issuer: str, name: str, birth_date: str) -> str:
    """A hash that tells patients apart without naming them (32 hexadecimal digits).

    Patient ID with its issuer decides; only where the ID is empty, name and birth date do: a corrected name must not
    make two patients of one.
    """
    identity = ("id", patient_id.strip(), issuer.strip()) if patient_id.strip() else ("name", name.strip(), birth_date)
    return hashlib.sha256("\x1f".join(identity).encode()).hexdigest()[:32]
