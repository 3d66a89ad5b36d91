"""FILE... on the command line -> items of known modality. Nothing is guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from binder.cli import output
from binder.data import sources
from binder.errors import BinderError
from binder.modality import Item

if TYPE_CHECKING:
    from binder.api import Binder
    from binder.encoder import Span
    from binder.space.vectors import Vectors


def collect(arguments: Sequence[str], modality: str | None, space: Binder) -> list[tuple[str, Item]]:
    """(modality, item) for every argument: a file, a folder of files, a manifest, or with `--as text` the text itself.

    Raises ItemError for a suffix claimed by no modality or by several, ManifestError for an invalid manifest.
    """
    found = sources.collect(arguments, modality, space.registry, space.encoders)
    return [(each.modality, each.item) for each in found]


@dataclass(frozen=True)
class Row:
    """One vector and the item or segment it belongs to."""

    position: int  # of its item
    vector: Vectors  # (D,) unit length
    span: Span | None = None  # the segment, if items were cut into segments


def encode(
    items: Sequence[tuple[str, Item]], space: Binder, *, strict: bool, every_s: float | None = None
) -> list[Row]:
    """The vectors of all items that can be read, in order; the others are listed on stderr."""
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
    if not found:
        first = problems[0][1] if problems else f"{items[0][1]}: gives no vector"
        raise BinderError(first if len(items) == 1 else f"none of the {len(items)} items can be read; {first}")
    output.skipped(problems)
    return sorted(found, key=lambda row: row.position)
