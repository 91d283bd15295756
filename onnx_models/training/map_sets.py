"""Sets of training maps on disk, made once from seeds: `python -m onnx_models.training.map_sets --out DIR`."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnx_models.training.cines import MECHANISMS, Mechanism, Sampling, simulate
from processing.errors import UnfitCineError
from processing.model_inputs import model_inputs

CANVAS = 256
"""Cells of 0.25 mm: 64 mm, the size that training panels are cut or padded to."""
PAD = np.array([-60, -60, -60, 2, 0], dtype=np.float32)[:, None, None]
"""What an invalid cell looks like in every channel."""
TRAIN_SEED, VALIDATION_SEED, TEST_SEED = 1_000_000, 2_000_000, 3_000_000
"""First seed of each set: no seed is in two of them, and a seed is a patient."""


@dataclass(frozen=True, eq=False)
class MapExample:
    """maps: float16 (5, H, W), lesion: bool (H, W), valid: bool (H, W); contrast: the stratum."""

    maps: NDArray[np.float16]
    lesion: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    contrast: str
    mechanism: str
    small_animal: bool
    seed: int


def make_example(seed: int, mechanism: Mechanism, sampling: Sampling | None = None) -> MapExample | None:
    """Maps of one simulated cine, None where it is unfit (which a node would say and not ask a model)."""
    example = simulate(seed, mechanism, sampling or Sampling(looks=1 + seed % 3))
    try:
        inputs = model_inputs(example.cine)
    except UnfitCineError:
        return None
    lesion = example.lesion
    if lesion.shape != inputs.valid.shape:
        rows, columns = (np.arange(n) + 0.5 for n in inputs.valid.shape)
        pixel = example.cine.spacing_mm.z_mm if example.cine.spacing_mm else 0.25
        z = np.clip(rows * inputs.cell_mm / pixel, 0, lesion.shape[0] - 1).astype(np.intp)
        x = np.clip(columns * inputs.cell_mm / pixel, 0, lesion.shape[1] - 1).astype(np.intp)
        lesion = lesion[z[:, None], x[None, :]]
    plan = example.plan
    maps = inputs.maps.astype(np.float16)
    return MapExample(maps, lesion, inputs.valid.copy(), plan.contrast, mechanism, plan.small_animal, seed)


def on_canvas(example: MapExample, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
    """Cut or pad to the canvas: maps (5, C, C), lesion (C, C), valid (C, C), float32. The place is random."""
    size = example.lesion.shape
    maps = np.broadcast_to(PAD, (5, CANVAS, CANVAS)).copy()
    lesion, valid = np.zeros((2, CANVAS, CANVAS), dtype=np.float32)
    source, target = [], []
    for extent in size:
        spare = extent - CANVAS
        offset = int(rng.integers(0, abs(spare) + 1))
        source.append(slice(max(0, offset if spare > 0 else 0), (offset if spare > 0 else 0) + min(extent, CANVAS)))
        start = 0 if spare > 0 else offset
        target.append(slice(start, start + min(extent, CANVAS)))
    maps[:, target[0], target[1]] = example.maps[:, source[0], source[1]]
    lesion[target[0], target[1]] = example.lesion[source[0], source[1]]
    valid[target[0], target[1]] = example.valid[source[0], source[1]]
    return maps, lesion, valid


def load_set(folder: Path, mechanism: str, kind: str) -> list[MapExample]:
    """All shards of one kind ("train", "validation") of one mechanism."""
    examples: list[MapExample] = []
    for shard in sorted(folder.glob(f"{kind}-{mechanism.replace(' ', '-')}-*.npz")):
        with np.load(shard) as stored:
            for k, facts in enumerate(json.loads(str(stored["facts"]))):
                arrays = [stored[f"{name}_{k}"] for name in _ARRAYS]
                examples.append(MapExample(*arrays, **facts))
    return examples


def save_set(folder: Path, mechanism: Mechanism, kind: str, seeds: range) -> None:
    """Make and store shards of 100; shards that exist are kept, so an interrupted run goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    for first in range(seeds.start, seeds.stop, 100):
        shard = folder / f"{kind}-{mechanism.replace(' ', '-')}-{first}.npz"
        if shard.exists():
            continue
        made = [make_example(seed, mechanism) for seed in range(first, min(first + 100, seeds.stop))]
        examples = [m for m in made if m is not None]
        arrays = {f"{name}_{k}": getattr(e, name) for k, e in enumerate(examples) for name in _ARRAYS}
        facts = [{name: getattr(e, name) for name in _FACTS} for e in examples]
        np.savez(shard, facts=np.array(json.dumps(facts)), allow_pickle=False, **arrays)


_ARRAYS = ("maps", "lesion", "valid")
_FACTS = ("contrast", "mechanism", "small_animal", "seed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--train", type=int, default=1500, help="cines of each mechanism")
    parser.add_argument("--validation", type=int, default=100)
    arguments = parser.parse_args()
    jobs = (("validation", VALIDATION_SEED, arguments.validation), ("train", TRAIN_SEED, arguments.train))
    for kind, start, count in jobs:
        # Both mechanisms grow together: training may begin on what is there.
        for part in range(0, count, 100):
            for place, mechanism in enumerate(MECHANISMS):
                first = start + 100_000 * place + part
                save_set(arguments.out, mechanism, kind, range(first, first + min(100, count - part)))


if __name__ == "__main__":
    main()
