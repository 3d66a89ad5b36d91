"""The video plugin: the encoder contract, which frames it looks at, and what it computes before and after training."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from binder_video import VIDEO, VideoConfig
from binder_video.adapting import adapt
from binder_video.config import TOWER_LR
from binder_video.encoder import VideoEncoder
from binder_video.sampling import even, jittered, segment_spans, windows
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional

from binder import OpenClipAnchor
from binder.testing import EncoderContract, tiny_anchor, write_tiny_tower

Write = Callable[..., Path]
Frames = Callable[..., list[np.ndarray]]
SMALL: dict[str, Any] = {"frames": 4, "hidden": 16}


def encoder(**values: object) -> VideoEncoder:
    torch.manual_seed(0)
    return VideoEncoder(VideoConfig.model_validate({**SMALL, "window_s": 2.0, **values}), tiny_anchor()).eval()


def vector(model: VideoEncoder, item: object) -> torch.Tensor:
    """(D,): the mean over the windows, as in the core."""
    with torch.inference_mode():
        return functional.normalize(model(model.preprocess(item)), dim=1).mean(0)


def gray(levels: list[int], size: int = 40) -> np.ndarray:
    """(T, H, W, 3) uint8: one gray level per frame."""
    return np.repeat(np.array(levels, np.uint8), size * size * 3).reshape(-1, size, size, 3)


class TestContract(EncoderContract):
    modality = VIDEO
    config = SMALL

    @pytest.fixture(autouse=True)
    def _writer(self, write: Write, frames: Frames) -> None:
        self.write, self.frames = write, frames

    def items(self, tmp_path: Path) -> list[object]:
        # a file, a longer one in portrait format, bytes, frames in memory with and without a frame rate
        return [
            self.write(tmp_path / "short.mp4", "mpeg4", frames=12, rate=8),  # x264 does not always write the same bytes
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
    """With a pretrained model from timm as tower, from a checkpoint made here."""

    @pytest.fixture(autouse=True)
    def _tower(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        trunk = write_tiny_tower(tmp_path_factory.mktemp("towers") / "tower")
        self.config = {**type(self).config, "trunk": trunk}


# Which frames are looked at


@given(st.floats(0.05, 1e5), st.floats(0.1, 1e3), st.integers(1, 50))
def test_windows_are_evenly_spaced_and_not_too_many(duration_s: float, window_s: float, most: int) -> None:
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


def test_frames_are_the_middles_of_equal_parts() -> None:
    assert even(2.0, 4.0, 4) == [2.25, 2.75, 3.25, 3.75]


@given(st.floats(0.05, 1e4), st.floats(0.1, 100), st.integers(1, 32), st.integers(0, 9))
def test_there_is_one_random_time_in_each_part(duration_s: float, window_s: float, count: int, seed: int) -> None:
    found = jittered(duration_s, window_s, count, np.random.default_rng(seed))
    length_s = duration_s if duration_s <= 1.1 * window_s else window_s
    assert len(found) == count
    assert found == sorted(found)
    assert all(0 <= time_s < duration_s + 1e-6 for time_s in found)
    starts = [time_s - i / count * length_s for i, time_s in enumerate(found)]
    assert max(starts) - min(starts) <= length_s / count + 1e-6


@pytest.mark.parametrize(
    ("duration_s", "expected"),
    [(0.3, [(0, 0.3)]), (2.0, [(0, 1), (1, 2)]), (2.05, [(0, 1), (1, 2)]), (2.5, [(0, 1), (1, 2), (2, 2.5)])],
)
def test_segments(duration_s: float, expected: list[tuple[float, float]]) -> None:
    assert list(segment_spans(duration_s, 1.0)) == expected


def test_the_windows_of_a_video_contain_its_frames_in_order() -> None:
    video = (gray(list(range(0, 200, 5))), 10)  # 4 s: two windows of 2 s
    x = encoder().preprocess(video)
    assert x.shape == (2, 4, 3, 32, 32)
    levels = ((x.mean((2, 3, 4)) * 0.5 + 0.5) * 255).round().int()
    assert levels.tolist() == [[10, 35, 60, 85], [110, 135, 160, 185]]


def test_fewer_frames_than_asked_for_are_repeated() -> None:
    x = encoder().preprocess(gray([0, 250]))
    assert [round(float(level)) for level in x.mean((0, 2, 3, 4))] == [-1, -1, 1, 1]


def test_a_long_video_has_no_more_than_clips_windows(write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "long.mkv", "mpeg4", frames=600, size=(16, 16), rate=1)
    assert encoder(clips=3).preprocess(path).shape[:2] == (3, 4)


def test_views_are_random_frames_of_the_same_video() -> None:
    model = encoder(views=6)
    views = model.views((gray(list(range(0, 240, 6))), 20), np.random.default_rng(0))  # 2 s: one window
    levels = ((views.mean((2, 3, 4)) * 0.5 + 0.5) * 255).round()
    assert views.shape == (6, 4, 3, 32, 32)
    assert len({tuple(row.tolist()) for row in levels}) == 6
    assert all(60 * i <= level < 60 * (i + 1) for row in levels for i, level in enumerate(row.tolist()))


def test_a_segment_equals_a_file_of_its_own(write: Write, frames: Frames, tmp_path: Path) -> None:
    model, drawn = encoder(), frames(50)
    lossless = {"codec": "ffv1", "pixels": "bgr0", "rate": 10}
    whole = write(tmp_path / "whole.mkv", frames=drawn, **lossless)
    found = list(model.segments(whole, 2.5))  # a window of 2 s: two windows each
    assert [(span.start_s, span.end_s) for span, _ in found if span] == [(0, 2.5), (2.5, 5)]
    for i, (_, x) in enumerate(found):
        alone = model.preprocess(write(tmp_path / "part.mkv", frames=drawn[25 * i : 25 * (i + 1)], **lossless))
        assert alone.shape[0] == 2
        assert torch.equal(x, alone)


def test_frames_without_a_rate_are_one_segment_and_one_window() -> None:
    ((span, x),) = encoder(window_s=1.0).segments(gray(list(range(100))), 0.5)
    assert span is None
    assert len(x) == 1


def test_the_window_is_found_from_the_data(write: Write, tmp_path: Path) -> None:
    clips = [write(tmp_path / f"{i}.mp4", "mpeg4", frames=30 + (i == 3), rate=8) for i in range(4)]
    assert adapt(VideoConfig(), clips).window_s == 4.0
    assert adapt(VideoConfig(window_s=7.0), clips).window_s == 7.0
    assert adapt(VideoConfig(), [(gray([0] * 100), 1)]).window_s == 30.0
    assert adapt(VideoConfig(), [b"not a video"]).window_s == 10.0


# Before and after training


@pytest.mark.parametrize("tune", ["frozen", "lora", "full"])
def test_untrained_it_is_the_mean_of_the_anchors_frames(tune: str, write: Write, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", frames=30)
    model = encoder(tune=tune)
    assert isinstance(model.anchor, OpenClipAnchor)
    x = model.preprocess(path)
    with torch.inference_mode():
        frames_TD = functional.normalize(model.anchor.encode_image(x[0]), dim=-1)
        expected = functional.normalize(frames_TD.mean(0), dim=-1)
    torch.testing.assert_close(vector(model, path), expected, atol=1e-6, rtol=1e-5)


def drifting(count: int, seed: int) -> torch.Tensor:
    """(2 * count, 4, 32): random frames that drift along one axis, then the same ones backwards."""
    start = torch.randn(count, 1, 32, generator=torch.Generator().manual_seed(seed))
    forward = start + torch.linspace(-1, 1, 4)[None, :, None] * torch.eye(32)[5]
    return torch.cat([forward, forward.flip(1)])


def test_it_learns_the_direction_of_time() -> None:
    model, goal = encoder(dropout=0.0), torch.eye(32)[[0] * 16 + [1] * 16]
    before = functional.normalize(model.head(drifting(16, 0)), dim=1)
    torch.testing.assert_close(before[:16], before[16:])  # the mean does not depend on the order
    optimizer = torch.optim.AdamW(model.temporal.parameters(), lr=1e-2)
    for seed in range(60):
        loss = (1 - (functional.normalize(model.head(drifting(16, seed)), dim=1) * goal).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    z = functional.normalize(model.head(drifting(16, 999)), dim=1)  # not seen in training
    assert (z[:, 0] > z[:, 1]).tolist() == [True] * 16 + [False] * 16


@pytest.mark.parametrize("tune", ["lora", "full"])
def test_the_image_tower_can_be_trained(tune: str, write: Write, tmp_path: Path) -> None:
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
    x = model.preprocess(gray(list(range(0, 200, 2)))).repeat(3, 1, 1, 1, 1)
    with torch.inference_mode():
        torch.testing.assert_close(model.features(x)[2, 49], model.tower(x[2, 49:])[0])


# The preview


def test_the_preview_shows_six_frames_in_reading_order() -> None:
    assert VIDEO.preview is not None
    sheet = np.asarray(VIDEO.preview(gray([0, 40, 80, 120, 160, 200])), int)
    height, width = sheet.shape[0] // 4, sheet.shape[1] // 6
    middles = [sheet[height * row, width * column, 0] for row in (1, 3) for column in (1, 3, 5)]
    assert middles == [0, 40, 80, 120, 160, 200]


def test_diagnose_names_versions_and_decoders() -> None:
    assert VIDEO.diagnose is not None
    found = VIDEO.diagnose()
    assert "h264" in found["decodes"]
    assert "PyAV" in found
    assert all(isinstance(value, str) for value in found.values())
