"""Depth maps -> distances in meters. Free of torch.

Shapes: H height, W width.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import Item, ItemError, Raster, read_raster
from binder_depth.config import DepthConfig

IN_M = {"mm": 0.001, "cm": 0.01, "m": 1.0}  # a unit in meters
STATES_UNIT = re.compile(
    r"\bunits?\W{1,4}(?:(?P<mm>mm|millimet\w+)|(?P<cm>cm|centimet\w+)|(?P<m>m|met(?:er|re)s?))\b", re.IGNORECASE
)
SET_UNITS = "set encoder.units, for instance --set encoder.units=mm (or cm, m, disparity)"
CHANNELS = ("Z", "depth")  # names of the channel in an EXR or npz file
# false colors tell neither which end of the palette is near nor its range; viewers also equalize the histogram
IN_COLORS = (
    "a color picture, not depth: false colors do not tell distances; expected the measurement they were made from, one "
    "channel of 16-bit or float values (PNG, TIFF, PGM, PFM, npy, EXR)"
)


def read(item: Item, config: DepthConfig) -> NDArray[np.floating[Any]]:
    """16-bit PNG, TIFF (16-bit, float), PGM, PFM, npy, npz, EXR, or an array (H, W) -> (H, W) in m. Raises ItemError.

    0, NaN, infinite values and those not between `min_m` and `max_m` become NaN.
    """
    raster = read_raster(item, CHANNELS)
    stated = stated_unit(raster)
    units = stated or config.units
    if units is None:
        raise ItemError(item, f"the file does not state its unit: {SET_UNITS}")
    with np.errstate(over="ignore", divide="ignore"):
        values = _numbers(raster, config, units).astype(np.float32)
        if not stated:  # the divisor is for files that state no unit
            values = values / config.divisor
        meters = config.baseline_focal / values if units == "disparity" else values * IN_M[units]
    meters = np.where((meters > 0) & (meters >= config.min_m) & (meters <= config.max_m), meters, np.nan)
    if np.isnan(meters).all():
        raise ItemError(item, _nothing_measured(raster.values, units, config))
    return meters


def stated_unit(raster: Raster) -> str | None:
    """The unit that a file states: a text or attribute `units`, or "units: mm" in its description."""
    keys = [key for key in ("units", "unit", "description") if key in raster.info]
    found = STATES_UNIT.search(" ".join(f"{key}: {raster.info[key]}" for key in keys))
    return found.lastgroup if found else None


def _numbers(raster: Raster, config: DepthConfig, units: str) -> NDArray[Any]:
    """The values of the file as (H, W), with `sun_bits` undone. Raises ItemError for colors and 8-bit pictures."""
    values, name = raster.values, raster.name
    if values.ndim == 3 and (values == values[:, :, :1]).all():  # one channel, stored three times
        values = values[:, :, 0]
    if values.ndim == 3:
        raise ItemError(name, IN_COLORS)
    if values.dtype == np.uint8 and units != "disparity" and config.divisor == 1:
        raise ItemError(name, f"8-bit values cannot be depth in {units}: expected 16 bits, floats, or encoder.divisor")
    if not config.sun_bits:
        return values
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 0xFFFF:
        raise ItemError(name, f"encoder.sun_bits expects 16-bit whole numbers, got {values.dtype}")
    bits = values.astype(np.uint16)
    return (bits >> 3) | (bits << 13)


def _nothing_measured(values: NDArray[Any], units: str, config: DepthConfig) -> str:
    """The likely reason why no pixel is in range."""
    measured = values[np.isfinite(values) & (values > 0)]
    if not measured.size:
        return "no pixel was measured: all values are 0, negative or not finite"
    hint = "check encoder.units, divisor, min_m and max_m"
    if values.dtype.kind in "iu" and not config.sun_bits and not (values & 7).any():
        hint = "all are multiples of 8: files of SUN RGB-D need encoder.sun_bits = true"
    shown = f"values of {measured.min():g} to {measured.max():g} in {units}"
    return f"{shown} are not between {config.min_m:g} and {config.max_m:g} m: {hint}"
