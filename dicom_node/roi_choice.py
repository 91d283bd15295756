"""Which ROIs are measured: reader's contour, then a file, then the lesion model, then the whole panel.

Each step down is said in the findings; without a lesion there is no reference, no ratio and no comparison.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dicom_node.config import Settings
from dicom_node.errors import ConfigurationError
from dicom_node.model_room import lesion_inputs, models_for, use_of
from dicom_node.reader_contours import ReaderRois
from dicom_node.shadow_models import shadow_of_lesion
from onnx_models.identity import Refusal
from onnx_models.segment import Segmentation, segment_lesion
from processing.cine import Cine
from processing.errors import UnfitCineError
from processing.limitations import Limitation
from processing.model_inputs import ModelInputs, model_inputs, parameters_of
from processing.reference_roi import choose_reference
from processing.roi import Roi, RoiLabel, panel_roi
from reports.model_use import ModelUse, ShadowUse


@dataclass(frozen=True)
class GivenMasks:
    """Full-frame PNG masks that the user handed in (non-zero = inside), and what a reader drew, which goes first."""

    lesion: Path | None = None
    reference: Path | None = None
    reader: ReaderRois | None = None


NO_MASKS = GivenMasks()


@dataclass(frozen=True, eq=False)
class ChosenRois:
    """The ROIs to measure, the first one being what the report is about; `digest` of the masks that were given; `maps`
    that the lesion model saw."""

    rois: tuple[Roi, ...]
    limitations: tuple[Limitation, ...] = ()
    models: tuple[ModelUse, ...] = ()
    digest: str = ""
    maps: ModelInputs | None = None
    shadows: tuple[ShadowUse, ...] = ()


def choose_rois(
    cine: Cine, rejected: NDArray[np.bool_], given: GivenMasks, settings: Settings, dynamic_range_db: float | None
) -> ChosenRois:
    """Find the lesion and its reference. Raises ConfigurationError where a given mask cannot be used."""
    said = () if given.reader is None else given.reader.limitations
    handed_in = _handed_in("lesion", given, cine)
    if handed_in is not None:
        reference, limitations = _reference(handed_in, given, cine)
        return ChosenRois((handed_in, *reference), (*said, *limitations), digest=_digest(given))
    if settings.analysis.roi == "reader":
        waiting = Limitation(
            "waits_for_reader", "a reader's lesion contour is awaited: [analysis] roi = reader", "degraded", ("rois",)
        )
        return _whole_panel(cine, given, (*said, waiting))
    try:
        wanted = models_for(settings).active["lesion_seg"].preprocessing
        maps = model_inputs(cine, rejected, parameters_of(cine, wanted))
    except UnfitCineError as error:
        return _whole_panel(cine, given, (*said, error.limitation))
    found = _by_model(cine, maps, settings, dynamic_range_db)
    shadows = shadow_of_lesion(cine, rejected, found, settings, dynamic_range_db)
    if isinstance(found, Refusal):
        whole = _whole_panel(cine, given, (*said, found.limitation(("rois",))))
        return replace(whole, models=(use_of(found),), shadows=shadows)
    lesion = Roi(found.mask, "lesion", "model")
    reference, limitations = _reference(lesion, given, cine)
    said += (*found.limitations, *limitations)
    return ChosenRois((lesion, *reference), said, (use_of(found),), _digest(given), maps, shadows)


def _by_model(
    cine: Cine, maps: ModelInputs, settings: Settings, dynamic_range_db: float | None
) -> Segmentation | Refusal:
    return segment_lesion(models_for(settings), lesion_inputs(cine, maps, dynamic_range_db))


def _whole_panel(cine: Cine, given: GivenMasks, reasons: tuple[Limitation, ...]) -> ChosenRois:
    if given.reference is not None or (given.reader is not None and given.reader.reference is not None):
        text = "a reference was outlined but no lesion: nothing is compared with it"
        reasons += (Limitation("reference_without_lesion", text, "degraded", ("ratio", "difference")),)
    whole = Limitation(
        "whole_panel",
        "no lesion contour: the whole contrast panel was measured, lesion and surroundings together",
        "degraded",
        ("perfusion",),
    )
    return ChosenRois((panel_roi(cine.valid),), (*reasons, whole), digest=_digest(given))


def _reference(lesion: Roi, given: GivenMasks, cine: Cine) -> tuple[tuple[Roi, ...], tuple[Limitation, ...]]:
    handed_in = _handed_in("reference", given, cine)
    if handed_in is None:
        try:
            return (choose_reference(lesion, cine.valid, cine.spacing_mm),), ()
        except UnfitCineError as error:
            return (), (error.limitation,)
    if (handed_in.mask & lesion.mask).any():
        text = "the reference that was outlined overlaps the lesion: their ratio is nearer to 1 than it should be"
        return (handed_in,), (Limitation("reference_overlaps", text, "degraded", ("ratio", "difference")),)
    return (handed_in,), ()


def _handed_in(label: Literal["lesion", "reference"], given: GivenMasks, cine: Cine) -> Roi | None:
    """The reader's contour, else the file's; None where neither is there."""
    drawn = None if given.reader is None else getattr(given.reader, label)
    if drawn is not None:
        return Roi(drawn, label, "reader", confirmed=True)
    file: Path | None = getattr(given, label)
    return None if file is None else roi_from_file(file, label, cine)


def roi_from_file(path: Path, label: RoiLabel, cine: Cine) -> Roi:
    """The part of a full-frame mask that lies on the contrast panel."""
    try:
        with Image.open(path) as image:
            full = np.asarray(image.convert("L")) > 0
    except (OSError, UnidentifiedImageError) as error:
        raise ConfigurationError(f"the {label} mask {path} cannot be read as a picture") from error
    row, column = cine.origin_px
    rows, columns = cine.valid.shape
    if full.shape[0] < row + rows or full.shape[1] < column + columns:
        raise ConfigurationError(
            f"the {label} mask {path} is {full.shape[1]}x{full.shape[0]}: it must be as large as the cine's full frame"
        )
    mask = full[row : row + rows, column : column + columns] & cine.valid
    if not mask.any():
        raise ConfigurationError(f"the {label} mask {path} marks nothing on the contrast panel")
    return Roi(np.ascontiguousarray(mask), label, "file", confirmed=True)


def _digest(given: GivenMasks) -> str:
    """Of what was handed in; "" where nothing was."""
    parts = [path.read_bytes() for path in (given.lesion, given.reference) if path is not None]
    if given.reader is not None:
        parts.append(given.reader.digest.encode())
    return hashlib.sha256(b"".join(parts)).hexdigest() if parts else ""
