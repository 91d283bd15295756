"""Where the node keeps its state: one folder, one name for each kind of thing in it."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from dicom_node.errors import ConfigurationError
from dicom_node.results import write_json


@dataclass(frozen=True)
class DataFolder:
    """The data folder of one node (`[node] data_dir`)."""

    root: Path

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def priors(self) -> Path:
        """What the PACS answered when a job asked for the patient's earlier results, one folder a job."""
        return self.root / "priors"

    @property
    def scratch(self) -> Path:
        """Files of running jobs only: emptied at every start."""
        return self.root / "scratch"

    @property
    def assembler_lock(self) -> Path:
        return self.root / "assembler.lock"

    @property
    def commitments(self) -> Path:
        """What destinations were asked to keep, and what they answered."""
        return self.spool / "commitments"

    @property
    def audit(self) -> Path:
        """The audit trail: the one place outside of objects that names patients."""
        return self.root / "audit"

    @property
    def roles(self) -> Path:
        """One lock file a role, held by its living processes."""
        return self.root / "roles"

    @property
    def wishes(self) -> Path:
        """What was asked for on the page and is not done yet."""
        return self.root / "wishes"

    def prepare(self) -> None:
        """Create the folders, readable by their owner only. Raises ConfigurationError naming the folder."""
        for folder in (self.root, self.spool, self.jobs, self.results, self.priors, self.scratch):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            except OSError as error:
                raise ConfigurationError(f"node.data_dir: cannot create {folder}: {error.strerror}") from error
            if not os.access(folder, os.W_OK | os.X_OK):
                raise ConfigurationError(f"node.data_dir: {folder} is not writable by this user")
        if not self._installation.exists():
            write_json(self._installation, {"serial_number": secrets.token_hex(8)})

    @property
    def serial_number(self) -> str:
        """Tells installations apart in the equipment of results; "offline" where no node was ever prepared here."""
        if not self._installation.exists():
            return "offline"
        return str(json.loads(self._installation.read_text(encoding="utf-8"))["serial_number"])

    @property
    def _installation(self) -> Path:
        return self.root / "installation.json"
