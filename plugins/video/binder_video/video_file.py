"""A video file as packets: its duration, and the packets around given times. Free of torch.

A tick is the stream's unit of time; a frame is shown from its tick until that of the next frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from binder import ItemError
from binder_video.container import decoder, open_container, stated_s, video_stream
from binder_video.decoding import Mismatch, decode, in_order, tick, visible
from binder_video.pictures import picture, reason

if TYPE_CHECKING:
    import av
    from PIL.Image import Image

    from binder_video.decoding import Packet

REORDER = 16  # frames by which decoding and display order may differ, the most that H.264 and H.265 allow
WHOLE_PACKETS, MAX_BYTES = 4_000, 64 * 2**20  # limits of the packets held at once: usually a whole file of two minutes
BLOCK_S = 30.0  # s of a longer file whose packets are held at once
BACK_S = (0.0, 5.0, 30.0)  # s before a time at which its keyframe is searched, one after the other
SEQUENTIAL_S = 20.0  # s before a time from which every frame is decoded where the shortcut fails
MAX_GIF = 4_000_000_000  # pixels of all frames of a GIF: about ten seconds to decode
MISSING, MISSING_S = 0.1, 0.5  # a file is truncated if this share of the stated duration, and these s, are missing

_Shown: TypeAlias = "tuple[int | float, av.VideoFrame | None]"  # the tick from which a frame is shown, and the frame


class VideoFile:
    """An open video file, to be closed after use. Times are in seconds from its first frame."""

    timed = True

    def __init__(self, source: str | BinaryIO, name: str) -> None:
        """Raises ItemError: not a video, no frames, truncated, frames of unusable size."""
        self.source, self.name = source, name
        self.held: list[Packet] | None = None  # all packets, where they are few
        self.duration_s = 0.0
        with _one_line(name):
            self._open()
            try:
                self._measure()
            except BaseException:
                self.close()
                raise

    def _open(self) -> None:
        """Open the file, or open it again from its start."""
        if not isinstance(self.source, str):
            self.source.seek(0)
        self.container = open_container(self.source, self.name)
        try:
            self.stream = video_stream(self.container, self.name)
            self.codec = decoder(self.stream)
        except BaseException:
            self.close()
            raise
        self.aspect = float(self.stream.sample_aspect_ratio or 1)
        self.at_start = True  # nothing has been read yet

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def at(self, times_s: Iterable[float]) -> Iterator[Image]:
        """Ascending times, consumed lazily -> the picture shown at each; the same object while it does not change.

        Raises ItemError where a frame cannot be decoded.
        """
        with _one_line(self.name):
            yield from self._shown(times_s)

    def count(self, most: int) -> int:
        """The number of frames, counted up to `most`."""
        if self.held is not None:
            return len(self.held)
        with _one_line(self.name):
            return sum(1 for _ in islice(self._packets(None), most))

    def _shown(self, times_s: Iterable[float]) -> Iterator[Image]:
        """Ascending times -> pictures, by the shortcut as long as it works, then sequentially."""
        if self.counted:
            yield from self._sequentially(times_s)
            return
        blocks = _blocks(times_s)
        for block in blocks:
            done = 0
            try:
                for shown in self._shortcut(block):
                    done += 1
                    yield shown
            except Mismatch:
                yield from self._sequentially(chain(block[done:], chain.from_iterable(blocks)))
                return

    def _measure(self) -> None:
        """Find the first frame's tick, the duration, and whether packets carry presentation times. Raises ItemError."""
        head, whole = self._head()
        rate = Fraction(self.stream.average_rate or self.stream.guessed_rate or 25)
        # AVI stores no presentation times; those that FFmpeg makes up are wrong where frames are stored out of order
        reordered = self.container.format.name == "avi" and self.codec.has_b_frames
        self.counted = bool(reordered) or any(packet.pts is None for packet in head[:REORDER])
        self.held = head if whole else None
        if self.counted:
            self.tick_s, self.start, first = 1 / rate, 0, 0
            end = len(head) if whole else sum(1 for _ in self._packets(None))
        else:
            self.tick_s = Fraction(self.stream.time_base or 1)
            first, seen = tick(head[0]), [tick(p) for p in head if visible(p) and tick(p) >= tick(head[0])]
            if not seen:
                raise ItemError(self.name, "it contains no frames")
            self.start = min(seen[: REORDER + 1])
            usual = max(1, round(1 / rate / self.tick_s))
            end = max(tick(p) + (p.duration or usual) for p in (head if whole else self._tail()) if visible(p))
        self.duration_s = float((end - self.start) * self.tick_s)
        if self.duration_s <= 0:
            raise ItemError(self.name, "its frames have no duration")
        # Matroska counts the duration from 0, others from the first packet
        self._check_length(float(max(end, end - first) * self.tick_s))

    def _check_length(self, data_s: float) -> None:
        """Raises ItemError for a GIF that takes too long to decode, and for data shorter than the header states."""
        if self.container.format.name == "gif":  # each frame needs all those before it
            pixels = self.codec.width * self.codec.height
            if pixels * self.count(MAX_GIF // pixels + 1) > MAX_GIF:
                raise ItemError(self.name, f"more than {MAX_GIF / 1e9:.0f} billion pixels over all frames")
        stated = stated_s(self.container, self.stream)
        if stated - data_s > max(MISSING * stated, MISSING_S):
            short = f"the header says {stated:.4g} s, but the data end after {data_s:.4g} s"
            raise ItemError(self.name, f"truncated: {short}")

    def _tick_at(self, time_s: float) -> int:
        """A time -> its tick."""
        return self.start + math.floor(Fraction(time_s) / self.tick_s)

    def _packets(self, start: int | None) -> Iterator[Packet]:
        """The packets from a keyframe on: one before tick `start` if the file is seekable, else the first."""
        import av

        if start is None and self.held:
            return iter(self.held)
        try:
            if start is not None:
                self.at_start = False
                self.container.seek(start, stream=self.stream)
        except av.FFmpegError:
            start = None
        if start is None and not self.at_start:  # not every format is seekable, but every file can be opened again
            self.close()
            self._open()
        self.at_start = False
        return self._demuxed()

    def _demuxed(self) -> Iterator[Packet]:
        """The packets from the current position on, beginning with a keyframe. Raises ItemError where damaged."""
        import av

        began = False
        try:
            for packet in self.container.demux(self.stream):
                began = began or packet.is_keyframe  # packets before it cannot be decoded
                if began and packet.size:
                    yield packet
        except av.FFmpegError:
            if self.duration_s:
                raise ItemError(self.name, "damaged: cannot be read to its end") from None
            # while measuring, this is the end of the file; `_check_length` decides whether it is truncated

    def _head(self) -> tuple[list[Packet], bool]:
        """The first packets, and whether they are all of the file. Raises ItemError where there are none."""
        packets: list[Packet] = []
        size = shown = 0
        for packet in self._packets(None):
            if shown > REORDER and (len(packets) >= WHOLE_PACKETS or size > MAX_BYTES):
                return packets, False
            packets.append(packet)
            size += packet.size
            shown += not packet.is_discard
        if not packets:
            raise ItemError(self.name, "it contains no frames")
        return packets, True

    def _tail(self) -> Iterator[Packet]:
        """The packets of a long file from its last keyframe on; all of them if it is not seekable."""
        stated, found = stated_s(self.container, self.stream), False
        if stated:
            for packet in self._packets(self.start + round(stated / self.tick_s)):
                found = found or visible(packet)
                yield packet
        if not found:
            yield from self._packets(None)

    def _around(self, first: int, last: int) -> tuple[list[Packet], int | float]:
        """Packets from a keyframe shown at or before tick `first` on, and the tick up to which they are complete."""
        for back_s in BACK_S:
            packets: list[Packet] = []
            size = beyond = 0
            for packet in self._packets(first - round(back_s / self.tick_s)):
                if not packets and (packet.pts is None or packet.pts > first):
                    break  # too late: go back further
                packets.append(packet)
                size += packet.size
                beyond += packet.pts is not None and packet.pts > last
                if beyond > REORDER or size > MAX_BYTES:
                    ticks = sorted(tick(packet) for packet in packets if visible(packet))
                    return packets, ticks[-REORDER - 1] if len(ticks) > REORDER else -math.inf
            else:
                if packets:
                    return packets, math.inf
        raise Mismatch

    def _shortcut(self, times_s: Sequence[float]) -> Iterator[Image]:
        """Times close to each other -> their pictures. Raises Mismatch."""
        ticks = [self._tick_at(time_s) for time_s in times_s]
        while ticks:
            packets, until = (self.held, math.inf) if self.held else self._around(ticks[0], ticks[-1])
            known = [tick for tick in ticks if tick <= until]
            if not known:
                raise Mismatch  # the keyframe is so far back that there are too many packets to hold
            yield from decode(self.codec, packets, known, self.aspect)
            ticks = ticks[len(known) :]

    def _sequentially(self, times_s: Iterable[float]) -> Iterator[Image]:
        """Ascending times -> pictures by decoding every frame; in long files, after a jump only from nearby on."""
        spans: Iterator[tuple[_Shown, _Shown]] = iter(())
        span, image = None, None  # a frame and the next one, and the picture of the former
        for time_s in times_s:
            now = self._tick_at(time_s)
            near = now - round(SEQUENTIAL_S / self.tick_s)
            if span is None or (span[1][0] < near and not self.counted):
                start = None if self.counted or near <= self.start else near
                spans = pairwise(chain(self._in_order(start, time_s), [(math.inf, None)]))
                span, image = next(spans, None), None
            while span and span[1][0] <= now:
                span, image = next(spans), None
            if span is None or span[0][0] > now or span[0][1] is None or span[0][1].is_corrupt:
                raise self._damaged(time_s)
            image = image or picture(span[0][1], self.aspect)
            yield image

    def _in_order(self, start: int | None, time_s: float) -> Iterator[_Shown]:
        """Every frame from before tick `start` on. Raises ItemError, which names `time_s`, where damaged."""
        import av

        packets = self._packets(start)  # first, as it may open the file again with a new decoder
        try:
            yield from in_order(self.codec, packets, self.counted)
        except av.FFmpegError:
            raise self._damaged(time_s) from None

    def _damaged(self, time_s: float) -> ItemError:
        return ItemError(self.name, f"damaged: cannot be decoded at about {time_s:.2f} s")


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """Turns what the libraries raise for a bad file into ItemError."""
    import av

    try:
        yield
    except (av.FFmpegError, ValueError, ArithmeticError, MemoryError, OSError) as error:
        raise ItemError(name, f"cannot be decoded: {reason(error)}") from None


def _blocks(times_s: Iterable[float]) -> Iterator[list[float]]:
    """Ascending times in groups close to each other."""
    block: list[float] = []
    for time_s in times_s:
        if block and time_s - block[0] > BLOCK_S:
            yield block
            block = []
        block.append(time_s)
    if block:
        yield block
