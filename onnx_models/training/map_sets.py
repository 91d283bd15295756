"""Sets of training maps on disk, made once from seeds: `python -m onnx_models.training.map_sets --out DIR`."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnx_models.training.anatomies import draw_plan
from onnx_models.training.cines import MECHANISMS, Mechanism, Sampling, simulate
from onnx_models.training.non_contrast import TURNED_UP, non_contrast_maps
from onnx_models.training.processor_time import stage
from processing.errors import UnfitCineError
from processing.model_inputs import mask_on_cells, model_inputs

PAD = np.array([-60, -60, -60, 2, 0], dtype=np.float32)[:, None, None]
"""What an invalid cell looks like in every channel."""
TRAIN_SEED, VALIDATION_SEED, TEST_SEED = 1_000_000, 2_000_000, 3_000_000
"""First seed of each set: no seed is in two of them, and a seed is a patient."""


@dataclass(frozen=True, eq=False)
class MapExample:
    """maps: float16 (5, H, W), lesion: bool (H, W), valid: bool (H, W) on cells of cell_mm; contrast: the stratum."""

    maps: NDArray[np.float16]
    lesion: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    contrast: str
    mechanism: str
    small_animal: bool
    seed: int
    cell_mm: float


def training_sampling(seed: int) -> Sampling:
    """Pixels and frames as various as scanners', coarse enough to draw a cine in a third of a second: 140 to 240 pixels
    along the longer side (0.05 to 0.5 mm), 2 or 3 frames a second, each of one or two independent speckles."""
    rng = np.random.default_rng((seed, 21))
    pixel_mm = max(draw_plan(seed).size_mm) / float(rng.uniform(140, 240))
    return Sampling(pixel_mm, frame_rate_hz=float(rng.choice((2.0, 3.0))), looks=int(rng.integers(1, 3)))


def make_example(seed: int, mechanism: Mechanism, sampling: Sampling | None = None) -> MapExample | None:
    """Maps of one simulated cine, None where it is unfit (which a node would say and not ask a model)."""
    example = simulate(seed, mechanism, sampling or training_sampling(seed))
    try:
        inputs = model_inputs(example.cine)
    except UnfitCineError:
        return None
    lesion = mask_on_cells(example.lesion, example.cine, inputs)
    plan = example.plan
    maps = inputs.maps.astype(np.float16)
    facts = (plan.contrast, mechanism, plan.small_animal, seed, inputs.cell_mm)
    return MapExample(maps, lesion, inputs.valid.copy(), *facts)


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
        with stage(folder, f"drawing cines, {mechanism}"):
            made = [make_example(seed, mechanism) for seed in range(first, min(first + 100, seeds.stop))]
        examples = [m for m in made if m is not None]
        arrays = {f"{name}_{k}": getattr(e, name) for k, e in enumerate(examples) for name in _ARRAYS}
        facts = [{name: getattr(e, name) for name in _FACTS} for e in examples]
        np.savez(shard, facts=np.array(json.dumps(facts)), allow_pickle=False, **arrays)


_ARRAYS = ("maps", "lesion", "valid")
_FACTS = ("contrast", "mechanism", "small_animal", "seed", "cell_mm")


TRAIN_CINES: dict[Mechanism, int] = {"perfusion field": 600, "bubble rim": 1700}
"""The second mechanism is the harder one: with as many cines, its validation Dice lay 0.07 lower."""
VALIDATION_CINES = 100
"""Of each mechanism."""


NOISE, NOISE_SEED, NOISE_OF_EACH = "turned up", TRAIN_SEED + 600_000, 40
"""What no contrast agent made, shown to the network with nothing to find: to its statistics a gain that is turned up
while the loop runs looks like contrast (version 4 drew a contour on 12 % of such noise)."""


def save_noise(folder: Path) -> None:
    """Maps of `TURNED_UP` inputs, each an example without a lesion."""
    shard = folder / f"train-{NOISE.replace(' ', '-')}-{NOISE_SEED}.npz"
    if shard.exists():
        return
    with stage(folder, f"drawing cines, {NOISE}"):
        seeds = [(NOISE_SEED + k, kind) for k in range(NOISE_OF_EACH) for kind in TURNED_UP]
        drawn = [non_contrast_maps(seed, kind) for seed, kind in seeds]
    arrays: dict[str, NDArray[np.generic]] = {}
    for k, (maps, valid) in enumerate(drawn):
        arrays |= {f"maps_{k}": maps.astype(np.float16), f"valid_{k}": valid, f"lesion_{k}": np.zeros_like(valid)}
    facts = [
        {"contrast": "none", "mechanism": NOISE, "small_animal": False, "seed": seed, "cell_mm": 0.25}
        for seed, _ in seeds
    ]
    np.savez(shard, facts=np.array(json.dumps(facts)), allow_pickle=False, **arrays)


def make_sets(folder: Path) -> None:
    """All sets; shards that are there are kept."""
    save_noise(folder)
    for place, mechanism in enumerate(MECHANISMS):
        for kind, start, count in (
            ("validation", VALIDATION_SEED, VALIDATION_CINES),
            ("train", TRAIN_SEED, TRAIN_CINES[mechanism]),
        ):
            first = start + 100_000 * place
            save_set(folder, mechanism, kind, range(first, first + count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    make_sets(parser.parse_args().out)


if __name__ == "__main__":
    main()
