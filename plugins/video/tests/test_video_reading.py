"""Which video files are read, how their pictures are shown, and which files are rejected."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from binder_video import video_file
from binder_video.reading import open_clip
from PIL import Image

from binder import ItemError

Write = Callable[..., Path]
Frames = Callable[..., list[np.ndarray]]


def first_picture(item: object) -> Image.Image:
    with open_clip(item) as clip:
        return next(clip.at([0.0]))


# What is read


def test_animated_webp_and_gif_have_the_frames_that_pillow_decodes(tmp_path: Path) -> None:
    drawn = []
    for i in range(5):
        frame = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
        frame.paste((250, 40 * i, 0, 255), (5 * i, 5, 5 * i + 12, 20))
        drawn.append(frame)
    lengths_ms = [100, 50, 200, 100, 70]
    starts_s = [sum(lengths_ms[:i]) / 1000 + 0.001 for i in range(5)]
    options: list[tuple[str, dict[str, Any]]] = [("a.webp", {"lossless": True}), ("a.gif", {"disposal": 2})]
    for name, how in options:
        drawn[0].save(tmp_path / name, save_all=True, append_images=drawn[1:], duration=lengths_ms, **how)
        with open_clip(tmp_path / name) as clip:
            assert clip.duration_s == pytest.approx(0.52)
            found = list(clip.at(starts_s))
        for picture, frame in zip(found, drawn, strict=True):
            on_white = Image.alpha_composite(Image.new("RGBA", frame.size, "white"), frame).convert("RGB")
            assert np.array_equal(np.asarray(picture), np.asarray(on_white))


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_display_matrix_rotates_the_picture(
    turn: int, mirrored: bool, write: Write, frames: Frames, tmp_path: Path
) -> None:
    def turned(stream: av.VideoStream) -> None:
        stream.set_display_rotation(turn, hflip=mirrored)

    frame = frames(1)[0]
    how = {"codec": "png", "pixels": "rgb24", "frames": [frame, frame]}  # lossless
    picture = first_picture(write(tmp_path / "a.mov", **how, setup=turned))
    expected = Image.fromarray(frame).rotate(turn, expand=True)  # counterclockwise, as the matrix was set
    if mirrored:
        expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert np.array_equal(np.asarray(picture), np.asarray(expected))


def test_a_portrait_video_of_a_phone(write: Write, frames: Frames, tmp_path: Path) -> None:
    frame = frames(1)[0]
    path = write(tmp_path / "a.mov", "png", frames=[frame, frame], pixels="rgb24")
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    struct.pack_into(">9i", data, matrix, 0, 1 << 16, 0, -(1 << 16), 0, 0, 32 << 16, 0, 1 << 30)  # as phones write it
    picture = first_picture(bytes(data))
    assert np.array_equal(np.asarray(picture), np.rot90(frame, -1)), "rotated by a quarter turn clockwise"


def test_non_square_pixels_are_made_square(write: Write, tmp_path: Path) -> None:
    def wide(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)

    assert first_picture(write(tmp_path / "a.mkv", setup=wide)).size == (96, 32)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mov", "qtrle", "argb"),
        ("a.mov", "png", "rgba"),
        ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.gif", "gif", "bgr8"),
    ],
)
def test_transparent_pixels_become_white(name: str, codec: str, pixels: str, write: Write, tmp_path: Path) -> None:
    frame = np.zeros((32, 48, 4), np.uint8)
    frame[:, 24:] = (200, 0, 0, 255)
    if codec == "gif":
        left = Image.fromarray(frame)
        left.save(tmp_path / name, save_all=True, append_images=[left.transpose(Image.Transpose.ROTATE_180)])
    else:
        write(tmp_path / name, codec, frames=[frame, frame], pixels=pixels)
    picture = np.asarray(first_picture(tmp_path / name), int)
    assert np.abs(picture[:, :16] - 255).max() < 12
    assert np.abs(picture[:, -16:] - (200, 0, 0)).max() < 30


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (63, 47), (2, 200)])
def test_odd_sizes(size: tuple[int, int], write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", "ffv1", frames=3, size=size, pixels="bgr0")
    assert first_picture(path).size == size


def test_the_cover_picture_of_a_song_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as file:
        sound = file.add_stream("aac", rate=8_000, layout="mono")
        cover = file.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 48, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        file.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 48, 3), np.uint8), format="rgb24")))
        file.mux(cover.encode())
        for i in range(4):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 8_000, 1024 * i
            file.mux(sound.encode(frame))
        file.mux(sound.encode())
    with pytest.raises(ItemError, match="it contains no video, only audio"):
        first_picture(path)


# What is rejected


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.mp4", b"", "empty file"),
        ("a.mp4", b"A story.\n" * 99, "not a readable video: Invalid data"),
        (
            "a.mp4",
            b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n",
            "not a readable|playlist",
        ),
        ("a.mp4", b"ffconcat version 1.0\nfile other.mp4\n", "not a readable|playlist"),
        ("a.webp", b"RIFF\x10\0\0\0WEBPVP8 ", "still picture"),
    ],
)
def test_messages(name: str, data: bytes, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ItemError, match=message) as caught:
        first_picture(path)
    assert str(caught.value).startswith(str(path))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp"])
def test_a_still_picture_is_rejected(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    Image.new("RGB", (40, 30), "red").save(path, kind)
    with pytest.raises(ItemError, match="still picture"):
        first_picture(path)


def test_audio_with_the_suffix_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        sound = file.add_stream("aac", rate=8_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8_000
        file.mux(sound.encode(frame))
        file.mux(sound.encode())
    with pytest.raises(ItemError, match="it contains no video, only audio"):
        first_picture(path)


def test_a_header_without_frames(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", options={"g": "12"}, container_options={"movflags": "frag_keyframe+empty_moov"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moof") - 4])
    with pytest.raises(ItemError, match=r"a\.mp4: it contains no frames"):
        first_picture(path)


@pytest.mark.parametrize(("name", "options"), [("a.mkv", {}), ("a.mp4", {"movflags": "faststart"}), ("a.mp4", {})])
@pytest.mark.parametrize("held", [True, False])
def test_a_truncated_file(
    name: str, options: dict[str, str], held: bool, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / name, frames=80, container_options=options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    if not held:
        monkeypatch.setattr(video_file, "WHOLE_PACKETS", 5)
    with pytest.raises(ItemError, match=r"truncated: the header says 4 s|not a readable video"):
        first_picture(path)


def test_a_header_that_states_ten_hours(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv")
    data = path.read_bytes()
    assert data.count(b"00:00:02.000000000") == 1
    path.write_bytes(data.replace(b"00:00:02.000000000", b"10:00:00.000000000"))
    began = time.monotonic()
    with pytest.raises(ItemError, match=r"truncated: the header says 3\.6e\+04 s, but the data end after 2 s"):
        first_picture(path)
    assert time.monotonic() - began < 5
