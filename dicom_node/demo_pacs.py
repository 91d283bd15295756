"""A small receiving PACS for the demo: keeps what it is sent as files, nothing more."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from dicom_node.status import Status

AE_TITLE = "DEMO_PACS"


class DemoPacs:
    """Listens on loopback until closed. `received` maps SOP Instance UIDs to files; `changed` wakes who waits."""

    def __init__(self, folder: Path, port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.port = port
        self.received: dict[str, Path] = {}
        self.changed = threading.Condition()
        entity = AE(ae_title=AE_TITLE)
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context(Verification)
        self._server = entity.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()

    def _store(self, event: Any) -> int:
        dataset: Dataset = event.dataset
        dataset.file_meta = FileMetaDataset(event.file_meta)
        file = self._folder / f"{dataset.Modality.lower()}-{len(self.received) + 1:02d}.dcm"
        dataset.save_as(file, enforce_file_format=True)
        with self.changed:
            self.received[str(dataset.SOPInstanceUID)] = file
            self.changed.notify_all()
        return Status.SUCCESS
