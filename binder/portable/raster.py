"""Grids of measurements as gray pictures: shrunk, small holes filled, measurements mapped to brightness.

Shapes: H height, W width.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from binder.portable.picture import pixels

Floats = NDArray[np.floating[Any]]
Grid = tuple[NDArray[np.float32], int]  # values (H, W), NaN where nothing was measured; factor they were shrunk by

ENDS = (1.0, 99.0)  # percentiles drawn as black and white: the extremes are often defective pixels
MAX_DRAWN = 16  # pixels drawn, over the square of the side: longer pictures than 1:4 are shrunk further


def shrunk(values: NDArray[Any], side: int) -> Grid:
    """(H, W) of numbers -> the same with about `side` pixels, and the whole factor between them.

    The shorter side keeps `side` pixels or up to twice as many, fewer in very elongated rasters. Holes of a pixel or
    two are filled from their surroundings. Raises ValueError where hardly any number is finite.
    """
    with np.errstate(over="ignore"):
        values_HW = values.astype(np.float32)
    values_HW[~np.isfinite(values_HW)] = np.nan
    factor = max(1, min(values_HW.shape) // side, math.ceil(math.sqrt(values_HW.size / MAX_DRAWN) / side))
    values_HW = medians(values_HW, factor)
    if np.isnan(values_HW).all():
        raise ValueError("no pixel was measured, or too few of them")
    return filled(values_HW), factor


def gray(level_HW: Floats) -> Image.Image:
    """(H, W) from 0, black, to 1 -> an RGB picture."""
    level_HW = np.clip(np.nan_to_num(level_HW), 0, 1)
    return Image.fromarray((255 * level_HW).round().astype(np.uint8)).convert("RGB")


def tone(values_HW: Floats, config: Any, factor: int, rng: np.random.Generator | None) -> Floats:
    """The tone of plugins that give none of their own: the lowest value is black, the highest white."""
    return stretched(values_HW)


def stretched(values_HW: Floats, low: float | None = None, high: float | None = None) -> Floats:
    """(H, W) -> (H, W) in 0..1 between `low` and `high`, by default its own lowest and highest; NaN becomes 0."""
    darkest, brightest = np.nanpercentile(values_HW, ENDS)
    low, high = darkest if low is None else low, brightest if high is None else high
    if not high > low:  # all values are equal
        return np.full(values_HW.shape, 0.5)
    return np.nan_to_num((values_HW - low) / (high - low)).clip(0, 1)


def medians(values_HW: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Blocks of pixels -> the median of the measured ones in each, which keeps edges and drops speckle."""
    if factor == 1:
        return values_HW
    rows, columns = (n // factor for n in values_HW.shape)
    blocks = values_HW[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    sorted_HWK = np.sort(blocks.transpose(0, 2, 1, 3).reshape(rows, columns, -1), axis=2)  # NaN sorts last
    measured_HW = np.isfinite(sorted_HWK).sum(2)
    middle_HW = np.take_along_axis(sorted_HWK, np.maximum(measured_HW - 1, 0)[:, :, None] // 2, axis=2)[:, :, 0]
    return np.where(2 * measured_HW >= factor, middle_HW, np.float32(np.nan))


def filled(values_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Holes of a pixel or two -> the median of their neighbors, where at least half of those were measured."""
    for _ in range(2):
        around_HW33 = sliding_window_view(np.pad(values_HW, 1, constant_values=np.nan), (3, 3))
        holes_HW = np.isnan(values_HW) & (np.isfinite(around_HW33).sum((2, 3)) >= 4)
        values_HW = values_HW.copy()
        values_HW[holes_HW] = np.nanmedian(around_HW33[holes_HW], axis=(1, 2))
    return values_HW


def windows_of(item: str, settings: dict[str, Any]) -> NDArray[np.float32]:
    """A .npy file (H, W) of measurements, NaN where there are none -> (1, 3, H, W). Raises OSError, ValueError."""
    values = np.load(item)
    if values.ndim != 2 or values.dtype.kind not in "iuf":
        raise ValueError(f"expected measurements (H, W), got {values.shape} of {values.dtype}")
    values_HW, factor = shrunk(values, settings["side"])
    level_HW = tone(values_HW, SimpleNamespace(**settings["config"]), factor, None)
    return pixels(gray(level_HW), settings["steps"])[None]
