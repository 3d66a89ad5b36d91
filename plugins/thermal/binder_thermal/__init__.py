"""Thermal pictures for binder: how warm things are. Importing this package imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from binder import Modality, hookimpl
from binder_thermal.config import ThermalConfig
from binder_thermal.preview import diagnose, preview

if TYPE_CHECKING:
    from binder import Anchor, Encoder

__all__ = ["THERMAL", "ThermalConfig"]


def build(config: ThermalConfig, anchor: Anchor) -> Encoder:
    """A fresh encoder into `anchor`'s space: untrained, it is the anchor on the grey picture."""
    from binder_thermal.encoder import ThermalEncoder

    return ThermalEncoder(config, anchor)


THERMAL = Modality(
    name="thermal",
    suffixes=frozenset({".png", ".tif", ".tiff", ".npy", ".jpg", ".jpeg"}),
    config=ThermalConfig,
    build=build,
    preview=preview,
    diagnose=diagnose,
)


@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [THERMAL]
