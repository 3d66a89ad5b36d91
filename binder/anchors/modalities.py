"""What the core brings itself, registered through the hooks of plugins: image and text, OpenCLIP's models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from binder.anchors.kind import AnchorKind
from binder.hookspecs import hookimpl
from binder.modality import EncoderConfig, Item, Modality

if TYPE_CHECKING:
    from PIL.Image import Image

    from binder.anchors.base import Anchor

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic", ".heif",
})
# fmt: on


def _read_image(item: Item) -> Image:
    from binder.formats.picture import read_image

    return read_image(item)


def _read_text(item: Item) -> str:
    from binder.anchors.towers import checked_text

    return checked_text(item)


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
            read=_read_image,
            preview=_read_image,
            media="image/png",
        ),
        Modality(
            name="text",
            suffixes=frozenset(),
            config=EncoderConfig,
            read=_read_text,
            preview=_preview_text,
            media="text/plain",
            inline=True,
        ),
    ]


def _load_openclip(name: str, device: str) -> Anchor:
    from binder.anchors.openclip import load

    return load(name, device)


def _list_openclip() -> Sequence[tuple[str, str]]:
    from binder.anchors.openclip import available

    return available()


@hookimpl
def binder_register_anchors() -> Sequence[AnchorKind]:
    return [AnchorKind("", "mini, MODEL/TAG, MODEL/FILE, hf-hub:ORG/REPO, or a folder", _load_openclip, _list_openclip)]
