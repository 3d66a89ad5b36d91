"""Rasters -> gray pictures, as `binder.portable.raster` draws them, and variants of them. Free of torch.

Shapes: H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from binder.errors import ItemError, name_of
from binder.formats.raster import Raster, checked
from binder.modality import Item
from binder.portable.raster import Floats, Grid, gray, shrunk

if TYPE_CHECKING:
    from PIL.Image import Image

Read = Callable[[Item, Any], NDArray[Any]]  # (item, config) -> (H, W), any unit, NaN where nothing was measured
# (values (H, W), config, factor they were shrunk by, rng or None) -> (H, W), 0 black to 1 white
Tone = Callable[[NDArray[np.float32], Any, int, np.random.Generator | None], Floats]

CROP = 0.1  # of each side, at most, that training crops off
CONTRAST = 0.25  # standard deviation of the log of the exponent that training applies to brightness


def read_grid(read: Read, item: Item, config: Any, side: int) -> Grid:
    """Item -> what `read` returns for it, shrunk by a whole factor to about `side` pixels, and that factor.

    See `binder.portable.raster.shrunk`. Raises ItemError where `read` returns anything but a grid of numbers, or hardly
    any that are finite.
    """
    values = checked(Raster(name_of(item), np.asarray(read(item, config)))).values
    if values.ndim == 3:
        raise ItemError(item, "a color picture: expected one channel of measurements")
    try:
        return shrunk(values, side)
    except ValueError as error:
        raise ItemError(item, str(error)) from None


def draw_grid(grid: Grid, tone: Tone, config: Any, rng: np.random.Generator | None = None) -> Image:
    """The gray picture of a raster; with `rng` a random variant for training, cropped and with another contrast."""
    values_HW, factor = grid
    if rng is not None:
        values_HW = _cropped(values_HW, rng)
    level_HW = tone(values_HW, config, factor, rng)
    if rng is not None:
        level_HW = np.clip(np.nan_to_num(level_HW), 0, 1) ** np.exp(rng.normal(0, CONTRAST))
    return gray(level_HW)


def _cropped(values_HW: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """A random crop of at least four fifths of each side; the whole where nothing was measured in the crop."""
    (top, left), (bottom, right) = (rng.uniform(0, CROP, (2, 2)) * values_HW.shape).astype(int)
    part_HW = values_HW[top : values_HW.shape[0] - bottom, left : values_HW.shape[1] - right]
    return part_HW if np.isfinite(part_HW).any() else values_HW
