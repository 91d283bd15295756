"""`ceus-node models`: what lies on this node, how it does on a site's own cases, and who approved it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from dicom_node.audit import SOFTWARE_CONFIGURATION, person, trail_of
from dicom_node.config import Settings
from dicom_node.errors import ConfigurationError
from dicom_node.model_room import models_for
from dicom_node.site_cases import read_site_cases
from onnx_models.errors import OnnxModelsError
from onnx_models.identity import TASKS
from onnx_models.loaded import LoadedModel, load_model
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


@dataclass(frozen=True)
class EvaluationOrder:
    """What `models evaluate` was asked: the active model of a task, or the one in `folder`, on a table of cases."""

    model: str
    table: Path
    folder: Path | None = None
    out: Path | None = None


def evaluate_model(settings: Settings, order: EvaluationOrder) -> Table:
    """Judge a model on the site's cases. Raises ConfigurationError where model or table cannot be used."""
    from onnx_models.training.site_evaluation import evaluate

    model = _model(settings, order)
    cases, left_out = read_site_cases(order.table, settings, model.preprocessing)
    try:
        report = evaluate(model, cases)
    except OnnxModelsError as error:
        raise ConfigurationError(str(error)) from error
    notes = (*report.notes, *left_out)
    if order.out is not None:
        said = {"model": asdict(model.identity), "table": report.table, "cases": report.cases, "notes": notes}
        order.out.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    identity = model.identity
    table = Table("what", "value", "95 % over subjects", "n", "subjects", title=f"{identity.id} {identity.version}")
    for row in report.table:
        ends = row.get("ci95")
        table.add_row(
            row["what"],
            "-" if row["value"] is None else f"{row['value']:.3g}",
            "" if ends is None else f"{ends[0]:.3g} to {ends[1]:.3g}",
            str(row["n"]),
            str(row.get("subjects", "")),
        )
    table.caption = "\n".join((identity.evidence, *notes))
    return table


def _model(settings: Settings, order: EvaluationOrder) -> LoadedModel:
    if order.folder is not None:
        model = load_model(order.folder.absolute())
    elif order.model in TASKS:
        model = next(m for task, m in models_for(settings).active.items() if task == order.model)
    else:
        raise ConfigurationError(f"there is no model {order.model}; models are {', '.join(TASKS)}")
    if model.state != "ok":
        raise ConfigurationError(f"{order.model} cannot be asked ({model.state}): {model.sentence}")
    return model


@dataclass(frozen=True)
class FineTuneOrder:
    """What `models finetune` was asked. The new version lies in `[models] dir` and speaks only once it is activated."""

    model: str
    table: Path
    version: str
    held_share: float = 0.3
    seed: int = 1


def fine_tune_model(settings: Settings, order: FineTuneOrder) -> str:
    """Adapt a shipped model to the site's cases. Raises ConfigurationError where that cannot be."""
    if settings.models.dir is None:
        raise ConfigurationError("models.dir: no folder for the site's own models is configured")
    try:
        from onnx_models.training.fine_tune import FineTuning, fine_tune
    except ModuleNotFoundError as error:
        text = f"{error.name} is not installed: fine-tuning needs the extra `train` and torch (docs/models.md)"
        raise ConfigurationError(text) from error
    base = _model(settings, EvaluationOrder(order.model, order.table))
    cases, left_out = read_site_cases(order.table, settings, base.preprocessing)
    try:
        wanted = FineTuning(settings.models.dir, order.version, order.held_share, order.seed)
        folder, lines = fine_tune(base, cases, wanted)
    except OnnxModelsError as error:
        raise ConfigurationError(str(error)) from error
    told = (f"written: {folder.parent.name}/{folder.name}", *lines, *left_out)
    return "\n".join((*told, "it is used only once it is activated: `ceus-node models activate`"))
