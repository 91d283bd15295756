"""The pictures of docs/super-resolution.md: `python -m benchmarks ulm_pictures`.

A simulated vessel tree (density and speed beside the truth), and the smallest separation at which two parallel vessels
are resolved against the signal-to-noise ratio. Everything is seeded and drawn by the code that the node runs.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from processing.roi import panel_roi
from processing.simulation.flow_scenes import flow_scene
from processing.simulation.truth import FlowTruth
from processing.super_resolution import SuperResolution, super_resolve
from tests.accuracy.ulm_readings import HELD_OUT_SEEDS, parallel_vessels
from tests.scene_cines import cine_of_scene

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"
SNR_DB = (15.0, 20.0, 25.0, 30.0, 35.0)
SEPARATIONS_FWHM = (0.01, 0.014, 0.02, 0.028, 0.04, 0.06, 0.08, 0.12, 0.2, 0.33, 0.7)
FREQUENCIES_MHZ = (3.5, 7.0, 12.0)
SIGMA_PX = 2.0


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    save(tree(), "super-resolution-tree.png")
    save(separation(), "super-resolution-separation.png")


def save(figure: Figure, name: str) -> None:
    figure.savefig(FOLDER / name, dpi=80, bbox_inches="tight")
    print(f"{name}: {(FOLDER / name).stat().st_size / 1000:.0f} kB")


def resolved_tree() -> tuple[SuperResolution, FlowTruth]:
    made = flow_scene(seed=HELD_OUT_SEEDS[0])
    cine = cine_of_scene(made)
    truth = made.truth.flow
    assert truth is not None
    return super_resolve(cine, panel_roi(cine.valid)), truth


def tree() -> Figure:
    """The way of the bubbles, the tracks through each pixel, and their mean speed."""
    result, truth = resolved_tree()
    assert result.bed is not None
    maps = result.bed.maps
    extent = (0.0, maps.density.shape[1] * maps.pixel_mm.x_mm, maps.density.shape[0] * maps.pixel_mm.z_mm, 0.0)
    figure = Figure(figsize=(13.0, 4.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3, sharex=True, sharey=True)
    fastest = float(np.percentile(truth.speed_mm_per_s, 99))
    shown = left.scatter(truth.x_mm, truth.z_mm, c=truth.speed_mm_per_s, s=1, cmap="viridis", vmin=0, vmax=fastest)
    left.set_title("truth: where bubbles were")
    figure.colorbar(shown, ax=left, label="speed, mm/s")
    # Pixels of 25 um are finer than the picture's: each shows the most of what it covers.
    thick = np.maximum.reduce([np.roll(maps.density, k, axis) for axis in (0, 1) for k in (-1, 0, 1)])
    shown = middle.imshow(np.where(thick > 0, thick, np.nan), extent=extent, cmap="magma", norm=LogNorm(0.3, 10))
    middle.set_title(f"density: {result.bed.metrics.tracks} tracks")
    figure.colorbar(shown, ax=middle, label="tracks through a pixel")
    speed = np.nan_to_num(maps.speed_mm_per_s, nan=-1.0)
    wide = np.maximum.reduce([np.roll(speed, k, axis) for axis in (0, 1) for k in (-1, 0, 1)])
    shown = right.imshow(np.where(wide > 0, wide, np.nan), extent=extent, cmap="viridis", vmin=0, vmax=fastest)
    right.set_title("mean speed")
    figure.colorbar(shown, ax=right, label="speed, mm/s")
    for axes in (left, middle, right):
        axes.set(xlabel="x, mm", facecolor="black", aspect="equal", xlim=extent[:2], ylim=extent[2:])
    left.set_ylabel("depth, mm")
    return figure


def smallest_separation(snr_db: float) -> float:
    """Smallest separation, in widths of the PSF, from which on every larger one is resolved on all of three seeds."""
    smallest = float("nan")
    for separation in reversed(SEPARATIONS_FWHM):
        gap = separation * 2.3548 * SIGMA_PX
        if not all(parallel_vessels(gap, snr_db, seed, SIGMA_PX).resolved for seed in HELD_OUT_SEEDS[:3]):
            break
        smallest = separation
    return smallest


def separation() -> Figure:
    measured = [smallest_separation(snr_db) for snr_db in SNR_DB]
    for snr_db, value in zip(SNR_DB, measured, strict=True):
        print(f"  {snr_db:g} dB: {value:g} of the PSF width")
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(SNR_DB, measured, "o-", color="black", label="smallest separation resolved")
    axes.axhline(1 / 3, color="grey", ls=":", lw=1)
    axes.annotate("goal at 30 dB", (15.2, 1 / 3 * 1.04), color="grey", fontsize=9)
    for frequency in FREQUENCIES_MHZ:
        width_um = 1540.0 / frequency
        axes.axhline(30.0 / width_um, color="tab:red", ls="--", lw=1)
        axes.annotate(
            f"30 \u00b5m at {frequency:g} MHz", (35, 30.0 / width_um * 1.04), color="tab:red", fontsize=9, ha="right"
        )
    axes.set(xlabel="bubble over noise, dB", ylabel="separation / width of the PSF (half maximum)", yscale="log")
    axes.set_yticks([0.01, 0.02, 0.05, 0.1, 0.2, 0.5], ["0.01", "0.02", "0.05", "0.1", "0.2", "0.5"])
    axes.set_ylim(0.008, 0.6)
    axes.set_title("Two parallel vessels; the PSF is taken as one wavelength wide", fontsize=10)
    axes.legend(loc="lower left")
    return figure


if __name__ == "__main__":
    main()
