"""What an object calls its drawing, in its own words: a lesion, its reference, something else, or nothing at all."""

from __future__ import annotations

import re
import unicodedata

from processing.roi import RoiLabel

LESION_STEMS = ("lesion", "lasion", "tumor", "tumour", "metasta", "neoplas")
"""After accents are taken off: Läsion, lésion, lesión and lesione are lesions too."""
REFERENCE_STEMS = ("ref", "parenchym")
EMPTY_WORDS = frozenset(
    """
    annotation annotations area circle contour contours dev drawing ellipse freehand graphic graphics
    image label layer length line max mean measure measurement measurements median min outline overlay
    perimeter pixel pixels polygon polyline region roi segment segmentation shape spline std sum text
    unnamed user
    """.split()  # noqa: SIM905 - a list of 45 literals would fill the screen
)
"""Words that viewers put beside any drawing: they do not say what it is."""


def label_of(words: str) -> RoiLabel | None:
    """Lesion or reference where the words say so; None for something else, and for nothing."""
    found = _tokens(words)
    if any(token.startswith(REFERENCE_STEMS) for token in found):
        return "reference"
    return "lesion" if any(stem in token for token in found for stem in LESION_STEMS) else None


def says_nothing(words: str) -> bool:
    """Whether no word says what the drawing is. Numbers, units and words of up to two letters say nothing; in a script
    that is not read here any word may."""
    return all((len(token) < 3 and token.isascii()) or token in EMPTY_WORDS for token in _tokens(words))


def _tokens(words: str) -> list[str]:
    plain = "".join(c for c in unicodedata.normalize("NFKD", words.casefold()) if not unicodedata.combining(c))
    return re.findall(r"[^\W\d_]+", plain)
