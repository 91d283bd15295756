"""Logs: one JSON object a line on stdout, colours on a terminal; never a patient identifier.

UIDs and patient attributes are replaced by keyed words before anything is written: a UID leads back to a patient in
any PACS. `[log] uids = "plain"` keeps UIDs readable where a site wants that; names and patient IDs are never passed.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import warnings
from collections.abc import MutableMapping
from typing import Any

import structlog

from dicom_node.config import LogSettings

_UID = re.compile(r"\b[0-2](?:\.(?:0|[1-9]\d*)){5,}\b")
"""PS3.5 9.1: a UID of at least six components; shorter dotted numbers are versions and IP addresses."""


_QUOTING = ("pydicom", "pynetdicom")


def configure_logging(settings: LogSettings, role: str) -> None:
    """Set up structlog and the standard library's loggers of pynetdicom, uvicorn and the engine for this process."""
    console = settings.format == "console" or (settings.format == "auto" and sys.stdout.isatty())
    processors: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    if settings.uids == "hash":
        processors.append(_hash_uids)
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    )
    level = getattr(logging, settings.level.upper())
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(role=role)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=[_drop_meta, renderer], foreign_pre_chain=processors)
    )
    # Both libraries quote the values that they complain of: patient data must not reach a log. What matters is said
    # by our own events. (Their loggers' levels would not last: pydicom sets its own at import.)
    handler.addFilter(lambda record: not record.name.startswith(_QUOTING))
    warnings.filterwarnings("ignore", category=UserWarning, module="|".join(_QUOTING))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.WARNING))


def uid_word(uid: str) -> str:
    """A short word that stands for a UID: the same UID gives the same word, so that log lines can be joined."""
    return "uid-" + hashlib.sha256(uid.encode()).hexdigest()[:10]


def _hash_uids(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = _UID.sub(lambda match: uid_word(match.group()), value)
    return event


def _drop_meta(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.pop("_record", None)
    event.pop("_from_structlog", None)
    return event
