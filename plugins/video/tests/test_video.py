"""The video plugin: the contract, what it reads and refuses, which frames it looks at, and what it starts from."""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from binder_video import VIDEO, VideoConfig, film
from binder_video.config import TOWER_LR, adapt
from binder_video.encoder import VideoEncoder
from binder_video.reading import open_clip
from binder_video.sampling import even, jittered, pieces, windows
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional

from binder import ItemError
from binder.testing import EncoderContract, tiny_anchor, write_tiny_tower

Write = Callable[..., Path]
Frames = Callable[..., list[np.ndarray]]
SMALL = {"frames": 4, "hidden": 16}


def encoder(**values: object) -> VideoEncoder:
    torch.manual_seed(0)
    return VideoEncoder(VideoConfig.model_validate({**SMALL, "window_s": 2.0, **values}), tiny_anchor()).eval()


def vector(model: VideoEncoder, item: object) -> torch.Tensor:
    """(D,): as the core does it, the mean over the windows."""
    with torch.inference_mode():
        return functional.normalize(model(model.preprocess(item)), dim=1).mean(0)


def coloured(levels: list[int], size: int = 40) -> np.ndarray:
    """(T, H, W, 3) uint8: one grey level per frame."""
    return np.repeat(np.array(levels, np.uint8), size * size * 3).reshape(-1, size, size, 3)


def first_picture(item: object) -> Image.Image:
    with open_clip(item) as clip:
        return next(clip.at([0.0]))


class TestContract(EncoderContract):
    modality = VIDEO
    config = SMALL

    @pytest.fixture(autouse=True)
    def _writer(self, write: Write, frames: Frames) -> None:
        self.write, self.frames = write, frames

    def items(self, tmp_path: Path) -> list[object]:
        # a file, a longer one upright of another size, bytes, frames in memory, with and without their rate
        return [
            self.write(tmp_path / "short.mp4", "mpeg4", frames=12, rate=8),  # x264 writes others now and then
            self.write(tmp_path / "long.mkv", "mpeg4", frames=60, size=(32, 64), rate=10),
            self.write(tmp_path / "held.webm", "libvpx", frames=5, rate=4).read_bytes(),
            (np.stack(self.frames(7)), 5),
            np.stack(self.frames(9, 64, 64)),
        ]

    def broken(self, tmp_path: Path) -> list[object]:
        whole = self.write(tmp_path / "whole.mkv", frames=80).read_bytes()
        cut = tmp_path / "cut.mkv"
        cut.write_bytes(whole[: len(whole) // 2])
        text = tmp_path / "text.mp4"
        text.write_text("A story.\n" * 200)
        picture = tmp_path / "picture.mp4"
        Image.new("RGB", (40, 30), "red").save(picture, "png")
        return [
            cut,
            text,
            picture,
            tmp_path,
            b"",
            b"RIFF",
            None,
            3.5,
            np.zeros((4, 20, 20), np.uint8),
            np.zeros((4, 20, 20, 3), np.float32),
            np.zeros((0, 20, 20, 3), np.uint8),
            (np.zeros((4, 20, 20, 3), np.uint8), 0),
            (np.zeros((4, 20, 20, 3), np.uint8), "fast"),
            (np.zeros((4, 20, 20, 3), np.uint8), math.nan),
        ]


class TestAnotherTower(TestContract):
    """Seen through a pretrained model of timm, from a checkpoint made here."""

    @pytest.fixture(autouse=True)
    def _tower(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        trunk = write_tiny_tower(tmp_path_factory.mktemp("towers") / "tower")
        self.config = {**type(self).config, "trunk": trunk}


# What is read


def test_animated_webp_and_gif_give_the_frames_that_pillow_gives(tmp_path: Path) -> None:
    drawn = []
    for i in range(5):
        frame = Image.new("RGBA", (40, 30), (0, 0, 0, 0))
        frame.paste((250, 40 * i, 0, 255), (5 * i, 5, 5 * i + 12, 20))
        drawn.append(frame)
    lengths_ms = [100, 50, 200, 100, 70]
    starts_s = [sum(lengths_ms[:i]) / 1000 + 0.001 for i in range(5)]
    for name, how in [("a.webp", {"lossless": True}), ("a.gif", {"disposal": 2})]:
        drawn[0].save(tmp_path / name, save_all=True, append_images=drawn[1:], duration=lengths_ms, **how)
        with open_clip(tmp_path / name) as clip:
            assert clip.duration_s == pytest.approx(0.52)
            found = list(clip.at(starts_s))
        for picture, frame in zip(found, drawn, strict=True):
            on_white = Image.alpha_composite(Image.new("RGBA", frame.size, "white"), frame).convert("RGB")
            assert np.array_equal(np.asarray(picture), np.asarray(on_white))


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turned_camera(turn: int, mirrored: bool, write: Write, frames: Frames, tmp_path: Path) -> None:
    def turned(stream: av.VideoStream) -> None:
        stream.set_display_rotation(turn, hflip=mirrored)

    frame = frames(1)[0]
    how = {"codec": "png", "pixels": "rgb24", "frames": [frame, frame]}  # lossless
    picture = first_picture(write(tmp_path / "a.mov", **how, setup=turned))
    expected = Image.fromarray(frame).rotate(turn, expand=True)  # counter-clockwise, as the matrix was set
    if mirrored:
        expected = expected.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert np.array_equal(np.asarray(picture), np.asarray(expected))


def test_a_phone_held_upright(write: Write, frames: Frames, tmp_path: Path) -> None:
    frame = frames(1)[0]
    path = write(tmp_path / "a.mov", "png", frames=[frame, frame], pixels="rgb24")
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    struct.pack_into(">9i", data, matrix, 0, 1 << 16, 0, -(1 << 16), 0, 0, 32 << 16, 0, 1 << 30)  # as phones write it
    picture = first_picture(bytes(data))
    assert np.array_equal(np.asarray(picture), np.rot90(frame, -1)), "the picture lies a quarter turn clockwise"


def test_pixels_that_are_not_square(write: Write, tmp_path: Path) -> None:
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
def test_what_is_transparent_is_white(name: str, codec: str, pixels: str, write: Write, tmp_path: Path) -> None:
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
    model = encoder()
    path = write(tmp_path / "a.mkv", "ffv1", frames=3, size=size, pixels="bgr0")
    assert first_picture(path).size == size
    assert torch.isfinite(vector(model, path)).all()


def test_the_cover_of_a_song_is_no_video(tmp_path: Path) -> None:
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
    with pytest.raises(ItemError, match="no video in it, only audio"):
        encoder().preprocess(path)


# What is refused


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.mp4", b"", "empty file"),
        ("a.mp4", b"A story.\n" * 99, "not a video that can be read: Invalid data"),
        ("a.mp4", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n", "not a video|playlist"),
        ("a.mp4", b"ffconcat version 1.0\nfile other.mp4\n", "not a video|playlist"),
        ("a.webp", b"RIFF\x10\0\0\0WEBPVP8 ", "not an animation"),
    ],
)
def test_messages(name: str, data: bytes, message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ItemError, match=message) as caught:
        encoder().preprocess(path)
    assert str(caught.value).startswith(str(path))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp", "bmp"])
def test_a_still_picture_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    Image.new("RGB", (40, 30), "red").save(path, kind)
    with pytest.raises(ItemError, match="still picture"):
        encoder().preprocess(path)


def test_sound_under_the_name_of_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        sound = file.add_stream("aac", rate=8_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8_000
        file.mux(sound.encode(frame))
        file.mux(sound.encode())
    with pytest.raises(ItemError, match="no video in it, only audio"):
        encoder().preprocess(path)


def test_a_header_without_frames(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", options={"g": "12"}, container_options={"movflags": "frag_keyframe+empty_moov"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moof") - 4])
    with pytest.raises(ItemError, match=r"a\.mp4: no frames in it"):
        encoder().preprocess(path)


@pytest.mark.parametrize(("name", "options"), [("a.mkv", {}), ("a.mp4", {"movflags": "faststart"}), ("a.mp4", {})])
@pytest.mark.parametrize("held", [True, False])
def test_a_truncated_file(
    name: str, options: dict[str, str], held: bool, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / name, frames=80, container_options=options)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    if not held:
        monkeypatch.setattr(film, "WHOLE_PACKETS", 5)
    with pytest.raises(ItemError, match=r"truncated: the header promises 4 s|not a video that can be read"):
        encoder().preprocess(path)


def test_ten_hours_that_only_the_header_claims(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv")
    data = path.read_bytes()
    assert data.count(b"00:00:02.000000000") == 1
    path.write_bytes(data.replace(b"00:00:02.000000000", b"10:00:00.000000000"))
    began = time.monotonic()
    with pytest.raises(ItemError, match=r"truncated: the header promises 3\.6e\+04 s, the data end after 2"):
        encoder().preprocess(path)
    assert time.monotonic() - began < 5


# Which frames are seen


@given(st.floats(0.05, 1e5), st.floats(0.1, 1e3), st.integers(1, 50))
def test_windows_are_spread_over_the_whole_and_few(duration_s: float, window_s: float, most: int) -> None:
    found = windows(duration_s, window_s, most)
    assert 1 <= len(found) <= most
    assert all(-1e-6 <= start < end <= duration_s + 1e-6 for start, end in found)
    if len(found) > 1:
        assert found[0][0] == 0
        assert found[-1][1] == pytest.approx(duration_s)
        assert all(end - start == pytest.approx(window_s) for start, end in found)
        gaps = np.diff([start for start, _ in found])
        assert gaps.max() == pytest.approx(gaps.min(), abs=1e-6 * duration_s)


@pytest.mark.parametrize(
    ("seconds", "count"), [(0.2, 1), (10, 1), (10.9, 1), (11.1, 2), (20.9, 2), (75, 8), (36_000, 8)]
)
def test_number_of_windows(seconds: float, count: int) -> None:
    assert len(windows(seconds, 10.0, 8)) == count


def test_one_window_of_a_long_video_lies_in_the_middle() -> None:
    assert windows(100.0, 10.0, 1) == [(45.0, 55.0)]


def test_frames_are_the_middles_of_equal_segments() -> None:
    assert even(2.0, 4.0, 4) == [2.25, 2.75, 3.25, 3.75]


@given(st.floats(0.05, 1e4), st.floats(0.1, 100), st.integers(1, 32), st.integers(0, 9))
def test_random_moments_lie_one_in_each_segment(duration_s: float, window_s: float, count: int, seed: int) -> None:
    found = jittered(duration_s, window_s, count, np.random.default_rng(seed))
    length_s = duration_s if duration_s <= 1.1 * window_s else window_s
    assert len(found) == count
    assert found == sorted(found)
    assert all(0 <= moment < duration_s + 1e-6 for moment in found)
    starts = [moment - i / count * length_s for i, moment in enumerate(found)]
    assert max(starts) - min(starts) <= length_s / count + 1e-6


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [(0.3, [(0, 0.3)]), (2.0, [(0, 1), (1, 2)]), (2.05, [(0, 1), (1, 2)]), (2.5, [(0, 1), (1, 2), (2, 2.5)])],
)
def test_pieces(duration_s: float, expected: list[tuple[float, float]]) -> None:
    assert list(pieces(duration_s, 1.0)) == expected


def test_the_windows_of_a_video_hold_its_frames_in_order() -> None:
    video = (coloured(list(range(0, 200, 5))), 10)  # 4 s: two windows of 2 s
    x = encoder().preprocess(video)
    assert x.shape == (2, 4, 3, 32, 32)
    levels = ((x.mean((2, 3, 4)) * 0.5 + 0.5) * 255).round().int()
    assert levels.tolist() == [[10, 35, 60, 85], [110, 135, 160, 185]]


def test_fewer_frames_than_asked_for_are_repeated() -> None:
    x = encoder().preprocess(coloured([0, 250]))
    assert [round(float(level)) for level in x.mean((0, 2, 3, 4))] == [-1, -1, 1, 1]


def test_a_long_video_costs_no_more_than_its_windows(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "long.mkv", "mpeg4", frames=600, size=(16, 16), rate=1)
    assert encoder(clips=3).preprocess(path).shape[:2] == (3, 4)


def test_views_are_random_takes_of_the_same_video() -> None:
    model = encoder(views=6)
    takes = model.views((coloured(list(range(0, 240, 6))), 20), np.random.default_rng(0))  # 2 s: one window
    levels = ((takes.mean((2, 3, 4)) * 0.5 + 0.5) * 255).round()
    assert takes.shape == (6, 4, 3, 32, 32)
    assert len({tuple(row.tolist()) for row in levels}) == 6
    assert all(60 * i <= level < 60 * (i + 1) for row in levels for i, level in enumerate(row.tolist()))


def test_a_moment_is_what_its_piece_alone_would_be(write: Write, frames: Frames, tmp_path: Path) -> None:
    model, drawn = encoder(), frames(50)
    lossless = {"codec": "ffv1", "pixels": "bgr0", "rate": 10}
    whole = write(tmp_path / "whole.mkv", frames=drawn, **lossless)
    found = list(model.moments(whole, 2.5))  # a window of 2 s: two windows each
    assert [(span.start_s, span.end_s) for span, _ in found if span] == [(0, 2.5), (2.5, 5)]
    for i, (_, x) in enumerate(found):
        alone = model.preprocess(write(tmp_path / "piece.mkv", frames=drawn[25 * i : 25 * (i + 1)], **lossless))
        assert alone.shape[0] == 2
        assert torch.equal(x, alone)


def test_frames_without_a_rate_are_one_moment_and_one_window() -> None:
    ((span, x),) = encoder(window_s=1.0).moments(coloured(list(range(100))), 0.5)
    assert span is None
    assert len(x) == 1


def test_the_window_is_found_from_the_data(write: Write, tmp_path: Path) -> None:
    clips = [write(tmp_path / f"{i}.mp4", "mpeg4", frames=30 + (i == 3), rate=8) for i in range(4)]
    assert adapt(VideoConfig(), clips).window_s == 4.0
    assert adapt(VideoConfig(window_s=7.0), clips).window_s == 7.0
    assert adapt(VideoConfig(), [(coloured([0] * 100), 1)]).window_s == 30.0
    assert adapt(VideoConfig(), [b"not a video"]).window_s == 10.0


# What it starts from and can learn


@pytest.mark.parametrize("tune", ["frozen", "lora", "full"])
def test_untrained_it_is_the_mean_of_the_anchors_frames(tune: str, write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", frames=30)
    model = encoder(tune=tune)
    x = model.preprocess(path)
    with torch.inference_mode():
        frames_TD = functional.normalize(model.anchor.encode_image(x[0]), dim=-1)
        expected = functional.normalize(frames_TD.mean(0), dim=-1)
    torch.testing.assert_close(vector(model, path), expected, atol=1e-6, rtol=1e-5)


def drifting(count: int, seed: int) -> torch.Tensor:
    """(2 * count, 4, 32): frames of anything that drift along one axis, then the same ones backwards."""
    still = torch.randn(count, 1, 32, generator=torch.Generator().manual_seed(seed))
    forth = still + torch.linspace(-1, 1, 4)[None, :, None] * torch.eye(32)[5]
    return torch.cat([forth, forth.flip(1)])


def test_it_learns_which_way_the_frames_run() -> None:
    model, goal = encoder(dropout=0.0), torch.eye(32)[[0] * 16 + [1] * 16]
    before = functional.normalize(model.head(drifting(16, 0)), dim=1)
    torch.testing.assert_close(before[:16], before[16:])  # the mean does not know
    optimizer = torch.optim.AdamW(model.temporal.parameters(), lr=1e-2)
    for seed in range(60):
        loss = (1 - (functional.normalize(model.head(drifting(16, seed)), dim=1) * goal).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    z = functional.normalize(model.head(drifting(16, 999)), dim=1)  # others than it was trained on
    assert (z[:, 0] > z[:, 1]).tolist() == [True] * 16 + [False] * 16


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_the_image_tower_can_be_trained_too(tune: str, write: Write, tmp_path: Path) -> None:
    model = encoder(tune=tune).train()
    before = model.anchor.checksum()
    assert not model.frozen_trunk
    assert encoder().frozen_trunk
    x = model.preprocess(write(tmp_path / "a.mp4"))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    model(x).sum().backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in model.tower.parameters())
    with torch.no_grad():
        old = model.features(x)
        optimizer.step()
        assert not torch.allclose(model.features(x), old)
    assert model.anchor.checksum() == before
    assert model.lr_scales() == {"tower.": TOWER_LR[tune]}
    assert encoder(tune=tune, tower_lr=0.5).lr_scales() == {"tower.": 0.5}


def test_many_frames_go_through_the_tower_in_parts() -> None:
    model = encoder(frames=50)
    x = model.preprocess(coloured(list(range(0, 200, 2)))).repeat(3, 1, 1, 1, 1)
    with torch.inference_mode():
        torch.testing.assert_close(model.features(x)[2, 49], model.tower(x[2, 49:])[0])


# What people see


def test_the_preview_shows_six_frames_in_reading_order() -> None:
    assert VIDEO.preview is not None
    sheet = np.asarray(VIDEO.preview(coloured([0, 40, 80, 120, 160, 200])), int)
    height, width = sheet.shape[0] // 4, sheet.shape[1] // 6
    middles = [sheet[height * row, width * column, 0] for row in (1, 3) for column in (1, 3, 5)]
    assert middles == [0, 40, 80, 120, 160, 200]


def test_diagnose_names_versions_and_decoders() -> None:
    assert VIDEO.diagnose is not None
    found = VIDEO.diagnose()
    assert "h264" in found["decodes"]
    assert "PyAV" in found
    assert all(isinstance(value, str) for value in found.values())
