"""Opens a video file with FFmpeg: which formats, which stream, which decoder, the stated duration. Free of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, cast

from binder import ItemError
from binder_video.pictures import MAX_PIXELS, reason, size_problem

if TYPE_CHECKING:
    import av
    from av.container import InputContainer

# Formats that contain their frames themselves: no playlists or lists of files, which would open other files, and no
# still pictures.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,gif,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,mxf,ivf,obu,av1,h264,hevc"
)
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders for these drop the alpha channel


def open_container(source: str | BinaryIO, name: str) -> InputContainer:
    """A path or an open file -> the container. Raises ItemError."""
    import av

    try:
        return av.open(
            f"file:{source}"
            if isinstance(source, str)
            else source,  # so that a name such as "concat:a" is not a protocol
            mode="r",
            options={"threads": "1", "max_pixels": str(MAX_PIXELS)},  # of the decoders that probe it
            container_options={"format_whitelist": FORMATS, "protocol_whitelist": "file"},
            metadata_errors="ignore",
        )
    except av.error.ArgumentError:  # FFmpeg's answer for formats that are not in FORMATS
        raise ItemError(name, "a still picture, a playlist or the like; expected a video file") from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise ItemError(name, f"not a readable video: {reason(error)}") from None


def video_stream(container: InputContainer, name: str) -> av.VideoStream:
    """The first video stream that is not a cover picture. Raises ItemError: none, no decoder, no usable frame size."""
    from av.stream import Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        others = ", ".join(sorted({s.type for s in container.streams if s not in container.streams.video}))
        raise ItemError(name, f"it contains no video{f', only {others}' if others else ''}")
    codec = streams[0].codec_context
    if codec is None:
        raise ItemError(name, "this build of FFmpeg has no decoder for its video")
    if not codec.width:  # the decoder gave up
        raise ItemError(name, f"frames of unknown size; expected at most {MAX_PIXELS / 1e6:.0f} million pixels")
    alpha = codec.format is not None and any(component.is_alpha for component in codec.format.components)
    if why := size_problem(codec.width, codec.height, alpha):
        raise ItemError(name, why)
    return streams[0]


def decoder(stream: av.VideoStream) -> av.VideoCodecContext:
    """The stream's decoder, on one thread: items are read in parallel anyway, and threads cost a fifth more time."""
    import av

    codec = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and codec.name in ALPHA_DECODERS:
        codec = cast("av.VideoCodecContext", av.CodecContext.create(ALPHA_DECODERS[codec.name], "r"))
        codec.extradata = stream.codec_context.extradata
    codec.thread_type = "NONE"
    codec.thread_count = 1
    codec.options = {**codec.options, "max_pixels": str(MAX_PIXELS)}  # the frames may grow within the stream
    return codec


def stated_s(container: InputContainer, stream: av.VideoStream) -> float:
    """The duration in seconds that the file's header states; 0 where it states none."""
    if stream.duration:
        return float(stream.duration * (stream.time_base or 0))
    tag = stream.metadata.get("DURATION", "")  # Matroska's, per stream: 00:00:02.500000000
    parts = tag.split(":")
    if len(parts) == 3 and all(part.replace(".", "", 1).isdigit() for part in parts):
        return sum(float(part) * unit for part, unit in zip(parts, (3600, 60, 1), strict=True))
    if container.duration and len(container.streams) == 1:  # the container states that of its longest stream
        return container.duration / 1_000_000
    return 0.0
