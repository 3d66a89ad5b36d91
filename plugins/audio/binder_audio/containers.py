"""Audio that FFmpeg decodes: mp3, Ogg, AAC, m4a, the audio track of a video. Free of torch.

Shapes: C channels, S samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from binder import ItemError, one_line
from binder_audio.channels import BLOCK, Samples, as_floats

if TYPE_CHECKING:
    import av

# Formats that contain their audio themselves: no playlists or lists of files, which would open other files.
FORMATS = (
    "aac,ac3,aiff,amr,amrnb,amrwb,ape,asf,au,avi,caf,dts,eac3,flac,flv,live_flv,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,"
    "mp3,mpc,mpc8,mpeg,mpegts,mxf,ogg,tta,w64,wav,wv"
)
# Those whose header states the duration of a stream; for the others FFmpeg guesses from the size of the file.
TIMED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "avi", "ogg", "flac", "caf", "wv", "tta", "ape"})
NO_AUDIO, DAMAGED = "it contains no audio", "damaged"  # how the reasons begin that are final: no other decoder is tried
SYNC = b"\xff"  # first byte of an mp3 or ADTS AAC frame
MISSING, MISSING_S = 0.1, 0.2  # a file is truncated if this share of the stated duration, and these s, are missing


class Container:
    """A file that FFmpeg decodes; of several audio streams the one that FFmpeg takes for the main one."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Raises ItemError: it contains no audio, or none that can be decoded."""
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
                raise ItemError(self.name, f"the sample rate or channels change after {seen / self.rate:.3g} s")
            parts.append(_samples(frame))
            held += self.channels * frame.samples
            seen += frame.samples
            if held >= BLOCK:
                yield np.concatenate(parts, axis=1)
                parts, held = [], 0
        if parts:
            yield np.concatenate(parts, axis=1)
        if self.stated_s and self.stated_s - seen / self.rate > max(MISSING * self.stated_s, MISSING_S):
            short = f"the header says {self.stated_s:.4g} s, but the data end after {seen / self.rate:.4g} s"
            raise ItemError(self.name, f"truncated: {short}")

    def _frames(self) -> Iterator[av.AudioFrame]:
        """Every nonempty frame, from the start of the file."""
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
                self.stated_s = _stated_s(container, stream)
                stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
                yield from self._decoded(container, stream)
        except av.error.ArgumentError:  # FFmpeg's answer for formats that are not in FORMATS
            raise ItemError(self.name, "not decodable audio: a picture, a playlist or the like") from None
        except (av.FFmpegError, OSError, ValueError, OverflowError, MemoryError) as error:
            raise ItemError(self.name, f"not decodable audio: {one_line(error)}") from None

    def _decoded(self, container: av.container.InputContainer, stream: av.AudioStream) -> Iterator[av.AudioFrame]:
        """The nonempty frames of a stream. Raises ItemError where a packet between good ones cannot be decoded.

        Undecodable bytes before the first and after the last good packet are ignored: tags and zeros around an mp3.
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
            raise ItemError(self.name, f"{DAMAGED}: none of the audio can be decoded")

    def _damaged(self, seen_s: float) -> ItemError:
        return ItemError(self.name, f"{DAMAGED} or cut off after {seen_s:.3g} s")


def _samples(frame: av.AudioFrame) -> Samples:
    """A frame -> (C, S)."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    return as_floats(values)


def _stated_s(container: av.container.InputContainer, stream: av.AudioStream) -> float | None:
    """The duration that the header states; None where it states none."""
    if container.format.name not in TIMED:
        return None
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    parts = stream.metadata.get("DURATION", "").split(":")  # Matroska's, per stream: 00:00:02.500000000
    if len(parts) == 3 and all(part.replace(".", "", 1).isdecimal() for part in parts):
        return sum(float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=True))
    if container.duration and len(container.streams) == 1:
        return container.duration / 1_000_000
    return None


def _nothing_in(container: av.container.InputContainer) -> str:
    """Why no audio stream of the container can be decoded."""
    sounds = [stream for stream in container.streams if stream.type == "audio"]
    if any(stream.codec_context is None for stream in sounds):
        return "this build of FFmpeg has no decoder for its audio"
    if sounds:
        return f"{DAMAGED} or cut off at its start"
    others = ", ".join(sorted({stream.type for stream in container.streams}))
    return f"{NO_AUDIO}{f', only {others}' if others else ''}"
