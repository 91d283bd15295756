"""The job engine behind a small port: launch, enqueue, cancel, resume, list.

DBOS keeps the schedule: what waits, what runs, what is to be tried again, and when. It only schedules; the spool and
the result folders are the truth, so its database can be deleted and is rebuilt from them (`dicom_node.workflow`).
Arguments and return values are job names and outcomes: no patient data enters the database.
"""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from dbos import DBOS, DBOSClient, DBOSConfig
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.config import Settings
from dicom_node.errors import NodeError

Role = Literal["analysis", "delivery"]

APPLICATION = "ceus-node"
WORKFLOW_SHAPE = "1"
"""Raised only when the order of steps changes: the engine's own version (a source hash) strands jobs at an upgrade."""
ANALYSIS_QUEUE = "analysis"
FETCHING = "<sources"
"""Ends the name of the workflow that has a job's retired images back before it is measured."""
PRIORS_QUEUE = "priors"
NOT_DONE = ("ENQUEUED", "DELAYED", "PENDING", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
POLL_S = 0.2
"""How often an idle role asks its queue: a tenth of the second that a user notices, at 0.1 % of a core with SQLite."""


@dataclass(frozen=True)
class QueueSpec:
    """A queue and how many of its jobs one role works on at the same time."""

    name: str
    concurrency: int


@dataclass(frozen=True)
class EngineJob:
    """One line of the engine's list."""

    workflow_id: str
    name: str
    state: str
    queue: str
    started_at: datetime | None = None


class EngineError(NodeError):
    """The engine's database does not answer."""


def delivery_queue(destination: str) -> str:
    """Each destination has a queue of its own: a PACS that is down never holds up another."""
    return f"delivery.{destination}"


def database_url(settings: Settings) -> str:
    """The engine's database: PostgreSQL where configured, else one SQLite file in the data folder."""
    return settings.database.url or f"sqlite:///{settings.node.data_dir / 'engine.sqlite'}"


def engine_file(settings: Settings) -> Path | None:
    """The SQLite file; None where the database is a server's."""
    url = database_url(settings)
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else None


def launch(settings: Settings, role: Role, listen: Sequence[QueueSpec], known: Sequence[QueueSpec] = ()) -> None:
    """Start this process as the executor of one role; unfinished jobs of the same role are taken up again.

    It works on the queues of `listen`, and may put jobs on those of `known`.

    Workflows must be defined before. The executor's name is host:role, for the default one ("local") would let each
    role steal the others' running jobs.
    """
    url, file = database_url(settings), engine_file(settings)
    if file is not None:
        _prefer_write_ahead_log(file)
    config: DBOSConfig = {
        "name": APPLICATION,
        "system_database_url": url,
        "application_version": WORKFLOW_SHAPE,
        "executor_id": f"{socket.gethostname()}:{role}",
        "log_level": "WARNING",
        "notification_listener_polling_interval_sec": POLL_S,
    }
    DBOS(config=config)
    DBOS.listen_queues([spec.name for spec in listen])
    DBOS.launch()
    for spec in (*listen, *known):
        DBOS.register_queue(
            spec.name, worker_concurrency=spec.concurrency, polling_interval_sec=POLL_S, on_conflict="always_update"
        )


def stop() -> None:
    """End this executor; what runs is left pending and is taken up at the next start."""
    DBOS.destroy(workflow_completion_timeout_sec=0)


class EngineClient:
    """Looks at and steers the engine from a process that runs no jobs. Raises EngineError without a database."""

    def __init__(self, settings: Settings) -> None:
        url, file = database_url(settings), engine_file(settings)
        if file is not None and not file.is_file():
            raise EngineError("the engine has no database yet: the worker creates it when it starts")
        try:
            self._client = DBOSClient(
                system_database_url=url, application_name=APPLICATION, retry_connection_errors=False
            )
        except SQLAlchemyError as error:
            raise EngineError(_database_fault(error)) from error

    def jobs(self, prefix: str = "") -> list[EngineJob]:
        """Every workflow whose name begins with `prefix`, newest first."""
        found = self._client.list_workflows(
            workflow_id_prefix=prefix or None, sort_desc=True, load_input=False, load_output=False
        )
        return [EngineJob(w.workflow_id, w.name, w.status, w.queue_name or "") for w in found]

    def unfinished(self) -> list[EngineJob]:
        """What waits, runs, or ended without success. Raises EngineError where the database does not answer."""
        try:
            found = self._client.list_workflows(status=list(NOT_DONE), load_input=False, load_output=False)
        except SQLAlchemyError as error:
            raise EngineError(_database_fault(error)) from error
        return [EngineJob(w.workflow_id, w.name, w.status, w.queue_name or "", _moment(w.dequeued_at)) for w in found]

    def forget(self, job_names: Sequence[str]) -> None:
        """Delete every workflow of these jobs. Raises EngineError where the database does not answer."""
        try:
            found = self._client.list_workflows(
                workflow_id_prefix=[f"{name}." for name in job_names], load_input=False, load_output=False
            )
            self._client.delete_workflows([w.workflow_id for w in found])
        except SQLAlchemyError as error:
            raise EngineError(_database_fault(error)) from error

    def cancel(self, workflow_id: str) -> None:
        """Stop a job at its next step."""
        self._client.cancel_workflow(workflow_id)

    def resume(self, workflow_id: str) -> None:
        """Run a cancelled or failed job on from its last finished step."""
        self._client.resume_workflow(workflow_id)

    def close(self) -> None:
        """Give the connections back."""
        self._client.destroy()


def _moment(epoch_ms: int | None) -> datetime | None:
    return None if epoch_ms is None else datetime.fromtimestamp(epoch_ms / 1000, UTC)


def _database_fault(error: SQLAlchemyError) -> str:
    """One line, without the statement and its link to SQLAlchemy's pages."""
    cause = getattr(error, "orig", None) or error
    return f"the engine's database does not answer: {str(cause).splitlines()[0]}"


def _prefer_write_ahead_log(file: Path) -> None:
    """Readers never wait for the writer, and a commit costs one fsync instead of three. The mode stays in the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(file)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
