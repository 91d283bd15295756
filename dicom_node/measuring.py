"""One job, measured: runs in a numeric child (or in `ceus-node process`) and leaves a complete result folder.

Everything in the folder is rendered once, with the job's acceptance time as "now": a retry after a crash repeats it
bit for bit, and every delivery sends the same files.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dicom_node.analysis import Allocate, Analysis, AnalysisRequest, Progress, analyse
from dicom_node.arriving_maps import drawn
from dicom_node.comparing import NOTHING_EARLIER, Earlier, with_comparison
from dicom_node.earlier_results import EarlierResult, from_history
from dicom_node.errors import JobFailedError
from dicom_node.job_progress import told_progress
from dicom_node.measuring_order import MeasuringOrder
from dicom_node.priors import forget_pictures, retrieved
from dicom_node.reader_contours import NO_CONTOURS, ContourFiles, captures_of
from dicom_node.results import ResultFolder
from dicom_node.roi_choice import GivenMasks
from dicom_node.writing import write_results
from onnx_models.errors import OnnxModelsError
from processing.errors import ProcessingError
from reports.comparable import ComparableResult, comparable
from reports.errors import ReportsError
from reports.page import png_bytes

MAP_ABOVE_BYTES = 2**30
"""A linear panel above 1 GB lives in a file that the kernel may write back, not in memory that it cannot."""


def measure_job(order: MeasuringOrder) -> None:
    """Measure a job of the node into its result folder. Raises NodeError where the job cannot be finished."""
    result = ResultFolder(order.folder.results, order.job.acquisition, order.job.name)
    try:
        with (
            _allocation(order.folder.scratch) as allocate,
            told_progress(order.folder.scratch, order.job.name) as progress,
            result.being_made() as draft,
        ):
            request = replace(
                _request(order, allocate),
                progress=progress,
                provisional=lambda maps: progress.provisional(png_bytes(drawn(maps))),
            )
            measured = analyse(request)
            compared = with_comparison(measured, _earlier(order, allocate), order.settings)
            write_results(compared, order, draft)
    except (ProcessingError, ReportsError, OnnxModelsError) as error:
        raise JobFailedError(str(error)) from error
    forget_pictures(order.settings, order.job)


def measure_files(
    order: MeasuringOrder, out: Path, given: GivenMasks, progress: Progress, earlier: Earlier = NOTHING_EARLIER
) -> Analysis:
    """Measure files outside of the node, into `out`, with the masks and earlier results that were given."""
    out.mkdir(parents=True, exist_ok=True)
    with _allocation(out) as allocate:
        measured = analyse(replace(_request(order, allocate), given=given, progress=progress))
        compared = with_comparison(measured, earlier, order.settings)
        write_results(compared, order, out)
    return compared


def _earlier(order: MeasuringOrder, allocate: Allocate) -> Earlier:
    """The patient's earlier results, of this node and of the PACS; what both have is taken from here."""
    fetched, limitations = retrieved(order.settings, order.job)
    known = (*from_history(order.folder, order.job), *fetched)
    return Earlier(
        known,
        limitations=limitations,
        remeasure=lambda earlier: _measured_again(order, earlier, allocate),
        confirmed_lesion=order.job.confirmed_lesion,
        occasion=order.job.prompted_by,
    )


def _measured_again(order: MeasuringOrder, earlier: EarlierResult, allocate: Allocate) -> ComparableResult | None:
    """An earlier cine of this node, under today's version; None where it or a contour drawn on it has gone."""
    job = earlier.job
    if job is None or not all(Path(file).is_file() for file in (*job.files, *job.contour_files)):
        return None
    again = analyse(_request(replace(order, job=job), allocate)).findings
    return comparable(again, earlier.result.patient) if again.roi("lesion") is not None else None


def _request(order: MeasuringOrder, allocate: Allocate) -> AnalysisRequest:
    job = order.job
    return AnalysisRequest(
        acquisition=job.acquisition,
        sop_instance_uids=job.sop_instance_uids,
        files=tuple(Path(file) for file in job.files),
        settings=order.settings,
        now=datetime.fromisoformat(job.accepted_at),
        allocate=allocate,
        profile=job.scanner_profile,
        contours=_contours(order),
    )


def _contours(order: MeasuringOrder) -> ContourFiles:
    job = order.job
    if not job.contours:
        return NO_CONTOURS
    objects = tuple(Path(file) for file in job.contour_files)
    return ContourFiles(objects, captures_of(order.folder.results, job.acquisition))


@contextmanager
def _allocation(scratch: Path) -> Iterator[Allocate]:
    """Arrays in memory, or in a file below `scratch` above 1 GB; the files go when the block ends."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".panel-") as folder:

        def allocate(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
            size = math.prod(shape) * np.dtype(dtype).itemsize
            if size <= MAP_ABOVE_BYTES:
                return np.empty(shape, dtype)
            with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
                return np.memmap(file, dtype, "w+", shape=shape)

        yield allocate
