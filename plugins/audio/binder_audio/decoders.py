"""An item -> a sound that can be read block by block, with the decoder for its content. Free of torch.

Shapes: C channels, S samples.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from binder import Item, ItemError, existing_file, name_of, one_line
from binder_audio import headers
from binder_audio.channels import BLOCK, Samples, as_floats
from binder_audio.containers import DAMAGED, NO_AUDIO, Container

RATES_HZ = (1_000, 1_000_000)  # from barely audible content to recordings of bats
MAX_CHANNELS, MAX_COLUMNS = 1_024, 32  # of a file; of the shorter axis of an array
# Left to FFmpeg, which is faster or more tolerant here, and quiet where libsndfile's MPEG decoder prints to stderr.
BY_FFMPEG = frozenset({b"OggS", b"ID3 ", b"MPEG", b"flac"})
MISSING = 0.01  # a file is truncated if this share of the samples in its header is missing


class Sound(Protocol):
    """A sound of known rate and channels, whatever it was decoded from."""

    rate: int  # Hz
    channels: int
    stated_s: float | None  # the duration that the header states; None where it states none

    def blocks(self) -> Iterator[Samples]:
        """(C, S) float32, about BLOCK numbers at a time. Each call begins at the start. Raises ItemError."""
        ...


@contextmanager
def opened(item: Item) -> Iterator[Sound]:
    """Path, bytes or (samples, rate) -> a sound whose rate and channels are within limits. Raises ItemError."""
    name = name_of(item)
    if isinstance(item, tuple) and len(item) == 2:
        yield _checked(_Array(item[0], item[1], name), name)
    elif isinstance(item, str | os.PathLike):
        with existing_file(item).open("rb", buffering=0) as file:
            yield _checked(_from_file(file, name), name)
    elif isinstance(item, bytes | bytearray | memoryview):
        if not len(item):
            raise ItemError(name, "empty: no bytes")
        yield _checked(_from_file(io.BytesIO(item), name), name)
    else:
        raise ItemError(name, f"expected a path, bytes or (samples, rate in Hz), not {type(item).__name__}")


def _checked(sound: Sound, name: str) -> Sound:
    """The sound. Raises ItemError where its rate or number of channels is out of range."""
    low, high = RATES_HZ
    if not low <= sound.rate <= high:
        raise ItemError(name, f"a sample rate of {sound.rate:,} Hz; expected {low:,} to {high:,}")
    if not 1 <= sound.channels <= MAX_CHANNELS:
        raise ItemError(name, f"{sound.channels:,} channels; expected 1 to {MAX_CHANNELS:,}")
    return sound


def _from_file(file: Any, name: str) -> Sound:
    """An open binary file -> a sound, by libsndfile or FFmpeg. Raises ItemError."""
    import soundfile

    kind = headers.kind(file)
    file = headers.checked(file, name)
    if kind in BY_FFMPEG:
        return Container(file, name)
    try:
        # by file descriptor where there is one: libsndfile then reads without calling Python, and sees no suffix
        source = file.fileno() if isinstance(file, io.FileIO) else headers.View(file)
        return _Soundfile(soundfile.SoundFile(source, closefd=False), name)
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        try:
            return Container(file, name)
        except ItemError as other:
            if other.reason.startswith((NO_AUDIO, DAMAGED)):
                raise
            reason = getattr(error, "error_string", None) or one_line(error)
            raise ItemError(name, f"not decodable audio: {reason}") from None


class _Soundfile:
    """A file that libsndfile decodes."""

    def __init__(self, file: Any, name: str) -> None:
        self.file, self.name = file, name
        self.rate, self.channels, self.frames = file.samplerate, file.channels, file.frames
        self.stated_s = self.frames / self.rate if self.rate > 0 and self.frames > 0 else None

    def blocks(self) -> Iterator[Samples]:
        size, seen = max(1, BLOCK // self.channels), 0
        try:
            if self.file.tell():
                self.file.seek(0)
            while len(block_SC := self.file.read(size, dtype="float32", always_2d=True)):
                seen += len(block_SC)
                yield np.ascontiguousarray(block_SC.T)
        except (RuntimeError, OSError, ValueError, TypeError):
            raise ItemError(self.name, f"damaged or cut off after {seen / self.rate:.3g} s") from None
        if seen < (1 - MISSING) * self.frames:
            raise ItemError(self.name, f"truncated: the data end after {seen / self.rate:.3g} s")


class _Array:
    """Samples in memory: (S,), (S, C) or (C, S), of floats or of integers over their full range; rate in Hz."""

    def __init__(self, values: Any, rate: Any, name: str) -> None:
        try:
            array = np.asarray(values)
            self.rate = int(rate)
        except (TypeError, ValueError, OverflowError) as error:
            raise ItemError(name, f"not (samples, rate in Hz): {one_line(error)}") from None
        if array.ndim not in (1, 2):
            raise ItemError(name, f"samples of shape {array.shape}: expected (S,), (S, C) or (C, S)")
        if array.ndim == 1:
            self.values_CS = array[None]
        else:
            self.values_CS = array if array.shape[0] < array.shape[1] else array.T
        if len(self.values_CS) > MAX_COLUMNS:
            raise ItemError(name, f"samples of shape {array.shape}: neither axis can be channels")
        if array.dtype.kind not in "iuf":
            raise ItemError(name, f"samples of type {array.dtype}: expected floats or integers")
        if not array.size:
            raise ItemError(name, "empty: no samples")
        self.channels, self.stated_s = len(self.values_CS), self.values_CS.shape[1] / max(self.rate, 1)

    def blocks(self) -> Iterator[Samples]:
        size = max(1, BLOCK // self.channels)
        for start in range(0, self.values_CS.shape[1], size):
            yield as_floats(self.values_CS[:, start : start + size])
