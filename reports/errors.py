"""Errors of this package, caught by family in `dicom_node.analysis`.

ReportsError
├── InvalidFindingsError   findings that contradict themselves or a findings.json that is not ours: the caller is wrong
├── SourceHeaderError      the source's header lacks what any result object needs (its UIDs); names the attribute
└── UnreadableObjectError  an object handed to `read_back` is not one it can answer for; says why, in words for a page
    └── NothingDrawnError     it may be a good one, but nothing is outlined in it
"""

from __future__ import annotations


class ReportsError(Exception):
    """Base of everything this package raises on purpose."""


class InvalidFindingsError(ReportsError, ValueError):
    """Findings that contradict themselves, or JSON that does not follow the schema."""


class SourceHeaderError(ReportsError, ValueError):
    """The header of the source lacks an attribute without which no object can refer to it."""


class UnreadableObjectError(ReportsError):
    """An object that cannot be read back: another class, another geometry, no usable content."""


class NothingDrawnError(UnreadableObjectError):
    """Nothing is outlined in an object: a report of numbers, a presentation state of grey levels."""
