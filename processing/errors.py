"""Errors of this package, caught by family in `dicom_node.analysis`.

ProcessingError
├── InvalidValueError   an array or parameter breaks the contract of a type: the caller is wrong
└── UnfitCineError      the cine cannot be answered; `limitation` says why, in words for the report
"""

from __future__ import annotations

from processing.limitations import Limitation


class ProcessingError(Exception):
    """Base of everything this package raises on purpose."""


class InvalidValueError(ProcessingError, ValueError):
    """An array or parameter breaks the contract of the type it was given to."""


class UnfitCineError(ProcessingError):
    """The cine cannot be answered; the limitation names the reason."""

    def __init__(self, limitation: Limitation) -> None:
        super().__init__(limitation.text)
        self.limitation = limitation
