"""Measurements on a grid -> the grey picture that stands for them. Free of torch.

Shapes: H height, W width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from binder.errors import ItemError, name_of
from binder.formats.raster import Raster, checked
from binder.modality import Item

if TYPE_CHECKING:
    from PIL.Image import Image

Floats = NDArray[np.floating[Any]]
Grid = tuple[NDArray[np.float32], int]  # values (H, W), NaN where nothing was measured; file's pixels in one of theirs
Read = Callable[[Item, Any], NDArray[Any]]  # (item, config) -> (H, W), any unit, NaN where nothing was measured
# (values (H, W), config, pixels of the file in one of theirs, rng or None) -> (H, W), 0 black to 1 white
Tone = Callable[[NDArray[np.float32], Any, int, np.random.Generator | None], Floats]

ENDS = (1.0, 99.0)  # percentiles that are a picture's own darkest and brightest: single pixels are often broken
MAX_DRAWN = 16  # pixels drawn, over the square of the side: what is more than four times as long as high is cut down
CUT = 0.1  # of each side, at most, that training cuts off
CONTRAST = 0.25  # log of the exponent that training gives to brightness, standard deviation


def read_grid(read: Read, item: Item, config: Any, side: int) -> Grid:
    """What `read` returns of the item, its shorter side brought down to `side` pixels to less than twice as many.

    A very long one is brought down further. Holes of a pixel or two are filled from around them. Raises ItemError in
    one line for what is no grid of numbers, or hardly anywhere finite.
    """
    values = checked(Raster(name_of(item), np.asarray(read(item, config)))).values
    if values.ndim == 3:
        raise ItemError(item, "a colour picture: expected one channel of measurements")
    with np.errstate(over="ignore"):
        values_HW = values.astype(np.float32)
    values_HW[~np.isfinite(values_HW)] = np.nan
    factor = max(1, min(values_HW.shape) // side, math.ceil(math.sqrt(values_HW.size / MAX_DRAWN) / side))
    values_HW = _shrunk(values_HW, factor)
    if np.isnan(values_HW).all():
        raise ItemError(item, "no pixel was measured, or too few of them")
    return _mended(values_HW), factor


def draw_grid(grid: Grid, tone: Tone, config: Any, rng: np.random.Generator | None = None) -> Image:
    """The grey picture; with `rng` another one, for training: a little cut off, of another contrast."""
    from PIL import Image

    values_HW, factor = grid
    if rng is not None:
        values_HW = _cut(values_HW, rng)
    level_HW = np.clip(np.nan_to_num(tone(values_HW, config, factor, rng)), 0, 1)
    if rng is not None:
        level_HW = level_HW ** np.exp(rng.normal(0, CONTRAST))
    return Image.fromarray((255 * level_HW).round().astype(np.uint8)).convert("RGB")


def lowest_to_highest(values_HW: Floats, config: Any, factor: int, rng: np.random.Generator | None) -> Floats:
    """The tone of a plugin that has none of its own."""
    return stretched(values_HW)


def stretched(values_HW: Floats, low: float | None = None, high: float | None = None) -> Floats:
    """To 0..1 between `low` and `high`, or the picture's own ends where they are None; what was not measured is 0."""
    darkest, brightest = np.nanpercentile(values_HW, ENDS)
    low, high = darkest if low is None else low, brightest if high is None else high
    if not high > low:  # all is the same
        return np.full(values_HW.shape, 0.5)
    return np.nan_to_num((values_HW - low) / (high - low)).clip(0, 1)


def _shrunk(values_HW: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Blocks of pixels -> the median of what was measured in each, which keeps edges and drops speckles."""
    if factor == 1:
        return values_HW
    rows, columns = (n // factor for n in values_HW.shape)
    blocks = values_HW[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    sorted_HWK = np.sort(blocks.transpose(0, 2, 1, 3).reshape(rows, columns, -1), axis=2)  # NaN comes last
    measured_HW = np.isfinite(sorted_HWK).sum(2)
    middle_HW = np.take_along_axis(sorted_HWK, np.maximum(measured_HW - 1, 0)[:, :, None] // 2, axis=2)[:, :, 0]
    return np.where(2 * measured_HW >= factor, middle_HW, np.float32(np.nan))


def _mended(values_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Holes of a pixel or two -> the median of what was measured around them, where that is half of it."""
    for _ in range(2):
        around_HW33 = sliding_window_view(np.pad(values_HW, 1, constant_values=np.nan), (3, 3))
        holes_HW = np.isnan(values_HW) & (np.isfinite(around_HW33).sum((2, 3)) >= 4)
        values_HW = values_HW.copy()
        values_HW[holes_HW] = np.nanmedian(around_HW33[holes_HW], axis=(1, 2))
    return values_HW


def _cut(values_HW: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """At least four fifths of each side, unless nothing was measured there."""
    (top, left), (bottom, right) = (rng.uniform(0, CUT, (2, 2)) * values_HW.shape).astype(int)
    part_HW = values_HW[top : values_HW.shape[0] - bottom, left : values_HW.shape[1] - right]
    return part_HW if np.isfinite(part_HW).any() else values_HW
