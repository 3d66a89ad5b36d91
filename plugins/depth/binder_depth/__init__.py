"""Depth maps for binder: distances from a camera. Importing this package imports neither torch nor NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from binder import Item, Modality, hookimpl, raster_modality
from binder_depth.config import DepthConfig

if TYPE_CHECKING:
    import numpy as np

    from binder_depth.drawing import Floats

__all__ = ["DEPTH", "DepthConfig"]


def read(item: Item, config: DepthConfig) -> Floats:
    """See `reading.read`; imported on the first call, so that plugins are listed fast."""
    from binder_depth.reading import read

    return read(item, config)


def tone(meters_HW: Floats, config: DepthConfig, factor: int, rng: np.random.Generator | None) -> Floats:
    """See `drawing.tone`."""
    from binder_depth.drawing import tone

    return tone(meters_HW, config, factor, rng)


def adapt(config: DepthConfig, items: Sequence[Item]) -> DepthConfig:
    """See `adapting.adapt`."""
    from binder_depth.adapting import adapt

    return adapt(config, items)


DEPTH = raster_modality(
    "depth",
    {".png", ".tif", ".tiff", ".npy", ".npz", ".exr", ".pgm", ".pfm"},
    DepthConfig,
    read,
    tone=tone,
    tone_module="binder_depth.drawing",
    adapt=adapt,
    # previews need no unit, because the drawing does not depend on scale; a disparity appears inside out
    seen=DepthConfig(units="m", divisor=1000, min_m=0, max_m=1e30),
)


@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [DEPTH]
