"""Trackers side by side on the benchmark of docs/super-resolution.md: trackpy, ulmtools and ours in the same run.

30 bubbles a frame, positions to 0.1 px, 10 % missed, 5 % false; one-frame gaps may be bridged. Rates are frames per
second of processor time, best of three. Needs the group `bench`; a peer that is not installed is named and left out.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from processing.bubbles import Localizations
from processing.track import TrackingParameters, link, track
from tests.accuracy.ulm_readings import HELD_OUT_SEEDS
from tests.accuracy.ulm_scenes import LinkScene, link_scene, true_links

Pairs = set[tuple[int, int]]
FRAMES, GAP = 1000, 1


def localizations(made: LinkScene) -> Localizations:
    rows = made.detections
    one = np.ones(len(rows), dtype=np.float32)
    return Localizations(
        rows[:, 0].astype(np.int64), rows[:, 1].copy(), rows[:, 2].copy(), one, np.float32(made.sigma_px) * one
    )


def ours(made: LinkScene, gate_px: float) -> Pairs:
    parameters = TrackingParameters(max_speed_mm_per_s=gate_px, gap_frames=GAP)
    links = link(localizations(made), made.frames, 1.0, float(np.prod(made.shape)), parameters)
    return set(zip(links.earlier.tolist(), links.later.tolist(), strict=True))


def ours_to_tracks(made: LinkScene, gate_px: float) -> Pairs:
    parameters = TrackingParameters(max_speed_mm_per_s=gate_px, gap_frames=GAP, min_length=2)
    found = track(localizations(made), np.arange(made.frames) / 1.0, float(np.prod(made.shape)), parameters)
    chains = np.split(found.localization, found.starts[1:-1])
    return {(int(a), int(b)) for chain in chains for a, b in pairwise(chain[chain >= 0])}


def trackpy_link(made: LinkScene, gate_px: float) -> Pairs:
    import pandas as pd
    import trackpy

    trackpy.quiet()
    rows = made.detections
    table = pd.DataFrame(
        {"frame": rows[:, 0].astype(int), "y": rows[:, 1], "x": rows[:, 2], "row": np.arange(len(rows))}
    )
    linked = trackpy.link(table, gate_px, memory=GAP).sort_values(["particle", "frame"])
    particle, row = linked["particle"].to_numpy(), linked["row"].to_numpy()
    same = particle[:-1] == particle[1:]
    return set(zip(row[:-1][same].tolist(), row[1:][same].tolist(), strict=True))


def ulmtools_link(made: LinkScene, gate_px: float) -> Pairs:
    import ulmtools

    rows = made.detections
    # The number of a detection rides along as its intensity, which the linker does not use.
    table = np.column_stack([rows[:, 1:3], np.arange(len(rows))]).astype(np.float32)
    frames = [table[rows[:, 0] == f] for f in range(made.frames)]
    points, ends = ulmtools.link_points(frames, gate_px, max_skip=GAP)
    chains = np.split(points[:, 2].astype(int), ends[:-1])
    return {(int(a), int(b)) for chain in chains for a, b in pairwise(chain)}


TRACKERS: dict[str, tuple[str | None, Callable[[LinkScene, float], Pairs]]] = {
    "ours, links": (None, ours),
    "ours, to smoothed tracks": (None, ours_to_tracks),
    "trackpy": ("trackpy", trackpy_link),
    "ulmtools, min-cost flow": ("ulmtools", ulmtools_link),
}


def main() -> None:
    for speed_px, gate_px in (((0.2, 1.5), 1.8), ((1.0, 5.0), 5.5)):
        made = link_scene(FRAMES, speed_px, HELD_OUT_SEEDS[0])
        truth = true_links(made.detections, GAP)
        print(f"{speed_px[0]:g} to {speed_px[1]:g} px a frame, {FRAMES} frames")
        mine = 0.0
        for name, (module, linker) in TRACKERS.items():
            if module is not None and importlib.util.find_spec(module) is None:
                print(f"  {name}: not installed")
                continue
            found, spent = linker(made, gate_px), []
            for _ in range(3):
                start = time.process_time()
                linker(made, gate_px)
                spent.append(time.process_time() - start)
            rate = FRAMES / min(spent)
            mine = mine or rate
            jaccard = len(found & truth) / len(found | truth)
            print(f"  {name:26s}{rate:9.0f} frames/cpu s   J {jaccard:.4f}   ours is {mine / rate:.1f} x", flush=True)


if __name__ == "__main__":
    main()
