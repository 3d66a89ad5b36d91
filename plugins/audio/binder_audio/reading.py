"""Audio files, bytes and arrays -> mono samples. Free of torch.

Items are decoded block by block, each block mixed to mono and resampled at once, up to the longest duration allowed:
memory does not depend on what a header claims. Shapes: S samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from binder import Item, ItemError, name_of
from binder_audio.channels import BLOCK, Mixing, Samples
from binder_audio.decoders import Sound, opened

SHORTEST_S = 0.025  # s, one frame of the spectrogram
LONGEST_S, MAX_SAMPLES = 3_600.0, 57_600_000  # of one item or segment, whichever is less; so many samples are 230 MB
EMPTY = np.zeros(0, np.float32)


def read(item: Item, rate: int, first_s: float | None = None) -> Samples:
    """Path, bytes or (samples, rate) -> (S,) float32 at `rate`: the mean of the channels, or the strongest (`Mixing`).

    With `first_s`, only the first seconds. Raises ItemError where the item is not usable as sound or too long.
    """
    name = name_of(item)
    with opened(item) as sound:
        if first_s is None and sound.stated_s and sound.stated_s > _longest_s(rate):
            raise _too_long(name, f"{sound.stated_s / 60:,.0f} minutes", rate)
        most = None if first_s is None else round(first_s * sound.rate)
        mixing = Mixing(sound.channels, sound.rate)
        found = _gathered((mixing.mean(block) for block in sound.blocks()), most, _Part(sound.rate, rate, name))
        channel = mixing.strongest()
        if channel is not None:
            found = _gathered((block[channel] for block in sound.blocks()), most, _Part(sound.rate, rate, name))
    if found.unusable:
        raise ItemError(name, found.unusable)
    return found.samples()


def read_segments(item: Item, rate: int, every_s: float) -> Iterator[tuple[float, float, Samples]]:
    """Path, bytes or (samples, rate) -> of each segment of `every_s` s its start and end in s, and (S,) at `rate`.

    Lazily, so that hours fit in memory. Silent segments and a rest shorter than one frame are left out. Raises
    ItemError where none is left, or where the item is not usable as sound or truncated.
    """
    name = name_of(item)
    if every_s < SHORTEST_S:
        raise ItemError(name, f"segments of {1000 * every_s:.3g} ms; expected at least {1000 * SHORTEST_S:.0f} ms")
    at, unusable = 0, ""
    found = False
    with opened(item) as sound:
        size = round(min(every_s, 1e9) * sound.rate)
        for part in _cut(_mono(sound), size, lambda: _Part(sound.rate, rate, name)):
            start, at, unusable = at, at + part.seen, unusable or part.unusable
            if not part.unusable:
                found = True
                yield start / sound.rate, at / sound.rate, part.samples()
    if not found:
        raise ItemError(name, unusable or "empty: no samples")


def duration_s(item: Item) -> float:
    """Duration in seconds, from the header of a file where it is stated there. Raises ItemError."""
    with opened(item) as sound:
        if sound.stated_s:
            return sound.stated_s
        samples: int = sum(block.shape[1] for block in sound.blocks())
        return samples / sound.rate


def _mono(sound: Sound) -> Iterator[Samples]:
    """The blocks of a sound, mixed to (S,). Several channels are read twice, first to decide how to mix them."""
    mixing = Mixing(sound.channels, sound.rate)
    if not mixing.decided:
        for block in sound.blocks():
            mixing.mean(block)
            if mixing.decided:
                break
    channel = mixing.strongest()
    for block in sound.blocks():
        yield mixing.mean(block) if channel is None else block[channel]


def _gathered(blocks: Iterable[Samples], most: int | None, part: _Part) -> _Part:
    """Adds the blocks, or their first `most` samples, to the part and returns it."""
    for block in blocks:
        part.add(block if most is None else block[: most - part.seen])
        if part.seen == most:
            break
    return part


def _cut(blocks: Iterable[Samples], size: int, new: Callable[[], _Part]) -> Iterator[_Part]:
    """Blocks -> parts of `size` samples; the last one may be shorter."""
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
    """An item or a segment of it, resampled from `own_rate` to `rate` as it is read."""

    def __init__(self, own_rate: int, rate: int, name: str) -> None:
        self.own_rate, self.rate, self.name = own_rate, rate, name
        self.resample: _Resampler | None = None  # made at the first sample that differs, so that silence is free
        self.parts: list[Samples] = []
        self.seen, self.low, self.high = 0, np.inf, -np.inf  # number of samples at `own_rate`, and their range

    def add(self, block: Samples) -> None:
        """Appends (S,). Raises ItemError where samples are not finite, or become too many for one item."""
        low, high = float(block.min()), float(block.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ItemError(self.name, "contains samples that are NaN or infinite")
        before, still, self.seen = self.seen, self.low, self.seen + len(block)
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.seen > _longest_s(self.rate) * self.own_rate:
            raise _too_long(self.name, f"more than {_longest_s(self.rate) / 60:,.0f} minutes", self.rate)
        if self.resample is None and self.low != self.high:
            self.resample = _Resampler(self.own_rate, self.rate)
            for start in range(0, before, BLOCK):  # the constant samples before
                self.parts.append(self.resample(np.full(min(BLOCK, before - start), still, np.float32)))
        if self.resample is not None:
            self.parts.append(self.resample(block))

    @property
    def unusable(self) -> str:
        """Why it cannot be used; empty where it can."""
        if not self.seen:
            return "empty: no samples"
        if self.low == self.high:
            return f"silent: every sample is {'zero' if self.low == 0 else 'the same'}"
        if self.seen < int(SHORTEST_S * self.own_rate):
            return f"too short: {1000 * self.seen / self.own_rate:.3g} ms of at least {1000 * SHORTEST_S:.0f}"
        return ""

    def samples(self) -> Samples:
        """(S,) at `rate`; may be called once. Blocks are freed as they are copied, which halves the peak memory."""
        blocks = [*self.parts, self.resample.rest() if self.resample else EMPTY][::-1]
        self.parts = []
        whole, at = np.empty(sum(map(len, blocks)), np.float32), 0
        while blocks:
            block = blocks.pop()
            whole[at : at + len(block)] = block
            at += len(block)
        return whole


class _Resampler:
    """Blocks at one rate -> blocks at another, continuous across blocks."""

    def __init__(self, own_rate: int, rate: int) -> None:
        self.stream = None
        if own_rate != rate:
            import soxr  # type: ignore[import-untyped]  # has no annotations

            self.stream = soxr.ResampleStream(own_rate, rate, 1, dtype="float32", quality="HQ")

    def __call__(self, block: Samples) -> Samples:
        """(S,) -> (T,): the samples that are complete so far."""
        return block if self.stream is None else self.stream.resample_chunk(block)

    def rest(self) -> Samples:
        """(T,): the samples still buffered after the last block."""
        return EMPTY if self.stream is None else self.stream.resample_chunk(EMPTY, last=True)


def _longest_s(rate: int) -> float:
    return min(LONGEST_S, MAX_SAMPLES / rate)


def _too_long(name: str, length: str, rate: int) -> ItemError:
    most = f"one item may have {_longest_s(rate) / 60:,.0f}"
    return ItemError(name, f"{length} long; {most}: embed it in segments, with --every 10s (every_s=10)")
