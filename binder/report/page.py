"""What self-contained pages share: rendering with every value escaped, and items to look at and to play."""

from __future__ import annotations

import base64
import io
import mimetypes
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

import jinja2
import markupsafe

from binder.modality import Item, Modality
from binder.report.text import visible

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST = 320  # pixels of a preview's longer side
PLAYABLE_BYTES = 512 * 1024  # of a file that is put into the page; longer ones are only previewed
STILL = ("", "image", "text", "application")  # families of media types that a browser does not play


def render_page(template: Path, *, below: Iterable[Path] = (), **values: Any) -> str:
    """The HTML page that a Jinja template makes of the values.

    A template that extends `page.html` gets the look of binder's own reports: one self-contained file, light and dark.
    Its blocks are `title`, `style` and `body`; `page.html` allows no scripts and fetches nothing.
    Every value is escaped. Paths below one of the folders `below`, or below the user's home, are shown relative to it,
    so that a page that is passed on does not tell where its author keeps files. The filter `pct` prints 0.5 as 50.0 %.
    """
    ways = _ways(below)

    def shown(value: object) -> object:
        if isinstance(value, markupsafe.Markup) or not isinstance(value, str):
            return value
        return visible(ways(value), keep="\n\t")

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
    """Bytes of a MIME type as an address that needs no file."""
    return markupsafe.Markup("data:{};base64,{}").format(media, base64.b64encode(data).decode())


def link(path: Path, page: Path) -> str:
    """Where a page finds a file: from its own folder on, so that both can be moved together."""
    try:
        way = os.path.relpath(path, page.absolute().parent)
    except ValueError:  # another drive
        return path.absolute().as_uri()
    return "./" + quote_from_bytes(os.fsencode(way.replace(os.sep, "/")), safe="/")


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


def preview(kind: Modality, item: Item, longest: int = LONGEST) -> str | None:
    """What people see of an item, as a data URL, drawn where its file cannot hurt; None for a kind without pictures.

    Raises ItemError for a file that cannot be drawn, and whatever a plugin's `preview` raises that knows no other
    process.
    """
    from binder.readers import Refused, isolated

    if kind.preview is None:
        return None
    try:
        return markupsafe.Markup(isolated(_drawn, kind.preview, item, longest, item=item))
    except Refused:
        return _drawn(kind.preview, item, longest)


def _drawn(draw: Any, item: Item, longest: int) -> str:
    return thumbnail(draw(item), longest)


def shown_item(kind: Modality, item: Item) -> dict[str, str | None]:
    """What a page shows of an item: its `text`; or its `preview` picture, and a `url` with the element that plays it.

    Both are data URLs; the element (`tag`) is "audio", "video" or the like. Whatever an item does not have is None.
    Raises ItemError for an item that cannot be drawn.
    """
    if kind.inline:
        return {"text": str(item), "preview": None, "tag": None, "url": None}
    tag, url = _player(kind, item)
    return {"text": None, "preview": preview(kind, item), "tag": tag, "url": url}


def player(kind: Modality) -> str | None:
    """The HTML element that plays a kind of item, which is named as MIME names the kind; None where none does."""
    tag = (kind.media or "").partition("/")[0]
    return None if tag in STILL or not re.fullmatch("[a-z]+", tag) else tag


def media_of(kind: Modality, path: Path) -> str:
    """The MIME type of a file that the kind's element plays."""
    guess = mimetypes.guess_type(path.name)[0] or ""
    return guess if guess.startswith(f"{player(kind)}/") else str(kind.media)


def _player(kind: Modality, item: Item) -> tuple[str | None, str | None]:
    """The element that plays an item and its data URL."""
    tag = player(kind)
    if tag is None:
        return None, None
    if isinstance(item, bytes):
        data, media = item, str(kind.media)
    elif isinstance(item, Path) and item.stat().st_size <= PLAYABLE_BYTES:
        data, media = item.read_bytes(), media_of(kind, item)
    else:
        return None, None
    return (tag, data_url(media, data)) if len(data) <= PLAYABLE_BYTES else (None, None)


def _ways(below: Iterable[Path]) -> Any:
    """A function that leaves the way to these folders out of a text, and puts ~ for the way home."""
    here = {os.path.abspath(folder): "" for folder in below}  # noqa: PTH100 - links stay as they are
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home raises where there is none
    ways = {way: short for way, short in {home: "~/", **here}.items() if way.strip("/\\~")}
    if not ways:
        return str
    longest_first = "|".join(re.escape(way) for way in sorted(ways, key=len, reverse=True))
    found = re.compile(rf"(?<![\w/.~-])({longest_first})[/\\]")
    return lambda text: found.sub(lambda match: ways[match[1]], text)
