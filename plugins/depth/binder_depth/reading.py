"""Depth maps -> metres. Free of torch.

Shapes: H height, W width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import ConfigError, Item, ItemError, Raster, read_raster
from binder_depth.config import DepthConfig

IN_M = {"mm": 0.001, "cm": 0.01, "m": 1.0}  # metres in a unit
SAYS = re.compile(
    r"\bunits?\W{1,4}(?:(?P<mm>mm|millimet\w+)|(?P<cm>cm|centimet\w+)|(?P<m>m|met(?:er|re)s?))\b", re.IGNORECASE
)
SET = "set encoder.units, for instance --set encoder.units=mm (or cm, m, disparity)"
CHANNELS = ("Z", "depth")  # what it is called in an EXR or npz file
# which end of such a palette is near, and how far its ends are, is said nowhere; viewers also equalize the histogram
IN_COLORS = (
    "a colour picture, not depth: false colours do not say how far anything is; expected the measurement they were "
    "made from, one channel of 16-bit or float values (PNG, TIFF, PGM, PFM, npy, EXR)"
)
ASKED = 8  # training items that are looked at for their unit


def read(item: Item, config: DepthConfig) -> NDArray[np.floating[Any]]:
    """16-bit PNG, TIFF (16-bit, float), PGM, PFM, npy, npz, EXR, or an array (H, W) -> (H, W) m. Raises ItemError.

    0, NaN, infinite values and what is not between `min_m` and `max_m` become NaN.
    """
    raster = read_raster(item, CHANNELS)
    said = stated(raster)
    units = said or config.units
    if units is None:
        raise ItemError(item, f"the file does not say its unit: {SET}")
    with np.errstate(over="ignore", divide="ignore"):
        values = _numbers(raster, config, units).astype(np.float32)
        if not said:  # what says its unit is in that unit
            values = values / config.divisor
        metres = config.baseline_focal / values if units == "disparity" else values * IN_M[units]
    metres = np.where((metres > 0) & (metres >= config.min_m) & (metres <= config.max_m), metres, np.nan)
    if np.isnan(metres).all():
        raise ItemError(item, _why(raster.values, units, config))
    return metres


def stated(raster: Raster) -> str | None:
    """The unit that a file says itself: a text or attribute `units`, or "units: mm" in its description."""
    keys = [key for key in ("units", "unit", "description") if key in raster.info]
    found = SAYS.search(" ".join(f"{key}: {raster.info[key]}" for key in keys))
    return found.lastgroup if found else None


def adapt(config: DepthConfig, items: Sequence[Item]) -> DepthConfig:
    """The same; raises ConfigError where nobody says in which unit the files are."""
    readable = []
    for item in items[:ASKED] if config.units is None else ():
        try:
            readable.append(read_raster(item, CHANNELS))
        except ItemError:
            continue  # it is reported when it is read
    if readable and not any(map(stated, readable)):
        raise ConfigError(f"depth: {readable[0].name} does not say its unit: {SET}")
    return config


def _numbers(raster: Raster, config: DepthConfig, units: str) -> NDArray[Any]:
    """What the file holds, its bits put right. Raises ItemError for a picture of depth, which has lost its numbers."""
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


def _why(values: NDArray[Any], units: str, config: DepthConfig) -> str:
    """What is wrong where no pixel is left."""
    measured = values[np.isfinite(values) & (values > 0)]
    if not measured.size:
        return "no pixel was measured: all are 0, negative or not finite"
    hint = "check encoder.units, divisor, min_m and max_m"
    if values.dtype.kind in "iu" and not config.sun_bits and not (values & 7).any():
        hint = "all are multiples of 8: SUN RGB-D's need encoder.sun_bits = true"
    shown = f"values of {measured.min():g} to {measured.max():g} in {units}"
    return f"{shown} are not between {config.min_m:g} and {config.max_m:g} m: {hint}"
