"""A site's data-set table read from disk: cines as the node itself would measure them, with the outlines given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from dicom_node.cine_reader import open_cine
from dicom_node.config import Settings
from dicom_node.errors import ConfigurationError, UnreadableCineError
from dicom_node.model_room import clip_facts
from dicom_node.roi_choice import roi_from_file
from dicom_node.site_profiles import match_profile
from onnx_models.errors import InvalidInputError
from onnx_models.segment import LesionInputs
from onnx_models.training.data_table import Case, read_table
from onnx_models.training.site_evaluation import SiteCase
from processing.cine import Cine
from processing.errors import UnfitCineError
from processing.intake import examine, take_cine
from processing.model_inputs import LATEST, mask_on_cells, model_inputs, parameters_of
from processing.motion import apply_motion, estimate_motion
from processing.protocols import protocol_named
from reports.errors import UnreadableObjectError
from reports.read_back.masks import read_masks


def read_site_cases(
    table: Path, settings: Settings, preprocessing: str = LATEST
) -> tuple[tuple[SiteCase, ...], tuple[str, ...]]:
    """Every case of the table that can be measured, and a sentence for each that cannot.

    Paths are taken from the table's folder; maps are those of a model's preprocessing.
    Raises ConfigurationError where the table itself is wrong.
    """
    try:
        rows = read_table(table.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"cannot read the table {table}: {error.strerror}") from error
    except InvalidInputError as error:
        raise ConfigurationError(f"{table.name}: {error}") from error
    cases: list[SiteCase] = []
    left_out: list[str] = []
    for row in rows:
        try:
            cases.append(_case(row, table.parent, settings, preprocessing))
        except (UnreadableCineError, UnreadableObjectError, ConfigurationError) as error:
            left_out.append(f"{row.cine}: {error}")
        except UnfitCineError as error:
            left_out.append(f"{row.cine}: {error.limitation.text}")
    return tuple(cases), tuple(left_out)


def _case(row: Case, folder: Path, settings: Settings, preprocessing: str) -> SiteCase:
    source = open_cine((folder / row.cine,))
    profile, _ = match_profile(settings, source.facts, "")
    examination = examine(source, profile, agent_recorded=bool(source.facts.agent))
    if not examination.evidence.found:
        raise ConfigurationError(f"no contrast was found ({examination.evidence.reason})")
    intake = take_cine(source, examination, np.empty)
    motion = estimate_motion(intake.cine, protocol_named(settings.analysis.protocol).motion)
    cine = apply_motion(intake.cine, motion, None)
    rejected = motion.rejected.copy()
    rejected[list(intake.quality.flash_frames)] = True
    maps = model_inputs(cine, rejected, parameters_of(cine, preprocessing))
    lesion = _outline(folder / row.mask, cine)
    assert cine.spacing_mm is not None  # noqa: S101 - `model_inputs` refuses an uncalibrated cine
    rows, columns = cine.valid.shape
    facts = clip_facts(cine, examination.level_map.dynamic_range_db)
    inputs = LesionInputs(maps.maps, maps.valid, maps.cell_mm, (rows, columns), cine.spacing_mm, facts)
    return SiteCase(row, inputs, lesion, mask_on_cells(lesion, cine, maps))


def _outline(path: Path, cine: Cine) -> NDArray[np.bool_]:
    """A full-frame PNG, or a DICOM Segmentation on the cine's own pixels."""
    if path.suffix.lower() == ".png":
        return roi_from_file(path, "lesion", cine).mask
    try:
        masks = read_masks(pydicom.dcmread(path))
    except (OSError, InvalidDicomError) as error:
        raise ConfigurationError(f"the mask {path.name} cannot be read") from error
    drawn = next((mask for mask in masks if mask.label == "lesion"), masks[0])
    row, column = cine.origin_px
    rows, columns = cine.valid.shape
    full = drawn.on_frame(row + rows, column + columns, cine.spacing_mm) if drawn.spacing_mm else drawn.mask
    mask = np.ascontiguousarray(full[row : row + rows, column : column + columns])
    if mask.shape != cine.valid.shape or not (mask & cine.valid).any():
        raise ConfigurationError(f"the mask {path.name} marks nothing on the contrast panel")
    result: NDArray[np.bool_] = mask & cine.valid
    return result
