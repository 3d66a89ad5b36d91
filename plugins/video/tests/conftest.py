"""Small videos, written by PyAV's encoders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

Write = Callable[..., Path]


def moving(count: int, width: int, height: int) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8: a moving pattern whose corner changes with the index, so that no two frames are equal."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    ground = ground.repeat(8, 0).repeat(8, 1)[:height, :width]
    for i in range(count):
        frame = np.roll(ground, (2 * i, 3 * i), (0, 1))
        frame[:16, :16] = i * 7 % 256
        yield frame


def write_video(
    path: Path,
    codec: str = "libx264",
    frames: int | Sequence[np.ndarray] = 40,
    size: tuple[int, int] = (48, 32),  # width, height
    rate: int = 20,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    times_ms: Sequence[int] | None = None,  # of each frame; at `rate` without
    setup: Callable[[Any], None] = lambda stream: None,
    **container: Any,
) -> Path:
    arrays = list(moving(frames, *size)) if isinstance(frames, int) else list(frames)
    with av.open(str(path), "w", **container) as file:
        stream = file.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = arrays[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, 1000) if times_ms else Fraction(1, rate)
        setup(stream)
        for i, array in enumerate(arrays):
            frame = av.VideoFrame.from_ndarray(array, format="rgba" if array.shape[2] == 4 else "rgb24")
            frame.pts, frame.time_base = (times_ms[i] if times_ms else i), stream.codec_context.time_base
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return path


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch) -> Write:
    """`write(path, codec, frames, ...)` writes a video and returns its path."""
    monkeypatch.setenv("SVT_LOG", "1")  # otherwise its encoder prints a page
    return write_video


@pytest.fixture
def frames() -> Callable[..., list[np.ndarray]]:
    """`frames(count, width, height)` gives (H, W, 3) uint8 arrays."""
    return lambda count, width=48, height=32: list(moving(count, width, height))
