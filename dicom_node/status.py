"""Named DIMSE statuses: what a C-STORE, C-ECHO or N-EVENT-REPORT answer says (PS3.7 annex C, PS3.4 table B.2-1)."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """The statuses this node answers with, or reads from its peers."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = (
        0x0110  # PS3.7 annex C, and a commitment's Failure Reason (PS3.3 C.14.1.1), as are 0112 to 0213
    )
    DUPLICATE_INSTANCE = 0x0111  # PS3.7 C.5.8: another object is held under this SOP Instance UID
    NO_SUCH_INSTANCE = 0x0112
    INVALID_ARGUMENT = 0x0115
    CLASS_INSTANCE_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122  # PS3.7 C.5.6
    NOT_AUTHORISED = 0x0124  # PS3.7 C.5.13
    DUPLICATE_TRANSACTION = 0x0131  # PS3.3 C.14.1.1: the Transaction UID is in use
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700  # PS3.4 B.2.3: disk full; the sender keeps its object and tries again
    DATASET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    COERCED = 0xB000  # warnings: the object was stored
    DATASET_DOES_NOT_MATCH_SOP_CLASS_WARNING = 0xB007
    ELEMENTS_DISCARDED = 0xB006
    CANNOT_UNDERSTAND = 0xC000  # the data set is no DICOM, or truncated
    INSTANCE_UID_MISMATCH = 0xC001  # Cxxx is the implementation's: request and data set name different objects
    MISSING_IDENTITY = 0xC002  # no Study or Series Instance UID


_FAMILIES = (
    (0xA700, 0xA7FF, "out of resources"),
    (0xA900, 0xA9FF, "data set does not match the SOP class"),
    (0xB000, 0xBFFF, "stored with a warning"),
    (0xC000, 0xCFFF, "the peer cannot understand the data set"),
)


def is_stored(code: int) -> bool:
    """Success and warnings: the peer holds the object (PS3.4 B.2.3)."""
    return code == Status.SUCCESS or 0xB000 <= code <= 0xBFFF


def is_transient(code: int) -> bool:
    """Out of resources: the same object may be taken later."""
    return 0xA700 <= code <= 0xA7FF


def describe(code: int) -> str:
    """The status in words, with its number, for a log line or a page."""
    if code in set(Status):
        return f"{Status(code).name.lower().replace('_', ' ')} (0x{code:04X})"
    for low, high, words in _FAMILIES:
        if low <= code <= high:
            return f"{words} (0x{code:04X})"
    return f"status 0x{code:04X}"
