"""Depth maps -> metres. Free of torch.

Shapes: H height, W width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import ConfigError, Item, ItemError, Raster, read_raster
from binder_depth.config import DepthConfig
from binder_depth.exr import MAGIC, read_exr

IN_M = {"mm": 0.001, "cm": 0.01, "m": 1.0}  # metres in a unit
SAYS = re.compile(r"\bunits?\W{1,4}(mm|cm|m|millimet\w+|centimet\w+|met(?:er|re)s?)\b", re.IGNORECASE)
SET = "set encoder.units, for instance --set encoder.units=mm (or cm, m, disparity)"
ASKED = 8  # training items that are looked at for their unit


@dataclass(frozen=True)
class Depth:
    """A depth map."""

    name: str  # of the item, for messages
    metres_HW: NDArray[np.float32]  # NaN where nothing was measured


def read(item: Item, config: DepthConfig) -> Depth:
    """16-bit PNG, TIFF (16-bit, float), npy, EXR as a path or bytes, or an array (H, W) -> Depth. Raises ItemError.

    0, NaN, infinite values and what is not between `min_m` and `max_m` become NaN.
    """
    raster = read_raster(item, {MAGIC: read_exr})
    said = stated(raster.info)
    units = said or config.units
    if units is None:
        raise ItemError(raster.name, f"the file does not say its unit: {SET}")
    values = _checked(raster, config, units).astype(np.float32)
    measured = np.isfinite(values) & (values > 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        metres = values * IN_M[said] if said else _metres(values / config.divisor, units, config)
    metres = np.where(measured & (metres >= config.min_m) & (metres <= config.max_m), metres, np.nan)
    if np.isnan(metres).all():
        raise ItemError(raster.name, _why(raster.values, measured, units, config))
    return Depth(raster.name, metres.astype(np.float32))


def stated(info: Mapping[str, str]) -> str | None:
    """The unit that a file says itself: a text or attribute `units`, or "units: mm" in its description."""
    for text in (*(f"units {info[key]}" for key in ("units", "unit") if key in info), info.get("description", "")):
        found = SAYS.search(text)
        if found:
            word = found[1].lower()
            return {"mi": "mm", "mm": "mm", "ce": "cm", "cm": "cm"}.get(word[:2], "m")
    return None


def adapt(config: DepthConfig, items: Sequence[Item]) -> DepthConfig:
    """The same; raises ConfigError where nobody says in which unit the files are."""
    readable = []
    for item in items[:ASKED] if config.units is None else ():
        try:
            readable.append(read_raster(item, {MAGIC: read_exr}))
        except ItemError:
            continue  # it is reported when it is read
    if readable and not any(stated(raster.info) for raster in readable):
        raise ConfigError(f"depth: {readable[0].name} does not say its unit: {SET}")
    return config


def _checked(raster: Raster, config: DepthConfig, units: str) -> NDArray[Any]:
    """The numbers, their bits put right. Raises ItemError for a picture of depth, which has lost its numbers."""
    values, name = raster.values, raster.name
    if values.ndim == 3:
        raise ItemError(name, "a colour picture, not depth: expected one channel of 16-bit or float values")
    if values.dtype == np.uint8 and units != "disparity" and config.divisor == 1:
        raise ItemError(name, f"8-bit values cannot be depth in {units}: expected 16 bits, floats, or encoder.divisor")
    if not config.sun_bits:
        return values
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 0xFFFF:
        raise ItemError(name, f"encoder.sun_bits expects 16-bit whole numbers, got {values.dtype}")
    bits = values.astype(np.uint16)
    return (bits >> 3) | (bits << 13)


def _metres(values_HW: NDArray[np.float32], units: str, config: DepthConfig) -> NDArray[np.float32]:
    if units == "disparity":  # Z = B f / d
        return (config.baseline_m or 0.0) * (config.focal_px or 0.0) / values_HW
    return values_HW * IN_M[units]


def _why(values: NDArray[Any], measured: NDArray[np.bool_], units: str, config: DepthConfig) -> str:
    """What is wrong where no pixel is left."""
    if not measured.any():
        return "no pixel was measured: all are 0, negative or not finite"
    low, high = values[measured].min(), values[measured].max()
    hint = "check encoder.units, divisor, min_m and max_m"
    if values.dtype.kind in "iu" and not config.sun_bits and not (values & 7).any():
        hint = "all are multiples of 8: SUN RGB-D's need encoder.sun_bits = true"
    return f"values of {low:g} to {high:g} in {units} are not between {config.min_m:g} and {config.max_m:g} m: {hint}"
