"""Packets -> pictures, decoding no more than is needed. Free of torch.

Taking a file apart into packets costs 3 us each; decoding a packet into a frame a hundred times that (640 x 360,
H.264), and making a picture of the frame nearly as much again. The packets alone say which frame is shown when. So
nothing before the last keyframe that serves a wanted frame is decoded, frames that no other refers to are skipped
unless wanted, and only wanted frames become pictures.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from binder_video.pictures import picture

if TYPE_CHECKING:
    import av
    from PIL.Image import Image

# Codecs in which a frame marked as no reference is one for no other. In H.265 it may be one for higher layers.
SKIPPABLE = frozenset({"h264", "mpeg4", "mpeg1video", "mpeg2video"})


class Unclean(Exception):
    """Not exactly the frames came out that the packets promise: an invisible one, a late recovery point, damage."""


def visible(packet: av.Packet) -> bool:
    """Whether a packet is a frame to be shown; those before the cut of an edit list are not."""
    return packet.pts is not None and not packet.is_discard


def tick(packet: av.Packet) -> int:
    """When a packet that has a time of showing is shown."""
    assert packet.pts is not None
    return packet.pts


def decode(
    codec: av.VideoCodecContext, packets: Sequence[av.Packet], ticks: Sequence[int], aspect: float
) -> Iterator[Image]:
    """The pictures shown at ascending ticks, out of packets in the file's order that begin with a keyframe.

    The same object where two ticks show one frame. Raises Unclean.
    """
    seen = sorted({tick(packet) for packet in packets if visible(packet)})
    if not seen or seen[0] > ticks[0]:
        raise Unclean
    shown = [seen[bisect_right(seen, now) - 1] for now in ticks]
    frames = _wanted(codec, packets, sorted(set(shown)))
    last: tuple[int, Image] | None = None
    for want in shown:
        if last is None or last[0] != want:
            last = want, picture(next(frames), aspect)
        yield last[1]


def in_order(
    codec: av.VideoCodecContext, packets: Iterable[av.Packet], counted: bool
) -> Iterator[tuple[int, av.VideoFrame]]:
    """All frames with their ticks, or with their numbers where they are `counted`. Raises av.FFmpegError: damage."""
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


def _wanted(
    codec: av.VideoCodecContext, packets: Sequence[av.Packet], wanted: Sequence[int]
) -> Iterator[av.VideoFrame]:
    """The frames of ascending ticks. Raises Unclean."""
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
        raise Unclean


def _out(codec: av.VideoCodecContext, packet: av.Packet | None, due: deque[int]) -> Iterator[av.VideoFrame]:
    """What of the frames that are due a packet brings out of the decoder; None empties it. Raises Unclean."""
    import av

    try:
        frames = codec.decode(packet)
    except av.FFmpegError:
        raise Unclean from None
    for frame in frames:
        if frame.pts is not None and due and frame.pts >= due[0]:
            if frame.pts > due.popleft() or frame.is_corrupt:
                raise Unclean
            yield frame
    if packet is None:
        codec.flush_buffers()
