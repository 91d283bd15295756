"""Where the delivery of one result to each destination stands, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from dicom_node.config import Settings
from dicom_node.engine import EngineJob
from dicom_node.jobs import Job
from dicom_node.result_digest import ResultDigest
from dicom_node.results import DeliveryLedger, DeliveryState


@dataclass(frozen=True)
class ObjectState:
    """One object at one destination; `status` is the destination's last answer."""

    file: str
    sent: bool
    attempts: int
    status: str


@dataclass(frozen=True)
class DestinationState:
    """One destination of one result. `cause`: why it does not have everything yet, empty before the first try."""

    name: str
    state: DeliveryState
    objects: tuple[ObjectState, ...]
    cause: str = ""
    finished_at: datetime | None = None

    @property
    def sent(self) -> int:
        """Objects that the destination has."""
        return sum(item.sent for item in self.objects)

    @property
    def attempts(self) -> int:
        """Most attempts any object needed so far."""
        return max((item.attempts for item in self.objects), default=0)


def destination_states(
    job: Job, result: ResultDigest, open_work: Mapping[str, EngineJob], settings: Settings
) -> tuple[DestinationState, ...]:
    """Every destination that is to get something of the result, and every one that ever got something."""
    ledgers = {ledger.destination: ledger for ledger in result.ledgers}
    configured = {destination.name for destination in settings.destination}
    states = []
    for name, due in _due(result, settings, ledgers):
        ledger = ledgers.get(name, DeliveryLedger(name))
        known = {item.file for item in ledger.objects}
        objects = [ObjectState(o.file, o.sent, o.attempts, o.status) for o in ledger.objects]
        objects += [ObjectState(file, False, 0, "") for file in due if file not in known]
        given_up = open_work.get(f"{job.workflow_id}>{name}")
        if name not in configured and ledger.state in ("pending", "committing"):
            ledger = replace(ledger, failure="this destination is no longer configured")
        states.append(_state(ledger, tuple(objects), given_up.state if given_up else ""))
    return tuple(states)


def _due(
    result: ResultDigest, settings: Settings, ledgers: Mapping[str, DeliveryLedger]
) -> Iterator[tuple[str, list[str]]]:
    configured = {destination.name for destination in settings.destination}
    for destination in settings.destination:
        files = result.has(destination.objects)
        if files:
            yield destination.name, files
    for name in ledgers:
        if name not in configured:
            yield name, []


def _asked(ledger: DeliveryLedger) -> str:
    asked = ledger.commitment
    if asked is None or asked.asked == 0:
        return "has every object; storage commitment is being asked for" + (
            f" ({asked.said}, trying on)" if asked is not None and asked.said else ""
        )
    times = "once" if asked.asked == 1 else f"{asked.asked} times"
    return f"has every object and has not committed to keep them yet (asked {times})"


def _state(ledger: DeliveryLedger, objects: tuple[ObjectState, ...], engine_state: str) -> DestinationState:
    name = ledger.destination
    if ledger.state == "failed":
        return DestinationState(name, "failed", objects, ledger.failure or "")
    if ledger.state == "delivered" and all(item.sent for item in objects):
        return DestinationState(name, "delivered", objects, "", datetime.fromisoformat(ledger.finished_at or ""))
    if engine_state in ("ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"):
        return DestinationState(
            name, "failed", objects, "the delivery ended with an error of the node itself; see the log"
        )
    if ledger.state == "committing":
        return DestinationState(name, "committing", objects, _asked(ledger))
    refusal = next((item for item in objects if not item.sent and item.status), None)
    cause = "" if refusal is None else f"{refusal.status} (tried {refusal.attempts} times, trying on)"
    return DestinationState(name, "pending", objects, cause)
