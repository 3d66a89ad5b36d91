"""Videos that need no decoder: arrays, and animated WebP, which Pillow reads and FFmpeg does not. Free of torch."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from binder import ItemError
from binder_video.pictures import on_white, reason, size_problem

if TYPE_CHECKING:
    from PIL.Image import Image

SHORTEST_S, USUAL_S = 0.011, 0.1  # s: a frame that states less than the first is shown for the second, as in browsers
MAX_WEBP = 600_000_000  # pixels of all frames: about ten seconds to decode


class Stills:
    """Pictures and the times at which they appear."""

    def __init__(
        self,
        starts_s: Sequence[float],  # ascending, the first is 0
        duration_s: float,
        get: Callable[[int], Image],  # index -> picture
        timed: bool = True,  # whether the frame rate is known
    ) -> None:
        self.starts_s, self.duration_s, self.get, self.timed = starts_s, duration_s, get, timed

    def close(self) -> None:
        """Nothing to close."""

    def count(self, most: int) -> int:
        """The number of pictures, at most `most`."""
        return min(most, len(self.starts_s))

    def at(self, times_s: Iterable[float]) -> Iterator[Image]:
        """Ascending times, consumed lazily -> the picture shown at each; the same object while it does not change."""
        index = image = None
        for time_s in times_s:
            now = bisect_right(self.starts_s, time_s) - 1
            if now != index or image is None:
                index, image = now, self.get(now)
            yield image


def from_array(frames: Any, rate: Any, name: str) -> Stills:
    """(T, H, W, 3) uint8 and frames per second (None: unknown) -> a clip. Raises ItemError."""
    from PIL import Image

    array = np.asarray(frames)
    if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8:
        raise ItemError(name, f"expected (T, H, W, 3) of uint8, got {array.shape} of {array.dtype}")
    if not array.size:
        raise ItemError(name, f"no frames or no pixels: shape {array.shape}")
    if why := size_problem(array.shape[2], array.shape[1]):
        raise ItemError(name, why)
    if rate is not None and (isinstance(rate, str | bytes) or not 0 < float(rate) < 1e6):
        raise ItemError(name, f"expected frames per second, got {rate!r}")
    step_s = 1 / float(rate or 1)
    starts_s = [i * step_s for i in range(len(array))]
    return Stills(starts_s, len(array) * step_s, lambda i: Image.fromarray(array[i]), timed=rate is not None)


def from_webp(data: bytes, name: str) -> Stills:
    """An animated WebP -> a clip. Raises ItemError."""
    from PIL import Image

    width, height, lengths_s = _webp_head(data, name)
    if len(lengths_s) < 2:
        raise ItemError(name, "a still picture, not an animation; expected a video")
    if why := size_problem(width, height, alpha=True):
        raise ItemError(name, why)
    if width * height * len(lengths_s) > MAX_WEBP:
        raise ItemError(name, f"more than {MAX_WEBP / 1e6:.0f} million pixels over all frames")
    try:
        animation = Image.open(io.BytesIO(data))
    except (OSError, ValueError, EOFError, SyntaxError, Image.DecompressionBombError) as error:
        raise ItemError(name, f"not a decodable animation: {reason(error)}") from None

    def get(i: int) -> Image.Image:
        try:
            animation.seek(i)
            return on_white(animation.convert("RGBA"))
        except (OSError, ValueError, EOFError, SyntaxError, MemoryError) as error:
            raise ItemError(name, f"damaged: frame {i} cannot be decoded: {reason(error)}") from None

    *starts_s, end_s = accumulate(lengths_s, initial=0.0)
    return Stills(starts_s, end_s, get)


def _webp_head(data: bytes, name: str) -> tuple[int, int, list[float]]:
    """Width, height, and the seconds for which each frame is shown. Raises ItemError where truncated."""
    width = height = 0
    lengths_s: list[float] = []
    at = 12
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if at + 8 + size > len(data):
            raise ItemError(name, f"truncated: the data end within frame {len(lengths_s)}")
        body = data[at + 8 : at + 8 + min(size, 16)]
        if kind == b"VP8X":
            width, height = (int.from_bytes(body[i : i + 3], "little") + 1 for i in (4, 7))
        elif kind == b"ANMF":
            length_s = int.from_bytes(body[12:15], "little") / 1000
            lengths_s.append(length_s if length_s >= SHORTEST_S else USUAL_S)
        at += 8 + size + size % 2
    return width, height, lengths_s
