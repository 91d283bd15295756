"""Numbers of a structured report (TID 1500), ours or another's: concept, value, unit, interval, group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from reports import codes
from reports.errors import UnreadableObjectError
from reports.findings import Quantity

STRUCTURED_REPORTS = {
    "1.2.840.10008.5.1.4.1.1.88.22": "Enhanced SR",
    "1.2.840.10008.5.1.4.1.1.88.33": "Comprehensive SR",
    "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive 3D SR",
}
MEASUREMENT_GROUP, IMAGING_MEASUREMENTS = ("125007", "DCM"), ("126010", "DCM")
TRACKING_IDENTIFIER, TRACKING_UID, FINDING = ("112039", "DCM"), ("112040", "DCM"), ("121071", "DCM")
DERIVATION, METHOD, TIME_POINT_TYPE = ("121401", "DCM"), ("370129005", "SCT"), ("126072", "DCM")
INTERVAL = (codes.own("CI95").value, codes.OWN_SCHEME)
Key = tuple[str, str]


@dataclass(frozen=True)
class ReportedValue:
    """One number as the report says it."""

    concept: Code
    quantity: Quantity
    method: Code | None = None
    derivation: Code | None = None


@dataclass(frozen=True)
class ReportedGroup:
    """One measurement group; `baseline` where its time point is coded as such."""

    tracking_identifier: str
    tracking_uid: str
    finding: Code | None
    values: tuple[ReportedValue, ...]
    evaluations: tuple[tuple[Code, Code], ...] = ()
    baseline: bool = False

    def quantity(self, concept: Code, derivation: Code | None = None) -> Quantity | None:
        """The value of a concept under a derivation (None: under none); None where the group does not say it."""
        wanted = None if derivation is None else key(derivation)
        for value in self.values:
            said = None if value.derivation is None else key(value.derivation)
            if key(value.concept) == key(concept) and said == wanted:
                return value.quantity
        return None


@dataclass(frozen=True)
class ReadReport:
    """What a report says, with the identities that decide whether it may be used."""

    sop_instance_uid: str
    study_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    patient_birth_date: str
    patient_sex: str
    content_at: datetime | None
    manufacturer_model_name: str
    software_version: str
    groups: tuple[ReportedGroup, ...]
    statements: tuple[tuple[Code, str], ...]

    def of_finding(self, finding: Code) -> tuple[ReportedGroup, ...]:
        """The groups of one finding that are not a baseline quoted from an earlier report."""
        return tuple(g for g in self.groups if g.finding and key(g.finding) == key(finding) and not g.baseline)


def key(code: Code) -> Key:
    """Codes are equal by value and scheme; their meaning may be worded otherwise."""
    return code.value, code.scheme_designator


def read_report(dataset: Dataset) -> ReadReport:
    """Read a TID 1500 report. Raises UnreadableObjectError for another class or another template."""
    if dataset.get("SOPClassUID") not in STRUCTURED_REPORTS:
        raise UnreadableObjectError(f"SOP class {dataset.get('SOPClassUID')} is no structured report that is read here")
    measurements = [item for item in children(dataset) if name_of(item) == IMAGING_MEASUREMENTS]
    if not measurements:
        raise UnreadableObjectError("the report holds no imaging measurements (TID 1500)")
    groups = [g for item in measurements for g in children(item) if name_of(g) == MEASUREMENT_GROUP]
    return ReadReport(
        sop_instance_uid=str(dataset.SOPInstanceUID),
        study_instance_uid=str(dataset.StudyInstanceUID),
        patient_id=str(dataset.get("PatientID") or ""),
        issuer_of_patient_id=str(dataset.get("IssuerOfPatientID") or ""),
        patient_birth_date=str(dataset.get("PatientBirthDate") or ""),
        patient_sex=str(dataset.get("PatientSex") or ""),
        content_at=_content_time(dataset),
        manufacturer_model_name=str(dataset.get("ManufacturerModelName") or ""),
        software_version=str(dataset.get("SoftwareVersions") or ""),
        groups=tuple(_group(item) for item in groups),
        statements=tuple(_statements(dataset)),
    )


def children(item: Dataset) -> Iterator[Dataset]:
    """Content items directly below one."""
    yield from item.get("ContentSequence", ())


def name_of(item: Dataset) -> Key | None:
    """Concept name of a content item."""
    named = item.get("ConceptNameCodeSequence")
    return None if not named else (str(named[0].CodeValue), str(named[0].CodingSchemeDesignator))


def code_of(items: object) -> Code | None:
    """The first item of a code sequence, of whichever length its value has (PS3.3 8.8)."""
    if not items:
        return None
    item = items[0]  # type: ignore[index]
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    return Code(str(value), str(item.get("CodingSchemeDesignator") or ""), str(item.get("CodeMeaning") or ""))


def _group(item: Dataset) -> ReportedGroup:
    identifier = tracking = ""
    finding: Code | None = None
    baseline = False
    values: list[ReportedValue] = []
    evaluations: list[tuple[Code, Code]] = []
    for child in children(item):
        name, kind = name_of(child), child.get("ValueType")
        concept = code_of(child.get("ConceptNameCodeSequence"))
        coded = code_of(child.get("ConceptCodeSequence"))
        if name == TRACKING_IDENTIFIER:
            identifier = str(child.TextValue)
        elif name == TRACKING_UID:
            tracking = str(child.UID)
        elif name == FINDING:
            finding = coded
        elif name == TIME_POINT_TYPE and coded is not None:
            baseline = key(coded) == key(codes.BASELINE)
        elif kind == "NUM":
            values += _value(child)
        elif kind == "CODE" and concept is not None and coded is not None:
            evaluations.append((concept, coded))
    return ReportedGroup(identifier, tracking, finding, tuple(values), tuple(evaluations), baseline)


def _value(item: Dataset) -> list[ReportedValue]:
    concept = code_of(item.get("ConceptNameCodeSequence"))
    measured = item.get("MeasuredValueSequence")
    if not measured or concept is None:
        return []
    number = measured[0].get("FloatingPointValue")
    number = float(measured[0].NumericValue if number is None else number)
    unit = code_of(measured[0].MeasurementUnitsCodeSequence)
    low = high = None
    method = derivation = None
    for child in children(item):
        name = name_of(child)
        if name == INTERVAL:
            low, high = (float(words) for words in str(child.TextValue).split(" to "))
        elif name == METHOD:
            method = code_of(child.get("ConceptCodeSequence"))
        elif name == DERIVATION:
            derivation = code_of(child.get("ConceptCodeSequence"))
    quantity = Quantity(number, unit.value if unit else "1", low, high)
    return [ReportedValue(concept, quantity, method, derivation)]


def _statements(dataset: Dataset) -> Iterator[tuple[Code, str]]:
    for container in children(dataset):
        if name_of(container) == (codes.QUALITATIVE_EVALUATIONS.value, "UMLS"):
            for item in children(container):
                concept, coded = code_of(item.get("ConceptNameCodeSequence")), code_of(item.get("ConceptCodeSequence"))
                if concept is not None:
                    yield concept, str(item.get("TextValue") or (coded.meaning if coded else ""))


def _content_time(dataset: Dataset) -> datetime | None:
    """Local time of the report; None where its date or time cannot be read."""
    date, time = str(dataset.get("ContentDate") or ""), str(dataset.get("ContentTime") or "")
    try:
        return datetime.strptime(f"{date}{(time + '000000')[:6]}", "%Y%m%d%H%M%S")  # noqa: DTZ007 (local, as DICOM says)
    except ValueError:
        return None
