"""Videos that are pictures already: arrays, and animated WebP, which FFmpeg does not decode. Free of torch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from binder import ItemError
from binder_video.pictures import on_white

if TYPE_CHECKING:
    from PIL.Image import Image

SHORTEST_S, USUAL_S = 0.011, 0.1  # s: pages show what claims to be shorter than the first for as long as the second


class Stills:
    """Pictures with the times at which each appears."""

    def __init__(
        self,
        starts_s: Sequence[float],  # ascending, the first is 0
        duration_s: float,
        get: Callable[[int], Image],  # number -> picture
        timed: bool = True,  # whether the seconds are real ones
    ) -> None:
        self.starts_s, self.duration_s, self.get, self.timed = starts_s, duration_s, get, timed

    def close(self) -> None:
        """Nothing is open."""

    def at(self, times_s: Iterable[float]) -> Iterator[Image]:
        """Moments in ascending order, drawn lazily -> the picture shown at each; the same object where it stays."""
        number = image = None
        for time_s in times_s:
            now = bisect_right(self.starts_s, time_s) - 1
            if now != number or image is None:
                number, image = now, self.get(now)
            yield image


def from_array(frames: Any, rate: Any, name: str) -> Stills:
    """(T, H, W, 3) uint8 and frames per second, None where unknown. Raises ItemError."""
    from PIL import Image

    array = np.asarray(frames)
    if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8:
        raise ItemError(name, f"expected (T, H, W, 3) of uint8, got {array.shape} of {array.dtype}")
    if not array.size:
        raise ItemError(name, f"no frames or no pixels: shape {array.shape}")
    if rate is not None and (isinstance(rate, str | bytes) or not 0 < float(rate) < 1e6):
        raise ItemError(name, f"expected frames per second, got {rate!r}")
    step_s = 1 / float(rate or 1)
    starts_s = [i * step_s for i in range(len(array))]
    return Stills(starts_s, len(array) * step_s, lambda i: Image.fromarray(array[i]), timed=rate is not None)


def from_webp(source: BinaryIO, name: str) -> Stills:
    """An animated WebP. Raises ItemError."""
    from PIL import Image

    try:
        animation = Image.open(source)
        count = getattr(animation, "n_frames", 1)
        if count < 2:
            raise ItemError(name, "a still picture; expected a video")
        lengths_s = []
        for i in range(count):  # each picture is made and dropped: none says how long it lasts before
            animation.seek(i)
            animation.load()
            length_s = animation.info.get("duration", 0) / 1000
            lengths_s.append(length_s if length_s >= SHORTEST_S else USUAL_S)
    except (OSError, ValueError, EOFError, SyntaxError, Image.DecompressionBombError) as error:
        raise ItemError(name, f"not an animation that can be decoded: {error}") from None

    def get(i: int) -> Image.Image:
        try:
            animation.seek(i)
            return on_white(animation.convert("RGBA"))
        except (OSError, ValueError, EOFError) as error:
            raise ItemError(name, f"damaged: frame {i} cannot be decoded: {error}") from None

    *starts_s, end_s = accumulate(lengths_s, initial=0.0)
    return Stills(starts_s, end_s, get)
