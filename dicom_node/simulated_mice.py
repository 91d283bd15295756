"""The worked example of a site's own data: simulated mice with a tumour each, their cines, outlines and table.

`python -m dicom_node.simulated_mice --out DIR --mice 24` writes DICOM cines, PNG masks and `table.csv`, as a laboratory
would hand them to `ceus-node models evaluate` and `finetune` (docs/models.md). Everything in it is invented by a seed.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.simulation.anatomy import Anatomy, Ellipse
from processing.simulation.contrast_field import ContrastPhysics
from processing.simulation.kinetics import LogNormal
from processing.simulation.scene import Scene
from processing.simulation.scenes import PARENCHYMA, SMALL_BOLUS, ContrastParameters, bolus_scene
from processing.simulation.screen import Screen

_FACTS = ("subject", "tumour", "time_point", "treatment", "cine", "mask", "response")
COLUMNS = (*_FACTS, "baseline_mm", "nadir_mm", "now_mm")
ACQUIRED_AT = datetime(2026, 2, 2, 9, 0, tzinfo=UTC)
MOUSE = replace(
    SMALL_BOLUS,
    screen=Screen(rows=240, columns=320, depth_mm=18.0),
    physics=ContrastPhysics(psf_sigma_mm=(0.08, 0.14)),
    breathing=None,
)
"""18 mm deep: cells of 0.125 mm, a tumour of 6 to 9 mm."""
_CUT, _CHANCE = 0.5, 0.6
"""As in `onnx_models.training.response_cohorts`: the response follows from a latent phenotype and from chance."""


@dataclass(frozen=True)
class Mouse:
    """One animal: what grows in it, and what will come of it (mm: before, smallest, in the end)."""

    number: int
    phenotype: float
    diameters_mm: tuple[float, float, float]


def draw_mouse(number: int, seed: int) -> Mouse:
    """An animal of a seed. Diameters follow RECIST's limits: 0.6, 0.95 and 1.9 of the baseline."""
    rng = np.random.default_rng((seed, number))
    phenotype = float(rng.normal())
    score = phenotype + _CHANCE * float(rng.normal())
    share = 0.6 if score > _CUT else 1.9 if score < -_CUT else 0.95
    baseline_mm = float(rng.uniform(7, 10))
    return Mouse(number, phenotype, (baseline_mm, baseline_mm * min(share, 1.0), baseline_mm * share))


def mouse_scene(mouse: Mouse, seed: int, parameters: ContrastParameters = MOUSE) -> Scene:
    """Its tumour before treatment: the better perfused, the brighter and earlier."""
    rng = np.random.default_rng((seed, mouse.number, 1))
    gain_db = 4.0 + 2.0 * mouse.phenotype + float(rng.normal(0, 1))
    earlier_s = 0.6 * mouse.phenotype + float(rng.normal(0, 0.5))
    course = LogNormal.from_peak(
        peak_au=0.012 * 10 ** (gain_db / 10), time_to_peak_s=17.0 - earlier_s, start_s=8.5 - 0.5 * earlier_s, sigma=0.45
    )
    place = Ellipse(*(float(v) for v in rng.uniform((0.40, 0.42, 0.16, 0.2), (0.55, 0.58, 0.22, 0.3))))
    drawn = replace(parameters, lesion=course, parenchyma=PARENCHYMA, anatomy=Anatomy(lesion=place))
    return bolus_scene(drawn, seed * 1000 + mouse.number)


def write_mice(folder: Path, mice: int, seed: int = 1, parameters: ContrastParameters = MOUSE) -> Path:
    """Write cines, masks and the table; returns the table's path."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_written(folder, draw_mouse(number, seed), seed, parameters) for number in range(1, mice + 1)]
    table = folder / "table.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return table


def _written(folder: Path, mouse: Mouse, seed: int, parameters: ContrastParameters) -> dict[str, str]:
    scene, name = mouse_scene(mouse, seed, parameters), f"mouse-{mouse.number:02d}"
    identity = CineIdentity(
        ACQUIRED_AT.replace(tzinfo=None) + timedelta(hours=mouse.number), patient_id=name, patient_name=name, study=name
    )
    cine = write_cine(scene, folder, identity)
    cine = cine.rename(folder / f"{name}.dcm")
    frame = np.zeros((scene.description.rows, scene.description.columns), dtype=np.uint8)
    truth = scene.truth
    assert truth.contrast is not None  # noqa: S101 - a bolus scene has a contrast panel and a lesion
    assert truth.lesion_mask is not None  # noqa: S101
    frame[truth.contrast.slices] = 255 * truth.lesion_mask
    Image.fromarray(frame).save(folder / f"{name}.png")
    values = (name, "a", "before", "simulated drug", cine.name, f"{name}.png", "")
    diameters = tuple(f"{mm:.2f}" for mm in mouse.diameters_mm)
    return dict(zip(COLUMNS, (*values, *diameters), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--mice", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(write_mice(arguments.out, arguments.mice, arguments.seed))


if __name__ == "__main__":
    main()
