"""A video file by its packets: how long it is, and the packets around given moments. Free of torch.

A tick is the stream's unit of time; a frame is shown from its tick until the next frame's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

from binder import ItemError
from binder_video.container import decoder, open_container, promised_s, video_stream
from binder_video.decoding import Unclean, decode, in_order, tick, visible
from binder_video.pictures import picture, reason

if TYPE_CHECKING:
    import av
    from PIL.Image import Image

REORDER = 16  # frames by which decoding and showing may differ in order, the most that H.264 and H.265 allow
WHOLE_PACKETS, MOST_BYTES = 4_000, 64 * 2**20  # of packets held at once: usually all of a file of two minutes
BLOCK_S = 30.0  # s of a longer file whose packets are held at once
BACK_S = (0.0, 5.0, 30.0)  # s before a moment where its keyframe is looked for, one after the other
PLAIN_S = 20.0  # s before a moment from which everything is decoded where the shortcut did not work
MOST_GIF = 4_000_000_000  # pixels of all frames of a GIF, some ten seconds to decode
MISSING, MISSING_S = 0.1, 0.5  # share of the promised length, and s, whose absence makes a file truncated

_Shown: TypeAlias = "tuple[int | float, av.VideoFrame | None]"  # the tick from which a frame is shown, and the frame


class Film:
    """An open video file. Times are in seconds from its first frame; `close` it in the end."""

    timed = True

    def __init__(self, source: str | BinaryIO, name: str) -> None:
        """Raises ItemError: not a video, no frames, truncated, frames of an impossible size."""
        self.source, self.name = source, name
        self.held: list[av.Packet] | None = None  # all packets, where they are few
        self.duration_s = 0.0
        with _one_line(name):
            self._open()
            try:
                self._measure()
            except BaseException:
                self.close()
                raise

    def _open(self) -> None:
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
        self.untouched = True  # nothing was read yet

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def at(self, times_s: Iterable[float]) -> Iterator[Image]:
        """Moments in ascending order, drawn lazily -> the picture shown at each; the same object where it stays.

        Raises ItemError where a frame cannot be decoded.
        """
        with _one_line(self.name):
            yield from self._shown(times_s)

    def count(self, most: int) -> int:
        """How many frames there are, counted no further than `most`."""
        if self.held is not None:
            return len(self.held)
        with _one_line(self.name):
            return sum(1 for _ in islice(self._packets(None), most))

    def _shown(self, times_s: Iterable[float]) -> Iterator[Image]:
        if self.counted:
            yield from self._plainly(times_s)
            return
        blocks = _blocks(times_s)
        for block in blocks:
            done = 0
            try:
                for shown in self._shortcut(block):
                    done += 1
                    yield shown
            except Unclean:
                yield from self._plainly(chain(block[done:], chain.from_iterable(blocks)))
                return

    def _measure(self) -> None:
        """Find the first frame's tick, the length, and whether the packets say when their frames are shown."""
        head, whole = self._head()
        rate = Fraction(self.stream.average_rate or self.stream.guessed_rate or 25)
        # AVI keeps no times of showing; those FFmpeg makes up are wrong where frames are stored out of order
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
                raise ItemError(self.name, "no frames in it")
            self.start = min(seen[: REORDER + 1])
            usual = max(1, round(1 / rate / self.tick_s))
            end = max(tick(p) + (p.duration or usual) for p in (head if whole else self._tail()) if visible(p))
        self.duration_s = float((end - self.start) * self.tick_s)
        if self.duration_s <= 0:
            raise ItemError(self.name, "no frames in it that last")
        if self.container.format.name == "gif":  # whose frames need all those before them
            pixels = self.codec.width * self.codec.height
            if pixels * self.count(MOST_GIF // pixels + 1) > MOST_GIF:
                raise ItemError(self.name, f"more than {MOST_GIF / 1e9:.0f} billion pixels in all its frames")
        promised = promised_s(self.container, self.stream)
        data_s = float(max(end, end - first) * self.tick_s)  # Matroska counts from 0, others from the first packet
        if promised - data_s > max(MISSING * promised, MISSING_S):
            short = f"the header promises {promised:.4g} s, the data end after {data_s:.4g}"
            raise ItemError(self.name, f"truncated: {short}")

    def _at(self, time_s: float) -> int:
        """The tick of a moment."""
        return self.start + math.floor(Fraction(time_s) / self.tick_s)

    def _packets(self, start: int | None) -> Iterator[av.Packet]:
        """The video's packets from a keyframe on: one before `start` where the file can be sought in, or the first."""
        import av

        if start is None and self.held:
            return iter(self.held)
        try:
            if start is not None:
                self.untouched = False
                self.container.seek(start, stream=self.stream)
        except av.FFmpegError:
            start = None
        if start is None and not self.untouched:  # not every format can be sought in, and all can be opened again
            self.close()
            self._open()
        self.untouched = False
        return self._demuxed()

    def _demuxed(self) -> Iterator[av.Packet]:
        import av

        began = False
        try:
            for packet in self.container.demux(self.stream):
                began = began or packet.is_keyframe  # nothing before can be decoded
                if began and packet.size:
                    yield packet
        except av.FFmpegError:
            if self.duration_s:
                raise ItemError(self.name, "damaged: cannot be read to its end") from None
            # otherwise this is where it ends; `_measure` says so where much is missing

    def _head(self) -> tuple[list[av.Packet], bool]:
        """The first packets of the file, and whether they are all. Raises ItemError where there are none."""
        packets: list[av.Packet] = []
        size = shown = 0
        for packet in self._packets(None):
            if shown > REORDER and (len(packets) >= WHOLE_PACKETS or size > MOST_BYTES):
                return packets, False
            packets.append(packet)
            size += packet.size
            shown += not packet.is_discard
        if not packets:
            raise ItemError(self.name, "no frames in it")
        return packets, True

    def _tail(self) -> Iterator[av.Packet]:
        """The packets of a long file from its last keyframe on; all of them where it cannot be sought in."""
        promised, found = promised_s(self.container, self.stream), False
        if promised:
            for packet in self._packets(self.start + round(promised / self.tick_s)):
                found = found or visible(packet)
                yield packet
        if not found:
            yield from self._packets(None)

    def _around(self, first: int, last: int) -> tuple[list[av.Packet], int | float]:
        """Packets that begin with a keyframe shown by `first`, and the tick up to which none is lacking."""
        for back_s in BACK_S:
            packets: list[av.Packet] = []
            size = beyond = 0
            for packet in self._packets(first - round(back_s / self.tick_s)):
                if not packets and (packet.pts is None or packet.pts > first):
                    break  # too late: look further back
                packets.append(packet)
                size += packet.size
                beyond += packet.pts is not None and packet.pts > last
                if beyond > REORDER or size > MOST_BYTES:
                    ticks = sorted(tick(packet) for packet in packets if visible(packet))
                    return packets, ticks[-REORDER - 1] if len(ticks) > REORDER else -math.inf
            else:
                if packets:
                    return packets, math.inf
        raise Unclean

    def _shortcut(self, times_s: Sequence[float]) -> Iterator[Image]:
        """Moments that lie close together -> their pictures. Raises Unclean."""
        ticks = [self._at(time_s) for time_s in times_s]
        while ticks:
            packets, until = (self.held, math.inf) if self.held else self._around(ticks[0], ticks[-1])
            known = [tick for tick in ticks if tick <= until]
            if not known:
                raise Unclean  # a keyframe so far back that the packets up to the moment are too many to hold
            yield from decode(self.codec, packets, known, self.aspect)
            ticks = ticks[len(known) :]

    def _plainly(self, times_s: Iterable[float]) -> Iterator[Image]:
        """The same by decoding all frames in order; of long files, from some way before each distant moment."""
        spans: Iterator[tuple[_Shown, _Shown]] = iter(())
        span, image = None, None  # a frame with the one after it, and its picture
        for time_s in times_s:
            now = self._at(time_s)
            near = now - round(PLAIN_S / self.tick_s)
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
        import av

        packets = self._packets(start)  # may open the file again, with another decoder
        try:
            yield from in_order(self.codec, packets, self.counted)
        except av.FFmpegError:
            raise self._damaged(time_s) from None

    def _damaged(self, time_s: float) -> ItemError:
        return ItemError(self.name, f"damaged: cannot be decoded at about {time_s:.2f} s")


@contextmanager
def _one_line(name: str) -> Iterator[None]:
    """What the libraries raise of a file -> ItemError."""
    import av

    try:
        yield
    except (av.FFmpegError, ValueError, ArithmeticError, MemoryError, OSError) as error:
        raise ItemError(name, f"cannot be decoded: {reason(error)}") from None


def _blocks(times_s: Iterable[float]) -> Iterator[list[float]]:
    """Ascending moments in groups that lie close together."""
    block: list[float] = []
    for time_s in times_s:
        if block and time_s - block[0] > BLOCK_S:
            yield block
            block = []
        block.append(time_s)
    if block:
        yield block
