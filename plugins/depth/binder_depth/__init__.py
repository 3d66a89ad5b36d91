"""Depth maps for binder: distances from a camera. Importing this package imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from binder import Modality, hookimpl, raster_modality
from binder_depth.config import DepthConfig
from binder_depth.drawing import tone
from binder_depth.reading import adapt, read

__all__ = ["DEPTH", "DepthConfig"]

DEPTH = raster_modality(
    "depth",
    {".png", ".tif", ".tiff", ".npy", ".exr"},
    DepthConfig,
    read,
    tone=tone,
    adapt=adapt,
    # whatever the numbers are, people see them as distances: form has no scale. A disparity is inside out then
    seen=DepthConfig(units="m", divisor=1000, min_m=0, max_m=1e30),
)


@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [DEPTH]
