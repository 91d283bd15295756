"""Numbers and moments as the pages write them. Everything here is a filter of the templates."""

from __future__ import annotations

import math
from datetime import datetime

STATE_WORDS = {
    "waiting": "waiting",
    "measuring": "measuring",
    "delivering": "delivering",
    "delivered": "delivered",
    "measured": "measured, not sent",
    "failed": "failed",
    "pending": "trying",
    "committing": "awaiting commitment",
}

ARRIVAL_WORDS = {
    "stored": "stored",
    "duplicate": "received again, identical",
    "quarantined": "quarantined",
    "dropped": "dropped: no cine",
    "retrieved": "fetched from a PACS",
    "refused": "refused",
    "failed": "cut off or failed",
}

UNITS = {"[arb'U]": "a.u.", "[arb'U]/s": "a.u./s", "[arb'U].s": "a.u.·s", "{ratio}": "×", "1": "", "mm2": "mm²"}
"""UCUM as people write it; a code that is not here stands as it is."""


def local_time(moment: datetime | None, now: datetime) -> str:
    """Time of day on this machine's clock, with the date where it is not today's."""
    if moment is None:
        return "–"
    here, today = _here(moment), _here(now).date()
    return f"{here:%H:%M:%S}" if here.date() == today else f"{here:%d %b %H:%M}"


def scanner_time(moment: datetime | None) -> str:
    """A scanner's own date and time, as it was written."""
    return "–" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def zone(now: datetime) -> str:
    """The name of this machine's time zone."""
    return f"{now.astimezone():%Z}"


def duration(seconds: float | None) -> str:
    """A duration with two significant figures at most: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for size, big, small, divisor in ((3600, "min", "s", 60), (86400, "h", "min", 3600), (math.inf, "d", "h", 86400)):
        if whole < size:
            rest = whole % divisor // (divisor // 60 if big != "d" else 3600)
            return f"{whole // divisor} {big}" + (f" {rest} {small}" if rest else "")
    return ""


def number(value: float | None) -> str:
    """A figure with three significant digits: no figure here is known better than that."""
    if value is None:
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    else:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        text = f"{mantissa} × 10^{int(exponent)}"
    return text.replace("-", "−")


def unit(code: str) -> str:
    """A UCUM code as people write it."""
    return UNITS.get(code, code)


def state(word: str) -> str:
    """A state as the page says it."""
    return STATE_WORDS.get(word, word)


def plural(count: int, noun: str) -> str:
    """1 clip, 2 clips."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _here(moment: datetime) -> datetime:
    return moment.astimezone()
