"""Makes the pictures of README and docs from simulated patients: `make pictures`. Nobody was ever scanned for them.

One patient with a lesion before and after a therapy that halves its perfusion, measured one after the other as a node
would; one cine of single bubbles for the microvessels; and what `process --explain` draws. Equal seeds give equal
pictures. Pages are brought down to the 1024 pixels that they must be legible at.
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
from processing.simulation.flow_phantom import BubbleFlow
from processing.simulation.flow_scenes import FlowParameters, flow_scene
from processing.simulation.scene import Scene, Timing
from processing.simulation.scenes import DEMO_BOLUS, LESION, bolus_scene
from processing.simulation.screen import Screen
from reports.explanation_picture import explanation_png

PICTURES = Path(__file__).parent / "pictures"
WIDTH_PX = 1024
COLOURS = 160
"""A palette of so many colours keeps a page below 250 kB and its text as sharp as it is."""
FIRST_DAY = datetime(2026, 3, 2, 9, 30)  # noqa: DTZ001 - a scanner's clock has no zone
SEED = 4
TREATED = replace(LESION, area_au_s=0.5 * LESION.area_au_s, mu=LESION.mu + 0.15)
"""Half the blood, arriving later and staying longer."""
SCREEN = Screen(rows=480, columns=640)
DEPTH_MM, BUBBLE_RATE_HZ = 30.0, 30.0


def main(out: Path) -> None:
    """Simulate, measure, and write every picture into `out`."""
    out.mkdir(exist_ok=True)
    settings = load_settings(None, profile={"simulated": PROFILE})
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        loops = [lesion_loop(work, day) for day in (0, 1)]
        flow, lesion = bubble_loop(work)
        compared = measured(settings, work / "compared", loops)
        before, after = sorted(path.parent for path in compared.glob("*/findings.json"))
        vessels = measured(settings, work / "vessels", [flow], lesion)
        keep(before / "sc_summary.png", out / "summary.png")
        keep(before / "sc_maps.png", out / "perfusion-maps.png")
        keep(after / "sc_comparison.png", out / "before-and-after.png")
        keep(vessels / "sc_super_resolution.png", out / "super-resolution.png")
        explained = work / "explain.png"
        explained.write_bytes(explanation_png(explain_cine(settings, loops[0])))
        keep(explained, out / "explain.png")


def lesion_loop(folder: Path, day: int) -> Path:
    """The patient on the first day, and 26 h later under therapy: the same view, a little breathing."""
    kinetics = LESION if day == 0 else TREATED
    timing = replace(DEMO_BOLUS.timing, frame_rate_hz=10.0)
    scene = bolus_scene(replace(DEMO_BOLUS, screen=SCREEN, timing=timing, lesion=kinetics), SEED)
    return written(scene, folder, CineIdentity(FIRST_DAY + timedelta(hours=26 * day), study=f"day {day + 1}"))


def bubble_loop(folder: Path) -> tuple[Path, Path]:
    """Single bubbles in a vessel tree, and a mask around it as a user would give it."""
    screen = Screen(rows=360, columns=480, depth_mm=DEPTH_MM, tint="grey")
    flow = BubbleFlow(bubbles_per_s=14.0, arrive_at_s=0.0)
    scene = flow_scene(FlowParameters(screen=screen, timing=Timing(-3.0, 43.0, BUBBLE_RATE_HZ), flow=flow), SEED)
    panel = screen.first
    z, x = np.mgrid[: screen.rows, : screen.columns]
    middle = (panel.y0 + panel.y1) / 2, (panel.x0 + panel.x1) / 2
    inside = ((z - middle[0]) / (0.42 * panel.rows)) ** 2 + ((x - middle[1]) / (0.44 * panel.columns)) ** 2 < 1
    mask = folder / "lesion.png"
    Image.fromarray((255 * inside).astype(np.uint8)).save(mask)
    return written(scene, folder, CineIdentity(FIRST_DAY, patient_id="SIM-0002", study="bubbles")), mask


def written(scene: Scene, folder: Path, identity: CineIdentity) -> Path:
    return write_cine(scene, folder, identity)


def measured(settings: Settings, out: Path, cines: list[Path], lesion: Path | None = None) -> Path:
    """As `ceus-node process` does it."""
    process_paths(OfflineOrder(settings, tuple(cines), out, lesion), Console(file=io.StringIO()))
    return out


def keep(page: Path, file: Path) -> None:
    """At the width that a page must be legible at, in few colours."""
    image = Image.open(page).convert("RGB")
    small = image.resize((WIDTH_PX, round(image.height * WIDTH_PX / image.width)), Image.Resampling.LANCZOS)
    small.quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    print(f"{file.name}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES)
