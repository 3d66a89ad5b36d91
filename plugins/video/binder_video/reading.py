"""An item -> a clip that shows the picture at any moment. Free of torch."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from binder import Item, ItemError, existing_file, name_of, read_bytes
from binder_video.film import Film
from binder_video.stills import from_array, from_webp

if TYPE_CHECKING:
    from PIL.Image import Image


class Clip(Protocol):
    """What a video is to everything else here."""

    duration_s: float  # more than 0
    timed: bool  # False: frames in memory of unknown rate, the seconds mean nothing

    def at(self, times_s: Iterable[float]) -> Iterator[Image]:
        """Moments in s from the first frame, ascending, drawn lazily -> the picture shown at each, RGB, upright.

        The same object where the picture stays. Raises ItemError where one cannot be decoded.
        """
        ...

    def count(self, most: int) -> int:
        """How many frames there are, counted no further than `most`."""
        ...

    def close(self) -> None: ...


@contextmanager
def open_clip(item: Item) -> Iterator[Clip]:
    """Path, bytes, (T, H, W, 3) uint8, or such an array with its frames per second -> a clip. Raises ItemError."""
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
        return from_webp(data, name) if _is_webp(data[:12]) else Film(io.BytesIO(data), name)
    raise ItemError(name, f"expected a path, bytes, or (T, H, W, 3) uint8, not {type(item).__name__}")


def _from_path(path: Path, name: str) -> Clip:
    with path.open("rb") as file:
        head = file.read(12)
    return from_webp(read_bytes(path), name) if _is_webp(head) else Film(str(path), name)


def _is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"
