"""Clips per second and core that the video plugin reads: eight frames, decoded and brought to the anchor's size.

Baselines in the same run, on the same files: every frame decoded and made a picture, of which the same eight are
used; and every frame decoded but only the eight made pictures. All on one thread, in turns; medians.

    python benchmarks/video.py [--rounds 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import median

import av
import numpy as np
import torch

from binder import Encoder
from binder.anchors import openclip
from binder.registry import registry

# name, codec, width, height, seconds, frames per second, options
CASES = [
    ("h264, usual", "libx264", 640, 360, 10, 30, {}),
    ("h264, keyframe per s", "libx264", 640, 360, 10, 30, {"g": "30"}),
    ("h264, 3 s", "libx264", 320, 240, 3, 25, {}),
    ("h264, 1080p", "libx264", 1920, 1080, 5, 30, {"g": "60"}),
    ("h264, 60 s", "libx264", 640, 360, 60, 30, {}),
    ("vp9, webm", "libvpx-vp9", 640, 360, 10, 30, {"deadline": "realtime", "cpu-used": "8"}),
    ("mpeg4, avi", "mpeg4", 640, 360, 10, 30, {}),
    ("mjpeg, avi", "mjpeg", 640, 360, 10, 30, {}),
]
SUFFIXES = {"libvpx-vp9": "webm", "mpeg4": "avi", "mjpeg": "avi"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    kind = registry().get("video")
    encoder = kind.build(kind.config(window_s=3600.0), openclip.load("mini"))
    print(f"{'clip':22}{'clips/s':>9}{'all decoded':>13}{'ratio':>7}{'all pictures':>14}{'ratio':>7}")
    with tempfile.TemporaryDirectory() as folder:
        for name, codec, *how, options in CASES:
            path = Path(folder) / f"clip.{SUFFIXES.get(codec, 'mp4')}"
            write(path, codec, *how, options)
            works = (
                encoder.preprocess,
                lambda p: naive(encoder, p, every=False),
                lambda p: naive(encoder, p, every=True),
            )
            assert all(torch.equal(works[0](path)[0], work(path)) for work in works[1:])
            rounds = [[seconds(work, path) for work in works] for _ in range(given.rounds)]
            ours, decoded, pictures = (median(times) for times in zip(*rounds, strict=True))
            ratios = [median(row[i] / row[0] for row in rounds) for i in (1, 2)]
            print(
                f"{name:22}{1 / ours:9.1f}{1 / decoded:13.1f}{ratios[0]:7.1f}{1 / pictures:14.1f}{ratios[1]:7.1f}",
                flush=True,
            )


def naive(encoder: Encoder, path: Path, every: bool) -> torch.Tensor:
    """(T, 3, H, W): the frames shown at the middles of equal segments, after decoding the whole file."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        frames = list(file.decode(stream))
        pictures = [frame.to_image() for frame in frames] if every else None
        end = frames[-1].pts + (frames[-1].duration or 1)
        count = encoder.config.frames  # type: ignore[union-attr]
        wanted = [frames[0].pts + Fraction(2 * i + 1, 2 * count) * (end - frames[0].pts) for i in range(count)]
        seen = [max(n for n, frame in enumerate(frames) if frame.pts <= moment) for moment in wanted]
        chosen = [pictures[n] if pictures else frames[n].to_image() for n in seen]
    return torch.stack([encoder.anchor.transform(picture) for picture in chosen])  # type: ignore[union-attr]


def seconds(work: Callable[[Path], object], path: Path) -> float:
    """CPU time of one clip."""
    began = time.process_time()
    work(path)
    return time.process_time() - began


def write(path: Path, codec: str, width: int, height: int, length_s: int, rate: int, options: dict[str, str]) -> None:
    """A camera that pans over a landscape of clouds, with some noise; about what a phone films."""
    rng = np.random.default_rng(0)
    clouds = sum(
        np.kron(rng.normal(size=(2 * height // cell + 2, 2 * width // cell + 2, 3)), np.ones((cell, cell, 1)))[
            : 2 * height, : 2 * width
        ]
        * cell**0.5
        for cell in (4, 16, 64)
    )
    clouds = 128 + 12 * clouds
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = width, height
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for i in range(length_s * rate):
            x, y = int(width * (0.5 + 0.49 * np.sin(i / 70))), int(height * (0.5 + 0.49 * np.cos(i / 90)))
            view = clouds[y : y + height, x : x + width] + rng.normal(0, 3, (height, width, 1))
            file.mux(stream.encode(av.VideoFrame.from_ndarray(view.clip(0, 255).astype(np.uint8), format="rgb24")))
        file.mux(stream.encode())


if __name__ == "__main__":
    main()
