"""Held-out cines, drawn at a scanner's pixel size and frame rate, that models are judged by.

`python -m onnx_models.training.test_cines --out DIR`. A cine is kept as what the run-time needs of it: its
maps, and the power of its cells in bins of 1 s (dB), from which the curve of any mask follows.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnx_models.loaded import ClipFacts
from onnx_models.segment import LesionInputs
from onnx_models.training.anatomies import draw_plan
from onnx_models.training.cines import MECHANISMS, Mechanism, Sampling, simulate
from onnx_models.training.map_sets import TEST_SEED
from onnx_models.training.processor_time import ASIDE, stage
from processing.cine import Cine, Spacing
from processing.model_inputs import LATEST, ModelInputParameters, boxes_of, model_inputs, parameters_of

FRAME_RATE_HZ = 5.0


@dataclass(frozen=True, eq=False)
class TestCine:
    """inputs: what the lesion model is asked with. lesion: bool (z, x) on the panel's pixels, empty where the right
    answer is to abstain. cell_db: float16 (second, H, W), power of each cell."""

    __test__ = False  # not a test of pytest

    seed: int
    mechanism: str
    contrast: str
    small_animal: bool
    lesion_mm: float
    inputs: LesionInputs
    lesion: NDArray[np.bool_]
    cell_db: NDArray[np.float16]


def sampling_of(seed: int) -> Sampling:
    """A panel of 180 to 320 pixels along its longer side: 0.04 to 0.4 mm each."""
    share = np.random.default_rng((seed, 19)).uniform(180, 320)
    return Sampling(pixel_mm=max(draw_plan(seed).size_mm) / float(share), frame_rate_hz=FRAME_RATE_HZ, looks=1)


def make_test_cine(
    seed: int, mechanism: Mechanism, sampling: Sampling | None = None, preprocessing: str = LATEST
) -> TestCine:
    """Draw, display, compress, linearise and map one held-out examination."""
    example = simulate(seed, mechanism, sampling or sampling_of(seed))
    cine, plan = example.cine, example.plan
    parameters = parameters_of(cine, preprocessing)
    mapped = model_inputs(cine, parameters=parameters)
    spacing = cine.spacing_mm or Spacing(0.25, 0.25)
    facts = ClipFacts(
        frames=cine.frame_times_s.size,
        duration_s=cine.duration_s,
        frame_rate_hz=cine.frame_rate_hz,
        dynamic_range_db=plan.dynamic_range_db,
        pixel_mm=spacing.z_mm,
    )
    shape = (cine.valid.shape[0], cine.valid.shape[1])
    inputs = LesionInputs(mapped.maps, mapped.valid, mapped.cell_mm, shape, spacing, facts)
    return TestCine(
        seed,
        mechanism,
        plan.contrast,
        plan.small_animal,
        plan.lesion_mm,
        inputs,
        example.lesion,
        _cells(cine, parameters),
    )


def _cells(cine: Cine, parameters: ModelInputParameters) -> NDArray[np.float16]:
    """Mean power of each cell's own square in bins of 1 s, in dB."""
    down, right = boxes_of(cine, replace(parameters, box_mm=parameters.cell_mm))
    weight = np.maximum(down @ cine.valid.astype(np.float32) @ right.T, 1e-9)
    second = (cine.frame_times_s - cine.frame_times_s[0]).astype(np.intp)
    movie = np.empty((second.max() + 1, *weight.shape), dtype=np.float16)
    for k in range(movie.shape[0]):
        mean = cine.contrast[second == k].mean(axis=0) * cine.valid
        movie[k] = 10 * np.log10(np.maximum(down @ mean @ right.T / weight, 1e-8))
    return movie


_NAMES = ("seed", "mechanism", "contrast", "small_animal", "lesion_mm")


def save_test_cine(folder: Path, cine: TestCine) -> None:
    """One npz a cine."""
    facts = {name: getattr(cine, name) for name in _NAMES}
    facts |= {"facts": asdict(cine.inputs.facts), "spacing": list(cine.inputs.spacing_mm)}
    facts |= {"cell_mm": cine.inputs.cell_mm}
    np.savez_compressed(
        folder / f"{cine.mechanism.replace(' ', '-')}-{cine.seed}.npz",
        facts=np.array(json.dumps(facts)),
        maps=cine.inputs.maps,
        valid=cine.inputs.valid,
        lesion=cine.lesion,
        cell_db=cine.cell_db,
    )


def load_test_cine(path: Path) -> TestCine:
    """Read what `save_test_cine` wrote."""
    with np.load(path) as stored:
        said = json.loads(str(stored["facts"]))
        lesion = stored["lesion"]
        inputs = LesionInputs(
            stored["maps"],
            stored["valid"],
            said["cell_mm"],
            (lesion.shape[0], lesion.shape[1]),
            Spacing(*said["spacing"]),
            ClipFacts(**said["facts"]),
        )
        return TestCine(
            **{name: said[name] for name in _NAMES}, inputs=inputs, lesion=lesion, cell_db=stored["cell_db"]
        )


HELD_OUT = range(260, 360)
"""Of each mechanism. Those before stood on the cards of versions 1 to 5 and had been looked at when version 6 was made;
these had not."""


def held_out_seeds() -> list[tuple[int, Mechanism]]:
    """Seed and mechanism of every cine of the test set."""
    return [(TEST_SEED + 100_000 * place + n, m) for n in HELD_OUT for place, m in enumerate(MECHANISMS)]


def make_test_set(folder: Path) -> None:
    """The test set; cines that are there are kept."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, mechanism in held_out_seeds():
        if not (folder / f"{mechanism.replace(' ', '-')}-{seed}.npz").exists():
            with stage(folder, f"{ASIDE}held-out cines"):
                cine = make_test_cine(seed, mechanism)
            save_test_cine(folder, cine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    make_test_set(parser.parse_args().out)


if __name__ == "__main__":
    main()
