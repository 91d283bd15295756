"""All result objects and pictures of one acquisition, in one call of the flow; nothing here touches a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from reports.findings import Findings
from reports.page import png_bytes
from reports.pictures import PictureInputs
from reports.result_object import ResultContext
from reports.secondary_capture import secondary_capture
from reports.structured_report import SrClass, structured_report
from reports.summary_page import no_contrast_page, summary_page

PageDrawer = Callable[[Findings, PictureInputs, ResultContext], NDArray[np.uint8]]


@dataclass(frozen=True)
class ReportOptions:
    """What the site wants made. sr_class: some PACS take only Comprehensive or Enhanced SR."""

    sr_class: SrClass = "comprehensive 3d"
    structured_report: bool = True
    pictures: bool = True


@dataclass(frozen=True, eq=False)
class Results:
    """Objects and PNG files by the name they have in the result folder."""

    objects: tuple[tuple[str, Dataset], ...]
    pictures: tuple[tuple[str, bytes], ...]


def build_results(
    findings: Findings, inputs: PictureInputs, context: ResultContext, options: ReportOptions | None = None
) -> Results:
    """SR, pages as SC and PNG. Equal arguments give equal bytes."""
    options = options or ReportOptions()
    objects: list[tuple[str, Dataset]] = []
    pictures: list[tuple[str, bytes]] = []
    if options.pictures:
        for index, (name, title, draw) in enumerate(_pages(findings)):
            rgb = draw(findings, inputs, context)
            objects.append((f"sc_{name}.dcm", secondary_capture(rgb, title, findings, context, index)))
            pictures.append((f"sc_{name}.png", png_bytes(rgb)))
    if options.structured_report:
        objects.insert(0, ("sr.dcm", structured_report(findings, context, options.sr_class)))
    return Results(tuple(objects), tuple(pictures))


def _pages(findings: Findings) -> list[tuple[str, str, PageDrawer]]:
    if not findings.quality.contrast_found:
        return [("summary", "No contrast enhancement found", no_contrast_page)]
    return [("summary", "CEUS perfusion summary", summary_page)]
