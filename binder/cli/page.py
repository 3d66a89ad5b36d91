"""Hits as one self-contained page: previews and players are in it, nothing is fetched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from binder import page
from binder.cli.hits import metadata_of, time_of
from binder.errors import BinderError
from binder.files import write_text
from binder.index import Hit
from binder.modality import Modality
from binder.plugins import registry

SILENT: dict[str, str | None] = {"player": None, "source": None}
STILL = ("", "image", "text", "application")  # families of media types that a browser does not play
PLAYED = 8 * 2**20  # bytes of a file up to which it is embedded; a larger one is linked


def write(path: Path, title: str, groups: Sequence[Sequence[Hit]]) -> None:
    """Render the page, written beside and renamed. Raises RunError where it cannot be written."""
    shown = [[_shown(hit) for hit in group] for group in groups]
    write_text(path, page.render(Path(__file__).parent / "hits.html", title=title, groups=shown))


def _shown(hit: Hit) -> dict[str, Any]:
    """What the page needs of a hit."""
    modality = registry().get(hit.modality) if hit.modality in registry().names() else None
    path = Path(hit.path) if hit.path else None
    there = path is not None and path.is_file()
    return {
        "modality": hit.modality,
        "name": path.name if path else None,
        "link": path.as_uri() if path and path.is_absolute() else None,
        "missing": path is not None and path.is_absolute() and not there,
        "text": hit.text,
        "score": f"{hit.score:.3f}",
        "probability": None if hit.probability is None else f"{hit.probability:.0%}",
        "time": time_of(hit),
        "metadata": metadata_of(hit),
        "others": len(hit.others),
        "preview": _preview(modality, path) if modality and path and there else None,
        **(_player(modality, path, hit) if modality and path and there else SILENT),
    }


def _preview(modality: Modality, path: Path) -> str | None:
    """The picture that people see, as a data URL; None where there is none."""
    if modality.preview is None:
        return None
    try:
        return page.thumbnail(modality.preview(path))
    except BinderError:
        return None


def _player(modality: Modality, path: Path, hit: Hit) -> dict[str, str | None]:
    """The element by which a browser plays the file, and where from; a piece of it plays by itself."""
    element = (modality.media or "").partition("/")[0]  # a media type is named after the element that plays it
    if element in STILL:
        return SILENT
    whole = path.stat().st_size <= PLAYED
    source = page.data_url(str(modality.media), path.read_bytes()) if whole else path.as_uri()
    piece = "" if hit.start_s is None or hit.end_s is None else f"#t={hit.start_s:g},{hit.end_s:g}"
    return {"player": element, "source": source + piece}
