"""Moving shapes as short video files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from binder_playground.scenes import frames
from binder_playground.world import Concept

FRAMES, RATE = 12, 8  # pictures in a clip, pictures per second


def write_clips(concepts: Sequence[Concept], folder: Path, rng: np.random.Generator) -> list[Path]:
    """Write a random video of each concept, `folder/<number>-<concept>.mp4` (H.264, 64 x 64) -> the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}-{concept.key.partition('/')[2]}.mp4" for i, concept in enumerate(concepts)]
    for path, concept in zip(paths, concepts, strict=True):
        write_mp4(frames(concept, rng, FRAMES), path, RATE)
    return paths


def write_mp4(pictures: Sequence[Image.Image], path: Path, rate: int) -> None:
    """Write pictures of one size as a video that browsers play, at `rate` pictures per second."""
    import av

    with av.open(str(path), "w", format="mp4") as file:
        # high quality: a clip has only a dozen small frames, and their colors matter
        stream = file.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "12"})
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            file.mux(stream.encode(av.VideoFrame.from_image(picture)))
        file.mux(stream.encode())
