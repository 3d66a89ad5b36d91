"""Thermal pictures -> grey levels. Free of torch.

Shapes: H height, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import Item, ItemError, read_raster
from binder_thermal.config import ThermalConfig
from binder_thermal.palettes import intensity

KELVIN = 273.15  # of 0 degC
ENDS = (1.0, 99.0)  # percentiles that are a picture's own coldest and hottest: single pixels are often broken
SENSIBLE_C = (-150.0, 3000.0)  # degC between which such cameras measure


def read(item: Item, config: ThermalConfig) -> NDArray[np.float32]:
    """PNG, TIFF, JPEG, npy as a path or bytes, or an array -> (H, W) float32 in 0..1, hotter is more. Raises ItemError.

    Radiometric where `kelvin_per_step` says so; otherwise whatever is more is hotter, or colder with `hot = "black"`.
    Values that are not finite are drawn as the coldest.
    """
    raster = read_raster(item)
    values, name = raster.values, raster.name
    low = high = None
    if values.ndim == 3:
        if config.kelvin_per_step is not None:
            raise ItemError(name, "a colour picture has no temperatures: expected one channel, or no kelvin_per_step")
        values = intensity(values, config.palette, name) * (-1 if config.hot == "black" else 1)
    elif config.kelvin_per_step is not None:
        values = values.astype(np.float64) * config.kelvin_per_step + config.kelvin_at_zero - KELVIN  # degC
        low, high = config.low_c, config.high_c
        _check(values, name)
    elif config.hot == "black":
        values = -values.astype(np.float64)
    return _stretched(values.astype(np.float64), low, high, name).astype(np.float32)


def _stretched(
    values_HW: NDArray[np.floating[Any]], low: float | None, high: float | None, name: str
) -> NDArray[np.floating[Any]]:
    """To 0..1 between `low` and `high`, or what is found in the picture where they are None."""
    finite = values_HW[np.isfinite(values_HW)]
    if not finite.size:
        raise ItemError(name, "no pixel was measured: none is finite")
    coldest, hottest = np.percentile(finite, ENDS)
    low, high = coldest if low is None else low, hottest if high is None else high
    if not high > low:  # everything is as warm
        return np.full(values_HW.shape, 0.5)
    return np.clip((np.where(np.isfinite(values_HW), values_HW, low) - low) / (high - low), 0, 1)


def _check(degrees_c: NDArray[np.floating[Any]], name: str) -> None:
    """Raises ItemError where the numbers cannot be temperatures."""
    finite = degrees_c[np.isfinite(degrees_c)]
    usual = float(np.median(finite)) if finite.size else 0.0
    if not SENSIBLE_C[0] <= usual <= SENSIBLE_C[1]:
        raise ItemError(
            name,
            f"the median temperature would be {usual:.4g} degC: check encoder.kelvin_per_step and kelvin_at_zero",
        )
