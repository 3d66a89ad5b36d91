"""Thermal pictures for binder: how warm things are. Importing this package imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from binder import Modality, hookimpl, raster_modality
from binder_thermal.config import PALETTES, ThermalConfig
from binder_thermal.reading import read, tone

__all__ = ["THERMAL", "ThermalConfig"]


def diagnose() -> dict[str, str]:
    """What else is read, for `binder doctor`."""
    return {"false colours": ", ".join(PALETTES)}


THERMAL = raster_modality(
    "thermal",
    {".png", ".tif", ".tiff", ".npy", ".jpg", ".jpeg"},
    ThermalConfig,
    read,
    tone=tone,
    diagnose=diagnose,
)


@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [THERMAL]
