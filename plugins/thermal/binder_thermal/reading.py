"""Thermal pictures -> how warm each pixel is. Free of torch.

Shapes: H height, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import Item, ItemError, read_raster, stretched
from binder_thermal.config import ThermalConfig
from binder_thermal.palettes import intensity

Floats = NDArray[np.floating[Any]]

KELVIN = 273.15  # of 0 degC
SENSIBLE_C = (-150.0, 3000.0)  # degC between which such cameras measure


def read(item: Item, config: ThermalConfig) -> Floats:
    """PNG, TIFF, JPEG, npy as a path or bytes, or an array -> (H, W), hotter is more. Raises ItemError.

    degC where `kelvin_per_step` says so; otherwise whatever is more is hotter, or colder with `hot = "black"`.
    """
    raster = read_raster(item)
    if config.kelvin_per_step is not None:
        if raster.values.ndim == 3:
            raise ItemError(item, "a colour picture has no temperatures: expected one channel, or no kelvin_per_step")
        degrees_c = raster.values.astype(np.float64) * config.kelvin_per_step + config.kelvin_at_zero - KELVIN
        usual = float(np.median(degrees_c[np.isfinite(degrees_c)])) if np.isfinite(degrees_c).any() else 0.0
        if not SENSIBLE_C[0] <= usual <= SENSIBLE_C[1]:
            hint = "check encoder.kelvin_per_step and kelvin_at_zero"
            raise ItemError(item, f"the median temperature would be {usual:.4g} degC: {hint}")
        return degrees_c
    if raster.values.ndim == 3:
        values = intensity(raster.values, config.palette, raster.name)
    else:
        values = raster.values.astype(np.float64)
    return -values if config.hot == "black" else values


def tone(warmth_HW: Floats, config: ThermalConfig, factor: int, rng: np.random.Generator | None) -> Floats:
    """(H, W) -> 0 (cold, black) to 1 between the temperatures that are set, or the picture's own ends."""
    return stretched(warmth_HW, config.low_c, config.high_c)
