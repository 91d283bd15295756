"""Whether a reader's contour may be measured: the same patient and study, a geometry that fits, one meaning.

Brings the numeric stack, which the worker otherwise leaves to its children: imported when the first contour comes.
"""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from dicom_node.cine_reader import open_cine
from dicom_node.errors import ContourRefusedError, UnreadableCineError
from dicom_node.jobs import Job
from dicom_node.reader_contours import captures_of, drawing_place
from dicom_node.results import ResultFolder
from reports.findings import Findings
from reports.findings_json import from_json
from reports.read_back.drawings import images_drawn_on, meant, read_drawings

CONTRADICTIONS = {
    "IssuerOfPatientID": "the issuer of the patient ID",
    "PatientBirthDate": "the birth date",
    "PatientSex": "the sex",
}


def images_of(contour: Path) -> frozenset[str]:
    """SOP Instance UIDs of the images that it is drawn on. Raises UnreadableObjectError, NothingDrawnError."""
    return images_drawn_on(pydicom.dcmread(contour))


def check_contour(contour: Path, job: Job, result: ResultFolder) -> None:
    """Check it against a measured job.

    Raises ContourRefusedError or UnreadableObjectError. A source that has been retired is fetched again when the
    revision begins, and the geometry is checked then.
    """
    dataset, report = pydicom.dcmread(contour), result.path / "sr.dcm"
    findings = from_json((result.path / "findings.json").read_text(encoding="utf-8"))
    if not report.is_file() or not findings.quality.contrast_found:
        raise ContourRefusedError("no contrast enhancement was found in the cine that it is drawn on")
    _check_patient(dataset, pydicom.dcmread(report, stop_before_pixels=True))
    if all(Path(file).exists() for file in job.files):
        _check_geometry(dataset, job, result, findings)


def _check_geometry(dataset: Dataset, job: Job, result: ResultFolder, findings: Findings) -> None:
    panels, spacing = findings.source.contrast_panel, findings.source.pixel_spacing_mm
    if panels is None:
        raise ContourRefusedError("the cine that it is drawn on has no contrast panel")
    try:
        source = open_cine([Path(file) for file in job.files])
    except UnreadableCineError as error:
        raise ContourRefusedError(f"the cine that it is drawn on cannot be read: {error}") from error
    place = drawing_place(source, panels, spacing, captures_of(result.root, job.acquisition))
    meant(read_drawings(dataset, place))


def _check_patient(contour: Dataset, report: Dataset) -> None:
    """Compared with our own report, which holds the source's patient and study letter by letter.

    Viewers drop what they do not know: an empty issuer, birth date or sex contradicts nothing, an empty ID does.
    """
    if contour.get("StudyInstanceUID") != report.StudyInstanceUID:
        raise ContourRefusedError("it belongs to another study than the image that it names")
    one, other = (_text(each, "PatientID") for each in (contour, report))
    if one != other or (not one and _name(contour) != _name(report)):
        raise ContourRefusedError("it belongs to another patient than the image that it names")
    for keyword, words in CONTRADICTIONS.items():
        if len({_text(contour, keyword), _text(report, keyword)} - {""}) > 1:
            raise ContourRefusedError(f"{words} contradicts that of the image that it names")


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def _name(dataset: Dataset) -> str:
    """Case and trailing empty components of a name mean nothing (PS3.5 6.2.1)."""
    return _text(dataset, "PatientName").casefold().rstrip("^ ")
