"""Outlines that a reader drew: out of structured reports and presentation states, as closed polygons.

Polyline, polygon, ellipse and circle become polygons in full-frame pixel-centre coordinates of the image they name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from processing.roi import RoiLabel
from reports import codes
from reports.contours import Contour
from reports.errors import NothingDrawnError, UnreadableObjectError
from reports.read_back.labels import label_of
from reports.read_back.report import FINDING, STRUCTURED_REPORTS, TRACKING_UID, children, code_of, key, name_of

PRESENTATION_STATES = {
    "1.2.840.10008.5.1.4.1.1.11.1": "Grayscale Softcopy Presentation State",
    "1.2.840.10008.5.1.4.1.1.11.2": "Color Softcopy Presentation State",
    "1.2.840.10008.5.1.4.1.1.11.3": "Pseudo-Color Softcopy Presentation State",
    "1.2.840.10008.5.1.4.1.1.11.4": "Blending Softcopy Presentation State",
}
PLANE_MM = 0.5
"""Half of the nominal slice thickness of our maps and masks: farther off, a point lies in another plane."""
CURVE_POINTS = 96
"""Corners of the polygon that stands for an ellipse: its area is then within 0.1 % of the ellipse's."""


@dataclass(frozen=True)
class Outline:
    """One closed outline. label: None where it is no lesion, reference or panel, or the object does not say what it is.

    frame_number: from 1, None: all. said: what the object calls it, in its own words; empty where it has none.
    frame_of_reference_uid: where it is drawn in space and not on an image; contour_px is then x, y in mm.
    """

    contour_px: Contour
    label: RoiLabel | None
    sop_instance_uid: str
    frame_number: int | None
    tracking_uid: str = ""
    said: str = ""
    frame_of_reference_uid: str = ""


def read_outlines(dataset: Dataset) -> tuple[Outline, ...]:
    """All outlines of a report or presentation state.

    Raises UnreadableObjectError for another class, for an outline that names no image and for one in units of the
    display (it cannot be laid on the source without knowing the screen), NothingDrawnError where there is none at all.
    """
    kind = dataset.get("SOPClassUID")
    if kind in STRUCTURED_REPORTS:
        found = tuple(_of_report(dataset, _Group()))
    elif kind in PRESENTATION_STATES:
        found = tuple(_of_presentation_state(dataset))
    else:
        raise UnreadableObjectError(f"SOP class {kind} holds no outlines that are read here")
    if not found:
        raise NothingDrawnError("the object holds no closed outline")
    return found


def polygon_of(graphic_type: str, data: Sequence[float]) -> Contour | None:
    """The polygon of a DICOM graphic in its own coordinates; None for what encloses nothing (point, open line)."""
    points = list(zip(map(float, data[::2]), map(float, data[1::2]), strict=True))
    if graphic_type in ("POLYLINE", "POLYGON", "INTERPOLATED"):
        closed = points[:-1] if points and points[0] == points[-1] else points
        return tuple(closed) if len(closed) >= 3 else None
    if graphic_type == "CIRCLE" and len(points) == 2:
        (x, y), (edge_x, edge_y) = points
        radius = math.hypot(edge_x - x, edge_y - y)
        return _ellipse((x, y), (radius, 0.0), (0.0, radius))
    if graphic_type == "ELLIPSE" and len(points) == 4:
        major, minor = (points[0], points[1]), (points[2], points[3])
        centre = ((major[0][0] + major[1][0]) / 2, (major[0][1] + major[1][1]) / 2)
        first = (major[1][0] - centre[0], major[1][1] - centre[1])
        return _ellipse(centre, first, ((minor[1][0] - minor[0][0]) / 2, (minor[1][1] - minor[0][1]) / 2))
    return None


def _ellipse(centre: tuple[float, float], first: tuple[float, float], second: tuple[float, float]) -> Contour:
    angles = [2 * math.pi * index / CURVE_POINTS for index in range(CURVE_POINTS)]
    return tuple(
        (
            centre[0] + math.cos(a) * first[0] + math.sin(a) * second[0],
            centre[1] + math.cos(a) * first[1] + math.sin(a) * second[1],
        )
        for a in angles
    )


@dataclass(frozen=True)
class _Group:
    """What the measurement group around an outline says of it."""

    label: RoiLabel | None = None
    said: str = ""
    tracking_uid: str = ""


def _of_report(item: Dataset, group: _Group) -> Iterator[Outline]:
    """SCOORD counts from the corner of the top-left pixel (PS3.3 C.18.6)."""
    for child in children(item):
        if name_of(child) == FINDING:
            finding = code_of(child.get("ConceptCodeSequence"))
            group = replace(group, label=_label_of_finding(finding), said="" if finding is None else finding.meaning)
        elif name_of(child) == TRACKING_UID:
            group = replace(group, tracking_uid=str(child.UID))
    for child in children(item):
        if child.get("ValueType") == "SCOORD":
            polygon = polygon_of(str(child.GraphicType), child.GraphicData)
            if polygon is not None:
                uid, frame = _referenced_image(child)
                yield Outline(_shifted(polygon), group.label, uid, frame, group.tracking_uid, group.said)
        elif child.get("ValueType") == "SCOORD3D":
            yield from _in_space(child, group)
        else:
            yield from _of_report(child, group)


def _in_space(item: Dataset, group: _Group) -> Iterator[Outline]:
    """SCOORD3D (PS3.3 C.18.9): x, y, z in mm; POLYGON is closed and planar, an ELLIPSE four points as in SCOORD."""
    values = list(map(float, item.GraphicData))
    x_y = [value for number, value in enumerate(values) if number % 3 < 2]
    polygon = polygon_of(str(item.GraphicType), x_y)
    if polygon is None:
        return
    if max(map(abs, values[2::3])) > PLANE_MM:
        raise UnreadableObjectError("an outline in space leaves the plane of the image")
    place = str(item.ReferencedFrameOfReferenceUID)
    yield Outline(polygon, group.label, "", None, group.tracking_uid, group.said, place)


def _label_of_finding(finding: Code | None) -> RoiLabel | None:
    labels: dict[tuple[str, str], RoiLabel] = {
        key(codes.LESION): "lesion",
        ("108369006", "SCT"): "lesion",  # neoplasm
        key(codes.own("REFERENCE")): "reference",
        key(codes.own("PANEL")): "panel",
        key(codes.own("QUALITY")): "panel",
    }
    return None if finding is None else labels.get(key(finding)) or label_of(finding.meaning)


def _referenced_image(item: Dataset) -> tuple[str, int | None]:
    for child in children(item):
        if referenced := child.get("ReferencedSOPSequence"):
            return _image_and_frame(referenced[0])
    raise UnreadableObjectError("an outline of the report names no image")


def _image_and_frame(item: Dataset) -> tuple[str, int | None]:
    frames = item.get("ReferencedFrameNumber")
    if frames is None:
        return str(item.ReferencedSOPInstanceUID), None
    first = frames if isinstance(frames, (int, str)) else frames[0]
    return str(item.ReferencedSOPInstanceUID), int(first)


def _of_presentation_state(dataset: Dataset) -> Iterator[Outline]:
    """PIXEL units count from the corner of the top-left pixel as well (PS3.3 C.10.5)."""
    for annotation in dataset.get("GraphicAnnotationSequence", ()):
        words = " ".join(str(t.get("UnformattedTextValue") or "") for t in annotation.get("TextObjectSequence", ()))
        for graphic in annotation.get("GraphicObjectSequence", ()):
            polygon = polygon_of(str(graphic.GraphicType), graphic.GraphicData)
            if polygon is None:
                continue
            if graphic.GraphicAnnotationUnits != "PIXEL":
                raise UnreadableObjectError(f"an outline is in {graphic.GraphicAnnotationUnits} units, not in pixels")
            named = f"{annotation.get('GraphicLayer', '')} {graphic.get('TrackingID', '')} {words}"
            tracking = str(graphic.get("TrackingUID") or "")
            for uid, frame in _annotated_images(annotation, dataset):
                yield Outline(_shifted(polygon), label_of(named), uid, frame, tracking, named.strip())


def _annotated_images(annotation: Dataset, dataset: Dataset) -> Iterator[tuple[str, int | None]]:
    images = annotation.get("ReferencedImageSequence")
    if not images:  # then the annotation is on every image of the state (PS3.3 C.10.5)
        images = [i for series in dataset.get("ReferencedSeriesSequence", ()) for i in series.ReferencedImageSequence]
    if not images:
        raise UnreadableObjectError("the presentation state names no image")
    for image in images:
        yield _image_and_frame(image)


def _shifted(contour: Contour) -> Contour:
    return tuple((x - 0.5, y - 0.5) for x, y in contour)
