"""What the audit trail says of files: their study, their patient, their classes. Read from the files' headers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicom_node.audit import Study

_TAGS = ["SOPClassUID", "PatientID", "StudyInstanceUID"]


def study_of(files: Sequence[Path]) -> Study | None:
    """The study of files that are all of one; None where there are none or they cannot be read."""
    classes: Counter[str] = Counter()
    identity = None
    for file in files:
        try:
            header = dcmread(file, specific_tags=_TAGS)
        except (OSError, InvalidDicomError):
            continue
        classes[str(header.get("SOPClassUID", ""))] += 1
        identity = str(header.get("StudyInstanceUID", "")), str(header.get("PatientID", ""))
    return None if identity is None else Study(*identity, classes)
