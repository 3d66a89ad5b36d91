"""Hits as one self-contained page with embedded previews and players."""

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
from binder.registry import Registry
from binder.report import page
from binder.report.text import metadata_of, time_of
from binder.space.segments import fragment

if TYPE_CHECKING:
    from binder.index import Hit

MAX_HITS = 2000  # shown
PREVIEW_SIZE = 280  # pixels of a preview's longer side
MAX_PLAYED_BYTES = 8 * 2**20  # of an embedded file; larger ones are linked
MAX_BYTES = 32 * 2**20  # of all previews and embedded files together; then files are linked
MAX_SECONDS = 60.0  # spent on drawing previews; then hits have none


def write(
    path: Path,
    title: str,
    groups: Sequence[Sequence[Hit]],
    registry: Registry,
    query: Sequence[tuple[float, str, str]] = (),
    progress: Progress = silent,
) -> None:
    """Write the page, replacing the file atomically; `query` is the weight, modality and item of each of its parts.

    Raises RunError if it cannot be written.
    """
    media = Media(path, registry)
    shown = _first(groups, MAX_HITS)
    total, done = sum(map(len, shown)), itertools.count(1)
    asked = [_query_part(media, *part) for part in query]

    def drawn(hit: Hit) -> dict[str, Any]:
        found = _hit(media, hit)
        progress("drawing", next(done), total)
        return found

    found = [[drawn(hit) for hit in group] for group in shown]
    values = {"title": title, "query": asked, "groups": found, "more": sum(map(len, groups)) - total}
    write_text(path, page.render_page(Path(__file__).parent / "hits.html", below=[path.absolute().parent], **values))


class Media:
    """Previews and players of a page's files, bounded in total size and in the time spent on drawing."""

    def __init__(self, page: Path, registry: Registry) -> None:
        self.registry = registry
        self._page = page
        self._bytes, self._seconds = MAX_BYTES, MAX_SECONDS

    def of(self, modality: str, path: Path | None, fragment: str = "") -> dict[str, Any]:
        """A file's `preview`, or `why` it has none; `tag` and `url` of its player, from which `fragment` is played."""
        nothing = {"preview": None, "tag": None, "url": None}
        if path is None:
            return {**nothing, "why": ""}
        if not is_file(path):
            return {**nothing, "why": "the file is gone" if path.is_absolute() else "no file"}
        if modality not in self.registry.names():
            return {**nothing, "why": f"{modality} is not installed"}
        kind = self.registry.get(modality)
        preview, why = self._preview(kind, path)
        tag = page.player(kind) if preview or kind.preview is None else None  # do not embed what cannot be drawn
        return {"preview": preview, "why": why, "tag": tag, "url": self._source(kind, path, fragment) if tag else None}

    def name(self, path: Path | None) -> str | None:
        """The name of a file on the page: relative to the page's folder, unless that is far away."""
        if path is None or not path.is_absolute():
            return None if path is None else str(path)
        relative = os.path.relpath(path, self._page.absolute().parent)
        return str(path) if relative.startswith(os.path.join("..", "..", "..")) else relative  # noqa: PTH118

    def link(self, path: Path | None) -> str | None:
        return page.link(path, self._page) if path and path.is_absolute() and is_file(path) else None

    def _preview(self, kind: Modality, path: Path) -> tuple[str | None, str]:
        if self._seconds <= 0 or self._bytes <= 0:
            return None, "no preview: there are too many"
        began = time.monotonic()
        try:
            drawn = page.preview(kind, path, PREVIEW_SIZE)
        except BinderError as error:
            return None, str(error)
        except Exception as error:  # a bug of the plugin must not cost the other hits
            return None, f"no preview: {type(error).__name__}: {error}"
        finally:
            self._seconds -= time.monotonic() - began
        self._bytes -= len(drawn or "")
        return drawn, "no preview"

    def _source(self, kind: Modality, path: Path, fragment: str) -> str:
        size = path.stat().st_size
        if size > min(MAX_PLAYED_BYTES, self._bytes):
            return page.link(path, self._page) + fragment
        self._bytes -= size * 4 // 3
        return page.data_url(page.media_of(kind, path), path.read_bytes()) + fragment


def _hit(media: Media, hit: Hit) -> dict[str, Any]:
    """A hit as the page's template expects it."""
    path = Path(hit.path) if hit.path else None
    return {
        "modality": hit.modality,
        "name": media.name(path),
        "link": media.link(path),
        "text": hit.text,
        "score": f"{hit.score:.3f}",
        "probability": None if hit.probability is None else f"{hit.probability:.0%}",
        "time": time_of(hit),
        "metadata": metadata_of(hit),
        "others": len(hit.others),
        **media.of(hit.modality, path, fragment(hit.start_s, hit.end_s)),
    }


def _query_part(media: Media, weight: float, modality: str, item: str) -> dict[str, Any]:
    """A part of the query as the page's template expects it."""
    inline = modality in media.registry.names() and media.registry.get(modality).inline
    path = None if inline else Path(os.path.abspath(item))  # noqa: PTH100 - symbolic links are not resolved
    times = "" if abs(weight) == 1 else f"{abs(weight):g} × "
    return {
        "modality": modality,
        "weight": ("minus " if weight < 0 else "") + times,
        "name": media.name(path),
        "text": item if inline else None,
        **media.of(modality, path),
    }


def _first(groups: Sequence[Sequence[Hit]], most: int) -> list[Sequence[Hit]]:
    """The first groups, with at most so many hits in total."""
    before = itertools.accumulate(map(len, groups), initial=0)
    return [group[: most - count] for group, count in zip(groups, before, strict=False) if count < most]
