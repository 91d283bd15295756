"""Video transfer syntaxes (MPEG-2, MPEG-4 AVC, HEVC) through PyAV, the extra `video`.

A video is one stream: frames come in order, a sample is a pass over the stream. The limited range (16 to 235) of
broadcast video is expanded to full range by the conversion to RGB; its chroma is 4:2:0, so level is read from luma.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.cine_storage import Span, StoredCine
from dicom_node.errors import UnreadableCineError


class FragmentStream(io.RawIOBase):
    """The fragments of one encapsulated stream as a seekable file, never joined in memory."""

    def __init__(self, stored: StoredCine) -> None:
        super().__init__()
        self._stored = stored
        self._starts = np.cumsum([0, *(span.length for span in stored.fragments)])
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: int(self._starts[-1])}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def read(self, size: int = -1) -> bytes:
        end = int(self._starts[-1]) if size < 0 else min(self._position + size, int(self._starts[-1]))
        spans = []
        position = self._position
        while position < end:
            i = int(np.searchsorted(self._starts, position, side="right")) - 1
            within = position - int(self._starts[i])
            length = min(self._stored.fragments[i].length - within, end - position)
            spans.append(Span(self._stored.fragments[i].offset + within, length))
            position += length
        self._position = max(position, self._position)
        return self._stored.read(spans)


@dataclass(frozen=True, eq=False)
class VideoClip:
    """One encapsulated video instance."""

    path: Path
    stored: StoredCine
    rows: int
    columns: int
    frames: int

    def iterate(self, luma_only: bool = False) -> Iterator[NDArray[np.uint8]]:
        """Frames in order, RGB (row, column, 3) or full-range luma (row, column). Raises `undecodable_frame`."""
        count = 0
        try:
            with _opened(self.path, self.stored) as container:
                stream = container.streams.video[0]
                stream.thread_type = "AUTO"
                for frame in container.decode(stream):
                    if (frame.height, frame.width) != (self.rows, self.columns):
                        raise _broken(self.path, f"its frames are {frame.width}x{frame.height}")
                    if count < self.frames:
                        yield frame.to_ndarray(format="gray" if luma_only else "rgb24")
                    count += 1
        except (OSError, ValueError, IndexError) as error:  # PyAV's errors derive from these
            raise _broken(self.path, str(error)) from error
        if count < self.frames:
            raise _broken(self.path, f"only {count} of {self.frames} frames can be decoded")


def open_video(path: Path, stored: StoredCine, rows: int, columns: int) -> VideoClip:
    """Count the frames of the stream without decoding them.

    Raises UnreadableCineError: missing_decoder (PyAV is not installed), undecodable_frame.
    """
    try:
        with _opened(path, stored) as container:
            frames = sum(1 for packet in container.demux(video=0) if packet.size)
    except (OSError, ValueError, IndexError) as error:
        raise _broken(path, str(error)) from error
    if frames == 0:
        raise _broken(path, "it holds no frame")
    return VideoClip(path, stored, rows, columns, frames)


def _opened(path: Path, stored: StoredCine) -> Any:
    try:
        import av
    except ImportError as error:
        raise UnreadableCineError(
            "missing_decoder",
            f"{path.name} is video ({stored.transfer_syntax.name}): install the extra `video` (PyAV) to read it",
        ) from error
    av.logging.set_level(None)
    return av.open(FragmentStream(stored), mode="r")


def _broken(path: Path, why: str) -> UnreadableCineError:
    return UnreadableCineError("undecodable_frame", f"the video in {path.name} cannot be decoded ({why}): resend it")
