"""Sound that FFmpeg decodes: mp3, Ogg, AAC, m4a, the sound of a video. Free of torch.

Shapes: C channels, S samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from binder import ItemError
from binder_audio.channels import BLOCK, Samples, as_floats

if TYPE_CHECKING:
    import av

# Formats that hold their own sound: no playlists or lists of files, which would open others.
FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,live_flv,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,"
    "mp3,mpc,mpc8,mpeg,mpegts,mxf,ogg,tta,w64,wav,wv"
)
# Those whose header says how long a stream is; of the others FFmpeg guesses by the size of the file.
TIMED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "avi", "ogg", "flac", "caf", "wv", "tta", "ape"})
SYNC = b"\xff"  # what a frame of mp3 and AAC begins with where it has a head of its own
MISSING, MISSING_S = 0.1, 0.2  # share of the promised length, and s, whose absence makes a file truncated


class Container:
    """A file that FFmpeg reads; the first of its sounds that is the main one."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Raises ItemError: no sound, or none that can be decoded."""
        self.file, self.name = file, name
        self.fresh: Iterator[av.AudioFrame] | None = self._frames()
        first = next(self.fresh, None)
        if first is None:
            raise ItemError(name, "empty: no samples")
        self.fresh = chain([first], self.fresh)
        self.rate, self.channels = first.sample_rate, first.layout.nb_channels

    def blocks(self) -> Iterator[Samples]:
        frames, self.fresh = self.fresh or self._frames(), None
        parts: list[Samples] = []
        held = seen = 0
        for frame in frames:
            if (frame.sample_rate, frame.layout.nb_channels) != (self.rate, self.channels):
                raise ItemError(self.name, f"its rate or channels change after {seen / self.rate:.3g} s")
            parts.append(_samples(frame))
            held += self.channels * frame.samples
            seen += frame.samples
            if held >= BLOCK:
                yield np.concatenate(parts, axis=1)
                parts, held = [], 0
        if parts:
            yield np.concatenate(parts, axis=1)
        if self.promised_s and self.promised_s - seen / self.rate > max(MISSING * self.promised_s, MISSING_S):
            short = f"the header promises {self.promised_s:.4g} s, the data end after {seen / self.rate:.4g}"
            raise ItemError(self.name, f"truncated: {short}")

    def _frames(self) -> Iterator[av.AudioFrame]:
        """Every frame that holds samples, from the start of the file."""
        import av

        self.file.seek(0)
        try:
            with av.open(
                self.file,
                mode="r",
                options={"threads": "1"},
                container_options={"format_whitelist": FORMATS, "protocol_whitelist": ""},
                metadata_errors="ignore",
            ) as container:
                stream = cast("av.AudioStream | None", container.streams.best("audio"))
                if stream is None or stream.codec_context is None:
                    raise ItemError(self.name, _nothing_in(container))
                self.promised_s = _promised_s(container, stream)
                stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
                yield from self._decoded(container, stream)
        except av.error.ArgumentError:  # what FFmpeg says of formats that are not on the list
            raise ItemError(self.name, "not sound that can be decoded: a picture, a playlist or the like") from None
        except (av.FFmpegError, OSError, ValueError, OverflowError, MemoryError) as error:
            reason = " ".join((getattr(error, "strerror", None) or str(error)).split())
            raise ItemError(self.name, f"not sound that can be decoded: {reason}") from None

    def _decoded(self, container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
        """Raises ItemError where a packet between others cannot be decoded.

        What is no sound may lie before the first and after the last, such as tags and zeros around an mp3.
        """
        import av

        seen_s, lost = 0.0, False
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except EOFError:
                break
            except av.FFmpegError:
                lost = True
                if seen_s and bytes(packet)[:1] == SYNC:
                    raise self._damaged(seen_s) from None
                continue
            for frame in frames:
                if frame.samples and frame.sample_rate:
                    if lost and seen_s:
                        raise self._damaged(seen_s)
                    seen_s, lost = seen_s + frame.samples / frame.sample_rate, False
                    yield frame
        if lost and not seen_s:
            raise ItemError(self.name, "damaged: nothing of its sound can be decoded")

    def _damaged(self, seen_s: float) -> ItemError:
        return ItemError(self.name, f"damaged or cut off after {seen_s:.3g} s")


def _samples(frame: av.AudioFrame) -> Samples:
    """A frame -> (C, S)."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    return as_floats(values)


def _promised_s(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """The length of the sound by the header; None where it does not say."""
    if container.format.name not in TIMED:
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    parts = stream.metadata.get("DURATION", "").split(":")  # Matroska's, for one stream: 00:00:02.500000000
    if len(parts) == 3 and all(part.replace(".", "", 1).isdecimal() for part in parts):
        return sum(float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=True))
    if container.duration and len(container.streams) == 1:
        return container.duration / 1_000_000
    return None


def _nothing_in(container: av.container.InputContainer) -> str:
    sounds = [stream for stream in container.streams if stream.type == "audio"]
    if any(stream.codec_context is None for stream in sounds):
        return "this build of FFmpeg has no decoder for its sound"
    if sounds:
        return "not sound that can be decoded: damaged or cut off at its start"
    others = ", ".join(sorted({stream.type for stream in container.streams}))
    return f"no sound in it{f', only {others}' if others else ''}"
