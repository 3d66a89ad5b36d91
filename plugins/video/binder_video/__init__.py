"""Video for binder. Importing this package imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from binder import Modality, hookimpl
from binder_video.config import VideoConfig, adapt
from binder_video.preview import diagnose, preview

if TYPE_CHECKING:
    from binder import Anchor, Encoder

__all__ = ["VIDEO", "VideoConfig"]


def build(config: VideoConfig, anchor: Anchor) -> Encoder:
    """A fresh encoder into `anchor`'s space."""
    from binder_video.encoder import VideoEncoder

    return VideoEncoder(config, anchor)


VIDEO = Modality(
    name="video",
    # not .gif and .webp, which are read too: as the suffix of a file of unknown kind they mean a picture
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
