"""The SOP classes of the objects that this node makes: what a destination is asked to take."""

from __future__ import annotations

from typing import Literal

from pydicom.uid import (
    ColorSoftcopyPresentationStateStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

ObjectKind = Literal["sr", "sc", "seg", "pm", "pr"]

_SR = {
    "comprehensive_3d": Comprehensive3DSRStorage,
    "comprehensive": ComprehensiveSRStorage,
    "enhanced": EnhancedSRStorage,
}
_OTHERS = {
    "sc": SecondaryCaptureImageStorage,
    "seg": SegmentationStorage,
    "pm": ParametricMapStorage,
    "pr": ColorSoftcopyPresentationStateStorage,
}


def classes_of(kind: ObjectKind, sr_class: str) -> dict[str, str]:
    """Name and SOP Class UID of the objects of one kind, with the SR class that the site chose."""
    uid = _SR[sr_class] if kind == "sr" else _OTHERS[kind]
    return {uid.name: str(uid)}
