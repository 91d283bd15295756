"""The simulated cines that `ceus-node simulate` writes and the demo sends."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from dicom_node.errors import ConfigurationError
from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.simulation.flow_scenes import VESSELS, flow_scene
from processing.simulation.other_scenes import bmode_scene, doppler_scene
from processing.simulation.scene import Scene
from processing.simulation.scenes import DEMO_BOLUS, bolus_scene, replenishment_scene

SCENES: dict[str, Callable[[int], Scene]] = {
    "bolus": lambda seed: bolus_scene(DEMO_BOLUS, seed),
    "small-bolus": lambda seed: bolus_scene(seed=seed),
    "replenishment": lambda seed: replenishment_scene(seed=seed),
    "vessels": lambda seed: flow_scene(VESSELS, seed),
    "bmode": lambda seed: bmode_scene(seed=seed),
    "doppler": lambda seed: doppler_scene(seed=seed),
}
ACQUIRED_AT = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
"""A fixed time: the same scene and seed give the same file, bit for bit."""


def write_simulation(out: Path, scene_name: str, seed: int) -> Path:
    """Write one simulated cine to `out` and its truth beside it (`.truth.json`).

    Raises ConfigurationError for a scene that does not exist.
    """
    if scene_name not in SCENES:
        raise ConfigurationError(f"there is no scene {scene_name}; scenes are {', '.join(SCENES)}")
    scene = SCENES[scene_name](seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        identity = CineIdentity(ACQUIRED_AT, study=f"simulated {scene_name} {seed}")
        shutil.move(write_cine(scene, Path(folder), identity), out)
    out.with_suffix(".truth.json").write_text(json.dumps(_truth(scene), indent=1), encoding="utf-8")
    return out


def _truth(scene: Scene) -> dict[str, object]:
    curves = {c.label: c for c in (scene.truth.panel, scene.truth.lesion, scene.truth.reference) if c is not None}
    return {
        label: {
            "peak_enhancement_au": curve.peak_enhancement_au,
            "time_to_peak_s": curve.time_to_peak_s,
            "baseline_au": curve.baseline_au,
            "bolus": None if curve.bolus is None else asdict(curve.bolus),
        }
        for label, curve in curves.items()
    }
