"""Rasters -> gray pictures: shrunk, small holes filled, measurements mapped to brightness. Free of torch.

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
Grid = tuple[NDArray[np.float32], int]  # values (H, W), NaN where nothing was measured; factor they were shrunk by
Read = Callable[[Item, Any], NDArray[Any]]  # (item, config) -> (H, W), any unit, NaN where nothing was measured
# (values (H, W), config, factor they were shrunk by, rng or None) -> (H, W), 0 black to 1 white
Tone = Callable[[NDArray[np.float32], Any, int, np.random.Generator | None], Floats]

ENDS = (1.0, 99.0)  # percentiles drawn as black and white: the extremes are often defective pixels
MAX_DRAWN = 16  # pixels drawn, over the square of the side: longer pictures than 1:4 are shrunk further
CROP = 0.1  # of each side, at most, that training crops off
CONTRAST = 0.25  # standard deviation of the log of the exponent that training applies to brightness


def read_grid(read: Read, item: Item, config: Any, side: int) -> Grid:
    """Item -> what `read` returns for it, shrunk by a whole factor to about `side` pixels, and that factor.

    The shorter side keeps `side` pixels or up to twice as many, fewer in very elongated rasters. Holes of a pixel or
    two are filled from their surroundings. Raises ItemError where `read` returns anything but a grid of numbers, or
    hardly any that are finite.
    """
    values = checked(Raster(name_of(item), np.asarray(read(item, config)))).values
    if values.ndim == 3:
        raise ItemError(item, "a color picture: expected one channel of measurements")
    with np.errstate(over="ignore"):
        values_HW = values.astype(np.float32)
    values_HW[~np.isfinite(values_HW)] = np.nan
    factor = max(1, min(values_HW.shape) // side, math.ceil(math.sqrt(values_HW.size / MAX_DRAWN) / side))
    values_HW = _shrunk(values_HW, factor)
    if np.isnan(values_HW).all():
        raise ItemError(item, "no pixel was measured, or too few of them")
    return _filled(values_HW), factor


def draw_grid(grid: Grid, tone: Tone, config: Any, rng: np.random.Generator | None = None) -> Image:
    """The gray picture of a raster; with `rng` a random variant for training, cropped and with another contrast."""
    from PIL import Image

    values_HW, factor = grid
    if rng is not None:
        values_HW = _cropped(values_HW, rng)
    level_HW = np.clip(np.nan_to_num(tone(values_HW, config, factor, rng)), 0, 1)
    if rng is not None:
        level_HW = level_HW ** np.exp(rng.normal(0, CONTRAST))
    return Image.fromarray((255 * level_HW).round().astype(np.uint8)).convert("RGB")


def lowest_to_highest(values_HW: Floats, config: Any, factor: int, rng: np.random.Generator | None) -> Floats:
    """The `tone` of plugins that give none: the lowest value is black, the highest white."""
    return stretched(values_HW)


def stretched(values_HW: Floats, low: float | None = None, high: float | None = None) -> Floats:
    """(H, W) -> (H, W) in 0..1 between `low` and `high`, by default its own lowest and highest; NaN becomes 0."""
    darkest, brightest = np.nanpercentile(values_HW, ENDS)
    low, high = darkest if low is None else low, brightest if high is None else high
    if not high > low:  # all values are equal
        return np.full(values_HW.shape, 0.5)
    return np.nan_to_num((values_HW - low) / (high - low)).clip(0, 1)


def _shrunk(values_HW: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Blocks of pixels -> the median of the measured ones in each, which keeps edges and drops speckle."""
    if factor == 1:
        return values_HW
    rows, columns = (n // factor for n in values_HW.shape)
    blocks = values_HW[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    sorted_HWK = np.sort(blocks.transpose(0, 2, 1, 3).reshape(rows, columns, -1), axis=2)  # NaN sorts last
    measured_HW = np.isfinite(sorted_HWK).sum(2)
    middle_HW = np.take_along_axis(sorted_HWK, np.maximum(measured_HW - 1, 0)[:, :, None] // 2, axis=2)[:, :, 0]
    return np.where(2 * measured_HW >= factor, middle_HW, np.float32(np.nan))


def _filled(values_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Holes of a pixel or two -> the median of their neighbors, where at least half of those were measured."""
    for _ in range(2):
        around_HW33 = sliding_window_view(np.pad(values_HW, 1, constant_values=np.nan), (3, 3))
        holes_HW = np.isnan(values_HW) & (np.isfinite(around_HW33).sum((2, 3)) >= 4)
        values_HW = values_HW.copy()
        values_HW[holes_HW] = np.nanmedian(around_HW33[holes_HW], axis=(1, 2))
    return values_HW


def _cropped(values_HW: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A random crop of at least four fifths of each side; the whole where nothing was measured in the crop."""
    (top, left), (bottom, right) = (rng.uniform(0, CROP, (2, 2)) * values_HW.shape).astype(int)
    part_HW = values_HW[top : values_HW.shape[0] - bottom, left : values_HW.shape[1] - right]
    return part_HW if np.isfinite(part_HW).any() else values_HW
