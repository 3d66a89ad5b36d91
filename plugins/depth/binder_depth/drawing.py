"""Depth maps -> brightness, the input of an image tower. Only NumPy: exported encoders run it, too.

Shapes: H height, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import stretched

Floats = NDArray[np.floating[Any]]

VIEW = 0.866  # focal length for a view of 60 degrees, in widths of the picture
LIGHT = np.array((-0.45, -0.6, -1.0))  # direction to the light: left, up, behind the camera (x right, y down, z away)
LIGHT_STD = 0.4  # standard deviation of that direction in training
AMBIENT = 0.4  # share of ambient light
FARTHEST = 0.35  # factor by which the shading of the farthest surface is dimmed
# ImageBind: disparities (pixels) clipped at 75 and divided by it, then normalized by this mean and deviation
IMAGEBIND_PX, IMAGEBIND_MEAN, IMAGEBIND_STD = 75.0, 0.0418, 0.0295
LANGUAGEBIND_M = (0.01, 10.0)  # LanguageBind: meters clipped to this range and divided by its end


def tone(meters_HW: Floats, config: Any, factor: int, rng: np.random.Generator | None) -> Floats:
    """(H, W) in m, NaN where nothing was measured -> (H, W) from 0 (black) to 1. With `rng`, the light is random."""
    level_HW: Floats
    if config.drawing == "imagebind":
        disparity_HW = np.minimum(config.baseline_m * config.focal_px / meters_HW, IMAGEBIND_PX) / IMAGEBIND_PX
        level_HW = 0.5 + (np.nan_to_num(disparity_HW) - IMAGEBIND_MEAN) / IMAGEBIND_STD / 6  # 3 deviations either way
        return level_HW
    if config.drawing == "languagebind":
        low, high = LANGUAGEBIND_M
        level_HW = np.clip(meters_HW, low, high) / high
        return level_HW
    nearness_HW = stretched(1 / meters_HW)  # linear in 1 / distance, independent of scale
    if config.drawing == "near":
        return nearness_HW
    light_3 = LIGHT if rng is None else LIGHT + rng.normal(0, LIGHT_STD, 3)
    focal_px = config.focal_px / factor if config.focal_px else VIEW * meters_HW.shape[1]
    shade_HW = _shading(meters_HW, focal_px, light_3) * (FARTHEST + (1 - FARTHEST) * nearness_HW)
    return np.where(np.isnan(meters_HW), 0, shade_HW)


def _shading(meters_HW: Floats, focal_px: float, light_3: Floats) -> Floats:
    """(H, W) m -> (H, W): the surface, matte and gray, lit from one direction (Lambert)."""
    z = np.where(np.isnan(meters_HW), np.nanpercentile(meters_HW, 99), meters_HW)
    rows, columns = np.indices(z.shape, dtype=np.float32)
    x = (columns - (z.shape[1] - 1) / 2) * z / focal_px
    y = (rows - (z.shape[0] - 1) / 2) * z / focal_px
    xyz = np.stack([x, y, z], axis=2)
    normal = np.cross(np.gradient(xyz, axis=0), np.gradient(xyz, axis=1))  # toward the camera: z is negative
    normal /= np.linalg.norm(normal, axis=2, keepdims=True) + 1e-12
    shade_HW: Floats = AMBIENT + (1 - AMBIENT) * np.clip(normal @ (light_3 / np.linalg.norm(light_3)), 0, 1)
    return shade_HW
