"""One or more instances as a cine: a frame source that decodes from disk, block by block or by sample."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicom_node.cine_colour import display
from dicom_node.cine_decoders import Decoder, SampleFormat, jpeg, jpeg_again, jpeg_luma
from dicom_node.cine_header import CineFacts
from dicom_node.cine_palette import Palette
from dicom_node.cine_storage import Span, StoredCine
from dicom_node.cine_video import VideoClip
from dicom_node.errors import UnreadableCineError
from processing.cine import FRAMES_PER_BLOCK, CineDescription, FrameBlock
from processing.limitations import Limitation
from processing.projection import luma

BLOCK_BYTES = 4 << 20
"""Small enough for the allocator to hand the same pages out again: at 16 MB, fresh pages cost a tenth of decoding."""


@dataclass(frozen=True, eq=False)
class Clip:
    """One instance: its frames can be decoded independently, in any order."""

    path: Path
    facts: CineFacts
    stored: StoredCine
    sample_format: SampleFormat
    decoder: Decoder
    palette: Palette | None
    spans: tuple[tuple[Span, ...], ...]

    @property
    def frames(self) -> int:
        return len(self.spans)

    def decode(self, frame: int, luma_only: bool = False) -> NDArray[np.uint8]:
        """Displayed pixels of one frame. Raises UnreadableCineError (undecodable_frame)."""
        try:
            if luma_only and self._codes_luma:
                return jpeg_luma(self.stored.read(self.spans[frame]), self.sample_format).samples
            return display(
                self.decoder(self.stored.read(self.spans[frame]), self.sample_format), self.sample_format, self.palette
            )
        except UnreadableCineError:
            raise
        except Exception as error:
            # Five decoder libraries raise a dozen kinds of error for one fact: this frame cannot be decoded.
            raise UnreadableCineError(
                "undecodable_frame",
                f"frame {frame + 1} of {self.path.name} cannot be decoded ({error}): send the object again",
            ) from error

    def again(self, frame: int) -> NDArray[np.uint8] | None:
        """Luma of a frame after one more pass through its coder; None where that is not JPEG's luma."""
        if not self._codes_luma:
            return None
        return jpeg_again(self.stored.read(self.spans[frame]), self.sample_format)

    @property
    def _codes_luma(self) -> bool:
        """The code stream holds the displayed luma as a component of its own."""
        return self.decoder is jpeg and self.palette is None and self.sample_format.photometric != "MONOCHROME1"


@dataclass(frozen=True, eq=False)
class CineFile:
    """A cine on disk; a `processing.cine.FrameSource`. `limitations` says what is doubtful about its header."""

    description: CineDescription
    facts: CineFacts
    limitations: tuple[Limitation, ...]
    clips: tuple[Clip | VideoClip, ...]
    luma_only: bool = False

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(clip.path for clip in self.clips)

    def luma(self) -> CineFile:
        """The same cine as its luma (row, column), decoded without chroma where the code stream keeps it apart."""
        return replace(self, description=replace(self.description, colour=False), luma_only=True)

    def coded_again(self, frames: Sequence[int]) -> NDArray[np.uint8] | None:
        """Luma of these frames after one more pass through their own JPEG coder; None for every other encoding."""
        held = [self._clip_of(frame) for frame in frames]
        coded = [clip.again(frame) if isinstance(clip, Clip) else None for clip, frame in held]
        known = [frame for frame in coded if frame is not None]
        return np.stack(known) if len(known) == len(coded) else None

    def blocks(self) -> Iterator[FrameBlock]:
        """All frames in order, each decoded once, by as many threads as there are cores (decoders release the GIL)."""
        if any(isinstance(clip, VideoClip) for clip in self.clips):
            return self._streamed_blocks()
        return self._parallel_blocks()

    def _parallel_blocks(self) -> Iterator[FrameBlock]:
        count, threads = self._frames_per_block, os.cpu_count() or 1
        waiting: deque[Future[FrameBlock]] = deque()
        pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        try:
            for first in range(0, self.description.frames, count):
                # Taken here, not in the thread: memory of one allocator arena is handed out again soonest.
                pixels = np.empty((min(count, self.description.frames - first), *self._frame_shape), np.uint8)
                waiting.append(pool.submit(self._decode_block, pixels, first))
                # One for each thread, one that waits for it and one that is being consumed.
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _decode_block(self, pixels: NDArray[np.uint8], first: int) -> FrameBlock:
        for i, place in enumerate(pixels):
            self._decode_into(place, first + i)
        return FrameBlock(pixels, first)

    def _streamed_blocks(self) -> Iterator[FrameBlock]:
        """Clips that can only be read in order (video brings threads of its own)."""
        frames = itertools.chain.from_iterable(_in_order(clip, self.luma_only) for clip in self.clips)
        first = 0
        while batch := list(itertools.islice(frames, self._frames_per_block)):
            yield FrameBlock(np.stack(batch), first)
            first += len(batch)

    def sample(self, frames: Sequence[int]) -> NDArray[np.uint8]:
        """The named frames, (len(frames), row, column[, 3])."""
        pixels = np.empty((len(frames), *self._frame_shape), np.uint8)
        if any(isinstance(clip, VideoClip) for clip in self.clips):
            places = {frame: i for i, frame in enumerate(frames)}
            for i, shown in enumerate(
                itertools.chain.from_iterable(_in_order(clip, self.luma_only) for clip in self.clips)
            ):
                if i in places:
                    pixels[places[i]] = shown
            return pixels
        with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="sample") as pool:
            list(pool.map(self._decode_into, pixels, frames))
        return pixels

    @property
    def _frame_shape(self) -> tuple[int, ...]:
        shape = (self.description.rows, self.description.columns)
        return (*shape, 3) if self.description.colour else shape

    @property
    def _frames_per_block(self) -> int:
        return min(max(BLOCK_BYTES // int(np.prod(self._frame_shape)), 1), FRAMES_PER_BLOCK)

    def _decode_into(self, place: NDArray[np.uint8], frame: int) -> None:
        clip, own = self._clip_of(frame)
        if not isinstance(clip, Clip):
            raise IndexError(frame)
        shown = clip.decode(own, self.luma_only)
        place[...] = luma(shown[None], True)[0] if shown.ndim > place.ndim else shown

    def _clip_of(self, frame: int) -> tuple[Clip | VideoClip, int]:
        """The instance that holds this frame, and its number there."""
        for clip in self.clips:
            if frame < clip.frames:
                return clip, frame
            frame -= clip.frames
        raise IndexError(frame)


def _in_order(clip: Clip | VideoClip, luma_only: bool) -> Iterator[NDArray[np.uint8]]:
    if isinstance(clip, VideoClip):
        return clip.iterate(luma_only)
    return (clip.decode(i, luma_only) for i in range(clip.frames))
