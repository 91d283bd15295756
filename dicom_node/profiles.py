"""Which site profile describes the scanner that made a cine: matched by what the header says, never by a guess.

A profile's empty text matches anything; otherwise upper and lower case are alike and * and ? are wild. The profile
that matches on most attributes wins; two that match equally well, or none, are a limitation and nothing is declared.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from dicom_node.cine_header import CineFacts
from dicom_node.errors import ConfigurationError
from processing.cine import Box, Compression, DisplayProfile
from processing.colour_maps import FAMILIES, family
from processing.limitations import Limitation
from processing.linearize import AMPLITUDES, GREY_LEVELS
from processing.projection import exact_luma

MATCHED = {
    "manufacturer": "manufacturer",
    "model": "model",
    "software": "software",
    "transducer": "transducer",
    "station": "station",
    "processing": "processing_text",
}
"""Key of [profile.NAME] -> header fact."""


class ProfileRule(Protocol):
    """A [profile.NAME] table of the configuration (docs: contract)."""

    @property
    def manufacturer(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def software(self) -> str: ...
    @property
    def transducer(self) -> str: ...
    @property
    def station(self) -> str: ...
    @property
    def processing(self) -> str: ...
    @property
    def contrast_panel(self) -> Literal["auto", "left", "right", "whole"] | tuple[int, int, int, int]: ...
    @property
    def compression(self) -> Compression: ...
    @property
    def dynamic_range_db(self) -> float | None: ...
    @property
    def grey_to_db(self) -> Path | None: ...
    @property
    def colour_map(self) -> str: ...
    @property
    def time_tag(self) -> Literal["loop start", "loop end", "saved"] | None: ...
    @property
    def commissioned_by(self) -> str | None: ...
    @property
    def commissioned_on(self) -> date | None: ...


def match(profiles: Mapping[str, ProfileRule], facts: CineFacts) -> tuple[DisplayProfile, tuple[Limitation, ...]]:
    """The display profile of this cine and what follows. Raises ConfigurationError where its table is bad."""
    fitting = {name: _specificity(rule) for name, rule in profiles.items() if _fits(rule, facts)}
    best = max(fitting.values(), default=0)
    chosen = [name for name, specificity in fitting.items() if specificity == best]
    scanner = f"{facts.manufacturer or 'unknown maker'} {facts.model or 'unknown model'}"
    if not chosen:
        said = f"no profile matches this scanner ({scanner}): its dynamic range and layout are undeclared"
        return DisplayProfile(), (Limitation("profile_none", said, "degraded", AMPLITUDES), _not_commissioned())
    if len(chosen) > 1:
        said = f"the profiles {', '.join(sorted(chosen))} match this scanner ({scanner}) equally: none was used"
        return DisplayProfile(), (Limitation("profile_ambiguous", said, "degraded", AMPLITUDES), _not_commissioned())
    profile = _display_profile(chosen[0], profiles[chosen[0]])
    return profile, () if profile.commissioned_on and profile.commissioned_by else (_not_commissioned(),)


def _fits(rule: ProfileRule, facts: CineFacts) -> bool:
    return all(
        fnmatchcase(getattr(facts, fact).lower(), wanted.lower())
        for key, fact in MATCHED.items()
        if (wanted := getattr(rule, key))
    )


def _specificity(rule: ProfileRule) -> int:
    return sum(bool(getattr(rule, key)) for key in MATCHED)


def _display_profile(name: str, rule: ProfileRule) -> DisplayProfile:
    panel = rule.contrast_panel
    return DisplayProfile(
        name=name,
        contrast_panel=panel if isinstance(panel, str) else Box(*panel),
        compression=rule.compression,
        dynamic_range_db=rule.dynamic_range_db,
        grey_to_db=None if rule.grey_to_db is None else read_grey_to_db(rule.grey_to_db),
        colour_map=None if rule.colour_map == "auto" else read_colour_map(rule.colour_map),
        time_tag=rule.time_tag,
        commissioned_by=rule.commissioned_by,
        commissioned_on=rule.commissioned_on.isoformat() if rule.commissioned_on else None,
    )


def read_grey_to_db(path: Path) -> tuple[float, ...]:
    """A CSV of `grey,level_db` rows (any number from 2 to 256, a heading is allowed) as 256 levels, full scale 0 dB.

    Raises ConfigurationError where it cannot be read, or does not rise.
    """
    grey, level_db = _columns("grey_to_db", path, ("grey", "level_db")).T
    if (np.diff(level_db) < 0).any() or level_db[-1] <= level_db[0]:
        raise ConfigurationError(f"grey_to_db: {path.name} must list rising grey levels with rising dB")
    levels = np.interp(np.arange(GREY_LEVELS), grey, level_db)
    return tuple(float(level) for level in levels - levels[-1])


def read_colour_map(named: str) -> tuple[tuple[int, int, int], ...]:
    """256 colours: a known family by its name, or a CSV of `level,red,green,blue` rows, straight lines between.

    Raises ConfigurationError where it is neither, or does not become brighter with the level.
    """
    if named in FAMILIES:
        table = family(named)
    else:
        rows = _columns("colour_map", Path(named), ("level", "red", "green", "blue"))
        channels = [np.interp(np.arange(GREY_LEVELS), rows[:, 0], rows[:, c]) for c in (1, 2, 3)]
        table = np.clip(np.rint(np.stack(channels, -1)), 0, 255).astype(np.uint8)
    shade = exact_luma(table)
    if (np.diff(shade) < -1.0).any() or np.ptp(shade) < 64:
        raise ConfigurationError(f"colour_map: {Path(named).name} must become brighter from level 0 to 255")
    return tuple((int(red), int(green), int(blue)) for red, green, blue in table)


def _columns(key: str, path: Path, names: tuple[str, ...]) -> NDArray[np.float64]:
    """The numbers of a CSV, one row a line, a heading allowed; the first column must rise."""
    said = f"{key}: {path.name} is no table of {','.join(names)}"
    try:
        with path.open(newline="") as opened:
            rows = [row for row in csv.reader(opened) if row]
        body = rows[1:] if rows and not rows[0][0].strip().lstrip("-").isdigit() else rows
        table = np.array([[float(row[i]) for i in range(len(names))] for row in body])
    except (OSError, ValueError, IndexError) as error:
        raise ConfigurationError(f"{said} ({error})") from error
    if len(table) < 2 or (np.diff(table[:, 0]) <= 0).any() or not np.isfinite(table).all():
        raise ConfigurationError(f"{said} with at least two rising rows")
    return table


def _not_commissioned() -> Limitation:
    said = "NOT commissioned: nobody checked the amplitudes of this scanner, so amplitudes are unreliable"
    return Limitation("not_commissioned", said, "degraded", AMPLITUDES)
