"""Damaged, false and enormous videos: each is reported in one line and costs little memory and time."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from binder_video import VideoConfig, video_file
from binder_video.encoder import VideoEncoder
from binder_video.preview import preview
from binder_video.reading import open_clip
from PIL import Image

from binder import ItemError
from binder.testing import tiny_anchor

Write = Callable[..., Path]
# name of the file -> codec, pixels
KINDS = {
    "a.mp4": ("libx264", "yuv420p"),
    "a.mov": ("mpeg4", "yuv420p"),
    "a.mkv": ("libx264", "yuv420p"),
    "a.webm": ("libvpx", "yuv420p"),
    "a.avi": ("mpeg4", "yuv420p"),
    "a.mpg": ("mpeg2video", "yuv420p"),
    "a.ts": ("libx264", "yuv420p"),
    "a.flv": ("flv1", "yuv420p"),
    "a.wmv": ("wmv2", "yuv420p"),
    "a.gif": ("gif", "rgb8"),
    "a.webp": ("", ""),
}
TIMED = {"a.mp4", "a.mov", "a.mkv", "a.webm", "a.webp"}  # whose header states the duration, so that a cut is noticed


def animation(size: tuple[int, int], count: int) -> bytes:
    """An animated WebP of one-pixel pictures on a canvas of any size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)

    held = io.BytesIO()
    Image.new("RGB", (1, 1)).save(held, "webp", lossless=True)
    width, height = ((side - 1).to_bytes(3, "little") for side in size)
    frame = chunk(b"ANMF", bytes(12) + (100).to_bytes(3, "little") + b"\0" + held.getvalue()[12:])
    body = b"WEBP" + chunk(b"VP8X", b"\2\0\0\0" + width + height) + chunk(b"ANIM", bytes(6)) + count * frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def gif(width: int, height: int, count: int) -> bytes:
    """A GIF of one-pixel pictures on a canvas of any size."""
    head = b"GIF89a" + struct.pack("<HH", width, height) + b"\x80\0\0\0\0\0\xff\xff\xff"
    frame = b"!\xf9\4\0\x0a\0\0\0," + bytes(4) + b"\1\0\1\0\0\2\2D\1\0"
    return head + count * frame + b";"


@pytest.fixture(scope="module")
def encoder() -> VideoEncoder:
    return VideoEncoder(VideoConfig(window_s=2.0, frames=4, hidden=16), tiny_anchor()).eval()


@pytest.fixture
def whole(write: Write, tmp_path: Path) -> Callable[[str], bytes]:
    def made(name: str) -> bytes:
        if name == "a.webp":
            rng = np.random.default_rng(0)
            drawn = [Image.fromarray(rng.integers(0, 255, (32, 48, 3), np.uint8)) for _ in range(10)]
            drawn[0].save(tmp_path / name, save_all=True, append_images=drawn[1:], duration=100)
            return (tmp_path / name).read_bytes()
        codec, pixels = KINDS[name]
        return write(tmp_path / name, codec, pixels=pixels, rate=25, options={"g": "12"}).read_bytes()

    return made


def reason(item: object) -> str:
    """Why an item is rejected, in one line; empty where eight pictures of it can be decoded."""
    try:
        with open_clip(item) as clip:
            assert 0 < clip.duration_s < 1e7
            for image in clip.at([i / 8 * clip.duration_s for i in range(8)]):
                assert max(image.size) <= 4_096
    except ItemError as error:
        assert "\n" not in str(error)
        return error.reason
    return ""


@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_either_decoded_or_reported_in_one_line(
    name: str, whole: Callable[[str], bytes], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, rng = whole(name), np.random.default_rng(0)
    capfd.readouterr()
    assert reason(data) == ""
    wrong = tmp_path / "named.avi"
    wrong.write_bytes(data)
    assert reason(wrong) == "", "recognized by its content"
    for share in (0.0, 0.005, 0.3, 0.6):
        why = reason(data[: int(share * len(data))])
        assert why or (name not in TIMED and share > 0.1), "cut off"
    for first, last, count in ((0, 200, 8), (0, len(data), 5)):  # only in the header, and anywhere
        for _ in range(count):
            flipped = bytearray(data)
            for place in rng.integers(first, last, 8):
                flipped[place] = rng.integers(256)
            reason(bytes(flipped))
    middle = len(data) // 2
    for noise in (rng.bytes(400), bytes(400)):
        reason(data[:middle] + noise + data[middle + 400 :])
    assert reason(rng.bytes(20_000))
    assert capfd.readouterr().err == "", "the libraries print nothing"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (gif(30_000, 30_000, 3), "frames of unknown size"),
        (gif(16_000, 16_000, 3), "frames of unknown size"),
        (gif(5_000, 5_000, 3), "frames of 5000 x 5000 pixels; expected at most 17 million"),
        (gif(4_000, 4_000, 300), "more than 4 billion pixels over all frames"),
        (animation((16_384, 16_384), 2), "frames of 16384 x 16384 pixels; expected at most 17 million"),
        (animation((4_000, 4_000), 100), "more than 600 million pixels over all frames"),
        (animation((4_000, 10), 2), "expected no side 100 times as long as the other"),
        (animation((10, 10), 1), "a still picture, not an animation"),
    ],
)
def test_a_huge_canvas_in_a_few_bytes(data: bytes, why: str) -> None:
    began = time.monotonic()
    tracemalloc.start()
    assert why in reason(data)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 5e6
    assert time.monotonic() - began < 2


def test_animations_of_ordinary_size_are_read() -> None:
    assert reason(gif(300, 200, 30)) == ""
    assert reason(animation((300, 200), 30)) == ""


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (90, 1), (2, 90), (63, 47)])
def test_tiny_pictures(size: tuple[int, int], write: Write, tmp_path: Path, encoder: VideoEncoder) -> None:
    path = write(tmp_path / "a.mkv", "ffv1", frames=2, size=size, pixels="bgr0")
    assert encoder.preprocess(path).isfinite().all()


def test_elongated_frames_are_rejected_before_they_are_scaled(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", "rawvideo", frames=[np.zeros((1, 100_000, 3), np.uint8)] * 2, pixels="gray")
    assert reason(path) == "frames of 100000 x 1 pixels; expected no side 100 times as long as the other"
    assert reason(np.zeros((2, 1, 100_000, 3), np.uint8)) == reason(path)


def test_a_pixel_aspect_ratio_of_a_thousand_is_ignored(write: Write, tmp_path: Path) -> None:
    def wide(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(1_000)

    with open_clip(write(tmp_path / "a.mkv", setup=wide)) as clip:
        assert next(clip.at([0.0])).size == (48, 32)


def lying(path: Path) -> bytes:
    """An MP4 whose time table says that each frame is shown for days."""
    data = bytearray(path.read_bytes())
    place = data.index(b"stts") + 8
    entries = struct.unpack_from(">I", data, place)[0]
    for i in range(entries):
        struct.pack_into(">I", data, place + 8 + 8 * i, 0x7FFFFFF)
    return bytes(data)


def test_false_times_do_not_give_endless_segments(
    write: Write, tmp_path: Path, encoder: VideoEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = lying(write(tmp_path / "a.mp4", options={"bf": "0"}))
    assert len(encoder.preprocess(data)) == 8
    for packets in (4_000, 5):  # all held, and read again
        monkeypatch.setattr(video_file, "WHOLE_PACKETS", packets)
        with pytest.raises(ItemError, match=r"segments of 2 s, but at most \d+ frames in .* s: use segments"):
            list(encoder.segments(data, 2.0))


@pytest.mark.parametrize(("every_s", "count"), [(0.05, 40), (0.01, 200), (1.99, 1), (1e7, 1), (1e300, 1)])
def test_segments_of_any_length(
    every_s: float, count: int, write: Write, tmp_path: Path, encoder: VideoEncoder
) -> None:
    assert len(list(encoder.segments(write(tmp_path / "a.mkv", "mpeg4"), every_s))) == count


def test_segments_much_shorter_than_a_frame_are_rejected(write: Write, tmp_path: Path, encoder: VideoEncoder) -> None:
    for item in (write(tmp_path / "a.mkv", "mpeg4"), (np.zeros((40, 8, 8, 3), np.uint8), 20)):
        with pytest.raises(ItemError, match=r"2,000 segments of 0\.001 s, .*: use segments of at least 0\.002 s"):
            list(encoder.segments(item, 0.001))


def test_one_frame_a_minute_may_be_cut_into_seconds(write: Write, tmp_path: Path, encoder: VideoEncoder) -> None:
    slides = write(tmp_path / "a.mkv", "mpeg4", frames=4, times_ms=[0, 60_000, 120_000, 180_000])
    assert len(list(encoder.segments(slides, 1.0))) >= 180


def test_the_preview_rejects_them_as_well() -> None:
    with pytest.raises(ItemError, match="pixels"):
        preview(gif(30_000, 30_000, 3))
