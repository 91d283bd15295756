"""Burned-in text: a 3 x 5 pixel alphabet, scaled by whole pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Five rows of three bits a glyph, one octal digit a row.
_GLYPHS = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71122",
    "8": "75757", "9": "75717", "A": "25755", "B": "65656", "C": "34443", "D": "65556", "E": "74647", "F": "74644",
    "G": "34553", "H": "55755", "I": "72227", "J": "11152", "K": "55655", "L": "44447", "M": "57755", "N": "65555",
    "O": "25552", "P": "65644", "Q": "25563", "R": "65655", "S": "34216", "T": "72222", "U": "55557", "V": "55552",
    "W": "55775", "X": "55255", "Y": "55222", "Z": "71247", " ": "00000", ":": "02020", ".": "00002", "-": "00700",
    "/": "11244", "%": "51245", "^": "25000", "+": "02720",
}  # fmt: skip


def lettering(text: str, scale_px: int = 1) -> NDArray[np.bool_]:
    """The pixels of one line of text, bool (5 scale, 4 scale len); characters without a glyph stay blank."""
    glyphs = []
    for character in text.upper():
        rows = [int(digit) for digit in _GLYPHS.get(character, "00000")]
        glyphs.append(np.array([[bool(row & bit) for bit in (4, 2, 1, 0)] for row in rows]))
    line = np.concatenate(glyphs, axis=1) if glyphs else np.zeros((5, 0), dtype=np.bool_)
    return np.kron(line, np.ones((scale_px, scale_px), dtype=np.bool_))


def write_text(image: NDArray[np.uint8], text: str, at: tuple[int, int], scale_px: int = 1, level: int = 200) -> None:
    """Draw one line of text into an RGB image, its top-left corner `at` (row, column); what exceeds it is cut."""
    pixels = lettering(text, scale_px)
    part = image[at[0] : at[0] + pixels.shape[0], at[1] : at[1] + pixels.shape[1]]
    part[pixels[: part.shape[0], : part.shape[1]]] = level
