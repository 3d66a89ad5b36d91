"""The shortcut gives exactly the pictures that decoding every frame gives, for many codecs, containers and clocks."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from binder_video import decoding, video_file
from binder_video.pictures import picture
from binder_video.reading import open_clip
from binder_video.video_file import VideoFile
from PIL import Image

from binder import ItemError

Write = Callable[..., Path]

X264 = {"bframes": "bframes=3:keyint=12", "open": "open-gop=1:bframes=3:keyint=12", "one": "bframes=3:keyint=999"}
X265 = {"codec": "libx265", "size": (64, 64)}  # the encoder corrupts memory where pictures are smaller
HEVC = "log-level=none:keyint=12"
FAST = {"deadline": "realtime", "cpu-used": "8", "g": "12"}

# name of the file, how it is written, whether its frames have to be decoded sequentially instead
CASES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "h264": ("a.mp4", {"options": {"x264-params": X264["bframes"]}}, False),
    "h264 in open groups": ("a.mp4", {"options": {"x264-params": X264["open"]}}, False),
    "h264 in open groups, mkv": ("a.mkv", {"options": {"x264-params": X264["open"]}}, False),
    "h264 with one keyframe": ("a.mp4", {"options": {"x264-params": X264["one"]}}, False),
    "h264 interlaced": ("a.mp4", {"options": {"x264-params": "interlaced=1:keyint=12"}}, False),
    "h264 without keyframes": ("a.mkv", {"options": {"x264-params": "intra-refresh=1:keyint=12"}}, True),
    "h264 in a transport stream": ("a.ts", {"options": {"x264-params": X264["open"]}}, False),
    "h264 in fragments": ("a.mp4", {"options": {"movflags": "frag_keyframe+empty_moov", "g": "12"}}, False),
    "h264 with the header first": ("a.mov", {"container_options": {"movflags": "faststart"}}, False),
    "h264 raw": ("a.h264", {"options": {"g": "12"}}, True),
    "h264 in avi": ("a.avi", {"options": {"x264-params": X264["bframes"]}}, True),
    "hevc in open groups": ("a.mp4", {**X265, "options": {"x265-params": HEVC + ":open-gop=1"}}, False),
    "hevc in layers": ("a.mkv", {**X265, "options": {"x265-params": HEVC + ":temporal-layers=3"}}, False),
    "vp9": ("a.webm", {"codec": "libvpx-vp9", "options": FAST}, False),
    "vp9 without a length": ("a.webm", {"codec": "libvpx-vp9", "options": FAST, "live": True}, False),
    "vp8": ("a.webm", {"codec": "libvpx", "options": {**FAST, "auto-alt-ref": "1", "lag-in-frames": "9"}}, False),
    "av1": ("a.mkv", {"codec": "libsvtav1", "options": {"preset": "13", "g": "12"}, "size": (64, 64)}, False),
    "mpeg4 in avi": ("a.avi", {"codec": "mpeg4"}, False),
    "mpeg4 in avi, reordered": ("a.avi", {"codec": "mpeg4", "options": {"bf": "2"}}, True),
    "mpeg4 in mp4, reordered": ("a.mp4", {"codec": "mpeg4", "options": {"bf": "2"}}, False),
    "mjpeg in avi": ("a.avi", {"codec": "mjpeg", "pixels": "yuvj420p"}, False),
    "mpeg2": ("a.mpg", {"codec": "mpeg2video", "rate": 25, "options": {"bf": "2"}}, False),
    "prores": ("a.mov", {"codec": "prores", "pixels": "yuv422p10le"}, False),
    "flash": ("a.flv", {"codec": "flv1"}, False),
    "wmv": ("a.wmv", {"codec": "wmv2"}, False),
    "gif": ("a.gif", {"codec": "gif", "pixels": "rgb8"}, False),
}


def make(write: Write, folder: Path, case: str, **more: Any) -> Path:
    name, how, _ = CASES[case]
    how = {**how, **more}
    if how.pop("live", False):
        how["container_options"] = {"live": "1"}
    return write(folder / name, **how)


def naive(path: Path) -> list[tuple[Fraction, bytes]]:
    """Every frame of a file, decoded in order: seconds from the first, and its pixels."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        frames = [(frame.pts, picture(frame).tobytes()) for frame in file.decode(stream)]
        lost = file.format.name == "avi" and stream.codec_context.has_b_frames  # AVI stores no presentation times
        start = frames[0][0]
        if lost or start is None:
            rate = Fraction(stream.average_rate or 0)
            return [(i / rate, pixels) for i, (_, pixels) in enumerate(frames)]
        return [((pts - start) * Fraction(stream.time_base or 1), pixels) for pts, pixels in frames if pts is not None]


def shown(frames: Sequence[tuple[Fraction, bytes]], times_s: Sequence[float]) -> list[bytes]:
    return [[pixels for start, pixels in frames if start <= Fraction(time_s)][-1] for time_s in times_s]


def requests(duration_s: float) -> list[list[float]]:
    """Several ways to ask for times of a video: even, random, dense, single, all."""
    rng = np.random.default_rng(0)
    return [
        [(i + 0.5) / 8 * duration_s for i in range(8)],
        sorted(rng.uniform(0, duration_s, 8).tolist()),
        sorted(rng.uniform(0.4 * duration_s, 0.6 * duration_s, 12).tolist()),
        [0.0],
        [0.99 * duration_s],
        [i / 97 * duration_s for i in range(97)],
    ]


def assert_identical(path: Path) -> None:
    frames = naive(path)
    assert len({pixels for _, pixels in frames}) == len(frames) > 1, "equal frames would hide a mistake"
    with open_clip(path) as clip:
        duration_s = clip.duration_s
    assert float(frames[-1][0]) < duration_s < float(frames[-1][0]) + 1
    for times_s in requests(duration_s):
        with open_clip(path) as clip:
            found = [image.tobytes() for image in clip.at(iter(times_s))]
        assert found == shown(frames, times_s)


@pytest.fixture(params=["held", "streamed"])
def reading(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short files are held as packets; lower limits make them be read like long ones."""
    if request.param == "streamed":
        monkeypatch.setattr(video_file, "WHOLE_PACKETS", 5)
        monkeypatch.setattr(video_file, "BLOCK_S", 0.3)


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("case", CASES)
def test_the_pictures_are_those_of_decoding_every_frame(
    case: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(write, tmp_path, case)
    calls = []
    sequentially = VideoFile._sequentially

    def counting(self: VideoFile, times_s: Iterable[float]) -> Iterator[Image.Image]:
        calls.append(1)
        return sequentially(self, times_s)

    monkeypatch.setattr(VideoFile, "_sequentially", counting)
    assert_identical(path)
    assert bool(calls) == CASES[case][2], "whether the shortcut worked"


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("case", ["h264", "h264 in open groups, mkv", "vp9"])
def test_a_variable_frame_rate(case: str, write: Write, tmp_path: Path) -> None:
    gaps_ms = np.random.default_rng(1).choice([10, 20, 33, 50, 400], 40)
    assert_identical(make(write, tmp_path, case, times_ms=[int(t) for t in np.cumsum(gaps_ms)]))


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("case", ["h264", "h264 in open groups, mkv", "h264 in a transport stream", "vp9"])
def test_a_start_time_that_is_not_zero(case: str, write: Write, tmp_path: Path) -> None:
    assert_identical(make(write, tmp_path, case, times_ms=[7_300 + 50 * i for i in range(40)]))


@pytest.mark.usefixtures("reading")
@pytest.mark.parametrize("case", ["h264", "h264 with one keyframe"])
def test_frames_cut_off_by_an_edit_list_are_not_shown(case: str, write: Write, tmp_path: Path) -> None:
    path = make(write, tmp_path, case)
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 12  # after version, flags and the count: length in ms, first tick in the media
    length_ms, begin = struct.unpack_from(">ii", data, place)
    struct.pack_into(">ii", data, place, length_ms - 1_000, begin + 20 * 10240 // 20)
    path.write_bytes(data)
    assert len(naive(path)) == 20
    assert_identical(path)


def fed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A list that gets an entry for every decoded packet: whether the decoder may skip it."""
    found: list[bool] = []
    out = decoding._out

    def counting(codec: Any, packet: Any, due: Any) -> Any:
        if packet is not None:
            found.append(codec.skip_frame == "NONREF")
        return out(codec, packet, due)

    monkeypatch.setattr(decoding, "_out", counting)
    return found


@pytest.mark.usefixtures("reading")
def test_only_what_a_frame_needs_is_decoded(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(write, tmp_path, "h264", frames=120)
    found = fed(monkeypatch)
    with open_clip(path) as clip:
        list(clip.at([3.01, 5.96]))  # frames 60 and 119, keyframes every 12 frames
    assert len(found) <= 1 + 12
    assert not found[0]
    assert sum(found) == len(found) - 2, "all but the two requested frames may be skipped"


def test_a_picture_shown_twice_is_the_same_object(write: Write, tmp_path: Path) -> None:
    with open_clip(write(tmp_path / "a.mp4", frames=2, rate=1)) as clip:
        first, again, second = clip.at([0.1, 0.2, 1.5])
    assert first is again
    assert first is not second


def test_times_are_consumed_lazily(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", "mpeg4", frames=200, rate=1)
    drawn = []

    def times_s() -> Any:
        for i in range(200):
            drawn.append(i)
            yield i + 0.5

    with open_clip(path) as clip:
        shown_now = clip.at(times_s())
        next(shown_now)
        assert len(drawn) < 40
        assert len(list(shown_now)) == 199
    assert len(drawn) == 200


def test_bytes_and_paths_give_the_same(write: Write, tmp_path: Path) -> None:
    path = make(write, tmp_path, "h264")
    pixels = []
    for item in (path, str(path), path.read_bytes(), memoryview(path.read_bytes())):
        with open_clip(item) as clip:
            pixels.append([image.tobytes() for image in clip.at([0.3, 1.2])])
    assert pixels[0] == pixels[1] == pixels[2] == pixels[3]


def test_ten_pictures_of_ten_hours_need_few_packets(write: Write, tmp_path: Path, monkeypatch: Any) -> None:
    times_ms = [10_000 * i for i in range(3_600)]
    path = write(tmp_path / "long.mkv", "mpeg4", frames=3_600, size=(16, 16), times_ms=times_ms)
    monkeypatch.setattr(video_file, "WHOLE_PACKETS", 100)
    found = fed(monkeypatch)
    with open_clip(path) as clip:
        assert abs(clip.duration_s - 36_000) < 11
        assert len(list(clip.at([3_600.0 * i for i in range(10)]))) == 10
    assert len(found) < 10 * 13


def damage(path: Path, share: float, length: int) -> Path:
    """Overwrite some bytes with zeros."""
    data = bytearray(path.read_bytes())
    place = int(share * len(data))
    data[place : place + length] = bytes(length)
    path.write_bytes(data)
    return path


def test_damage_is_reported_with_its_time_and_only_where_it_matters(write: Write, tmp_path: Path) -> None:
    how = {"options": {"x264-params": X264["bframes"] + ":qp=10"}, "size": (96, 64), "frames": 120}
    path = write(tmp_path / "a.mp4", **how)
    before = naive(path)
    damage(path, 0.5, 6_000)
    with (
        open_clip(path) as clip,
        pytest.raises(ItemError, match=r"a\.mp4: damaged: cannot be decoded at about 3\.\d+ s"),
    ):
        list(clip.at([0.5, 3.1, 5.5]))
    with open_clip(path) as clip:
        found = [image.tobytes() for image in clip.at([0.5, 1.0, 5.5, 5.9])]
    assert found == shown(before, [0.5, 1.0, 5.5, 5.9])


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.webm", "a.gif"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_damage_anywhere_gives_pictures_or_an_error_of_one_line(
    name: str, share: float, write: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    codec = {"a.avi": "mpeg4", "a.webm": "libvpx", "a.gif": "gif"}.get(name, "libx264")
    path = write(tmp_path / name, codec, pixels="rgb8" if codec == "gif" else "yuv420p", options={"g": "12"})
    capfd.readouterr()
    damage(path, share, 300)
    try:
        with open_clip(path) as clip:
            assert 0 < clip.duration_s < 1e6
            assert all(image.size == (48, 32) for image in clip.at([i / 8 * clip.duration_s for i in range(8)]))
    except ItemError as error:
        assert "\n" not in str(error)
    assert capfd.readouterr().err == "", "FFmpeg prints nothing"
