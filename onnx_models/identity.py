"""Who a model is and how a call of it ended: what every AI item of a report carries (IHE AIR, PS3.16 TID 4019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from processing.limitations import Limitation, Severity

State = Literal[
    "ok",
    "disabled",
    "missing",
    "hash_mismatch",
    "bad_contract",
    "golden_failed",
    "runtime_error",
    "timeout",
    "not_applicable",
    "ood",
    "abstained",
]
Task = Literal["lesion_seg", "vessel_seg", "response_cls", "response_lr"]
TASKS: tuple[Task, ...] = ("lesion_seg", "vessel_seg", "response_cls", "response_lr")

TASK_WORDS: dict[str, str] = {
    "lesion_seg": "lesion segmentation",
    "vessel_seg": "vessel segmentation",
    "response_cls": "response classifier",
    "response_lr": "response classifier on named parameters",
}
"""How a sentence in a report calls the model of a task."""


@dataclass(frozen=True)
class ModelIdentity:
    """A model file, named so that nobody can confuse it with another one.

    `sha256` and `device_uid` are empty where no manifest could be read, `provider` is what the runtime really uses
    ("" before a session exists). `evidence` is the label that is shown with every result of this model.
    """

    id: str
    version: str
    sha256: str
    device_uid: str
    task: str
    provider: str
    evidence: str


@dataclass(frozen=True)
class Refusal:
    """A model that gave no result: the state of models.md section 3 and a sentence for the report."""

    identity: ModelIdentity
    state: State
    sentence: str
    ood_score: float | None = None

    def limitation(self, affects: tuple[str, ...]) -> Limitation:
        """The refusal as a limitation of the findings that it concerns."""
        severity: Severity = "note" if self.state in ("disabled", "not_applicable") else "degraded"
        return Limitation(f"model_{self.state}", self.sentence, severity, affects)
