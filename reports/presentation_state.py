"""Presentation states that draw the measured outlines on the source itself.

Colour sources get a Color Softcopy Presentation State with the sRGB profile, grey ones a Grayscale one.
"""

from __future__ import annotations

import pkgutil
from copy import deepcopy

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from reports.derived_grid import ULTRASOUND_IMAGE, device_arguments, referencing_items
from reports.findings import Findings, RoiFinding
from reports.response_groups import outlining_models
from reports.result_object import ResultContext, finish, write_body_part

SRGB_PROFILE = "_icc_profiles/sRGB_v4_ICC_preference.icc"
"""The profile that highdicom ships: sources carry none, and a colour state must name the space it means."""
COLOURS = {"lesion": (230, 159, 0), "reference": (86, 180, 233)}
TITLES = {"lesion": "Lesion", "reference": "Reference"}


def presentation_state(findings: Findings, context: ResultContext) -> Dataset | None:
    """Outlines of lesion and reference on the reference frame; None where nothing was outlined."""
    outlined = [roi for roi in findings.rois if roi.label in COLOURS and len(roi.contour_px) >= 3]
    if not outlined:
        return None
    image = _referenced_image(context)
    colour = image.SamplesPerPixel == 3
    kind = hd.pr.ColorSoftcopyPresentationState if colour else hd.pr.GrayscaleSoftcopyPresentationState
    profile = {"icc_profile": pkgutil.get_data("highdicom", SRGB_PROFILE)} if colour else {}
    layers = {roi.label: _layer(roi, order) for order, roi in enumerate(outlined, start=1)}
    made: Dataset = kind(
        referenced_images=[image],
        content_label="CEUS_ROI",
        content_description="Regions of contrast-enhanced ultrasound",
        graphic_layers=list(layers.values()),
        graphic_annotations=[_annotation(roi, layers[roi.label], image) for roi in outlined],
        **context.series_arguments("csps", "CEUS outlines (research)"),
        **device_arguments(context),
        **profile,
    )
    _restore_references(made, context)
    finish(made, context, outlining_models(findings))
    write_body_part(made, context.source.first)
    return made


def _layer(roi: RoiFinding, order: int) -> hd.pr.GraphicLayer:
    return hd.pr.GraphicLayer(
        layer_name=roi.label.upper(),
        order=order,
        description=TITLES[roi.label],
        display_color=hd.color.CIELabColor.from_rgb(*COLOURS[roi.label]),
    )


def _annotation(roi: RoiFinding, layer: hd.pr.GraphicLayer, image: Dataset) -> hd.pr.GraphicAnnotation:
    # In PIXEL units the corner of the top-left pixel is 0, the far corner Columns, Rows (PS3.3 C.10.5): +0.5.
    points = np.array([*roi.contour_px, roi.contour_px[0]], dtype=np.float64) + 0.5
    points = np.clip(points, 0.0, (float(image.Columns), float(image.Rows)))
    return hd.pr.GraphicAnnotation(
        referenced_images=[image],
        graphic_layer=layer,
        graphic_objects=[
            hd.pr.GraphicObject(
                graphic_type="POLYLINE",
                graphic_data=points,
                units="PIXEL",
                tracking_id=f"{TITLES[roi.label]} {roi.number}",
                tracking_uid=roi.tracking_uid,
            )
        ],
    )


def _referenced_image(context: ResultContext) -> Dataset:
    """A single-frame stand-in of the source: highdicom takes every multi-frame class for an enhanced one."""
    frame = context.frame
    source = next(each for each in context.source.instances if each.SOPInstanceUID == frame.sop_instance_uid)
    image = next(each for each in context.source.evidence() if each.SOPInstanceUID == frame.sop_instance_uid)
    image.SOPClassUID = ULTRASOUND_IMAGE
    if "NumberOfFrames" in image:
        del image.NumberOfFrames
    # A palette is colour as well: grayscale states take MONOCHROME only (PS3.4 N.2.1).
    grey = str(source.get("PhotometricInterpretation", "MONOCHROME2")).startswith("MONOCHROME")
    image.SamplesPerPixel = 1 if grey else 3
    image.BitsAllocated = image.BitsStored = 8
    return image


def _restore_references(made: Dataset, context: ResultContext) -> None:
    """The true class everywhere; the frame where outlines are drawn, so that they show on that frame only."""
    frame = context.frame
    for _, item in referencing_items(made):
        if item.get("ReferencedSOPInstanceUID") == frame.sop_instance_uid:
            item.ReferencedSOPClassUID = frame.sop_class_uid
    for annotation in made.GraphicAnnotationSequence:
        annotation.ReferencedImageSequence = deepcopy(list(annotation.ReferencedImageSequence))
        for item in annotation.ReferencedImageSequence:
            if frame.frame_number is not None:
                item.ReferencedFrameNumber = frame.frame_number
