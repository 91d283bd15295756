"""Earlier objects of a patient over DICOMweb: QIDO-RS for series, WADO-RS for their objects (PS3.18 10.4, 10.6).

The same questions and answers as `dicom_node.retrieving`, for a PACS that is reached by its DICOMweb root. Bounded in
time like there; an address that is not http or https is never opened.
"""

from __future__ import annotations

import email.message
import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword

from dicom_node.audit import FETCHED, AuditTrail, Far
from dicom_node.audited_files import study_of
from dicom_node.errors import UnreachableError
from dicom_node.retrieving import FoundSeries, SeriesQuery, WantedInstances, may_be_asked_for

QIDO_RS = "QIDO-RS"
CHUNK_BYTES = 1 << 20
MOST_BYTES = 256 << 20
"""A series of reports or one page is a few MB: whatever is larger is not what was asked for."""


@dataclass(frozen=True)
class WebCall:
    """A DICOMweb root, how long all of it may take in s, the TLS context of https, and what keeps the trail."""

    url: str
    limit_s: float = 30.0
    context: ssl.SSLContext | None = None
    audit: AuditTrail = field(default_factory=AuditTrail)

    @property
    def far(self) -> Far:
        """The PACS as the audit trail names it: over the web it has no AE title."""
        return Far("", self.url)


def find_series(call: WebCall, query: SeriesQuery) -> tuple[FoundSeries, ...]:
    """The series that match; patient and modality are compared here once more. Raises UnreachableError."""
    if not may_be_asked_for(query.patient_id):
        return ()
    deadline_s = time.monotonic() + call.limit_s
    days = f"{query.first_day:%Y%m%d}-{query.last_day:%Y%m%d}"
    asked = {"PatientID": query.patient_id.strip(), "StudyDate": days}
    call.audit.queried(call.far, QIDO_RS, urllib.parse.urlencode(asked).encode(), "")
    found = []
    for study in _answers(call, "/studies", asked, deadline_s):
        if _text(study, "PatientID") != query.patient_id.strip():
            continue
        uid = _text(study, "StudyInstanceUID")
        for series in _answers(call, f"/studies/{uid}/series", {"Modality": query.modality}, deadline_s):
            if _text(series, "Modality") == query.modality:
                found.append(
                    FoundSeries(
                        patient_id=_text(study, "PatientID"),
                        study_instance_uid=uid,
                        series_instance_uid=_text(series, "SeriesInstanceUID"),
                        modality=query.modality,
                        study_date=_text(study, "StudyDate"),
                        study_time=_text(study, "StudyTime"),
                        description=_text(series, "SeriesDescription"),
                    )
                )
    return tuple(found)


def get_instances(call: WebCall, wanted: WantedInstances, folder: Path) -> tuple[Path, ...]:
    """Fetch objects as DICOM files into a folder; their classes are for the reader to judge.

    Raises UnreachableError.
    """
    path = f"/studies/{wanted.study_instance_uid}/series/{wanted.series_instance_uid}"
    if len(wanted.sop_instance_uids) == 1:
        path += f"/instances/{wanted.sop_instance_uids[0]}"
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    headers, body = _get(call, path, accept, time.monotonic() + call.limit_s)
    paths = []
    for number, part in enumerate(_parts(headers, body)):
        file = folder / f"web-{len(list(folder.iterdir()))}-{number}.dcm"
        file.write_bytes(part)
        paths.append(file)
    fetched = study_of(paths) if call.audit.folder is not None else None
    if fetched is not None:
        call.audit.transferred(call.far, fetched, FETCHED)
    return tuple(paths)


def _answers(call: WebCall, path: str, query: Mapping[str, str], deadline_s: float) -> Iterator[dict[str, Any]]:
    _, body = _get(call, f"{path}?{urllib.parse.urlencode(query)}", "application/dicom+json", deadline_s)
    try:
        found = json.loads(body or b"[]")
    except ValueError as error:
        raise UnreachableError(f"{call.url} answers with no DICOM JSON") from error
    yield from (item for item in found if isinstance(item, dict)) if isinstance(found, list) else ()


def _get(call: WebCall, path: str, accept: str, deadline_s: float) -> tuple[email.message.Message, bytes]:
    """The answer's headers and body; empty where nothing matches (204, 404)."""
    url = call.url.rstrip("/") + path
    left_s = max(deadline_s - time.monotonic(), 0.1)
    try:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise UnreachableError(f"{call.url} is no http or https address")
        request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310  # the scheme was looked at
        with urllib.request.urlopen(request, timeout=left_s, context=call.context) as answer:  # noqa: S310
            return answer.headers, b"".join(_chunks(call, answer, deadline_s))
    except urllib.error.HTTPError as error:
        if error.code == http.client.NOT_FOUND:
            return error.headers, b""
        raise UnreachableError(f"{call.url} refuses: HTTP {error.code}") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UnreachableError(f"{call.url} does not answer: {getattr(error, 'reason', error)}") from error


def _chunks(call: WebCall, answer: Any, deadline_s: float) -> Iterator[bytes]:
    total = 0
    while chunk := answer.read(CHUNK_BYTES):
        total += len(chunk)
        if time.monotonic() > deadline_s:
            raise UnreachableError(f"{call.url} did not answer in time")
        if total > MOST_BYTES:
            raise UnreachableError(f"{call.url} answers with more than {MOST_BYTES >> 20} MB")
        yield chunk


def _parts(headers: email.message.Message, body: bytes) -> Iterator[bytes]:
    """The parts of a multipart/related answer (RFC 2387), without their headers."""
    boundary = headers.get_param("boundary")
    if not isinstance(boundary, str):
        return
    mark = b"\r\n--" + boundary.encode()
    for piece in (b"\r\n" + body).split(mark)[1:]:
        head, found, content = piece.partition(b"\r\n\r\n")
        if found and not head.startswith(b"--"):
            yield content


def _text(item: Mapping[str, Any], keyword: str) -> str:
    """The first value of an attribute in DICOM JSON (PS3.18 F.2); "" where there is none."""
    values = (item.get(f"{tag_for_keyword(keyword):08X}") or {}).get("Value") or [""]
    return str(values[0]).strip()
