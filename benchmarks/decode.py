"""Decoding a cine against the pinned decoder alone: frames a second, and the memory that taking a cine needs.

Asked: at least 0.9 x the decoder's raw rate times the cores for JPEG baseline 800x600 (threads that only decode the
same code streams to RGB are the peer), and a peak of the linear panel plus 150 MB.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from dicom_node.cine_file import Clip
from dicom_node.cine_reader import CineFile, open_cine
from dicom_node.simulated_scanner import CineIdentity, write_cine
from processing.cine import DisplayProfile
from processing.intake import examine, take_cine
from processing.simulation.scenes import DEMO_BOLUS, bolus_scene

FRAMES = 450
PROFILE = DisplayProfile(dynamic_range_db=50.0)


def main() -> None:
    """Print one line a measurement: ours, the peer, the ratio."""
    with tempfile.TemporaryDirectory() as folder:
        path = _cine(Path(folder))
        cine = open_cine(path)
        rounds = [(_seconds(_peer, cine), _seconds(_blocks, cine), _seconds(_blocks, cine.luma())) for _ in range(3)]
        peer, rgb, luma = (min(times) for times in zip(*rounds, strict=True))
        cores = os.cpu_count() or 1
        print(f"decode {FRAMES} frames 800x600 JPEG on {cores} cores")
        print(f"  Pillow alone, a thread a core, RGB  {FRAMES / peer:7.0f} frames/s")
        print(f"  CineFile.blocks(), RGB              {FRAMES / rgb:7.0f} frames/s   {peer / rgb:.2f} x (asked 0.9)")
        print(f"  CineFile.luma().blocks()            {FRAMES / luma:7.0f} frames/s   {peer / luma:.2f} x")
        started = time.perf_counter()
        examination = examine(cine, PROFILE)
        looked = time.perf_counter() - started
        take_cine(cine, examination)  # compiles
        taken = _seconds(lambda c: take_cine(c, examination), cine)
        print(f"  examine {looked:.1f} s, take_cine {FRAMES / taken:.0f} frames/s")
        print(_memory(path))


def _cine(folder: Path) -> Path:
    timing = replace(DEMO_BOLUS.timing, duration_s=FRAMES / DEMO_BOLUS.timing.frame_rate_hz)
    scene = bolus_scene(replace(DEMO_BOLUS, timing=timing), seed=1)
    return write_cine(scene, folder, CineIdentity(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).replace(tzinfo=None)))


def _seconds(work: object, cine: CineFile) -> float:
    started = time.perf_counter()
    work(cine)  # type: ignore[operator]
    return time.perf_counter() - started


def _blocks(cine: CineFile) -> None:
    for _ in cine.blocks():
        pass


def _peer(cine: CineFile) -> None:
    """The pinned decoder alone on as many threads: code stream in, RGB array out, thrown away."""
    (clip,) = cine.clips
    assert isinstance(clip, Clip)

    def decode(i: int) -> None:
        np.asarray(Image.open(io.BytesIO(clip.stored.read(clip.spans[i]))))

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(decode, range(clip.frames)))


def _memory(path: Path) -> str:
    """Peak memory of a fresh process that takes the cine, above what its imports hold."""
    child = subprocess.run(
        [sys.executable, "-c", f"from benchmarks.decode import child; child({str(path)!r})"],
        capture_output=True,
        text=True,
        check=True,
    )
    return child.stdout.rstrip()


def child(path: str) -> None:
    """Take the cine in this process and print the peak above the imports and the arrays that are the result."""
    cine = open_cine(Path(path))
    before_mb = _peak_mb()
    intake = take_cine(cine, examine(cine, PROFILE))
    peak_mb = _peak_mb()
    bmode = intake.cine.bmode
    held_mb = (intake.cine.contrast.nbytes + (0 if bmode is None else bmode.nbytes)) / 2**20
    above_mb = peak_mb - before_mb - held_mb
    print(f"  memory: {above_mb:.0f} MB above imports and the panels of {held_mb:.0f} MB (asked 150)")


def _peak_mb() -> float:
    """High-water mark of this process image (ru_maxrss would carry the parent's over)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
