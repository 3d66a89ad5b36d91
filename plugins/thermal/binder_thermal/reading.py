"""Thermal pictures -> the warmth of each pixel. Free of torch.

Shapes: H height, W width.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import Item, ItemError, decode_text, name_of, read_bytes, read_raster
from binder_thermal import matrix, radiometric
from binder_thermal.config import KELVIN, ThermalConfig
from binder_thermal.overlays import shown
from binder_thermal.palettes import intensity

Floats = NDArray[np.floating[Any]]

PLAUSIBLE_C = (-150.0, 3000.0)  # degC, range of such cameras
MAX_COLORED = 1 << 22  # pixels of a colored picture; larger ones are subsampled
JPEG = b"\xff\xd8"  # first bytes
ARRAYS = ("temperature", "temperatures", "thermal", "celsius", "data")  # names of the array to read from several
NETPBM = re.compile(rb"P[1-7fF]\s")
EXPECTED = "expected PNG, TIFF, JPEG, npy, npz, or a matrix of temperatures as text"


@dataclass(frozen=True)
class Grid:
    """The values of an item, before they are interpreted."""

    values: NDArray[Any]  # (H, W), or (H, W, 3) of uint8
    celsius: bool = False  # known from the file or its format


def read(item: Item, config: ThermalConfig) -> Floats:
    """PNG, TIFF, JPEG, npy, npz or text, as a path or bytes, or an array -> (H, W), more is hotter. Raises ItemError.

    In degC if the file or `kelvin_per_step` tells the unit; otherwise in the file's own values, negated with
    `hot = "black"`.
    """
    grid = grid_of(item, config)
    values, name = grid.values, name_of(item)
    if grid.celsius:
        return _plausible(values, name, "the file's own unit or constants")
    if config.kelvin_per_step is not None:
        if values.ndim == 3:
            raise ItemError(name, "a color picture has no temperatures: expected one channel, or no kelvin_per_step")
        degrees_c = values.astype(np.float64) * config.kelvin_per_step + config.kelvin_at_zero - KELVIN
        return _plausible(degrees_c, name, "encoder.kelvin_per_step and kelvin_at_zero")
    if config.low_c is not None or config.high_c is not None:
        raise ItemError(
            name,
            "its temperatures are unknown, but low_c and high_c need them: set encoder.kelvin_per_step, the kelvin per "
            "step of the values, for instance --set encoder.kelvin_per_step=0.01",
        )
    warmth = _of_colors(values, config, name) if values.ndim == 3 else values.astype(np.float64)
    return -warmth if config.hot == "black" else warmth


def grid_of(item: Item, config: ThermalConfig) -> Grid:
    """An item -> its values; files are recognized by their content. Raises ItemError."""
    if not (isinstance(item, bytes | bytearray | memoryview | str | os.PathLike) or hasattr(item, "read")):
        return Grid(read_raster(item, ARRAYS).values)
    data = read_bytes(item, " or an array (H, W)")
    if not config.drawn:
        measured = radiometric.measured(data, name_of(item))
        if measured is not None:
            return Grid(measured.values_HW, measured.celsius)
    text = _text(data, item)
    if text is None:
        return Grid(read_raster(item, ARRAYS).values)
    found = matrix.parse(text, name_of(item))
    if found is None:
        raise ItemError(item, f"text without a matrix of numbers: {EXPECTED}")
    if found.unit is None and config.kelvin_per_step is not None:
        return Grid(found.values_HW)
    return Grid(found.celsius(), celsius=True)


def _text(data: bytes, item: Item) -> str | None:
    """The text in the data; None for pictures and arrays. Raises ItemError for too much text."""
    if not data.startswith((b"\xff\xfe", b"\xfe\xff")) and b"\0" in data[:4096]:  # unless it has a UTF-16 mark
        return None
    if data.startswith(JPEG) or NETPBM.match(data):
        return None
    if len(data) > matrix.MAX_BYTES:
        raise ItemError(item, f"more than {matrix.MAX_BYTES >> 20} MiB of text: save it as npy or 16-bit TIFF")
    try:
        return decode_text(data, item)
    except ItemError:
        return None


def _of_colors(rgb_HW3: NDArray[np.uint8], config: ThermalConfig, name: str) -> Floats:
    """(H, W, 3) in false colors or gray -> (H, W) in 0..1, NaN under overlays. Raises ItemError."""
    shown_HW = shown(rgb_HW3.shape[:2], config.overlays)
    step = max(1, int(np.ceil(np.sqrt(shown_HW.size / MAX_COLORED))))
    return intensity(rgb_HW3[::step, ::step], shown_HW[::step, ::step], config, name)


def _plausible(degrees_c: Floats, name: str, check: str) -> Floats:
    """The temperatures unchanged. Raises ItemError where no camera measures such."""
    measured = degrees_c[np.isfinite(degrees_c)]
    usual = float(np.median(measured)) if measured.size else 0.0
    if not PLAUSIBLE_C[0] <= usual <= PLAUSIBLE_C[1]:
        raise ItemError(name, f"the median temperature would be {usual:.4g} degC: check {check}")
    return degrees_c
