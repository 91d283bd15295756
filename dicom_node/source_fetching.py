"""Sources that retention has taken, back from the PACS: a late contour or retry measures the very images again.

What comes is kept in the spool as the answer to an own retrieve: it starts no job, and it is retired again with its
acquisition. Each image comes as the PACS stores it: decoded and coded anew it would measure a little otherwise.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import structlog
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pynetdicom.dsutils import split_dataset

from dicom_node.acquisition import Origin
from dicom_node.arrived_header import NODE_FACTS_CREATOR, read_arrived_header
from dicom_node.asking import Asking
from dicom_node.config import DestinationSettings, Settings
from dicom_node.data_folder import DataFolder
from dicom_node.errors import ConfigurationError, SourceGoneError, UnreachableError, UnreadableHeaderError
from dicom_node.jobs import Job
from dicom_node.results import ResultFolder
from dicom_node.retrieving import WantedInstances
from dicom_node.routing import READABLE_SYNTAXES
from dicom_node.spool import Spool, fsync_folder

log = structlog.get_logger()

LIMIT_S = 300.0
"""For each PACS: a cine of 1 GB over a ward's 100 Mbit/s takes 90 s."""
IMAGES = ("1.2.840.10008.5.1.4.1.1.3.1", "1.2.840.10008.5.1.4.1.1.6.1")
"""Ultrasound Multi-frame Image, Ultrasound Image: with every encoding 71 contexts, of the 128 that there may be."""


def missing_sources(job: Job) -> tuple[str, ...]:
    """SOP Instance UIDs of the job's images that lie here no more."""
    files = zip(job.sop_instance_uids, job.files, strict=True)
    return tuple(uid for uid, file in files if not Path(file).exists())


def fetch_sources(settings: Settings, job: Job) -> None:
    """Put what is missing back into the spool, from the first destination that has it.

    Raises SourceGoneError with what each destination said.
    """
    folder = DataFolder(settings.node.data_dir)
    said = []
    for destination in settings.destination:
        missing = missing_sources(job)
        if not missing:
            return
        wanted = _wanted(folder, job, missing)
        try:
            with _draft_folder(folder.spool / f".fetched-{job.name}") as draft:
                _fetch(settings, destination, wanted, draft)
        except (UnreachableError, ConfigurationError, OSError) as error:
            said.append(f"{destination.name}: {error}")
        else:
            said.append(f"{destination.name}: does not have them")
    missing = missing_sources(job)
    if missing:
        reasons = "; ".join(said) or "no destination is configured"
        raise SourceGoneError(
            f"{len(missing)} of its {len(job.files)} images have been retired here and cannot be fetched ({reasons})"
        )
    log.info("sources fetched again", job=job.name, images=len(job.files))


def _wanted(folder: DataFolder, job: Job, missing: tuple[str, ...]) -> WantedInstances:
    """Where the images lie, as any result of their acquisition says. Raises SourceGoneError where none is left."""
    for findings in sorted((folder.results / job.acquisition).glob("[!.]*/findings.json")):
        result = ResultFolder(folder.results, job.acquisition, findings.parent.name)
        source = result.findings()["source"]
        study, series = source["study_instance_uid"], source["series_instance_uid"]
        return WantedInstances(study, series, IMAGES, missing, tuple(sorted(READABLE_SYNTAXES)))
    raise SourceGoneError("its images have been retired here, and no result says where they came from")


@contextmanager
def _draft_folder(path: Path) -> Iterator[Path]:
    """A folder on the spool's own disk; what a crash left in it goes first."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _fetch(settings: Settings, destination: DestinationSettings, wanted: WantedInstances, draft: Path) -> None:
    spool = Spool(DataFolder(settings.node.data_dir).spool)
    asking = Asking(settings, destination, time.monotonic() + LIMIT_S)
    for path in asking.get_stored(wanted, draft):
        try:
            _keep(path, wanted, destination, spool)
        except UnreadableHeaderError as error:
            log.warning("what the PACS sent cannot be used", destination=destination.name, reason=str(error))


def _keep(path: Path, wanted: WantedInstances, destination: DestinationSettings, spool: Spool) -> None:
    """Under its final name, durably, with the node's own facts in its meta header. Raises UnreadableHeaderError."""
    header = read_arrived_header(path)
    uid = header.text("SOPInstanceUID")
    if uid not in wanted.sop_instance_uids or header.text("StudyInstanceUID") != wanted.study_instance_uid:
        raise UnreadableHeaderError("another object than the one that was asked for")
    final = spool.instance_path(uid)
    final.parent.mkdir(exist_ok=True)
    named = path.with_suffix(".named")
    meta, start = split_dataset(path)
    facts = {
        "origin": Origin.RETRIEVE,
        "peer_ae_title": destination.ae_title,
        "peer_host": destination.host,
        "received_at": datetime.now(UTC).isoformat(),
    }
    meta.PrivateInformationCreatorUID = pydicom.uid.UID(NODE_FACTS_CREATOR)
    meta.PrivateInformation = json.dumps(facts).encode() + b" "
    head = DicomBytesIO()
    write_file_meta_info(head, meta)
    with path.open("rb") as content, named.open("wb") as stream:
        stream.write(b"\0" * 128 + b"DICM" + head.getvalue())
        content.seek(start)
        shutil.copyfileobj(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    named.replace(final)
    fsync_folder(final.parent)
