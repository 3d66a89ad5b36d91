"""The settings of the chart encoder. Free of torch."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from binder import PictureConfig

Kind = Literal["line", "bar", "pie", "scatter", "area"]
KINDS: tuple[Kind, ...] = get_args(Kind)

PICTURE_SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif",
})  # fmt: skip


class ChartConfig(PictureConfig):
    """Nothing needs to be set."""

    kind: Kind | None = None  # how tables are drawn that name no chart type themselves; None: what fits each of them
    # learning rate of the adapter relative to the rest: the untrained encoder is good already, and at the full rate it
    # overfits a few hundred pairs
    adapter_lr: float = Field(0.1, gt=0, le=1)
