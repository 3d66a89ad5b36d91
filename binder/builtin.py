"""Image and text: the anchor's own two modalities, registered through the same hook as every plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from binder.hookspecs import hookimpl
from binder.modality import EncoderConfig, Item, Modality

if TYPE_CHECKING:
    from PIL.Image import Image

    from binder.anchor import Anchor
    from binder.encoder import Encoder

JPEG = {".jpg", ".jpeg", ".jpe", ".jfif"}
SUFFIXES = frozenset(JPEG | {".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif"})


def read_image(item: Item, name: str | None = None) -> Image:
    """A picture in whatever form it comes -> RGB PIL image, upright, on white; see `binder.bases.picture`.

    Raises ItemError, which calls it `name`, or what it is.
    """
    from binder.bases.picture import read_picture

    return read_picture(item, name)


def _build_image(config: EncoderConfig, anchor: Anchor) -> Encoder:
    from binder.anchor import ImageTower

    return ImageTower(anchor)


def _build_text(config: EncoderConfig, anchor: Anchor) -> Encoder:
    from binder.anchor import TextTower

    return TextTower(anchor)


def _preview_text(item: Any) -> Image:
    from PIL import Image, ImageDraw

    page = Image.new("RGB", (320, 64), "white")
    ImageDraw.Draw(page).text((8, 24), str(item)[:60], fill="black")
    return page


@hookimpl
def binder_register_modalities() -> Sequence[Modality]:
    return [
        Modality(
            name="image",
            suffixes=SUFFIXES,
            config=EncoderConfig,
            build=_build_image,
            preview=read_image,
            media="image/png",
            frozen=True,
        ),
        Modality(
            name="text",
            suffixes=frozenset(),
            config=EncoderConfig,
            build=_build_text,
            preview=_preview_text,
            media="text/plain",
            inline=True,
            frozen=True,
        ),
    ]
