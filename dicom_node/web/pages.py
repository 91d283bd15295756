"""What each page shows, as plain names for its template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from dicom_node import version
from dicom_node.data_folder import DataFolder
from dicom_node.errors import NodeError
from dicom_node.job_board import JOB_STATES, Board, JobCard
from dicom_node.job_progress import provisional_file
from dicom_node.result_digest import load_findings
from dicom_node.results import ResultFolder
from dicom_node.web import words
from dicom_node.web.findings_view import findings_view
from dicom_node.web.site import Site

PAGE_LENGTH = 40
HOURS = 24


@dataclass(frozen=True)
class Hour:
    """One hour of the activity strip: jobs accepted in it that stand well, and that failed."""

    begin: datetime
    well: int
    failed: int


def frame(site: Site) -> dict[str, Any]:
    """What every page's frame needs."""
    node = site.settings.node
    return {
        "ae_title": node.ae_title,
        "address": f"{node.host}:{node.port}",
        "version": version.SOFTWARE_VERSION,
        "disclaimer": site.settings.report.disclaimer,
    }


def operations(site: Site, query: Mapping[str, str]) -> dict[str, Any]:
    """The operations page. `query`: state (one of the states) and page (from 1)."""
    view = site.view()
    board, now = view.board, view.board.made_at
    wanted = query.get("state", "")
    wanted = wanted if wanted in JOB_STATES else ""
    cards = [card for card in board.jobs if not wanted or card.state == wanted]
    pages = max(1, -(-len(cards) // PAGE_LENGTH))
    asked = re.fullmatch(r"[0-9]{1,6}", query.get("page", ""))
    page = min(max(1, int(asked.group()) if asked else 1), pages)
    return {
        **frame(site),
        "now": now,
        "zone": words.zone(now),
        "readiness": view.readiness,
        "engine_fault": board.engine_fault,
        "arrivals": board.arrivals,
        "arrival_words": words.ARRIVAL_WORDS,
        "today": _today(board),
        "hours": hours(board),
        "states": board.by_state(),
        "wanted": wanted,
        "cards": cards[(page - 1) * PAGE_LENGTH : page * PAGE_LENGTH],
        "total": len(cards),
        "page": page,
        "pages": pages,
        "destinations": [d.name for d in site.settings.destination],
    }


def job(site: Site, name: str) -> dict[str, Any]:
    """The page of one job. Raises UnknownJobError, and NodeError where its findings cannot be read."""
    view = site.view()
    card = view.board.job(name)
    folder = _folder(site, card)
    findings, matched = None, False
    if card.result is not None and not card.result.fault:
        try:
            loaded = load_findings(folder)
            findings, matched = findings_view(loaded), _is_unconfirmed(loaded.get("comparison") or {})
        except (OSError, ValueError) as error:
            raise NodeError(f"the findings of job {name} cannot be read: {error}") from error
    others = [other for other in view.board.jobs if other.acquisition == card.acquisition and other.name != name]
    return {
        **frame(site),
        "now": view.board.made_at,
        "zone": words.zone(view.board.made_at),
        "card": card,
        "stages_s": card.times.stages_s(),
        "findings": findings,
        "pictures": pictures(folder),
        "provisional": provisional_stamp(site, name) if card.state == "measuring" else "",
        "others": others,
        "may_confirm": matched and card.latest and card.state in ("delivered", "measured") and not card.asked,
        "settled": card.state in ("delivered", "measured", "failed") and not card.asked,
        "may_retry": card.state == "failed" and not card.asked,
        "may_cancel": card.state in ("waiting", "measuring", "delivering") and not card.asked,
    }


def _is_unconfirmed(comparison: Mapping[str, Any]) -> bool:
    """Whether the lesion was matched with an earlier one, and no reader has said yet that they are the same."""
    match = comparison.get("match")
    return bool(comparison.get("performed") and match and not match.get("confirmed"))


def result_folder(site: Site, name: str) -> Path:
    """Where the results of a job lie, or would lie. Raises UnknownJobError."""
    return _folder(site, site.view().board.job(name))


def provisional(site: Site, name: str) -> Path:
    """Where the provisional maps of a running job lie, or would lie. Raises UnknownJobError."""
    site.view().board.job(name)
    return provisional_file(DataFolder(site.settings.node.data_dir).scratch, name)


def provisional_stamp(site: Site, name: str) -> str:
    """Changes with every new picture, so that a browser asks for it; "" where there is none."""
    try:
        return str(provisional(site, name).stat().st_mtime_ns)
    except FileNotFoundError:
        return ""


def pictures(folder: Path) -> list[str]:
    """The names of the result's pictures, in their order; empty where there is none."""
    return sorted(file.name for file in folder.glob("sc_*.png"))


def hours(board: Board) -> list[Hour]:
    """Jobs of the last 24 hours by the hour in which they were accepted, oldest first."""
    last = board.made_at.replace(minute=0, second=0, microsecond=0)
    strip = []
    for back in reversed(range(HOURS)):
        begin = last - timedelta(hours=back)
        cards = [c for c in board.jobs if begin <= c.times.accepted_at < begin + timedelta(hours=1)]
        failed = sum(card.state == "failed" for card in cards)
        strip.append(Hour(begin, len(cards) - failed, failed))
    return strip


def _today(board: Board) -> dict[str, Any]:
    """Counts since midnight on this machine's clock."""
    midnight = board.made_at.astimezone().replace(hour=0, minute=0, second=0, microsecond=0)
    cards = [card for card in board.jobs if card.times.accepted_at >= midnight]
    whole_s = [
        (c.times.delivered_at - c.times.received_at).total_seconds()
        for c in cards
        if c.times.delivered_at is not None and c.times.received_at is not None
    ]
    return {
        "cines": sum(moment >= midnight for moment in board.arrivals.received_at),
        "jobs": len(cards),
        "delivered": sum(card.state == "delivered" for card in cards),
        "unsent": sum(card.state == "measured" for card in cards),
        "working": sum(card.state in ("waiting", "measuring", "delivering") for card in cards),
        "failed": sum(card.state == "failed" for card in cards),
        "median_s": median(whole_s) if whole_s else None,
    }


def _folder(site: Site, card: JobCard) -> Path:
    root = DataFolder(site.settings.node.data_dir).results
    return ResultFolder(root, card.acquisition, card.name).path
