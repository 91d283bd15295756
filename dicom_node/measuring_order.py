"""What a numeric child is told, and what a job states before it starts.

Light on purpose: the worker, which only hands jobs out, never imports the numeric stack that measures them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dicom_node.cine_reader import open_cine
from dicom_node.config import Settings
from dicom_node.data_folder import DataFolder
from dicom_node.errors import UnreadableCineError
from dicom_node.jobs import Job
from dicom_node.logs import configure_logging

BASE_MB = 450
"""Interpreter, numeric stack, matplotlib and the rendered objects of one job (measured by benchmarks/)."""


@dataclass(frozen=True)
class MeasuringOrder:
    """What a numeric child is told: pickled, so plain values only."""

    settings: Settings
    folder: DataFolder
    job: Job


def measure(order: MeasuringOrder) -> None:
    """Called in the child, where the numeric stack is warm. Raises NodeError where the job cannot be finished."""
    from dicom_node.measuring import measure_job

    configure_logging(order.settings.log, "child")
    measure_job(order)


def stated_memory_mb(files: list[Path]) -> int:
    """What a job may need: its linear panel if the whole image were the panel, its B-mode twin, and the base.

    Stated before a pixel is decoded, from the header; a cine that cannot be opened costs the base only.
    """
    try:
        description = open_cine(files).description
    except UnreadableCineError:
        return BASE_MB
    pixels = description.frames * description.rows * description.columns
    return BASE_MB + math.ceil(pixels * (np.dtype(np.float32).itemsize + 1) / 2**20)
