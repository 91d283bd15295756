"""What a header says of a cine, read defensively: real headers lie, and a broken value is an absent value.

No pixel is touched here. Lengths leave in mm (DICOM ultrasound regions carry cm), times in seconds.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.valuerep import DA, DT, TM

from processing.cine import Box, Spacing, TissueRegion
from processing.limitations import Limitation

# PS3.3 C.8.5.5.1: enumerated values of the ultrasound region calibration.
SPATIAL_FORMAT_2D = 1
DATA_TYPE_TISSUE = 1
UNIT_CM = 3
COMPONENT_UNIT_DB = 2
REGION_OVERHANG_PX = 2
"""Makers write X1 = Columns (one too many); a region that leaves the image by more belongs to another image size."""
PLAUSIBLE_SPACING_MM = (1e-3, 10.0)
"""Intravascular probes reach 0.01 mm a pixel, cardiac sectors 1 mm: outside of this the unit is wrong."""


@dataclass(frozen=True)
class CineFacts:
    """The header of one instance in plain types; "" or None = absent or unreadable.

    `acquired_at` is the header's own clock at the first frame; `acquired_from` names the attribute it came from.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    patient_id: str
    issuer_of_patient_id: str
    modality: str
    manufacturer: str
    model: str
    software: str
    transducer: str
    station: str
    processing_text: str
    agent: str
    dose_ml: float | None
    mechanical_index: float | None
    transfer_syntax_uid: str
    photometric: str
    frames: int
    rows: int
    columns: int
    laterality: str
    body_part: str
    series_description: str
    instance_number: int | None
    acquired_at: datetime | None
    acquired_from: str
    lossy: bool
    regions: tuple[TissueRegion, ...]
    doppler_regions: int
    view: str = ""
    frequency_mhz: float | None = None
    depth_mm: float | None = None
    time_point_types: tuple[tuple[str, str], ...] = ()
    """Clinical Trial Time Point Type: (scheme, value) of each code."""
    utc_offset_min: int | None = None
    """How far `acquired_at` is ahead of UTC, where the header says so."""


def value(ds: Dataset, keyword: str) -> Any:
    """The element's value, None where it is absent, empty or cannot be converted to its VR."""
    try:
        found = ds.get(keyword)
    except (ValueError, TypeError, OverflowError, NotImplementedError, KeyError, AttributeError, LookupError, OSError):
        return None  # a broken value is an absent value: what needs it then says so by name
    return None if found is None or found == "" else found


def text(ds: Dataset, keyword: str) -> str:
    """The element as one line of text; several values are joined by a backslash as in the file."""
    found = value(ds, keyword)
    if found is None:
        return ""
    if isinstance(found, str) or not isinstance(found, Iterable):
        return str(found).strip()
    return "\\".join(str(part).strip() for part in found)


def number(ds: Dataset, keyword: str) -> float | None:
    """The element as a finite number, None where it is none."""
    found = value(ds, keyword)
    try:
        result = float(found)
    except (TypeError, ValueError, OverflowError):
        return None
    return result if np.isfinite(result) else None


def integer(ds: Dataset, keyword: str) -> int | None:
    found = number(ds, keyword)
    return None if found is None else int(found)


def numbers(ds: Dataset, keyword: str) -> tuple[float, ...]:
    """A multi-valued element as finite numbers; empty where any of them is none."""
    found = value(ds, keyword)
    if found is None:
        return ()
    parts = [found] if isinstance(found, str) or not isinstance(found, Iterable) else list(found)
    try:
        result = tuple(float(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        return ()
    return result if np.isfinite(result).all() else ()


def read_facts(ds: Dataset) -> tuple[CineFacts, tuple[Limitation, ...]]:
    """Everything the node needs to know of one instance, and what is doubtful about it."""
    acquired_at, acquired_from = acquisition_start(ds)
    regions, doppler, limitations = tissue_regions(ds)
    facts = CineFacts(
        sop_class_uid=text(ds, "SOPClassUID"),
        sop_instance_uid=text(ds, "SOPInstanceUID"),
        study_instance_uid=text(ds, "StudyInstanceUID"),
        series_instance_uid=text(ds, "SeriesInstanceUID"),
        patient_id=text(ds, "PatientID"),
        issuer_of_patient_id=text(ds, "IssuerOfPatientID"),
        modality=text(ds, "Modality"),
        manufacturer=text(ds, "Manufacturer"),
        model=text(ds, "ManufacturerModelName"),
        software=text(ds, "SoftwareVersions"),
        transducer=text(ds, "TransducerData"),
        station=text(ds, "StationName"),
        processing_text=text(ds, "AcquisitionDeviceProcessingDescription"),
        agent=text(ds, "ContrastBolusAgent"),
        dose_ml=number(ds, "ContrastBolusVolume"),
        mechanical_index=number(ds, "MechanicalIndex"),
        transfer_syntax_uid=text(getattr(ds, "file_meta", Dataset()), "TransferSyntaxUID"),
        photometric=text(ds, "PhotometricInterpretation"),
        frames=max(integer(ds, "NumberOfFrames") or 1, 1),
        rows=integer(ds, "Rows") or 0,
        columns=integer(ds, "Columns") or 0,
        laterality=text(ds, "Laterality") or text(ds, "ImageLaterality"),
        body_part=text(ds, "BodyPartExamined") or _meaning(ds, "AnatomicRegionSequence"),
        series_description=text(ds, "SeriesDescription"),
        instance_number=integer(ds, "InstanceNumber"),
        acquired_at=acquired_at,
        acquired_from=acquired_from,
        lossy=text(ds, "LossyImageCompression") == "01",
        regions=regions,
        doppler_regions=doppler,
        view=_meaning(ds, "ViewCodeSequence") or text(ds, "ViewName"),
        frequency_mhz=_frequency_mhz(ds),
        depth_mm=number(ds, "DepthOfScanField"),  # PS3.3 C.8.5.6: mm
        time_point_types=_codes(ds, "ClinicalTrialTimePointTypeCodeSequence"),
        utc_offset_min=utc_offset_min(ds),
    )
    return facts, limitations


def _meaning(ds: Dataset, keyword: str) -> str:
    """What the first item of a code sequence means; "" where there is none."""
    items = _items(ds, keyword)
    return text(items[0], "CodeMeaning") if items else ""


def _frequency_mhz(ds: Dataset) -> float | None:
    """Transducer Frequency of the first calibrated region that states one, kHz in the file (PS3.3 C.8.5.5.1.9)."""
    stated = (number(item, "TransducerFrequency") for item in _items(ds, "SequenceOfUltrasoundRegions"))
    found = next((khz for khz in stated if khz), None)
    return None if found is None else found / 1000.0


def _items(ds: Dataset, keyword: str) -> list[Dataset]:
    try:
        return list(value(ds, keyword) or ())
    except TypeError:
        return []


def _codes(ds: Dataset, keyword: str) -> tuple[tuple[str, str], ...]:
    """(scheme, value) of each item of a code sequence."""
    return tuple((text(item, "CodingSchemeDesignator"), text(item, "CodeValue")) for item in _items(ds, keyword))


def acquisition_start(ds: Dataset) -> tuple[datetime | None, str]:
    """When the first frame was acquired and which attribute says so; naive, on the scanner's own clock.

    Acquisition DateTime (0008,002A), else Acquisition Date and Time (0008,0022/0032), else Content (0008,0023/0033).
    """
    try:
        stamp = DT(text(ds, "AcquisitionDateTime"))
    except (ValueError, OverflowError):
        stamp = None
    if stamp is not None and len(text(ds, "AcquisitionDateTime")) > 8:
        # The offset is dropped: everything else in this header is on the same clock without one.
        return stamp.replace(tzinfo=None), "AcquisitionDateTime"
    for date_keyword, time_keyword in (("AcquisitionDate", "AcquisitionTime"), ("ContentDate", "ContentTime")):
        date = text(ds, date_keyword) or text(ds, "StudyDate")
        moment = time_of_day(text(ds, time_keyword))
        try:
            day = DA(date)
        except (ValueError, OverflowError):
            continue
        if day is not None and moment is not None:
            return datetime.combine(day, moment), time_keyword
    return None, ""


def utc_offset_min(ds: Dataset) -> int | None:
    """Minutes that the scanner's clock is ahead of UTC: the suffix of Acquisition DateTime (PS3.5 6.2, DT), else
    Timezone Offset From UTC (0008,0201)."""
    found = re.fullmatch(r".*([+-])(\d\d)(\d\d)", text(ds, "AcquisitionDateTime")) or re.fullmatch(
        r"([+-])(\d\d)(\d\d)", text(ds, "TimezoneOffsetFromUTC")
    )
    if found is None:
        return None
    minutes = 60 * int(found[2]) + int(found[3])
    return -minutes if found[1] == "-" else minutes


def time_of_day(written: str) -> TM | None:
    """A DICOM TM, None where it is absent or broken."""
    try:
        return TM(written) if written else None
    except (ValueError, OverflowError):
        return None


def tissue_regions(ds: Dataset) -> tuple[tuple[TissueRegion, ...], int, tuple[Limitation, ...]]:
    """The 2D tissue regions in header order, the number of Doppler regions, and what is doubtful."""
    found: list[TissueRegion] = []
    limitations: list[Limitation] = []
    doppler = 0
    for item in _items(ds, "SequenceOfUltrasoundRegions"):
        data_type = integer(item, "RegionDataType")
        # PS3.3 C.8.5.5.1.2: 2 colour flow, 3 and 4 spectral Doppler.
        doppler += data_type in (2, 3, 4)
        if integer(item, "RegionSpatialFormat") == SPATIAL_FORMAT_2D and data_type == DATA_TYPE_TISSUE:
            region, doubt = _tissue_region(item, integer(ds, "Rows") or 0, integer(ds, "Columns") or 0)
            found += [region] if region else []
            limitations += doubt
    return tuple(found), doppler, tuple(limitations)


def _tissue_region(item: Dataset, rows: int, columns: int) -> tuple[TissueRegion | None, list[Limitation]]:
    corners = [integer(item, f"RegionLocation{name}") for name in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
    if any(corner is None for corner in corners):
        return None, []
    x0, y0, x1, y1 = (corner for corner in corners if corner is not None)
    # PS3.3 C.8.5.5: X1, Y1 is the last pixel inside.
    whole = Box(x0, y0, x1 + 1, y1 + 1)
    box = whole.within(rows, columns)
    if box.rows < 2 or box.columns < 2:
        return None, []
    overhang = max(whole.x1 - columns, whole.y1 - rows)
    if overhang > REGION_OVERHANG_PX:
        return TissueRegion(box, None), [
            Limitation(
                "region_exceeds_image",
                f"the calibrated region ends {overhang} pixels beyond the image: the pixels were rescaled after "
                "calibration, so its spacing is not used (store the cine in the scanner's own size)",
                "degraded",
                ("pixel_spacing_mm",),
            )
        ]
    return TissueRegion(box, _spacing_mm(item), _grey_to_db(item)), []


def _spacing_mm(item: Dataset) -> Spacing | None:
    """Physical Delta, cm -> mm, absolute: a negative delta only tells the axis' direction (PS3.3 C.8.5.5.1.8)."""
    units = {integer(item, "PhysicalUnitsXDirection"), integer(item, "PhysicalUnitsYDirection")}
    x_cm, z_cm = number(item, "PhysicalDeltaX"), number(item, "PhysicalDeltaY")
    if units != {UNIT_CM} or x_cm is None or z_cm is None:
        return None
    spacing = Spacing(abs(z_cm) * 10.0, abs(x_cm) * 10.0)
    low, high = PLAUSIBLE_SPACING_MM
    return spacing if all(low <= side <= high for side in spacing) else None


def _grey_to_db(item: Dataset) -> tuple[float, ...] | None:
    """256 levels in dB (0 = full scale) from the pixel component calibration, PS3.3 C.8.5.5.1.11 to .16."""
    if integer(item, "PixelComponentPhysicalUnits") != COMPONENT_UNIT_DB:
        return None
    pairs = (("TableOfPixelValues", "TableOfParameterValues"), ("TableOfXBreakPoints", "TableOfYBreakPoints"))
    for pixel_keyword, level_keyword in pairs:
        pixels, levels = numbers(item, pixel_keyword), numbers(item, level_keyword)
        if len(pixels) == len(levels) >= 2 and all(a < b for a, b in itertools.pairwise(pixels)):
            table = np.interp(np.arange(256), pixels, levels)
            rising = (np.diff(table) >= 0).all() and table[-1] > table[0]
            return tuple(float(level) for level in table - table[-1]) if rising else None
    return None
