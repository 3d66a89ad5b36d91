"""Shared by all pages: rendering with every value escaped, previews of items, and players."""

from __future__ import annotations

import base64
import io
import mimetypes
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

import jinja2
import markupsafe

from binder.modality import Item, Modality
from binder.report.text import visible

if TYPE_CHECKING:
    from PIL.Image import Image

PREVIEW_SIZE = 320  # pixels of a preview's longer side
MAX_PLAYED_BYTES = 512 * 1024  # of a file embedded with a player; larger ones only have a preview
NOT_PLAYED = ("", "image", "text", "application")  # MIME types without a player in browsers


def render_page(template: Path, *, below: Iterable[Path] = (), **values: Any) -> str:
    """Render a Jinja template with the values -> the HTML page.

    A template that extends `page.html` looks like binder's own reports: one self-contained file, light and dark, with
    the blocks `title`, `style` and `body`, no scripts and nothing to fetch. Every value is escaped. Paths below one of
    the folders `below`, or below the user's home, are shown relative to it, so that a page can be shared without
    revealing where its author keeps files. The filter `pct` formats 0.5 as 50.0 %.
    """
    relative = _relative(below)

    def shown(value: object) -> object:
        if isinstance(value, markupsafe.Markup) or not isinstance(value, str):
            return value
        return visible(relative(value), keep="\n\t")

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["pct"] = percent
    return environment.get_template(template.name).render(values)


def percent(share: float) -> markupsafe.Markup:
    """0.123 -> 12.3 %."""
    return markupsafe.Markup("{:.1f}&thinsp;%").format(100 * share)


def data_url(media: str, data: bytes) -> markupsafe.Markup:
    """Bytes of a MIME type -> a data: URL."""
    return markupsafe.Markup("data:{};base64,{}").format(media, base64.b64encode(data).decode())


def link(path: Path, page: Path) -> str:
    """The URL of a file relative to the page's folder, so that both can be moved together."""
    try:
        relative = os.path.relpath(path, page.absolute().parent)
    except ValueError:  # on another drive
        return path.absolute().as_uri()
    return "./" + quote_from_bytes(os.fsencode(relative.replace(os.sep, "/")), safe="/")


def thumbnail(image: Image, size: int = PREVIEW_SIZE) -> str:
    """A picture as a data URL, no side longer than `size` pixels, as PNG or JPEG, whichever is smaller."""
    small = image.convert("RGB")
    small.thumbnail((size, size))
    encoded = []
    for media, options in (("image/png", {"optimize": True}), ("image/jpeg", {"quality": 85})):
        buffer = io.BytesIO()
        small.save(buffer, media.partition("/")[2], **options)
        encoded.append((media, buffer.getvalue()))
    return data_url(*min(encoded, key=lambda m: len(m[1])))


def preview(kind: Modality, item: Item, size: int = PREVIEW_SIZE) -> str | None:
    """The preview of an item as a data URL, drawn in a separate process; None for modalities without previews.

    Raises ItemError for an item that cannot be drawn, and whatever `preview` raises of a plugin that cannot be run in
    a separate process.
    """
    from binder.readers import Refused, isolated

    if kind.preview is None:
        return None
    try:
        return markupsafe.Markup(isolated(_drawn, kind.preview, item, size, item=item))
    except Refused:
        return _drawn(kind.preview, item, size)


def _drawn(draw: Any, item: Item, size: int) -> str:
    return thumbnail(draw(item), size)


def shown_item(kind: Modality, item: Item) -> dict[str, str | None]:
    """How a page shows an item: its `text`, or its `preview` picture and the `url` and HTML element that play it.

    Both are data URLs; `tag` is the HTML element that plays it. What an item does not have is None.
    Raises ItemError for an item that cannot be drawn.
    """
    if kind.inline:
        return {"text": str(item), "preview": None, "tag": None, "url": None}
    tag, url = _player(kind, item)
    return {"text": None, "preview": preview(kind, item), "tag": tag, "url": url}


def player(kind: Modality) -> str | None:
    """The HTML element that plays a modality, named like its MIME type; None if there is none."""
    tag = (kind.media or "").partition("/")[0]
    return None if tag in NOT_PLAYED or not re.fullmatch("[a-z]+", tag) else tag


def media_of(kind: Modality, path: Path) -> str:
    """The MIME type of a file, one that the modality's element can play."""
    guess = mimetypes.guess_type(path.name)[0] or ""
    return guess if guess.startswith(f"{player(kind)}/") else str(kind.media)


def _player(kind: Modality, item: Item) -> tuple[str | None, str | None]:
    """The element that plays an item, and the item as a data URL."""
    tag = player(kind)
    if tag is None:
        return None, None
    if isinstance(item, bytes):
        data, media = item, str(kind.media)
    elif isinstance(item, Path) and item.stat().st_size <= MAX_PLAYED_BYTES:
        data, media = item.read_bytes(), media_of(kind, item)
    else:
        return None, None
    return (tag, data_url(media, data)) if len(data) <= MAX_PLAYED_BYTES else (None, None)


def _relative(below: Iterable[Path]) -> Callable[[str], str]:
    """A function that shortens the paths in a text: relative to these folders, and ~ for the user's home."""
    folders = {os.path.abspath(folder): "" for folder in below}  # noqa: PTH100 - symbolic links are not resolved
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home raises an error for users without one
    prefixes = {folder: short for folder, short in {home: "~/", **folders}.items() if folder.strip("/\\~")}
    if not prefixes:
        return str
    longest_first = "|".join(re.escape(folder) for folder in sorted(prefixes, key=len, reverse=True))
    found = re.compile(rf"(?<![\w/.~-])({longest_first})[/\\]")
    return lambda text: found.sub(lambda match: prefixes[match[1]], text)
