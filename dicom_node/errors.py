"""Errors of the node, caught by family in one place (`dicom_node.cli`, `dicom_node.workflow`).

NodeError
├── ConfigurationError   the configuration is wrong: exit code 2, the key is named
├── UnreadableCineError  the file is no cine that can be read; `code` names the reason
├── UnreadableHeaderError  what arrived is no DICOM, or ends too early
├── SpoolError           the spool cannot be used: its folder is not writable
├── NetworkError         a peer or a port
│   ├── PortInUseError      another program listens where the node should
│   └── UnreachableError    the peer cannot be reached, or does not want to talk to us; `text` says why
├── ChildDiedError       a numeric child crashed or was killed in the middle of a job
├── ContourRefusedError  a reader's contour may not be measured; the sentence is shown on the page
├── SourceGoneError      images that were retired here cannot be fetched again; says what each PACS answered
├── JobFailedError       a job cannot be finished; the sentence is shown wherever the job is
└── UnknownJobError      there is no job of that name
"""

from __future__ import annotations


class NodeError(Exception):
    """Base of everything the node raises on purpose. The text is a sentence that names the thing and the cure."""


class ConfigurationError(NodeError):
    """The configuration is wrong."""


class UnreadableCineError(NodeError):
    """The file or series is no cine that can be read; `code` is a lower_snake word for machines."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class UnreadableHeaderError(NodeError):
    """What arrived is no DICOM data set, or ends before its pixels do."""


class SpoolError(NodeError):
    """The spool's folder cannot be used."""


class NetworkError(NodeError):
    """A peer or a port."""


class PortInUseError(NetworkError):
    """Another program listens where the node should."""


class UnreachableError(NetworkError):
    """The peer cannot be reached, or does not want to talk to us."""


class ChildDiedError(NodeError):
    """A numeric child crashed or was killed (out of memory) in the middle of a job."""


class ContourRefusedError(NodeError):
    """A reader's contour may not be measured; the sentence holds no patient data."""


class SourceGoneError(NodeError):
    """Images that were retired here cannot be fetched again; the sentence says what each PACS answered."""


class JobFailedError(NodeError):
    """A job cannot be finished; the sentence is shown wherever the job is."""


class UnknownJobError(NodeError):
    """There is no job of that name."""
