"""An item -> a clip, which gives the picture at any time. Free of torch."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from binder import Item, ItemError, existing_file, name_of, read_bytes
from binder_video.stills import from_array, from_webp
from binder_video.video_file import VideoFile

if TYPE_CHECKING:
    from PIL.Image import Image


class Clip(Protocol):
    """A video that can be looked at, whatever it was read from."""

    duration_s: float  # more than 0
    timed: bool  # False: frames in memory without a frame rate, so that the seconds have no meaning

    def at(self, times_s: Iterable[float]) -> Iterator[Image]:
        """Ascending times in s from the first frame, consumed lazily -> the picture shown at each, RGB, upright.

        The same object while the picture does not change. Raises ItemError where a picture cannot be decoded.
        """
        ...

    def count(self, most: int) -> int:
        """The number of frames, counted up to `most`."""
        ...

    def close(self) -> None:
        """Close the file, if there is one."""
        ...


@contextmanager
def open_clip(item: Item) -> Iterator[Clip]:
    """Path, bytes, (T, H, W, 3) uint8 or (such an array, frames per second) -> a clip. Raises ItemError."""
    clip = _clip(item)
    try:
        yield clip
    finally:
        clip.close()


def _clip(item: Item) -> Clip:
    name = name_of(item)
    if isinstance(item, np.ndarray):
        return from_array(item, None, name)
    if isinstance(item, tuple) and len(item) == 2:
        return from_array(*item, name)
    if isinstance(item, str | os.PathLike):
        return _from_path(existing_file(item), name)
    if isinstance(item, bytes | bytearray | memoryview):
        if not len(item):
            raise ItemError(name, "empty: no bytes")
        data = bytes(item)
        return from_webp(data, name) if _is_webp(data[:12]) else VideoFile(io.BytesIO(data), name)
    raise ItemError(name, f"expected a path, bytes, or (T, H, W, 3) uint8, not {type(item).__name__}")


def _from_path(path: Path, name: str) -> Clip:
    with path.open("rb") as file:
        head = file.read(12)
    return from_webp(read_bytes(path), name) if _is_webp(head) else VideoFile(str(path), name)


def _is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"
