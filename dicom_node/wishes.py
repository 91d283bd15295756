"""What people ask for on the page: kept on disk until the worker has done it.

The web role may neither compute nor make memory executable, and trying a job again means reading its header anew; so it
only writes the wish down. A wish is a file with the name of who asks, where he gave one: asking twice is asking once,
a crash loses none, and the worker never sees half a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dicom_node.spool import write_durably

Deed = Literal["retry", "cancel", "confirm"]
DEEDS: tuple[Deed, ...] = ("retry", "cancel", "confirm")


@dataclass(frozen=True)
class Wish:
    """One job and what is to be done with it; `by`: the reader who confirms a lesion match."""

    job: str
    deed: Deed
    by: str = ""


class WishBox:
    """The folder of wishes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, wish: Wish) -> None:
        """Keep a wish durably. The job must be a known one: its name becomes a file's."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_durably(self._file(wish), wish.by.encode())

    def waiting(self) -> list[Wish]:
        """Every wish that is not done yet."""
        files = [(deed, file) for deed in DEEDS for file in sorted(self._root.glob(f"*.{deed}"))]
        return [Wish(file.stem, deed, file.read_text(encoding="utf-8")) for deed, file in files]

    def done(self, wish: Wish) -> None:
        """Take the wish out."""
        self._file(wish).unlink(missing_ok=True)

    def _file(self, wish: Wish) -> Path:
        return self._root / f"{wish.job}.{wish.deed}"
