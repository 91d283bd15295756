"""`ceus-node models`: what lies on this node, whether it passes its checks, and who approved it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from dicom_node.audit import SOFTWARE_CONFIGURATION, person, trail_of
from dicom_node.config import Settings
from dicom_node.errors import ConfigurationError
from onnx_models.errors import OnnxModelsError
from onnx_models.registry import Role, activate, installed, verify

ROLES: dict[str, Role] = {"active": "active", "shadow": "shadow", "withdrawn": "withdrawn"}


@dataclass(frozen=True)
class Approval:
    """Who lets a model of the site speak, as what, and why."""

    model: str
    version: str
    role: str
    approver: str
    reason: str


def table_of_models(settings: Settings) -> Table:
    """Every model, shipped or the site's own, checked anew."""
    table = Table("model", "version", "role", "state", "evidence", box=None)
    for row in installed(settings.models.dir):
        said = row.identity.evidence if row.state == "ok" else row.sentence
        table.add_row(row.identity.id, row.identity.version, row.role, row.state, said)
    return table


def verify_folder(folder: Path) -> tuple[bool, str]:
    """All checks on one model folder: whether it passed, and a line that says so."""
    row = verify(folder)
    name = f"{row.identity.id or 'no model'} {row.identity.version}".strip()
    return row.state == "ok", f"{name}: {row.state}" + (f": {row.sentence}" if row.sentence else "")


def approve(settings: Settings, approval: Approval) -> str:
    """Activate a site's own model, audited. Raises ConfigurationError where it cannot be."""
    if settings.models.dir is None:
        raise ConfigurationError("models.dir: no folder for the site's own models is configured")
    if approval.role not in ROLES:
        raise ConfigurationError(f"{approval.role} is no role: active, shadow or withdrawn")
    activation = (ROLES[approval.role], approval.approver, approval.reason)
    try:
        line = activate(settings.models.dir, (approval.model, approval.version), activation, datetime.now(UTC))
    except OnnxModelsError as error:
        raise ConfigurationError(str(error)) from error
    sentence = f"{line.id} {line.version} ({line.sha256[:12]}) is {line.role}: {line.reason}"
    trail = trail_of(settings, "models activate")
    trail.alert(SOFTWARE_CONFIGURATION, sentence, person(name=line.approver), ("thing", line.id), failed=False)
    return f"{line.id} {line.version} is {line.role}, approved by {line.approver}"
