"""Palettes of PALETTE COLOR images, whole or segmented, of both byte orders (PS3.3 C.7.6.3.1.5, C.7.9.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.cine_header import numbers, value
from dicom_node.errors import UnreadableCineError

MAX_ENTRIES = 65536
DISCRETE, LINEAR, INDIRECT = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Palette:
    """Three 8-bit look-up tables (level, 3); `first` is the stored value that the first entry stands for."""

    table: NDArray[np.uint8]
    first: int


def read_palette(ds: Dataset, big_endian: bool) -> Palette:
    """The palette of a PALETTE COLOR image. Raises UnreadableCineError (pixel_format).

    The entries are read from their bytes here: in a big-endian file, pydicom's helper returns them byte-swapped.
    """
    tables = []
    first = 0
    for colour in ("Red", "Green", "Blue"):
        descriptor = numbers(ds, f"{colour}PaletteColorLookupTableDescriptor")
        if len(descriptor) != 3:
            raise _broken("has no look-up table descriptor")
        entries = int(descriptor[0]) % MAX_ENTRIES or MAX_ENTRIES  # 0 stands for 65536
        first = int(descriptor[1])
        data = value(ds, f"{colour}PaletteColorLookupTableData")
        segments = value(ds, f"Segmented{colour}PaletteColorLookupTableData")
        if data is not None:
            words = _words(data, entries, big_endian)
        elif segments is not None and descriptor[2] == 16:
            words = np.array(_expand(_words(segments, MAX_ENTRIES, big_endian).tolist(), entries), np.int64)
        else:
            raise _broken("has no look-up table data")
        tables.append(_levels(words, entries))
    if len({table.size for table in tables}) != 1:
        raise _broken("has tables of different lengths")
    return Palette(np.stack(tables, axis=-1), first)


def _words(data: Any, entries: int, big_endian: bool) -> NDArray[np.int64]:
    """The stored words; 8-bit entries come packed two a word, which matters in big endian."""
    if not isinstance(data, (bytes, bytearray)):
        return np.array(data, dtype=np.int64).ravel()
    whole = data[: len(data) // 2 * 2]
    if len(whole) >= 2 * entries or entries == MAX_ENTRIES:
        return np.frombuffer(whole, ">u2" if big_endian else "<u2").astype(np.int64)
    packed = np.frombuffer(whole, np.uint8)
    return (packed.reshape(-1, 2)[:, ::-1].ravel() if big_endian else packed).astype(np.int64)


def _expand(words: list[int], entries: int) -> list[int]:
    """Segments to entries: discrete runs, linear ramps from the last entry, and repeats of earlier segments."""
    table: list[int] = []
    todo = [(0, -1)]  # (position, number of segments left; -1 = to the end)
    while todo:
        position, left = todo.pop()
        if left == 0 or len(table) >= entries or position + 2 > len(words):
            continue
        opcode, length = words[position], words[position + 1]
        if opcode == DISCRETE:
            table += words[position + 2 : position + 2 + length]
            position += 2 + length
        elif opcode == LINEAR and table and length and position + 2 < len(words):
            table += np.rint(np.linspace(table[-1], words[position + 2], length + 1)[1:]).astype(int).tolist()
            position += 3
        elif opcode == INDIRECT and position + 3 < len(words) and len(todo) < 2:
            todo.append((position + 4, left - 1))
            todo.append(((words[position + 2] | words[position + 3] << 16) // 2, length))
            continue
        else:
            raise _broken("holds a damaged segment")
        todo.append((position, left - 1))
    return table


def _levels(words: NDArray[np.int64], entries: int) -> NDArray[np.uint8]:
    if words.size < entries:
        raise _broken(f"holds {words.size} of {entries} entries")
    words = words[:entries] & 0xFFFF
    # 16-bit entries carry the level in their high byte; makers also write 8-bit levels into 16-bit words.
    return (words >> 8 if words.max() > 255 else words).astype(np.uint8)


def _broken(what: str) -> UnreadableCineError:
    return UnreadableCineError("pixel_format", f"the palette of this PALETTE COLOR image {what}: send RGB instead")
