"""What self-contained pages share: rendering with every value escaped, and items to look at and to play."""

from __future__ import annotations

import base64
import io
import mimetypes
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import markupsafe

from binder.modality import Item, Modality

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST = 320  # pixels of a preview's longer side
PLAYABLE_BYTES = 512 * 1024  # of a file that is put into the page; longer ones are only previewed


def render(template: Path, **values: Any) -> str:
    """The page that a Jinja template makes of the values; it may extend `page.html`, which holds the look."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["pct"] = percent
    return environment.get_template(template.name).render(values)


def percent(share: float) -> markupsafe.Markup:
    """0.123 -> 12.3 %."""
    return markupsafe.Markup("{:.1f}&thinsp;%").format(100 * share)


def data_url(media: str, data: bytes) -> str:
    """Bytes of a MIME type as an address that needs no file."""
    return f"data:{media};base64,{base64.b64encode(data).decode()}"


def thumbnail(image: Image, longest: int = LONGEST) -> str:
    """A picture as a data URL, no side longer than `longest` pixels: whichever of PNG and JPEG is smaller."""
    small = image.convert("RGB")
    small.thumbnail((longest, longest))
    made = []
    for media, options in (("image/png", {"optimize": True}), ("image/jpeg", {"quality": 85})):
        buffer = io.BytesIO()
        small.save(buffer, media.partition("/")[2], **options)
        made.append((media, buffer.getvalue()))
    return data_url(*min(made, key=lambda m: len(m[1])))


def shown(kind: Modality, item: Item) -> dict[str, str | None]:
    """What a page shows of an item: `text`; or `preview`, and `url` with the element (`tag`) that plays it.

    Each is None where there is none. Raises whatever a plugin's `preview` raises.
    """
    if kind.inline:
        return {"text": str(item), "preview": None, "tag": None, "url": None}
    preview = thumbnail(kind.preview(item)) if kind.preview else None
    tag, url = _player(kind, item)
    return {"text": None, "preview": preview, "tag": tag, "url": url}


def _player(kind: Modality, item: Item) -> tuple[str | None, str | None]:
    """The HTML element that plays an item and its data URL. HTML names such elements as MIME names the kind."""
    tag = (kind.media or "").partition("/")[0]
    if tag in ("", "image", "text", "application") or not re.fullmatch("[a-z]+", tag):
        return None, None
    if isinstance(item, bytes):
        data, media = item, str(kind.media)
    elif isinstance(item, Path) and item.stat().st_size <= PLAYABLE_BYTES:
        guess = mimetypes.guess_type(item.name)[0] or ""
        data, media = item.read_bytes(), guess if guess.startswith(f"{tag}/") else str(kind.media)
    else:
        return None, None
    return (tag, data_url(media, data)) if len(data) <= PLAYABLE_BYTES else (None, None)
