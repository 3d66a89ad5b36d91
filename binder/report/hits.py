"""Hits as one self-contained page: previews and players are in it, nothing is fetched."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binder.data.encode import Progress, silent
from binder.errors import BinderError
from binder.files import is_file, write_text
from binder.modality import Modality
from binder.registry import registry
from binder.report import page
from binder.report.text import metadata_of, time_of

if TYPE_CHECKING:
    from binder.index import Hit

MOST = 2000  # hits shown
LONGEST = 280  # pixels of a preview's longer side
PLAYED = 8 * 2**20  # bytes of a file up to which it is embedded; a larger one is linked
BYTES = 32 * 2**20  # of all previews and players together; then files are linked
SECONDS = 60.0  # for drawing all previews; then there are none


def write(
    path: Path,
    title: str,
    groups: Sequence[Sequence[Hit]],
    query: Sequence[tuple[float, str, str]] = (),
    progress: Progress = silent,
) -> None:
    """Render the page, written beside and renamed; `query` is weight, modality and item of each of its parts.

    Raises RunError where it cannot be written.
    """
    made = Media(path)
    shown = _first(groups, MOST)
    total, done = sum(map(len, shown)), itertools.count(1)
    asked = [_asked(made, *part) for part in query]

    def drawn(hit: Hit) -> dict[str, Any]:
        found = _found(made, hit)
        progress("drawing", next(done), total)
        return found

    found = [[drawn(hit) for hit in group] for group in shown]
    values = {"title": title, "query": asked, "groups": found, "more": sum(map(len, groups)) - total}
    write_text(path, page.render_page(Path(__file__).parent / "hits.html", below=[path.absolute().parent], **values))


class Media:
    """What is shown of files on a page; what is in it stays bounded in size and in the time that drawing takes."""

    def __init__(self, page: Path) -> None:
        self._page = page
        self._bytes, self._seconds = BYTES, SECONDS

    def of(self, modality: str, path: Path | None, piece: str = "") -> dict[str, Any]:
        """`preview`, the `why` of there being none, and `tag` and `url` of a player; `piece` of it plays."""
        nothing = {"preview": None, "tag": None, "url": None}
        if path is None:
            return {**nothing, "why": ""}
        if not is_file(path):
            return {**nothing, "why": "the file is gone" if path.is_absolute() else "no file"}
        if modality not in registry().names():
            return {**nothing, "why": f"{modality} is not installed"}
        kind = registry().get(modality)
        preview, why = self._preview(kind, path)
        tag = page.player(kind) if preview or kind.preview is None else None  # what cannot be drawn is not passed on
        return {"preview": preview, "why": why, "tag": tag, "url": self._source(kind, path, piece) if tag else None}

    def name(self, path: Path | None) -> str | None:
        """How the page calls a file: by the way from its own folder where that is not a long one."""
        if path is None or not path.is_absolute():
            return None if path is None else str(path)
        way = os.path.relpath(path, self._page.absolute().parent)
        return str(path) if way.startswith(os.path.join("..", "..", "..")) else way  # noqa: PTH118

    def link(self, path: Path | None) -> str | None:
        return page.link(path, self._page) if path and path.is_absolute() and is_file(path) else None

    def _preview(self, kind: Modality, path: Path) -> tuple[str | None, str]:
        if self._seconds <= 0 or self._bytes <= 0:
            return None, "no preview: there are too many"
        began = time.monotonic()
        try:
            made = page.preview(kind, path, LONGEST)
        except BinderError as error:
            return None, str(error)
        except Exception as error:  # a plugin's mistake; the page has other hits
            return None, f"no preview: {type(error).__name__}: {error}"
        finally:
            self._seconds -= time.monotonic() - began
        self._bytes -= len(made or "")
        return made, "no preview"

    def _source(self, kind: Modality, path: Path, piece: str) -> str:
        size = path.stat().st_size
        if size > min(PLAYED, self._bytes):
            return page.link(path, self._page) + piece
        self._bytes -= size * 4 // 3
        return page.data_url(page.media_of(kind, path), path.read_bytes()) + piece


def _found(made: Media, hit: Hit) -> dict[str, Any]:
    """What the page needs of a hit."""
    path = Path(hit.path) if hit.path else None
    piece = "" if hit.start_s is None or hit.end_s is None else f"#t={hit.start_s:g},{hit.end_s:g}"
    return {
        "modality": hit.modality,
        "name": made.name(path),
        "link": made.link(path),
        "text": hit.text,
        "score": f"{hit.score:.3f}",
        "probability": None if hit.probability is None else f"{hit.probability:.0%}",
        "time": time_of(hit),
        "metadata": metadata_of(hit),
        "others": len(hit.others),
        **made.of(hit.modality, path, piece),
    }


def _asked(made: Media, weight: float, modality: str, item: str) -> dict[str, Any]:
    """What the page needs of a part of the query."""
    inline = modality in registry().names() and registry().get(modality).inline
    path = None if inline else Path(os.path.abspath(item))  # noqa: PTH100 - links stay as they are
    times = "" if abs(weight) == 1 else f"{abs(weight):g} × "
    return {
        "modality": modality,
        "weight": ("minus " if weight < 0 else "") + times,
        "name": made.name(path),
        "text": item if inline else None,
        **made.of(modality, path),
    }


def _first(groups: Sequence[Sequence[Hit]], most: int) -> list[Sequence[Hit]]:
    """Groups until so many hits are there."""
    before = itertools.accumulate(map(len, groups), initial=0)
    return [group[: most - count] for group, count in zip(groups, before, strict=False) if count < most]
