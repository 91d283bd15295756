"""Makes the pictures of README and docs from simulated patients: `make pictures`. Nobody was ever scanned for them.

One patient with a lesion before and under a therapy, measured one after the other as a node would; one cine of single
bubbles for the microvessels; and what `process --explain` draws. Equal seeds give equal pictures. Pages are brought
down to the 1024 pixels that they must be legible at.
"""

from __future__ import annotations

import io
import sys
import tempfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from dicom_node.config import Settings, load_settings
from dicom_node.explaining import explain_cine
from dicom_node.offline import OfflineOrder, process_paths
from dicom_node.simulated_scanner import PROFILE, CineIdentity, write_cine
from processing.simulation.flow_scenes import VESSELS, flow_scene
from processing.simulation.scene import Timing
from processing.simulation.scenes import DEMO_BOLUS, LESION, SMALL_BOLUS, bolus_scene
from processing.simulation.screen import Screen
from reports.explanation_picture import explanation_png

PICTURES = Path(__file__).parent / "pictures"
WIDTH_PX = 1024
FIRST_DAY = datetime(2026, 3, 2, 9, 30)  # noqa: DTZ001 - a scanner's clock has no zone
SEED = 3
LESION_SCENE = replace(DEMO_BOLUS, screen=Screen(rows=480, columns=640), timing=Timing(-3.0, 45.0, 6.0))
BEFORE = replace(SMALL_BOLUS, timing=Timing(-3.0, 45.0, 6.0))
UNDER_THERAPY = replace(BEFORE, lesion=replace(LESION, area_au_s=0.6 * LESION.area_au_s, mu=LESION.mu + 0.12))
"""40 % less blood, which stays an eighth longer."""
BUBBLES = replace(VESSELS, timing=Timing(-3.0, 43.0, 30.0))


def main(out: Path) -> None:
    """Simulate, measure, and write every picture into `out`."""
    out.mkdir(exist_ok=True)
    settings = load_settings(
        None, profile={"simulated": {**PROFILE, "gain_db": 40.0}}, analysis={"protocol": "bedside_bolus"}
    )
    with tempfile.TemporaryDirectory() as folder:
        for draw in (lesion_pictures, comparison_picture, vessel_picture):
            work = Path(folder) / draw.__name__
            work.mkdir()
            draw(settings, work, out)


def lesion_pictures(settings: Settings, work: Path, out: Path) -> None:
    """A bolus through a lesion: what is read of the cine, and its pages."""
    loop = write_cine(bolus_scene(LESION_SCENE, SEED), work, CineIdentity(FIRST_DAY))
    explained = work / "explain.png"
    explained.write_bytes(explanation_png(explain_cine(settings, loop)))
    keep(explained, out)
    (folder,) = measured(settings, work / "out", [loop])
    keep(folder / "sc_summary.png", out, "summary.png")
    keep(folder / "sc_maps.png", out, "perfusion-maps.png")


def comparison_picture(settings: Settings, work: Path, out: Path) -> None:
    """The same lesion a day later, under a therapy."""
    scenes = bolus_scene(BEFORE, SEED), bolus_scene(UNDER_THERAPY, SEED)
    loops = [
        write_cine(scene, work, CineIdentity(FIRST_DAY + timedelta(hours=20 * day), study=f"day {day + 1}"))
        for day, scene in enumerate(scenes)
    ]
    _, second = measured(settings, work / "out", loops)
    keep(second / "sc_comparison.png", out, "before-and-after.png")


def vessel_picture(settings: Settings, work: Path, out: Path) -> None:
    """Single bubbles in a vessel tree, resolved."""
    (folder,) = measured(settings, work / "out", *bubble_loop(work))
    keep(folder / "sc_super_resolution.png", out, "super-resolution.png")


def bubble_loop(folder: Path) -> tuple[list[Path], Path]:
    """The cine, and a mask around the tree as a user would give it."""
    panel, screen = BUBBLES.screen.first, BUBBLES.screen
    z, x = np.mgrid[: screen.rows, : screen.columns]
    middle = (panel.y0 + panel.y1) / 2, (panel.x0 + panel.x1) / 2
    inside = ((z - middle[0]) / (0.42 * panel.rows)) ** 2 + ((x - middle[1]) / (0.44 * panel.columns)) ** 2 < 1
    mask = folder / "lesion.png"
    Image.fromarray((255 * inside).astype(np.uint8)).save(mask)
    identity = CineIdentity(FIRST_DAY, patient_id="SIM-0002", study="bubbles")
    return [write_cine(flow_scene(BUBBLES, SEED), folder, identity)], mask


def measured(settings: Settings, out: Path, cines: list[Path], lesion: Path | None = None) -> list[Path]:
    """As `ceus-node process` does it: a folder for each cine, in their order in time."""
    process_paths(OfflineOrder(settings, tuple(cines), out, lesion), Console(file=io.StringIO()))
    return sorted(path.parent for path in out.rglob("findings.json"))


def keep(page: Path, out: Path, name: str = "") -> None:
    """At the width that it must be legible at, in 256 colours spread evenly, so that colour keys keep their steps."""
    image = Image.open(page).convert("RGB")
    small = image.resize((WIDTH_PX, round(image.height * WIDTH_PX / image.width)), Image.Resampling.LANCZOS)
    file = out / (name or page.name)
    small.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES)
