"""What the board wants to know of a result folder, read once for as long as the folder does not change."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicom_node.jobs import Job
from dicom_node.results import DeliveryLedger, ResultFolder

SETTLED_NS = 2_000_000_000
"""The coarsest clock tick of a file system in use (FAT, 2 s)."""


@dataclass(frozen=True)
class ResultDigest:
    """The outline of one result. `fault` is the sentence that says why the folder cannot be read, empty when it can."""

    files: tuple[str, ...]
    measured_at: datetime | None
    ledgers: tuple[DeliveryLedger, ...]
    contrast_found: bool | None = None
    contrast_reason: str = ""
    refused: int = 0
    degraded: int = 0
    fault: str = ""

    @property
    def why_nothing_is_sent(self) -> str:
        """The reason of a finished job that no destination gets anything of."""
        if self.contrast_found is False:
            reason = self.contrast_reason or "no contrast enhancement found"
            return f"not contrast-enhanced, so nothing is sent ({reason})"
        return "no configured destination takes any of its objects"

    def has(self, kinds: tuple[str, ...]) -> list[str]:
        """The DICOM files of the wanted kinds."""
        return [file for kind in kinds for file in self.files if file.startswith(kind) and file.endswith(".dcm")]


@dataclass(frozen=True)
class _Known:
    """A digest, the two folders it was read from with their time stamps, and when it was read."""

    places: tuple[Path, Path]
    stamps: tuple[int, int]
    read_ns: int
    digest: ResultDigest | None

    def holds(self, stamps: tuple[int, int]) -> bool:
        """Files are only ever renamed into place, which changes their folder's stamp; a stamp younger than the file
        system's clock tick may hide a second change."""
        return self.stamps == stamps and self.read_ns - max(stamps) > SETTLED_NS


class ResultDigests:
    """Digests of all results under one root: two looks at time stamps for each that did not change."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, _Known] = {}

    def of(self, job: Job) -> ResultDigest | None:
        """The digest of the job's result; None while there is none."""
        known = self._known.get(job.name)
        folder = ResultFolder(self._root, job.acquisition, job.name)
        places = (folder.path, folder.path / "delivery") if known is None else known.places
        stamps = (_changed_ns(places[0]), _changed_ns(places[1]))
        if known is None or not known.holds(stamps):
            read_ns = time.time_ns()
            known = self._known[job.name] = _Known(places, stamps, read_ns, _read(folder) if folder.complete else None)
        return known.digest


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0  # not measured, not delivered, or retired


def _read(folder: ResultFolder) -> ResultDigest | None:
    try:
        with os.scandir(folder.path) as entries:
            changed_ns = {e.name: e.stat().st_mtime_ns for e in entries if e.is_file()}
    except FileNotFoundError:
        return None  # retired between two looks
    measured_at = datetime.fromtimestamp(max(changed_ns.values()) / 1e9, UTC)
    files = tuple(sorted(changed_ns))
    try:
        quality: dict[str, Any] = folder.findings().get("quality") or {}
        ledgers = tuple(folder.ledgers())
    except (OSError, ValueError, TypeError, KeyError) as error:
        return ResultDigest(files, measured_at, (), fault=f"its result folder cannot be read: {error}")
    severities = [str(limitation.get("severity")) for limitation in quality.get("limitations") or ()]
    return ResultDigest(
        files=files,
        measured_at=measured_at,
        ledgers=ledgers,
        contrast_found=quality.get("contrast_found"),
        contrast_reason=quality.get("contrast_reason") or "",
        refused=severities.count("refused"),
        degraded=severities.count("degraded"),
    )


def load_findings(path: Path) -> dict[str, Any]:
    """findings.json of a result folder. Raises OSError or ValueError."""
    loaded: dict[str, Any] = json.loads((path / "findings.json").read_text(encoding="utf-8"))
    return loaded
