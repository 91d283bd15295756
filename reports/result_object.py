"""What every result object has in common: its place in the study, its equipment, its times, its bytes."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from pydicom.dataset import Dataset

from reports.codes import OWN_SCHEME, OWN_SCHEME_NAME, OWN_SCHEME_VERSION
from reports.equipment import MANUFACTURER, Equipment, contributing_equipment
from reports.model_use import ModelUse
from reports.source_header import FrameReference, SourceHeader
from reports.uids import ResultIdentity

RESEARCH_USE = "Research use only - not for diagnosis"
SERIES_NUMBERS = {"sr": 1, "sc": 2, "seg": 3, "pm": 4, "csps": 5}


@dataclass(frozen=True)
class EarlierReport:
    """The report that a revision follows: named in its Predecessor Documents, never overwritten."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str

    def dataset(self) -> Dataset:
        """What highdicom reads of a predecessor."""
        result = Dataset()
        result.SOPClassUID, result.SOPInstanceUID = self.sop_class_uid, self.sop_instance_uid
        result.SeriesInstanceUID, result.StudyInstanceUID = self.series_instance_uid, self.study_instance_uid
        return result


@dataclass(frozen=True, eq=False)
class ResultContext:
    """What a result object takes from outside: source, identity, time, device.

    now: the job's acceptance time, with its time zone. reference_frame: frame of the acquisition (from 0) that
    contours and pictures lie on. disclaimer: printed and coded on everything, never empty. revision: 0 for the node's
    own result; a reader's contour or a late baseline makes another, with its reason and the report that it follows.
    series_number_base: results are told from the scanner's series by their own range of numbers.
    """

    source: SourceHeader
    identity: ResultIdentity
    equipment: Equipment
    now: datetime
    reference_frame: int = 0
    disclaimer: str = RESEARCH_USE
    series_number_base: int = 9000
    revision: int = 0
    revision_reason: str = ""
    predecessor: EarlierReport | None = None

    def __post_init__(self) -> None:
        if self.now.tzinfo is None:
            object.__setattr__(self, "now", self.now.astimezone())
        if not self.disclaimer.strip():
            object.__setattr__(self, "disclaimer", RESEARCH_USE)

    @property
    def frame(self) -> FrameReference:
        """Where the reference frame lies."""
        return self.source.frame(self.reference_frame)

    def at_frame(self, frame: int) -> ResultContext:
        return replace(self, reference_frame=frame)

    def series_arguments(self, kind: str, description: str, index: int = 0) -> dict[str, object]:
        """The arguments that all highdicom constructors share. One series a kind, instances counted by `index`."""
        return {
            "series_instance_uid": self.identity.uid(f"series-{kind}"),
            "series_number": self.series_number_base + SERIES_NUMBERS[kind],
            "sop_instance_uid": self.identity.uid(kind, index),
            "instance_number": index + 1,
            "manufacturer": MANUFACTURER,
            "series_description": self.series_description(description),
        }

    def series_description(self, description: str) -> str:
        """At most 64 characters (VR LO); a revision says its number and why."""
        if self.revision:
            description = f"{description} rev {self.revision}: {self.revision_reason}"
        return description[:64].rstrip()


def finish(dataset: Dataset, context: ResultContext, models: Iterable[ModelUse] = ()) -> None:
    """Give an object its patient, study, equipment, times and character set, as the source and the caller say, and
    name the models that had a part in it.

    highdicom stamps the clock of the moment and leaves out what its arguments do not name: both are put right here.
    """
    dataset.update(context.source.patient_and_study())
    context.equipment.write(dataset)
    now = context.source.local_time(context.now)
    date, time = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    content = "PresentationCreation" if dataset.Modality == "PR" else "Content"
    for name in (content, "InstanceCreation", "Series"):
        setattr(dataset, f"{name}Date", date)
        setattr(dataset, f"{name}Time", time)
    if "ContributingEquipmentSequence" in dataset:  # names the library with its own time stamp
        del dataset.ContributingEquipmentSequence
    if contributing := contributing_equipment(models, now.strftime("%Y%m%d%H%M%S")):
        dataset.ContributingEquipmentSequence = contributing
    scheme = Dataset()
    scheme.CodingSchemeDesignator = OWN_SCHEME
    scheme.CodingSchemeName = OWN_SCHEME_NAME
    scheme.CodingSchemeVersion = OWN_SCHEME_VERSION
    scheme.CodingSchemeResponsibleOrganization = MANUFACTURER
    dataset.CodingSchemeIdentificationSequence = [scheme]
    context.source.write_character_set(dataset)


UNPAIRED = frozenset(
    [
        "LIVER",
        "ABDOMEN",
        "ABDOMENPELVIS",
        "THYROID",
        "NECK",
        "CHEST",
        "HEART",
        "PROSTATE",
        "PANCREAS",
        "SPLEEN",
        "BLADDER",
        "UTERUS",
        "GALLBLADDER",
        "BRAIN",
        "HEAD",
        "PELVIS",
        "AORTA",
        "STOMACH",
        "RECTUM",
        "COLON",
        "SKULL",
        "ESOPHAGUS",
        "PENIS",
        "CERVIX",
        "VAGINA",
        "WHOLEBODY",
        "SPINE",
        "LSPINE",
        "TSPINE",
        "CSPINE",
        "TRACHEA",
        "MEDIASTINUM",
        "DUODENUM",
        "JEJUNUM",
        "ILEUM",
        "LARYNX",
        "PHARYNX",
        "TONGUE",
        "BACK",
        "THYMUS",
        "URETHRA",
    ]
)
"""Body parts that have no side (PS3.16 Annex L): Laterality must then be absent."""


def write_body_part(dataset: Dataset, source: Dataset) -> None:
    """Body part and side as the source says them; a side that nobody recorded is written as unknown (type 2C)."""
    body_part = str(source.get("BodyPartExamined") or "")
    if body_part:
        dataset.BodyPartExamined = body_part
    if body_part not in UNPAIRED:
        dataset.Laterality = source.get("Laterality") or ""


def dicom_bytes(dataset: Dataset) -> bytes:
    """The object as a DICOM file (PS3.10); equal objects give equal bytes."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
