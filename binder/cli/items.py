"""FILE... of a command -> items of known modality. Nothing is guessed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from binder import manifest
from binder.cli import output
from binder.errors import ItemError, ManifestError
from binder.modality import Item, Modality
from binder.plugins import registry

if TYPE_CHECKING:
    from binder.api import Binder
    from binder.encoder import Span
    from binder.vectors import Vectors


def collect(arguments: Sequence[str], modality: str | None) -> list[tuple[str, Item]]:
    """(modality, item) for every argument: a file, a folder of files, a manifest, or with `--as text` the text itself.

    Raises ItemError for a suffix that no modality or several claim, ManifestError for a bad manifest.
    """
    kind = registry().get(modality) if modality else None
    found = [pair for argument in arguments for pair in _one(argument, kind)]
    if not found:
        raise ManifestError(f"{arguments[0]}: nothing in it that {modality or 'an installed modality'} can read")
    return found


@dataclass(frozen=True)
class Row:
    """One vector and what it is of."""

    position: int  # of its item
    vector: Vectors  # (D,) unit length
    span: Span | None = None  # the piece of the item, where items were cut


def encode(
    items: Sequence[tuple[str, Item]], space: Binder, *, strict: bool, every_s: float | None = None
) -> list[Row]:
    """The vectors of every item that can be read, in order; the others are listed on stderr."""
    found: list[Row] = []
    problems: list[tuple[str, str]] = []
    with output.ProgressBar() as progress:
        for name in dict.fromkeys(kind for kind, _ in items):
            positions = [i for i, (kind, _) in enumerate(items) if kind == name]
            own = [items[i][1] for i in positions]
            encoded = space.encode(name, own, every_s=every_s, strict=strict, progress=progress)
            spans = encoded.spans or [None] * len(encoded.good)
            found += [
                Row(positions[p], z, span) for p, z, span in zip(encoded.good, encoded.vectors, spans, strict=True)
            ]
            problems += [("", str(error)) for _, error in encoded.bad]
    output.skipped(problems)
    if not found:
        raise click.ClickException("no item could be read")
    return sorted(found, key=lambda row: row.position)


def _one(argument: str, kind: Modality | None) -> Iterator[tuple[str, Item]]:
    path = Path(argument)
    suffix = path.suffix.lower()
    if suffix in manifest.SUFFIXES and path.is_file() and not (kind and suffix in kind.suffixes) and _lists_items(path):
        for row in manifest.read(path, registry().modalities()):
            yield from ((name, item) for name, item in row.items.items() if kind is None or kind.name == name)
    elif kind is not None and kind.inline:
        yield kind.name, argument
    elif path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            if kind is None and registry().by_suffix(file.suffix):
                yield _by_suffix(file).name, file
            elif kind is not None and file.suffix.lower() in kind.suffixes:
                yield kind.name, file
    else:
        yield (kind or _by_suffix(path)).name, path


def _lists_items(path: Path) -> bool:
    """Whether a table is a manifest: it has a column named after an installed modality."""
    if any(name in registry().names() for name in manifest.columns(path)):
        return True
    if registry().by_suffix(path.suffix):
        return False  # an item of a modality that reads tables
    names = ", ".join(registry().names())
    raise ManifestError(f"{path}: no column is named after an installed modality ({names})")


def _by_suffix(path: Path) -> Modality:
    claims = registry().by_suffix(path.suffix)
    if len(claims) == 1:
        return claims[0]
    if claims:
        names = " or ".join(m.name for m in claims)
        raise ItemError(path, f"{path.suffix} may be {names}; say which with --as")
    raise ItemError(
        path, f"no installed modality reads {path.suffix or 'files without a suffix'!r}; say which with --as"
    )
