"""Whether an item is new, has changed, or is what the index holds already."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binder.data.cache import content_key
from binder.data.sources import Found
from binder.errors import ItemError
from binder.files import utf8, why
from binder.index.rows import KEY, absolute
from binder.index.table import Table, one_of
from binder.modality import Item, Unusable

if TYPE_CHECKING:
    from binder.api import Binder

GRAIN_NS = 2_000_000_000  # a file that changed so shortly before it was read may change again unseen by its time


@dataclass(frozen=True)
class Known:
    """What the index holds of an item."""

    keys: list[str]
    content: str | None
    recipe: str | None
    size: int | None
    mtime_ns: int | None
    said: Mapping[str, Any]  # text and metadata


def name_of(item: Item, inline: bool) -> str:
    """What an item is called in the index: a file by its absolute path, a text by itself, others by their content."""
    if isinstance(item, str | Path) and not inline:
        return absolute(item)
    return str(item) if isinstance(item, str | Unusable) else content_key(item).hex()


def check_name(item: Item, name: str) -> None:
    """Raises ItemError for a name that the store, which keeps UTF-8, cannot hold."""
    if utf8(name) != name:
        mend = "rename the file" if isinstance(item, Path) else "mend the text"
        raise ItemError(utf8(name), f"no valid Unicode, so the index cannot hold it; {mend}")


def pieces(space: Binder, modality: str, every_s: float | None) -> float | None:
    """The length of pieces, or None where items of this modality have no time axis."""
    from binder.encoder import Encoder

    return None if type(space.encoders[modality]).segments is Encoder.segments else every_s


def recipe_of(space: Binder, modality: str, every_s: float | None) -> str:
    """A name for how vectors of this modality are made: the encoder's weights and settings, the length of pieces."""
    from binder.anchors.trunk import hash_weights

    card = space.cards.get(modality)
    made = f"{hash_weights(space.encoders[modality].state_dict())} {card.config}" if card else "anchor"
    short = hashlib.blake2b(made.encode(), digest_size=8).hexdigest() if card else made
    return short if every_s is None else f"{short}/{every_s:g}s"


def known_of(table: Table, names: Sequence[str]) -> dict[str, Known]:
    """What the table holds of the items of these names."""
    state = table.state()
    said = ["text", *state.metadata]
    columns = [KEY, "item", "_content", "_recipe", "_size", "_mtime_ns", *said]
    found: dict[str, Known] = {}
    for batch in table.scan(columns, one_of("item", names)):
        for row in batch.to_pylist():
            if row["item"] in found:
                found[row["item"]].keys.append(row[KEY])
                continue
            own = {name: row[name] for name in said if row[name] is not None}
            content, recipe, size, mtime_ns = (row[c] for c in ("_content", "_recipe", "_size", "_mtime_ns"))
            found[row["item"]] = Known([row[KEY]], content, recipe, size, mtime_ns, own)
    return found


def compared(found: Found, known: Known | None, recipe: str, force: bool) -> tuple[dict[str, Any], bool]:
    """What names the item's content, and whether the index holds just that. Raises ItemError: cannot be read."""
    mark: dict[str, Any] = {}
    alike = known is not None and known.recipe == recipe and not force
    if isinstance(found.item, Path):
        try:
            stat = found.item.stat()
        except (OSError, ValueError) as error:  # a NUL in the path
            missing = isinstance(error, FileNotFoundError)
            raise ItemError(found.item, "no such file" if missing else f"cannot be read: {why(error)}") from None
        settled = time.time_ns() - stat.st_mtime_ns > GRAIN_NS
        mark = {"_size": stat.st_size, "_mtime_ns": stat.st_mtime_ns if settled else None}
        if alike and known and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            return mark, True  # known.mtime_ns is null where it proves nothing
    mark["_content"] = content_key(found.item).hex()
    return mark, bool(alike and known and known.content == mark["_content"])


def says_more(found: Found, known: Known) -> bool:
    """Whether words or metadata are given that differ from those in the index; what is not given stays."""
    given = dict(found.meta)
    if found.text is not None:
        given["text"] = found.text
    return any(value is not None and known.said.get(name) != value for name, value in given.items())
