"""Identities of result objects: the same for a retry, never the same for a correction (house.md, section 2)."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

from reports.errors import InvalidFindingsError

NAMESPACE = uuid.UUID("6f1c4c0e-2a57-5d0b-9d4e-3f6b7a1c9e52")
"""Fixed once and for all: another namespace would give every result ever made a second identity."""


@dataclass(frozen=True)
class ResultIdentity:
    """Everything a result depends on. Equal identities give equal UIDs; any difference gives others.

    acquisition: name of the acquisition. source_sop_instance_uids: of all its instances (their order does not matter).
    settings_digest: of the result-relevant settings and the profile. roi_digest: of masks that were given, "" where
    the node drew them. baseline_sr_uid: "" where there is no comparison.
    """

    acquisition: str
    source_sop_instance_uids: tuple[str, ...]
    settings_digest: str
    software_version: str
    model_sha256s: tuple[str, ...] = ()
    roi_digest: str = ""
    baseline_sr_uid: str = ""

    def __post_init__(self) -> None:
        if not self.source_sop_instance_uids:
            raise InvalidFindingsError("a result without source instances has no identity")

    def uid(self, kind: str, index: int = 0) -> str:
        """SOP or Series Instance UID of one object: `kind` such as "sr", "sc", "series-sc"; `index` counts in it."""
        parts = (
            self.acquisition,
            self._source_digest,
            self.settings_digest,
            *sorted(self.model_sha256s),
            self.roi_digest,
            self.baseline_sr_uid,
            self.software_version,
            kind,
            str(index),
        )
        return _uid(parts)

    def tracking_uid(self, label: str, number: int = 1) -> str:
        """Tracking UID of a ROI: of the tissue that was injected, so that all revisions share it: no setting, version,
        further clip or redrawn outline changes it."""
        return _uid((self.acquisition, "tracking", label, str(number)))

    @property
    def frame_of_reference_uid(self) -> str:
        """One synthetic Frame of Reference for all objects on this cine: ultrasound cines carry none."""
        return _uid((self._source_digest, "frame of reference"))

    @property
    def _source_digest(self) -> str:
        return hashlib.sha256("\0".join(sorted(self.source_sop_instance_uids)).encode()).hexdigest()


def device_uid(model: str, serial_number: str) -> str:
    """UID of the observing device (TID 1004): of the installation, not of the version."""
    return _uid(("device", model, serial_number))


def _uid(parts: tuple[str, ...]) -> str:
    """2.25 + a name-based UUID (PS3.5 B.2). NUL between the parts: no two lists of parts read the same."""
    return f"2.25.{uuid.uuid5(NAMESPACE, chr(0).join(parts)).int}"
