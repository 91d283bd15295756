"""The models of this process: opened and checked once, kept warm."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from dicom_node.config import Settings
from onnx_models.registry import Models, RegistryOptions


def models_for(settings: Settings) -> Models:
    """The shipped models under the site's overlay and pins; a fault of a model is its state, never an exception."""
    return _opened(settings.models.dir, tuple(sorted(settings.models.pins.items())))


@lru_cache(maxsize=2)
def _opened(overlay: Path | None, pins: tuple[tuple[str, str], ...]) -> Models:
    return Models.open(RegistryOptions(overlay=overlay, pins=dict(pins)))
