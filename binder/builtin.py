"""Image and text: the anchor's own two modalities, registered through the same hook as every plugin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binder.errors import ItemError
from binder.hookspecs import hookimpl
from binder.modality import EncoderConfig, Item, Modality

if TYPE_CHECKING:
    from PIL.Image import Image

    from binder.anchor import Anchor
    from binder.encoder import Encoder


def read_image(item: Item) -> Image:
    """Path, bytes, PIL image or (H, W[, 3]) uint8 array -> upright RGB PIL image. Raises ItemError."""
    import io

    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    name = item if isinstance(item, str | Path) else f"<{type(item).__name__}>"
    try:
        if isinstance(item, Image.Image):
            image = item
        elif isinstance(item, np.ndarray):
            image = Image.fromarray(item)
        else:
            image = Image.open(io.BytesIO(item) if isinstance(item, bytes) else item)
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("LA", "PA", "RGBA") or "transparency" in upright.info:  # show it on white, as pages do
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright.convert("RGBA"))
        return upright.convert("RGB")
    except FileNotFoundError:
        raise ItemError(name, "no such file") from None
    except UnidentifiedImageError:
        raise ItemError(name, "not a picture that can be decoded") from None
    except (
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:
        raise ItemError(name, f"cannot be decoded as a picture: {error}") from None


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
            suffixes=frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}),
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
