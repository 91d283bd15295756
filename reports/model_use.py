"""The models of one acquisition: those whose answer was used, and those in the shadow, whose answer was not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelUse:
    """A model that was asked, its state, out-of-distribution score and Device UID ("": no manifest could be read)."""

    id: str
    version: str
    sha256: str
    provider: str
    state: str
    ood_score: float | None = None
    threshold: float | None = None
    temperature: float | None = None
    device_uid: str = ""


@dataclass(frozen=True)
class ShadowUse:
    """A model that was asked beside the active one and decided nothing: it stands in no object.

    agreement: 0 to 1 with the active model's answer: Dice of two masks, or one minus the total variation distance of
    two predictions; None where either gave no answer.
    """

    id: str
    version: str
    sha256: str
    state: str
    ood_score: float | None
    agreement: float | None
