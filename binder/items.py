"""Sources (files, folders, manifests, values) -> items of known modality, with what is said of them.

Nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from binder import manifest
from binder.errors import ItemError, ManifestError
from binder.modality import Item, Modality
from binder.plugins import registry

NUMBER = re.compile(r"[+-]?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d{1,2})?")  # not 007, which is a name


@dataclass(frozen=True, slots=True)
class Found:
    """An item, and what its manifest says of it."""

    modality: str
    item: Item
    text: str | None = None  # what stands beside it in words
    meta: Mapping[str, Any] = field(default_factory=dict)


def collect(sources: Iterable[Item], modality: str | None, among: Collection[str] = ()) -> Iterator[Found]:
    """The items of every source: a file, a folder of files, a manifest, or the value itself (a text, an array).

    Without `modality`, suffixes and the columns of manifests say it; a suffix that several modalities claim is that
    one's of them which alone is `among` those that can be encoded. Raises ItemError for one that is not settled so or
    that nothing claims, ManifestError for a bad manifest or where there is nothing in any source.
    """
    kind = registry().get(modality) if modality else None
    first, empty = None, True
    for source in sources:
        first = source if first is None else first
        for found in _one(source, kind, among):
            empty = False
            yield found
    if empty:
        raise ManifestError(f"{first}: nothing in it that {modality or 'an installed modality'} can read")


def _one(source: Item, kind: Modality | None, among: Collection[str]) -> Iterator[Found]:
    if not isinstance(source, str | Path):
        if kind is None:
            raise ItemError(f"<{type(source).__name__}>", "say of which modality it is")
        yield Found(kind.name, source)
    elif _is_manifest(source, kind):
        yield from _listed(Path(source), kind)
    elif kind is not None and kind.inline:
        yield Found(kind.name, str(source))
    elif Path(source).is_dir():
        for file in sorted(p for p in Path(source).rglob("*") if p.is_file()):
            if kind is None and registry().by_suffix(file.suffix):
                yield Found(by_suffix(file, among).name, file)
            elif kind is not None and file.suffix.lower() in kind.suffixes:
                yield Found(kind.name, file)
    else:
        yield Found((kind or by_suffix(Path(source), among)).name, Path(source))


def _is_manifest(source: str | Path, kind: Modality | None) -> bool:
    """Whether it is a table with a column named after an installed modality."""
    path = Path(source)
    suffix = path.suffix.lower()
    if suffix not in manifest.SUFFIXES or (kind and suffix in kind.suffixes) or not path.is_file():
        return False
    if any(name in registry().names() for name in manifest.columns(path)):
        return True
    if registry().by_suffix(suffix):
        return False  # an item of a modality that reads tables
    names = ", ".join(registry().names())
    raise ManifestError(f"{path}: no column is named after an installed modality ({names})")


def _listed(path: Path, kind: Modality | None) -> Iterator[Found]:
    rows = manifest.read(path, registry().modalities())
    metas: list[dict[str, Any]] = [dict(row.meta) for row in rows]
    if path.suffix.lower() in manifest.DELIMITERS:  # where every cell is text
        _read_numbers(metas)
    inline = {m.name for m in registry().modalities() if m.inline}
    for row, meta in zip(rows, metas, strict=True):
        for name, item in row.items.items():
            if kind is None or kind.name == name:
                words = [str(row.items[other]) for other in row.items if other in inline and other != name]
                yield Found(name, item, "\n".join(words) or None, meta)


def _read_numbers(metas: list[dict[str, Any]]) -> None:
    """In place: a column in which every cell is a number, or blank, becomes numbers; blanks become None."""
    for key in {key for meta in metas for key in meta}:
        cells = [str(meta.get(key, "")).strip() for meta in metas]
        numeric = all(NUMBER.fullmatch(cell) for cell in cells if cell)
        for meta, cell in zip(metas, cells, strict=True):
            meta[key] = None if not cell else float(cell) if numeric else meta[key]


def claims_of(path: Path, among: Collection[str]) -> list[Modality]:
    """The modalities that claim a file's suffix: those `among` what can be encoded, or all where none is."""
    claims = registry().by_suffix(path.suffix)
    return [m for m in claims if m.name in among] or claims


def by_suffix(path: Path, among: Collection[str] = ()) -> Modality:
    """The modality that a file's suffix says, as `collect` settles it. Raises ItemError."""
    claims = claims_of(path, among)
    if len(claims) == 1:
        return claims[0]
    if claims:
        names = " or ".join(m.name for m in claims)
        raise ItemError(path, f"{path.suffix} may be {names}; say which with --as")
    raise ItemError(
        path, f"no installed modality reads {path.suffix or 'files without a suffix'!r}; say which with --as"
    )
