"""Parts that measurement groups share: who is tracked, what was found, which frame it was measured on."""

from __future__ import annotations

import numpy as np
from highdicom.sr import ImageRegion, SourceImageForMeasurementGroup, SourceImageForRegion, TrackingIdentifier
from pydicom.sr.coding import Code

from reports import codes
from reports.findings import RoiFinding
from reports.source_header import FrameReference

FINDING: dict[str, Code] = {
    "lesion": codes.LESION,
    "reference": codes.own("REFERENCE"),
    "panel": codes.own("PANEL"),
}
TITLES = {"lesion": "Lesion", "reference": "Reference parenchyma", "panel": "Contrast panel"}


def tracking(roi: RoiFinding) -> TrackingIdentifier:
    name = TITLES[roi.label] if roi.label == "panel" else f"{TITLES[roi.label]} {roi.number}"
    return TrackingIdentifier(uid=roi.tracking_uid, identifier=name)


def source_image(frame: FrameReference) -> SourceImageForMeasurementGroup:
    return SourceImageForMeasurementGroup(frame.sop_class_uid, frame.sop_instance_uid, frame.frame_numbers)


def image_region(contour_px: tuple[tuple[float, float], ...], frame: FrameReference) -> ImageRegion:
    """A closed polyline on the source. SCOORD counts from the corner of the top-left pixel (PS3.3 C.18.6), +0.5."""
    points = np.array([*contour_px, contour_px[0]], dtype=np.float64) + 0.5
    source = SourceImageForRegion(frame.sop_class_uid, frame.sop_instance_uid, frame.frame_numbers)
    return ImageRegion("POLYLINE", np.maximum(points, 0.0), source)
