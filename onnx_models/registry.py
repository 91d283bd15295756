"""Which models a node has: the shipped ones, a site's own in an overlay folder, pins, shadows and who approved what.

A model lies in `<id>/<version>/`. A site's model is used only after somebody activated it: its id, version and hash,
the approver and the reason stand in `activations.jsonl` of the overlay, one line each, never rewritten.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from onnx_models.errors import InvalidInputError
from onnx_models.identity import TASKS, ModelIdentity, State, Task
from onnx_models.loaded import LoadedModel, absent, load_model, renamed
from onnx_models.session import Device

SHIPPED = Path(__file__).parent
ACTIVATIONS = "activations.jsonl"

Role = Literal["active", "shadow", "withdrawn"]


@dataclass(frozen=True)
class RegistryOptions:
    """[models] of the configuration. pins: task -> version that must be used, or "disabled"."""

    overlay: Path | None = None
    pins: Mapping[str, str] = field(default_factory=dict)
    device: Device = "cpu"
    timeout_s: float = 10.0


@dataclass(frozen=True)
class Listed:
    """A line of `models list`: what lies where, whether it passes its checks, and which role it has."""

    identity: ModelIdentity
    state: State
    sentence: str
    role: Literal["active", "shadow", "available"]
    site: bool


@dataclass(frozen=True)
class Activation:
    """One approval: `role` "shadow" is computed and listed, and decides nothing. `at` is ISO 8601 with zone."""

    id: str
    version: str
    sha256: str
    role: Role
    approver: str
    reason: str
    at: str


@dataclass(eq=False)
class Models:
    """The models of this process: one active a task, and shadows beside it. Sessions are opened once."""

    active: dict[Task, LoadedModel]
    shadows: dict[Task, LoadedModel]

    @classmethod
    def open(cls, options: RegistryOptions | None = None) -> Models:
        """Choose, check and load. A pin names a version; else the site's activation; else the newest shipped one."""
        chosen = options or RegistryOptions()
        approved = _approved(chosen.overlay)
        active: dict[Task, LoadedModel] = {}
        shadows: dict[Task, LoadedModel] = {}
        for task in TASKS:
            active[task] = renamed(_active(task, chosen, approved.get((task, "active"))), task)
            shadow = approved.get((task, "shadow"))
            if shadow is not None and chosen.overlay is not None:
                shadows[task] = renamed(_approved_model(chosen, shadow), task)
        return cls(active, shadows)

    def list(self) -> tuple[Listed, ...]:
        """The active models and the shadows, as loaded."""
        rows = [Listed(m.identity, m.state, m.sentence, "active", False) for m in self.active.values()]
        rows += [Listed(m.identity, m.state, m.sentence, "shadow", True) for m in self.shadows.values()]
        return tuple(rows)


def installed(overlay: Path | None = None) -> tuple[Listed, ...]:
    """Every model on this node with its checks done anew: what `models list` prints."""
    approved = {(a.id, a.version): a.role for a in _approved(overlay).values() if a.role != "withdrawn"}
    rows: list[Listed] = []
    for root in (SHIPPED, *((overlay,) if overlay is not None else ())):
        for task in TASKS:
            for folder in _versions(root, task):
                model = renamed(load_model(folder), task)
                site = root is not SHIPPED
                role = approved.get((task, folder.name), "available") if site else "available"
                rows.append(Listed(model.identity, model.state, model.sentence, _listed_role(role), site))
    return tuple(rows)


def verify(folder: Path) -> Listed:
    """All checks on one folder, wherever it lies: `models verify DIR`."""
    model = load_model(folder.absolute())
    return Listed(model.identity, model.state, model.sentence, "available", site=True)


def activate(overlay: Path, wanted: tuple[str, str], activation: tuple[Role, str, str], now: datetime) -> Activation:
    """Approve a site's model. wanted: (id, version); activation: (role, approver, reason).

    Raises InvalidInputError where a name or reason is missing, or where the model fails a check.
    """
    identifier, version = wanted
    role, approver, reason = activation
    if role not in ("active", "shadow", "withdrawn"):
        raise InvalidInputError(f"{role} is no role: active, shadow or withdrawn")
    if len(approver.strip()) < 2 or len(reason.strip()) < 10:
        raise InvalidInputError("an activation names its approver and a reason of ten letters or more")
    if now.tzinfo is None:
        raise InvalidInputError("an activation carries its time zone")
    model = load_model(overlay / identifier / version)
    if model.state != "ok" and role != "withdrawn":
        raise InvalidInputError(f"{identifier} {version} cannot be activated ({model.state}): {model.sentence}")
    sha256 = model.identity.sha256
    line = Activation(identifier, version, sha256, role, approver.strip(), reason.strip(), now.isoformat())
    with (overlay / ACTIVATIONS).open("a", encoding="utf-8") as audit:
        audit.write(json.dumps(asdict(line)) + "\n")
    return line


def _approved(overlay: Path | None) -> dict[tuple[str, str], Activation]:
    """The last approval of each (id, role); a withdrawal ends both roles of its version."""
    standing: dict[tuple[str, str], Activation] = {}
    if overlay is None or not (overlay / ACTIVATIONS).is_file():
        return standing
    for number, line in enumerate((overlay / ACTIVATIONS).read_text(encoding="utf-8").splitlines(), 1):
        try:
            entry = Activation(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise InvalidInputError(f"line {number} of {ACTIVATIONS} is not an activation") from error
        if entry.role == "withdrawn":
            standing = {k: a for k, a in standing.items() if (a.id, a.version) != (entry.id, entry.version)}
        else:
            standing[entry.id, entry.role] = entry
    return standing


def _active(task: Task, options: RegistryOptions, approved: Activation | None) -> LoadedModel:
    pin = options.pins.get(task)
    if pin == "disabled":
        return absent(task, "", task, "disabled", "switched off in the configuration")
    if pin is not None:
        return _pinned(task, pin, options, approved)
    if approved is not None:
        return _approved_model(options, approved)
    shipped = _versions(SHIPPED, task)
    if not shipped:
        return absent(task, "", task, "missing", "this version ships no such model")
    return load_model(shipped[-1], options.device, options.timeout_s)


def _pinned(task: Task, pin: str, options: RegistryOptions, approved: Activation | None) -> LoadedModel:
    if approved is not None and approved.version == pin:
        return _approved_model(options, approved)
    if (SHIPPED / task / pin / "manifest.json").is_file():
        return load_model(SHIPPED / task / pin, options.device, options.timeout_s)
    if options.overlay is not None and (options.overlay / task / pin).is_dir():
        return absent(task, pin, task, "disabled", f"the pinned version {pin} was never activated")
    return absent(task, pin, task, "missing", f"the pinned version {pin} is not there")


def _approved_model(options: RegistryOptions, approved: Activation) -> LoadedModel:
    """The site's model, if it is still the file that was approved."""
    assert options.overlay is not None  # noqa: S101 - an activation is only ever read from an overlay
    model = load_model(options.overlay / approved.id / approved.version, options.device, options.timeout_s)
    if model.state == "ok" and model.identity.sha256 != approved.sha256:
        sentence = f"version {approved.version} is not the file that {approved.approver} approved"
        return LoadedModel(model.identity, "hash_mismatch", sentence)
    return model


def _versions(root: Path, task: str) -> list[Path]:
    """Folders of a task by version number."""
    folders = [f for f in (root / task).glob("*") if (f / "manifest.json").exists()]
    numbered = [f for f in folders if all(part.isdigit() for part in f.name.split("."))]
    return sorted(numbered, key=lambda f: [int(part) for part in f.name.split(".")])


def _listed_role(role: str) -> Literal["active", "shadow", "available"]:
    return "active" if role == "active" else "shadow" if role == "shadow" else "available"
