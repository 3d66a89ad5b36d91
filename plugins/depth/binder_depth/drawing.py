"""Depth maps -> the brightness that an image tower is shown. Free of torch.

Shapes: H height, W width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import stretched
from binder_depth.config import DepthConfig

Floats = NDArray[np.floating[Any]]

VIEW = 0.866  # focal length of a view of 60 degrees, in widths of the picture
LIGHT = np.array((-0.45, -0.6, -1.0))  # from where: left, above, behind the camera (x right, y down, z away)
WANDER = 0.4  # of the light in training, standard deviation
AMBIENT = 0.4  # light that comes from everywhere
FARTHEST = 0.35  # brightness of what is farthest, where nearness dims the shading
# ImageBind: disparities (pixels) clipped at 75 and divided by it; pixels then have this mean and deviation
IMAGEBIND_PX, IMAGEBIND_MEAN, IMAGEBIND_STD = 75.0, 0.0418, 0.0295
LANGUAGEBIND_M = (0.01, 10.0)  # LanguageBind: metres clipped to this and divided by the larger


def tone(metres_HW: Floats, config: DepthConfig, factor: int, rng: np.random.Generator | None) -> Floats:
    """(H, W) in m, NaN where nothing was measured -> 0 (black) to 1. With `rng`, for training, lit from elsewhere."""
    if config.drawing == "imagebind":
        disparity = np.minimum(config.baseline_focal / metres_HW, IMAGEBIND_PX) / IMAGEBIND_PX
        return 0.5 + (np.nan_to_num(disparity) - IMAGEBIND_MEAN) / IMAGEBIND_STD / 6  # 3 deviations to each side
    if config.drawing == "languagebind":
        low, high = LANGUAGEBIND_M
        return np.clip(metres_HW, low, high) / high
    nearness_HW = stretched(1 / metres_HW)  # even in 1 / distance; scale does not count
    if config.drawing == "near":
        return nearness_HW
    light_3 = LIGHT if rng is None else LIGHT + rng.normal(0, WANDER, 3)
    focal_px = config.focal_px / factor if config.focal_px else VIEW * metres_HW.shape[1]
    shade_HW = _shading(metres_HW, focal_px, light_3) * (FARTHEST + (1 - FARTHEST) * nearness_HW)
    return np.where(np.isnan(metres_HW), 0, shade_HW)


def _shading(metres_HW: Floats, focal_px: float, light_3: Floats) -> Floats:
    """Brightness of the surface, matt and grey, lit from one side (Lambert): distance shows as form."""
    z = np.where(np.isnan(metres_HW), np.nanpercentile(metres_HW, 99), metres_HW)
    rows, columns = np.indices(z.shape, dtype=np.float32)
    x = (columns - (z.shape[1] - 1) / 2) * z / focal_px
    y = (rows - (z.shape[0] - 1) / 2) * z / focal_px
    xyz = np.stack([x, y, z], axis=2)
    normal = np.cross(np.gradient(xyz, axis=0), np.gradient(xyz, axis=1))  # towards the camera: z is negative
    normal /= np.linalg.norm(normal, axis=2, keepdims=True) + 1e-12
    return AMBIENT + (1 - AMBIENT) * np.clip(normal @ (light_3 / np.linalg.norm(light_3)), 0, 1)
