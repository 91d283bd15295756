"""Objects and receivers for the network's tests: small DICOM files of every kind, and a node's receiver on loopback."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE

from dicom_node.acquisition import AssociationSummary, Peer
from dicom_node.inbox import SpoolLimits
from dicom_node.receiver import Receiver, ReceiverSettings, serve_receiver
from dicom_node.spool import Spool
from tests.peers import LOOPBACK

MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.3.1"
SINGLE_FRAME = "1.2.840.10008.5.1.4.1.1.6.1"
SCANNER = Peer("SCANNER", profile="site", priority=3)
ROOT = "1.2.826.0.1.3680043.10.1000"  # UIDs of the tests: a root of their own, under pydicom's


def uid_of(*numbers: int) -> str:
    """A UID that says which object it is."""
    return ".".join([ROOT, *map(str, numbers)])


@dataclass(frozen=True)
class Scene:
    """One object of one exam. `number` tells objects apart, `frames` of 8-bit noise of `size` x `size`."""

    number: int = 1
    patient: str = "P1"
    study: int = 1
    series: int = 1
    frames: int = 3
    size: int = 32
    sop_class: str = MULTI_FRAME
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def sop_instance_uid(self) -> str:
        return uid_of(9, self.number)

    def dataset(self) -> FileDataset:
        """The object, uncompressed explicit little endian."""
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = UID(self.sop_class)
        meta.MediaStorageSOPInstanceUID = UID(self.sop_instance_uid)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        dataset.SOPClassUID, dataset.SOPInstanceUID = self.sop_class, self.sop_instance_uid
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid_of(1, self.study), uid_of(2, self.series)
        dataset.PatientID, dataset.PatientName, dataset.Modality = self.patient, f"{self.patient}^NAME", "US"
        dataset.PatientBirthDate, dataset.PatientSex, dataset.StudyID = "19700101", "O", "1"
        dataset.SeriesNumber, dataset.InstanceNumber = self.series, self.number
        dataset.Manufacturer, dataset.ManufacturerModelName = "Scanner Works", "S1"
        if self.frames:
            self._add_pixels(dataset)
        for keyword, value in self.attributes.items():
            setattr(dataset, keyword, value)
        return dataset

    def _add_pixels(self, dataset: FileDataset) -> None:
        dataset.Rows = dataset.Columns = self.size
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation = 7, 0
        if self.frames > 1:
            dataset.NumberOfFrames, dataset.FrameTime, dataset.FrameIncrementPointer = self.frames, 50.0, 0x00181063
        rng = np.random.default_rng(self.number)
        dataset.PixelData = rng.integers(0, 256, self.frames * self.size**2, dtype=np.uint8).tobytes()

    def file(self, folder: Path) -> Path:
        """The object as a file in that folder."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.patient}-{self.study}-{self.series}-{self.number}.dcm"
        self.dataset().save_as(path, enforce_file_format=True)
        return path


class Node:
    """A receiver on a free port with its spool; `with Node(tmp_path) as node`."""

    def __init__(self, folder: Path, limits: SpoolLimits | None = None, **settings: Any) -> None:
        self.spool = Spool(folder / "spool")
        self.summaries: list[AssociationSummary] = []
        self.ended = threading.Semaphore(0)
        limits = limits or SpoolLimits(reserve_bytes=0)
        defaults: dict[str, Any] = {"port": 0, "peers": (SCANNER,), "network_timeout_s": 20.0}
        self._settings = ReceiverSettings(**{**defaults, **settings}, limits=limits)
        self._receiver: Receiver | None = None

    @property
    def port(self) -> int:
        assert self._receiver is not None
        return self._receiver.port

    def __enter__(self) -> Self:
        self._receiver = serve_receiver(self._settings, self.spool, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._receiver is not None
        self._receiver.stop(grace_s=2.0)

    def _note(self, summary: AssociationSummary) -> None:
        self.summaries.append(summary)
        self.ended.release()

    def files(self) -> list[str]:
        """Names of everything that is or looks like an object in the spool."""
        folders = ("incoming", "instances", "quarantine")
        return sorted(path.name for name in folders for path in (self.spool.root / name).rglob("*") if path.is_file())


def store_status(
    port: int, scene: Scene, *, calling: str = "SCANNER", dataset: Any = None, **options: Any
) -> int | None:
    """What the node answers to a C-STORE of that object over an association of its own; None: no association."""
    dataset = dataset if dataset is not None else scene.dataset()
    ae = AE(ae_title=calling)
    ae.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    assoc = ae.associate(LOOPBACK, port, ae_title="CEUS_NODE")
    if not assoc.is_established:
        return None
    try:
        return int(assoc.send_c_store(dataset, **options).Status)
    finally:
        assoc.release()
