"""Thermal pictures for binder. Importing this package imports neither torch nor NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from binder import Item, Modality, hookimpl, raster_modality
from binder_thermal.config import PALETTES, ThermalConfig

if TYPE_CHECKING:
    import numpy as np

    from binder_thermal.reading import Floats

__all__ = ["THERMAL", "ThermalConfig"]


def read(item: Item, config: ThermalConfig) -> Floats:
    """See `reading.read`; imported on the first call, so that plugins are listed fast."""
    from binder_thermal.reading import read

    return read(item, config)


def tone(warmth_HW: Floats, config: ThermalConfig, factor: int, rng: np.random.Generator | None) -> Floats:
    """See `drawing.tone`."""
    from binder_thermal.drawing import tone

    return tone(warmth_HW, config, factor, rng)


def adapt(config: ThermalConfig, items: Sequence[Item]) -> ThermalConfig:
    """See `adapting.adapt`."""
    from binder_thermal.adapting import adapt

    return adapt(config, items)


def diagnose() -> dict[str, str]:
    """The formats read in addition to rasters, for `binder doctor`."""
    return {
        "false colors": f"{', '.join(PALETTES)}; others are fitted in training",
        "radiometric jpeg": "FLIR",
        "csv": "a matrix of temperatures",
    }


THERMAL = raster_modality(
    "thermal",
    {".png", ".tif", ".tiff", ".npy", ".npz", ".jpg", ".jpeg", ".jfif", ".jpe", ".csv"},
    ThermalConfig,
    read,
    tone=tone,
    tone_module="binder_thermal.drawing",
    adapt=adapt,
    seen=ThermalConfig(palette="fit"),  # previews do not need a known palette
    diagnose=diagnose,
)


@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [THERMAL]
