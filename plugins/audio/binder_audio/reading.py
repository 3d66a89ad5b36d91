"""Sound files, bytes and arrays -> mono samples, and how long ones are cut into windows. Free of torch.

Whatever an item claims, it is decoded block by block straight to one channel at the wanted rate, and no further than
one item may be long. Shapes: S samples, W windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from binder import Item, ItemError, name_of
from binder_audio.channels import BLOCK, Mixing, Samples
from binder_audio.sounds import Sound, opened

SHORTEST_S = 0.025  # s; less is shorter than one frame of the spectrogram
LONGEST_S, MOST_SAMPLES = 3_600.0, 57_600_000  # of one item or piece, whichever is less; the latter are 230 MB
FULL_SCALE = 32_767  # int16
PEAK = 0.95  # of full scale: every clip is brought to it, so that int16 serves quiet recordings too
EMPTY = np.zeros(0, np.float32)


def read(item: Item, rate: int, first_s: float | None = None) -> Samples:
    """Path, bytes or (samples, rate) -> (S,) float32 at `rate`, channels averaged; where they cancel, the strongest.

    Of a longer item the first `first_s` seconds, if given. Raises ItemError with one line for whatever is no usable
    sound, or longer than an item may be.
    """
    name = name_of(item)
    with opened(item) as sound:
        if first_s is None and sound.promised_s and sound.promised_s > _longest_s(rate):
            raise _too_long(name, f"{sound.promised_s / 60:,.0f} minutes", rate)
        most = None if first_s is None else round(first_s * sound.rate)
        mixing = Mixing(sound.channels, sound.rate)
        found = _gathered((mixing.mean(block) for block in sound.blocks()), most, _Part(sound.rate, rate, name))
        channel = mixing.instead()
        if channel is not None:
            found = _gathered((block[channel] for block in sound.blocks()), most, _Part(sound.rate, rate, name))
    if found.unusable:
        raise ItemError(name, found.unusable)
    return found.samples()


def pieces(item: Item, rate: int, every_s: float) -> Iterator[tuple[float, float, Samples]]:
    """Path, bytes or (samples, rate) -> start and end in s and (S,) float32 at `rate` of each piece of `every_s` s.

    Read piece by piece, so that hours fit in memory. Pieces that are silent, and a rest too short for one frame, are
    left out. Raises ItemError where nothing is left, where the item is no sound, or where it ends too early.
    """
    name = name_of(item)
    if every_s < SHORTEST_S:
        raise ItemError(name, f"pieces of {1000 * every_s:.3g} ms; sound needs at least {1000 * SHORTEST_S:.0f} ms")
    at, unusable = 0, ""
    heard = False
    with opened(item) as sound:
        size = round(min(every_s, 1e9) * sound.rate)
        for part in _cut(_mono(sound), size, lambda: _Part(sound.rate, rate, name)):
            start, at, unusable = at, at + part.seen, unusable or part.unusable
            if not part.unusable:
                heard = True
                yield start / sound.rate, at / sound.rate, part.samples()
    if not heard:
        raise ItemError(name, unusable or "empty: no samples")


def duration_s(item: Item) -> float:
    """Length in seconds; of files from the header alone where possible. Raises ItemError."""
    with opened(item) as sound:
        if sound.promised_s:
            return sound.promised_s
        return sum(block.shape[1] for block in sound.blocks()) / sound.rate


def _mono(sound: Sound) -> Iterator[Samples]:
    """The blocks of a sound, (S,). Of several channels they are read twice: first to find out how to mix them."""
    mixing = Mixing(sound.channels, sound.rate)
    if not mixing.decided:
        for block in sound.blocks():
            mixing.mean(block)
            if mixing.decided:
                break
    channel = mixing.instead()
    for block in sound.blocks():
        yield mixing.mean(block) if channel is None else block[channel]


def _gathered(blocks: Iterable[Samples], most: int | None, part: _Part) -> _Part:
    """Blocks -> a part of all of them, or of their first `most` samples."""
    for block in blocks:
        part.add(block if most is None else block[: most - part.seen])
        if part.seen == most:
            break
    return part


def _cut(blocks: Iterable[Samples], size: int, new: Callable[[], _Part]) -> Iterator[_Part]:
    """Blocks -> parts of `size` samples; the last may be shorter."""
    part = new()
    for block in blocks:
        at = 0
        while at < len(block):
            some = block[at : at + size - part.seen]
            at += len(some)
            part.add(some)
            if part.seen == size:
                yield part
                part = new()
    if part.seen:
        yield part


class _Part:
    """An item or a piece of it, resampled as it is read."""

    def __init__(self, own_rate: int, rate: int, name: str) -> None:
        self.own_rate, self.rate, self.name = own_rate, rate, name
        self.resample: _Resampler | None = None  # None as long as nothing was heard: silence costs nothing
        self.parts: list[Samples] = []
        self.seen, self.low, self.high = 0, np.inf, -np.inf  # samples at the own rate

    def add(self, block: Samples) -> None:
        """(S,). Raises ItemError: not finite, or more than an item may hold."""
        low, high = float(block.min()), float(block.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ItemError(self.name, "holds samples that are NaN or infinite")
        before, still, self.seen = self.seen, self.low, self.seen + len(block)
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.seen > _longest_s(self.rate) * self.own_rate:
            raise _too_long(self.name, f"more than {_longest_s(self.rate) / 60:,.0f} minutes", self.rate)
        if self.resample is None and self.low != self.high:
            self.resample = _Resampler(self.own_rate, self.rate)
            for start in range(0, before, BLOCK):  # all of them alike
                self.parts.append(self.resample(np.full(min(BLOCK, before - start), still, np.float32)))
        if self.resample is not None:
            self.parts.append(self.resample(block))

    @property
    def unusable(self) -> str:
        """Why there is no sound in it; empty where there is."""
        if not self.seen:
            return "empty: no samples"
        if self.low == self.high:
            return f"silent: every sample is {'zero' if self.low == 0 else 'the same'}"
        if self.seen < int(SHORTEST_S * self.own_rate):
            return f"too short: {1000 * self.seen / self.own_rate:.3g} ms of at least {1000 * SHORTEST_S:.0f}"
        return ""

    def samples(self) -> Samples:
        """(S,) at the wanted rate. Each block is let go of as it is copied, which halves the memory of long ones."""
        blocks = [*self.parts, self.resample.rest() if self.resample else EMPTY][::-1]
        self.parts = []
        whole, at = np.empty(sum(map(len, blocks)), np.float32), 0
        while blocks:
            block = blocks.pop()
            whole[at : at + len(block)] = block
            at += len(block)
        return whole


class _Resampler:
    """Blocks at one rate -> blocks at another, without a seam."""

    def __init__(self, own_rate: int, rate: int) -> None:
        self.stream = None
        if own_rate != rate:
            import soxr  # type: ignore[import-untyped]

            self.stream = soxr.ResampleStream(own_rate, rate, 1, dtype="float32", quality="HQ")

    def __call__(self, block: Samples) -> Samples:
        return block if self.stream is None else self.stream.resample_chunk(block)

    def rest(self) -> Samples:
        """What is still held back once all has been given."""
        return EMPTY if self.stream is None else self.stream.resample_chunk(EMPTY, last=True)


def _longest_s(rate: int) -> float:
    return min(LONGEST_S, MOST_SAMPLES / rate)


def _too_long(name: str, length: str, rate: int) -> ItemError:
    most = f"one item may last {_longest_s(rate) / 60:,.0f}"
    return ItemError(name, f"{length} long; {most}: embed it piece by piece, with --every 10s (every_s=10)")


def windows(samples: Samples, size: int) -> tuple[NDArray[np.int16], list[tuple[int, int]]]:
    """(S,), samples per window -> (W, size) int16 and the W spans (first, last + 1 sample).

    A shorter clip is padded with zeros at its end, and zeros at its end do not count. A longer one is cut
    into evenly spread windows, the first at the start and the last at the end, overlapping a little rather
    than losing anything. Up to a tenth of a window is left out where another window would bring no more than
    that. Windows without any sound are left out.
    """
    gain = np.float32(PEAK * FULL_SCALE / max(float(samples.max()), -float(samples.min()), 1e-30))
    length = _length(samples, gain)
    count = max(1, int(np.ceil(length / size - 0.1)))
    if count == 1:
        starts = [max(0, (length - size) // 2)]
    else:
        starts = [round(i * (length - size) / (count - 1)) for i in range(count)]
    cut = np.zeros((len(starts), size), np.int16)
    spans: list[tuple[int, int]] = []
    for start in starts:
        end = min(start + size, length)
        row = np.round(samples[start:end] * gain).astype(np.int16)
        if row.any():
            cut[len(spans), : end - start] = row
            spans.append((start, end))
    return (cut[: len(spans)], spans) if spans else (cut[:1], [(starts[0], min(starts[0] + size, length))])


def _length(samples: Samples, gain: np.float32) -> int:
    """Samples up to the last that is not zero as int16; at least 1."""
    for end in range(len(samples), 0, -BLOCK):
        start = max(0, end - BLOCK)
        found = np.flatnonzero(np.round(samples[start:end] * gain))
        if len(found):
            return start + int(found[-1]) + 1
    return 1
