"""The anchor's own modalities, image and text, registered through the same hook as those of plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from binder.hookspecs import hookimpl
from binder.modality import EncoderConfig, Item, Modality

if TYPE_CHECKING:
    from PIL.Image import Image

    from binder.anchors.openclip import Anchor
    from binder.encoder import Encoder

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif",
})
# fmt: on


def _preview_image(item: Item) -> Image:
    from binder.formats.picture import read_image

    return read_image(item)


def _build_image(config: EncoderConfig, anchor: Anchor) -> Encoder:
    from binder.anchors.towers import ImageTower

    return ImageTower(anchor)


def _build_text(config: EncoderConfig, anchor: Anchor) -> Encoder:
    from binder.anchors.towers import TextTower

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
            suffixes=IMAGE_SUFFIXES,
            config=EncoderConfig,
            build=_build_image,
            preview=_preview_image,
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
