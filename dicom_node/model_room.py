"""The models of this process: opened and checked once, kept warm; and how a call of one stands in the findings."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from dicom_node.config import Settings
from onnx_models.classify import Classification
from onnx_models.identity import Refusal
from onnx_models.loaded import ClipFacts
from onnx_models.registry import Models, RegistryOptions
from onnx_models.segment import LesionInputs, Segmentation
from onnx_models.session import Device
from processing.cine import Cine
from processing.model_inputs import ModelInputs
from reports.model_use import ModelUse


def models_for(settings: Settings) -> Models:
    """The shipped models under the site's overlay and pins; a fault of a model is its state, never an exception."""
    return _opened(settings.models.dir, tuple(sorted(settings.models.pins.items())), settings.models.device)


def clip_facts(cine: Cine, dynamic_range_db: float | None) -> ClipFacts:
    """What a model's applicability is judged by. Uncalibrated cines never come here: their pixel counts as 0 mm."""
    pixel_mm = 0.0 if cine.spacing_mm is None else cine.spacing_mm.z_mm
    return ClipFacts(cine.frame_times_s.size, cine.duration_s, cine.frame_rate_hz, dynamic_range_db, pixel_mm)


def lesion_inputs(cine: Cine, maps: ModelInputs, dynamic_range_db: float | None) -> LesionInputs:
    """A cine's maps as a lesion model is asked with them."""
    assert cine.spacing_mm is not None  # noqa: S101 - an uncalibrated cine has no maps
    rows, columns = cine.valid.shape
    facts = clip_facts(cine, dynamic_range_db)
    return LesionInputs(maps.maps, maps.valid, maps.cell_mm, (rows, columns), cine.spacing_mm, facts)


def use_of(answer: Segmentation | Classification | Refusal) -> ModelUse:
    """A model that was asked, with the state that its guards gave it and what its answer depends on."""
    identity = answer.identity
    said = (identity.id, identity.version, identity.sha256, identity.provider)
    if isinstance(answer, Refusal):
        return ModelUse(*said, answer.state, answer.ood_score, device_uid=identity.device_uid)
    state = "abstained" if isinstance(answer, Classification) and answer.abstained else "ok"
    return ModelUse(*said, state, answer.ood_score, answer.threshold, answer.temperature, identity.device_uid)


@lru_cache(maxsize=2)
def _opened(overlay: Path | None, pins: tuple[tuple[str, str], ...], device: Device) -> Models:
    return Models.open(RegistryOptions(overlay=overlay, pins=dict(pins), device=device))
