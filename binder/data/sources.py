"""Sources (files, folders, manifests, values) -> items of known modality, with their metadata.

An ambiguous modality is an error or a warning, never a guess.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from binder import files
from binder.data import manifest
from binder.data.cells import DELIMITERS
from binder.errors import ItemError, ManifestError
from binder.modality import Item, Modality
from binder.registry import Registry

log = logging.getLogger(__name__)

NUMBER = re.compile(r"[+-]?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d{1,2})?")  # but not 007, which is a name


@dataclass(frozen=True, slots=True)
class Found:
    """An item, and what its manifest says about it."""

    modality: str
    item: Item
    text: str | None = None  # the texts in the same row
    meta: Mapping[str, Any] = field(default_factory=dict)


def collect(
    sources: Iterable[Item], modality: str | None, registry: Registry, among: Collection[str] = ()
) -> Iterator[Found]:
    """The items of all sources: files, folders of files, manifests, or the values themselves (texts, arrays).

    Without `modality`, file suffixes and the columns of manifests determine it; a suffix that several modalities claim
    belongs to the only one that is `among` those that can be encoded. In folders, files that remain ambiguous are left
    out with a warning. Raises ItemError for a single file that is ambiguous, and ManifestError for a bad manifest and
    where no source has any item.
    """
    kind = registry.get(modality) if modality else None
    first, empty = None, True
    for source in sources:
        first = source if first is None else first
        for found in _one(source, kind, registry, among):
            empty = False
            yield found
    if empty:
        what = f"{modality or 'an installed modality'} can read"
        raise ManifestError(f"{str(first)[:200]}: nothing in it that {what}")


def _one(source: Item, kind: Modality | None, registry: Registry, among: Collection[str]) -> Iterator[Found]:
    """The items of one source."""
    if not isinstance(source, str | Path):
        if kind is None:
            raise ItemError(f"<{type(source).__name__}>", "say of which modality it is")
        yield Found(kind.name, source)
    elif not (kind and kind.inline) and manifest.URL.match(str(source)):
        raise ItemError(source, "is a URL; binder reads files: download it first")
    elif _is_manifest(source, kind, registry):
        yield from _listed(Path(source), kind, registry)
    elif kind is not None and kind.inline:
        yield Found(kind.name, str(source))
    elif files.is_folder(Path(source)):
        yield from _below(Path(source), kind, registry, among)
    else:
        yield Found((kind or by_suffix(Path(source), registry, among)).name, Path(source))


def _below(folder: Path, kind: Modality | None, registry: Registry, among: Collection[str]) -> Iterator[Found]:
    """The files in a folder that are of the modality, or whose suffixes determine it."""
    ambiguous: list[ItemError] = []
    lacking: list[tuple[str, Path]] = []  # of modalities that cannot be encoded
    for file in manifest.files_below(folder):
        if kind is not None:
            if file.suffix.lower() in kind.suffixes:
                yield Found(kind.name, file)
        elif registry.by_suffix(file.suffix):
            try:
                name = by_suffix(file, registry, among).name
            except ItemError as error:
                ambiguous.append(error)
                continue
            if among and name not in among:
                lacking.append((name, file))
            else:
                yield Found(name, file)
    if lacking:
        name, first = lacking[0]
        what = "%d files left out, as no encoder for them is loaded, the first of %s: %s; give its --encoder"
        log.warning(what, len(lacking), name, first)
    if ambiguous:
        log.warning("%d files left out, as their suffix is ambiguous, the first: %s", len(ambiguous), ambiguous[0])


def _is_manifest(source: str | Path, kind: Modality | None, registry: Registry) -> bool:
    """Whether a file is a table with a column named after an installed modality. Raises ManifestError."""
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix not in manifest.SUFFIXES or (kind and suffix in kind.suffixes) or not files.is_file(path):
        return False
    claimed = registry.by_suffix(suffix)  # then it may be an item instead
    try:
        columns = manifest.columns(path)
    except ManifestError:
        if claimed:
            return False
        raise
    if {name.strip().lower() for name in columns} & set(registry.names()):
        return True
    if claimed:
        return False
    names = ", ".join(registry.names())
    raise ManifestError(f"{path}: no column is named after an installed modality ({names})")


def _listed(path: Path, kind: Modality | None, registry: Registry) -> Iterator[Found]:
    """The items in a manifest."""
    rows = manifest.read(path, registry.modalities())
    metas: list[dict[str, Any]] = [dict(row.meta) for row in rows]
    if path.suffix.lower() in DELIMITERS:  # where every cell is text
        _read_numbers(metas)
    inline = {m.name for m in registry.modalities() if m.inline}
    for row, meta in zip(rows, metas, strict=True):
        for name, item in row.items.items():
            if kind is None or kind.name == name:
                words = [str(row.items[other]) for other in row.items if other in inline and other != name]
                yield Found(name, item, "\n".join(words) or None, meta)


def _read_numbers(metas: list[dict[str, Any]]) -> None:
    """Convert, in place, columns in which every cell is a number or blank to numbers; blank cells become None."""
    for key in {key for meta in metas for key in meta}:
        cells = [str(meta.get(key, "")).strip() for meta in metas]
        numeric = all(NUMBER.fullmatch(cell) for cell in cells if cell)
        for meta, cell in zip(metas, cells, strict=True):
            meta[key] = None if not cell else float(cell) if numeric else meta[key]


def claims_of(path: Path, registry: Registry, among: Collection[str]) -> list[Modality]:
    """The modalities that claim a file's suffix: those that are `among` the given ones, or all if none is."""
    claims = registry.by_suffix(path.suffix)
    return [m for m in claims if m.name in among] or claims


def by_suffix(path: Path, registry: Registry, among: Collection[str] = ()) -> Modality:
    """The modality that a file's suffix determines, as in `collect`. Raises ItemError."""
    claims = claims_of(path, registry, among)
    if len(claims) == 1:
        return claims[0]
    if claims:
        names = " or ".join(m.name for m in claims)
        raise ItemError(path, f"{path.suffix} may be {names}; say which with --as")
    raise ItemError(
        path, f"no installed modality reads {path.suffix or 'files without a suffix'!r}; say which with --as"
    )
