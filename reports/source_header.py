"""The header of what was measured: patient, study, and which instance a frame of the acquisition lies in.

Real headers lack type 2 attributes, hold any character set and sit at the length limits; results must be valid all the
same and must belong to the same patient and study, letter by letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import PersonName

from reports.errors import SourceHeaderError

UTF_8 = "ISO_IR 192"

# Patient (C.7.1.1), General Study (C.7.2.1), Patient Study (C.7.2.2): type 2 first, then what is copied where present.
TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)
COPIED_WHERE_PRESENT = (
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "PatientBirthTime",
    "PatientSpeciesDescription",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "StudyDescription",
    "IssuerOfAccessionNumberSequence",
    "ProcedureCodeSequence",
    "ReferencedStudySequence",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "TimezoneOffsetFromUTC",
)
TEXT_VRS = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
"""Value representations that Specific Character Set governs (PS3.5 6.1.2.2)."""
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True)
class FrameReference:
    """One frame of the acquisition as DICOM names it; `frame_number` counts from 1, None in a single-frame object."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None

    @property
    def frame_numbers(self) -> list[int] | None:
        return None if self.frame_number is None else [self.frame_number]


@dataclass(frozen=True, eq=False)
class SourceHeader:
    """Headers of the instances of one acquisition, in the order of its frames; pixel data is never looked at.

    Raises SourceHeaderError when one lacks the UIDs by which a result refers to it, or lies in another study.
    """

    instances: tuple[Dataset, ...]

    def __post_init__(self) -> None:
        if not self.instances:
            raise SourceHeaderError("an acquisition has at least one instance")
        for instance in self.instances:
            for keyword in NEEDED:
                if not instance.get(keyword):
                    raise SourceHeaderError(f"the source lacks {keyword}")
        if len({str(instance.StudyInstanceUID) for instance in self.instances}) > 1:
            raise SourceHeaderError("the instances of an acquisition lie in one study")

    @property
    def first(self) -> Dataset:
        return self.instances[0]

    def frame(self, index: int) -> FrameReference:
        """Where frame `index` (from 0, over the whole acquisition) lies."""
        left = index
        for instance in self.instances:
            frames = int(instance.get("NumberOfFrames") or 1)
            if left < frames:
                multi_frame = "NumberOfFrames" in instance
                return FrameReference(
                    str(instance.SOPClassUID), str(instance.SOPInstanceUID), left + 1 if multi_frame else None
                )
            left -= frames
        raise SourceHeaderError(f"frame {index} is beyond the end of the acquisition")

    def local_time(self, now: datetime) -> datetime:
        """`now` in the time zone that the source's dates are in, where it says one (0008,0201)."""
        offset = str(self.first.get("TimezoneOffsetFromUTC") or "")
        if len(offset) != 5 or offset[0] not in "+-" or not offset[1:].isdigit():
            return now
        minutes = int(offset[1:3]) * 60 + int(offset[3:])
        return now.astimezone(timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)))

    def patient_and_study(self) -> Dataset:
        """Attributes of the Patient and Study entities as the source has them, missing type 2 ones empty."""
        result = Dataset()
        result.StudyInstanceUID = self.first.StudyInstanceUID
        for keyword in (*TYPE_2, *COPIED_WHERE_PRESENT):
            if keyword in self.first:
                element = self.first[keyword]
                result[element.tag] = DataElement(element.tag, element.VR, _decoded(element.value))
            elif keyword in TYPE_2:
                setattr(result, keyword, "")
        return result

    def write_character_set(self, dataset: Dataset) -> None:
        """The source's own character set where it can say all of `dataset`, else UTF-8 (limitations quote anything).

        Same set, same bytes: checkers and some PACS compare a study's patient names byte by byte.
        """
        declared = self.first.get("SpecificCharacterSet") or "ISO_IR 6"
        encodings = convert_encodings(declared)
        texts = (e for e in dataset.iterall() if e.VR in TEXT_VRS and e.value)
        fits = all(_encodable(str(value), encodings) for e in texts for value in (e.value if e.VM > 1 else [e.value]))
        dataset.SpecificCharacterSet = declared if fits and declared != "ISO_IR 6" else UTF_8

    def evidence(self) -> list[Dataset]:
        """Stand-ins of the instances for highdicom: identities, sizes and valid patient attributes, no more."""
        return [self._stand_in(instance) for instance in self.instances]

    def _stand_in(self, instance: Dataset) -> Dataset:
        result = Dataset()
        for keyword in TYPE_2:  # highdicom refuses odd values; `patient_and_study` puts the true ones back
            setattr(result, keyword, "")
        for keyword in NEEDED:
            setattr(result, keyword, str(instance[keyword].value))
        for keyword in ("Rows", "Columns", "NumberOfFrames", "Modality", "SeriesNumber", "InstanceNumber"):
            if instance.get(keyword) is not None:
                setattr(result, keyword, instance[keyword].value)
        return result


def _encodable(text: str, encodings: Sequence[str]) -> bool:
    for encoding in encodings:
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            continue
        return True
    return False


def _decoded(value: object) -> object:
    """A value free of its source's character set: person names keep their original bytes otherwise."""
    if isinstance(value, PersonName):
        return PersonName(str(value))
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_decoded(item) for item in value]
    if isinstance(value, Dataset):
        copied = deepcopy(value)
        copied.decode()
        for element in copied.iterall():
            element.value = _decoded(element.value) if element.VR == "PN" else element.value
        return copied
    return value
