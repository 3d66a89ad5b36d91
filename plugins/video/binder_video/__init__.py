"""Video for binder. Importing this package does not import torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from binder import Item, Modality, hookimpl
from binder_video.config import VideoConfig
from binder_video.preview import diagnose, preview

if TYPE_CHECKING:
    from binder import Anchor, Encoder

__all__ = ["VIDEO", "VideoConfig"]


def build(config: VideoConfig, anchor: Anchor) -> Encoder:
    """An encoder into `anchor`'s space, not yet trained."""
    from binder_video.encoder import VideoEncoder

    return VideoEncoder(config, anchor)


def adapt(config: VideoConfig, items: Sequence[Item]) -> VideoConfig:
    """See `adapting.adapt`; imported on the first call, so that plugins are listed fast."""
    from binder_video.adapting import adapt

    return adapt(config, items)


VIDEO = Modality(
    name="video",
    # .gif and .webp are read, too, but where only the suffix decides they are pictures
    suffixes=frozenset(
        {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2ts", ".wmv", ".flv", ".3gp"}
    ),
    config=VideoConfig,
    build=build,
    adapt=adapt,
    preview=preview,
    media="video/mp4",
    diagnose=diagnose,
)


@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [VIDEO]
