"""What the board wants to know of a result folder, read once for as long as the folder does not change."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicom_node.jobs import Job
from dicom_node.results import DeliveryLedger, ResultFolder


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


class ResultDigests:
    """Digests of all results under one root. The key is the time stamp of each file that can change."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, tuple[tuple[tuple[str, int], ...], ResultDigest]] = {}

    def of(self, job: Job) -> ResultDigest | None:
        """The digest of the job's result; None while there is none."""
        folder = ResultFolder(self._root, job.acquisition, job.name)
        stamps = _stamps(folder.path)
        if not any(name == "findings.json" for name, _ in stamps):
            self._known.pop(job.name, None)
            return None
        known = self._known.get(job.name)
        if known is None or known[0] != stamps:
            known = self._known[job.name] = (stamps, _read(folder, stamps))
        return known[1]


def _stamps(path: Path) -> tuple[tuple[str, int], ...]:
    """(name, modified) of the folder's files and, as delivery/NAME, of its ledgers."""
    stamps: list[tuple[str, int]] = []
    for folder, prefix in ((path, ""), (path / "delivery", "delivery/")):
        try:
            with os.scandir(folder) as entries:
                stamps += [
                    (prefix + entry.name, entry.stat().st_mtime_ns)
                    for entry in entries
                    if not entry.name.startswith(".") and entry.is_file()
                ]
        except FileNotFoundError:
            continue  # not measured, not delivered, or retired meanwhile
    return tuple(sorted(stamps))


def _read(folder: ResultFolder, stamps: tuple[tuple[str, int], ...]) -> ResultDigest:
    own = [(name, changed_ns) for name, changed_ns in stamps if "/" not in name]
    measured_at = datetime.fromtimestamp(max(changed_ns for _, changed_ns in own) / 1e9, UTC)
    files = tuple(name for name, _ in own)
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
