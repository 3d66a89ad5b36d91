"""Packets -> pictures, decoding no more than necessary. Free of torch.

Demuxing a packet takes 3 us, decoding it into a frame a hundred times as long (640 x 360, H.264), and converting the
frame into a picture about as long again. Packets carry the times at which their frames are shown. Therefore decoding
starts at the last keyframe before a requested frame, skips frames that no other frame refers to unless they are
requested, and converts only requested frames.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from binder_video.pictures import picture

if TYPE_CHECKING:
    import av
    from PIL.Image import Image

    Packet: TypeAlias = av.Packet[av.VideoStream]

# Codecs in which no other frame depends on one marked as non-reference. In H.265 those of higher layers may.
SKIPPABLE = frozenset({"h264", "mpeg4", "mpeg1video", "mpeg2video"})


class Mismatch(Exception):
    """The decoder's frames are not those the packets announce: hidden frames, a late recovery point, damage."""


def visible(packet: Packet) -> bool:
    """Whether a packet is a frame that is shown; those that an edit list cuts off are not."""
    return packet.pts is not None and not packet.is_discard


def tick(packet: Packet) -> int:
    """The presentation time of a packet that has one."""
    assert packet.pts is not None
    return packet.pts


def decode(
    codec: av.VideoCodecContext, packets: Sequence[Packet], ticks: Sequence[int], aspect: float
) -> Iterator[Image]:
    """The pictures shown at ascending ticks, from packets in file order that begin with a keyframe.

    The same object where two ticks show the same frame. Raises Mismatch.
    """
    seen = sorted({tick(packet) for packet in packets if visible(packet)})
    if not seen or seen[0] > ticks[0]:
        raise Mismatch
    shown = [seen[bisect_right(seen, now) - 1] for now in ticks]
    frames = _wanted(codec, packets, sorted(set(shown)))
    last: tuple[int, Image] | None = None
    for want in shown:
        if last is None or last[0] != want:
            last = want, picture(next(frames), aspect)
        yield last[1]


def in_order(
    codec: av.VideoCodecContext, packets: Iterable[Packet], counted: bool
) -> Iterator[tuple[int, av.VideoFrame]]:
    """All frames with their ticks, or with their numbers if `counted`. Raises av.FFmpegError where damaged."""
    codec.flush_buffers()
    codec.skip_frame = "DEFAULT"
    number = 0
    for packet in chain(packets, [None]):
        for frame in codec.decode(packet):
            if counted:
                yield number, frame
            elif frame.pts is not None:
                yield frame.pts, frame
            number += 1


def _wanted(codec: av.VideoCodecContext, packets: Sequence[Packet], wanted: Sequence[int]) -> Iterator[av.VideoFrame]:
    """The frames at ascending ticks. Raises Mismatch."""
    codec.flush_buffers()
    place = {tick(packet): i for i, packet in enumerate(packets) if visible(packet)}
    keys = [i for i, packet in enumerate(packets) if packet.is_keyframe and packet.pts is not None]
    skips = codec.name in SKIPPABLE
    due, keep, fed = deque(wanted), set(wanted), 0
    for pts in wanted:
        last = place[pts]
        before = reversed(keys[: bisect_right(keys, last)])
        key = next((i for i in before if tick(packets[i]) <= pts), 0)
        if key > fed:
            yield from _out(codec, None, due)
            fed = key
        for packet in packets[fed : last + 1]:
            codec.skip_frame = "NONREF" if skips and packet.pts not in keep else "DEFAULT"
            yield from _out(codec, packet, due)
        fed = max(fed, last + 1)
    yield from _out(codec, None, due)
    if due:
        raise Mismatch


def _out(codec: av.VideoCodecContext, packet: Packet | None, due: deque[int]) -> Iterator[av.VideoFrame]:
    """The frames in `due` that the decoder puts out for a packet; None flushes it. Raises Mismatch."""
    import av

    try:
        frames = codec.decode(packet)
    except av.FFmpegError:
        raise Mismatch from None
    for frame in frames:
        if frame.pts is not None and due and frame.pts >= due[0]:
            if frame.pts > due.popleft() or frame.is_corrupt:
                raise Mismatch
            yield frame
    if packet is None:
        codec.flush_buffers()
