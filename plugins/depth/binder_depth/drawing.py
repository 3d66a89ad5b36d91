"""Depth maps -> pictures for an image tower. Free of torch.

Shapes: H height, W width.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from binder_depth.config import DepthConfig
from binder_depth.reading import Depth

Floats = NDArray[np.float32]

VIEW = 0.866  # focal length of a view of 60 degrees, in widths of the picture
LIGHT = (-0.45, -0.6, -1.0)  # from where: left, above, behind the camera (x right, y down, z away)
AMBIENT = 0.4  # light that comes from everywhere
FARTHEST = 0.35  # brightness of what is farthest, where nearness dims the shading
# ImageBind: disparities (pixels) clipped at 75 and divided by it; pixels then have this mean and deviation
IMAGEBIND_PX, IMAGEBIND_MEAN, IMAGEBIND_STD = 75.0, 0.0418, 0.0295
LANGUAGEBIND_M = (0.01, 10.0)  # LanguageBind: metres clipped to this and divided by the larger


def draw(depth: Depth, config: DepthConfig, side: int, rng: np.random.Generator | None = None) -> Image.Image:
    """The picture that stands for a depth map, grey, its shorter side about `side` pixels.

    With `rng` another one, for training: lit from elsewhere, a little cut off, of another contrast.
    """
    metres_HW = depth.metres_HW if rng is None else _cropped(depth.metres_HW, rng)
    focal_px = config.focal_px or VIEW * depth.metres_HW.shape[1]
    factor = max(1, min(metres_HW.shape) // side)
    metres_HW = _shrunk(metres_HW, factor)
    if config.drawing == "imagebind":
        disparity = np.minimum((config.baseline_m or 0.0) * focal_px / metres_HW, IMAGEBIND_PX) / IMAGEBIND_PX
        tone_HW = 0.5 + (np.nan_to_num(disparity) - IMAGEBIND_MEAN) / IMAGEBIND_STD / 6  # 3 deviations to each side
    elif config.drawing == "languagebind":
        low, high = LANGUAGEBIND_M
        tone_HW = np.clip(np.nan_to_num(metres_HW), low, high) / high
    else:
        metres_HW = _mended(metres_HW)
        tone_HW = _nearness(metres_HW)
        if config.drawing == "shaded":
            light = np.array(LIGHT, np.float32)
            if rng is not None:
                light += rng.normal(0, 0.4, 3).astype(np.float32)
            tone_HW = _shading(metres_HW, focal_px / factor, light) * (FARTHEST + (1 - FARTHEST) * tone_HW)
            tone_HW[np.isnan(metres_HW)] = 0
    tone_HW = np.clip(tone_HW, 0, 1)
    if rng is not None:
        tone_HW = tone_HW ** np.exp(rng.normal(0, 0.25))
    return Image.fromarray((255 * tone_HW).round().astype(np.uint8)).convert("RGB")


def _shrunk(metres_HW: Floats, factor: int) -> Floats:
    """Blocks of pixels -> the median of what was measured in each, which keeps edges and drops speckles."""
    if factor == 1:
        return metres_HW
    rows, columns = (n // factor for n in metres_HW.shape)
    blocks = metres_HW[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor)
    sorted_HWK = np.sort(blocks.transpose(0, 2, 1, 3).reshape(rows, columns, -1), axis=2)  # NaN comes last
    measured_HW = np.isfinite(sorted_HWK).sum(2)
    middle_HW = np.take_along_axis(sorted_HWK, np.maximum(measured_HW - 1, 0)[:, :, None] // 2, axis=2)[:, :, 0]
    return np.where(2 * measured_HW >= factor, middle_HW, np.nan)


def _mended(metres_HW: Floats) -> Floats:
    """Holes of a pixel or two -> the median of what was measured around them, where that is half of it."""
    for _ in range(2):
        around_HW9 = sliding_window_view(np.pad(metres_HW, 1, constant_values=np.nan), (3, 3)).reshape(
            *metres_HW.shape, 9
        )
        holes_HW = np.isnan(metres_HW) & (np.isfinite(around_HW9).sum(2) >= 4)
        metres_HW = metres_HW.copy()
        metres_HW[holes_HW] = np.nanmedian(around_HW9[holes_HW], axis=1)
    return metres_HW


def _nearness(metres_HW: Floats) -> Floats:
    """1 for the nearest, 0 for the farthest and what was not measured, even in 1 / distance; scale does not count."""
    inverse_HW = 1 / metres_HW
    far, near = np.nanpercentile(inverse_HW, (1, 99))
    if near <= far:
        return np.where(np.isnan(metres_HW), 0, 1).astype(np.float32)
    return np.nan_to_num((inverse_HW - far) / (near - far)).clip(0, 1)


def _shading(metres_HW: Floats, focal_px: float, light: Floats) -> Floats:
    """Brightness of the surface, matt and grey, lit from one side (Lambert): distance shows as form."""
    z = np.where(np.isnan(metres_HW), np.nanpercentile(metres_HW, 99), metres_HW)
    rows, columns = np.indices(z.shape, dtype=np.float32)
    x = (columns - (z.shape[1] - 1) / 2) * z / focal_px
    y = (rows - (z.shape[0] - 1) / 2) * z / focal_px
    xyz = np.stack([x, y, z], axis=2)
    normal = np.cross(np.gradient(xyz, axis=0), np.gradient(xyz, axis=1))  # towards the camera: z is negative
    normal /= np.linalg.norm(normal, axis=2, keepdims=True) + 1e-12
    return AMBIENT + (1 - AMBIENT) * np.clip(normal @ (light / np.linalg.norm(light)), 0, 1)


def _cropped(metres_HW: Floats, rng: np.random.Generator) -> Floats:
    """At least four fifths of each side, unless nothing was measured there."""
    (top, left), (bottom, right) = (rng.uniform(0, 0.1, (2, 2)) * metres_HW.shape).astype(int)
    height, width = metres_HW.shape
    part = metres_HW[top : height - bottom, left : width - right]
    return part if np.isfinite(part).any() else metres_HW
