"""All pages and objects of one acquisition on one core: the budget is 5 s for the pictures of a study.

The peer is the machine itself: what reading the same pixels off a page and deflating them takes, so that the figure
carries over to another machine as a ratio.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import numpy as np
from PIL import Image

from reports.build import ReportOptions, build_results
from reports.result_object import dicom_bytes
from tests.reports.rig import context, inputs, region_masks
from tests.reports.scenes import compared_findings

PAGES = 4


def main() -> None:
    """Print CPU seconds: four pages drawn, data objects made and written, and the same in units of the peer."""
    findings, drawn, ctx = compared_findings(), inputs(), context()
    masks = region_masks(findings)
    build_results(findings, drawn, ctx, ReportOptions(), masks)  # imports and fonts are paid once a process
    pictures = ReportOptions(segmentation=False, parametric_maps=False, presentation_state=False)
    data = ReportOptions(pictures=False)
    picture_s = cpu_s(lambda: build_results(findings, drawn, ctx, pictures))
    data_s = cpu_s(lambda: [dicom_bytes(d) for _, d in build_results(findings, drawn, ctx, data, masks).objects])
    peer_s = PAGES * cpu_s(deflate_a_page)
    print(f"{PAGES} pages as SC and PNG, with the report   {picture_s:6.2f} s CPU   (budget 5 s)")
    print(f"report, SEG, maps, outlines, as files       {data_s:6.2f} s CPU")
    print(f"peer: deflating {PAGES} such pages alone         {peer_s:6.2f} s CPU   -> {picture_s / peer_s:.1f} x")


def cpu_s(work: Callable[[], object], repeats: int = 3) -> float:
    """Least processor time of a few runs: other processes on the machine do not count."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)


def deflate_a_page() -> None:
    """A page of noise on a quarter and flat ground elsewhere, as PNG."""
    page = np.full((1200, 1600, 3), 20, np.uint8)
    page[:600, :800] = np.random.default_rng(1).integers(0, 255, (600, 800, 3), dtype=np.uint8)
    Image.fromarray(page).save(io.BytesIO(), format="PNG", compress_level=6)
