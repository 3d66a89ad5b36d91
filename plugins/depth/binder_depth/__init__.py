"""Depth maps for binder: distances from a camera. Importing this package imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from binder import Modality, hookimpl
from binder_depth.config import DepthConfig
from binder_depth.preview import diagnose, preview
from binder_depth.reading import adapt

if TYPE_CHECKING:
    from binder import Anchor, Encoder

__all__ = ["DEPTH", "DepthConfig"]


def build(config: DepthConfig, anchor: Anchor) -> Encoder:
    """A fresh encoder into `anchor`'s space: untrained, it is the anchor on the drawn depth map."""
    from binder_depth.encoder import DepthEncoder

    return DepthEncoder(config, anchor)


DEPTH = Modality(
    name="depth",
    suffixes=frozenset({".png", ".tif", ".tiff", ".npy", ".exr"}),
    config=DepthConfig,
    build=build,
    adapt=adapt,
    preview=preview,
    diagnose=diagnose,
)


@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [DEPTH]
