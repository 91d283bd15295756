"""One destination being asked for what it holds, the way its configuration says: DICOMweb, C-GET or C-MOVE."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from dicom_node import moving, retrieving, retrieving_web
from dicom_node.audit import trail_of
from dicom_node.config import DestinationSettings, Settings
from dicom_node.data_folder import DataFolder
from dicom_node.errors import UnreachableError
from dicom_node.retrieve_desk import RetrieveDesk
from dicom_node.retrieving import FoundSeries, PacsCall, SeriesQuery, WantedInstances
from dicom_node.retrieving_web import WebCall
from dicom_node.tls import client_context, remote_node


@dataclass(frozen=True)
class Asking:
    """One destination until a deadline on the monotonic clock."""

    settings: Settings
    destination: DestinationSettings
    deadline_s: float

    def find(self, query: SeriesQuery) -> tuple[FoundSeries, ...]:
        """Series of the patient. Raises UnreachableError, ConfigurationError as the TLS."""
        web = self._web()
        return retrieving.find_series(self._dimse(), query) if web is None else retrieving_web.find_series(web, query)

    def get(self, wanted: WantedInstances, folder: Path) -> tuple[Path, ...]:
        """Objects as files into the folder, over the web where the destination has a root. Raises as `find`."""
        web = self._web()
        return self.get_stored(wanted, folder) if web is None else retrieving_web.get_instances(web, wanted, folder)

    def get_stored(self, wanted: WantedInstances, folder: Path) -> tuple[Path, ...]:
        """Objects over associations: cines of a GB are no body of a web answer. Raises as `find`, and OSError."""
        call = self._dimse()
        if self.destination.retrieve == "get":
            return retrieving.get_instances(call, wanted, folder)
        desk = RetrieveDesk(DataFolder(self.settings.node.data_dir).spool)
        return moving.move_instances(call, wanted, desk, folder)

    def _dimse(self) -> PacsCall:
        remote, trail = remote_node(self.settings, self.destination), trail_of(self.settings, "sender")
        return PacsCall(remote, self.settings.node.ae_title, self._left_s(), trail)

    def _web(self) -> WebCall | None:
        url = self.destination.dicomweb_url
        if not url:
            return None
        context = client_context(self.settings.security) if url.startswith("https:") else None
        return WebCall(url, self._left_s(), context, trail_of(self.settings, "sender"))

    def _left_s(self) -> float:
        left_s = self.deadline_s - time.monotonic()
        if left_s <= 0:
            raise UnreachableError(f"{self.destination.ae_title} did not answer in time")
        return left_s
