"""Moving an index to another space: its items are encoded again, and a new index beside the old one takes them.

The old index is only read. What the new one holds unchanged is skipped, as with `add`, so the same call again goes on
after a crash. Vectors of another space cannot be converted, so a row needs what it was made from: the file that its
name says, or the text itself.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from binder.data.sources import Found
from binder.errors import ConfigError, ItemError, StoreError
from binder.files import parse_json
from binder.index import add as adding
from binder.index.add import Added, Options
from binder.index.maintenance import maintain
from binder.index.recipes import every_of
from binder.index.store import Record, Store, folder_of
from binder.index.table import Table
from binder.modality import Item

if TYPE_CHECKING:
    from binder.api import Binder

ORIGIN = "reembed"  # the note in the new index that says which one it was made from
MAX_LISTED = 10_000  # items that cannot be made again and are listed; all are counted


@dataclass
class Moved(Added):
    """What became of the items of an index that was moved; `failed` lists the first of those that were left behind."""

    left: int = 0  # items left behind: they cannot be made again

    def take(self, other: Added) -> None:
        """Add another's counts to these."""
        super().take(other)
        self.left += len(other.failed)
        del self.failed[MAX_LISTED:]


@dataclass
class _Move:
    """One modality on its way into the new index."""

    table: Table  # of the old index
    store: Store  # of the new one
    space: Binder
    options: Options
    moved: Moved
    seen: Seen = field(default_factory=lambda: Seen())
    read: int = 0  # rows of the old table
    reported: int = 0

    @property
    def modality(self) -> str:
        return self.table.name

    def left_behind(self, item: str, reason: str) -> None:
        """Raises ItemError if `strict`."""
        if self.options.strict:
            raise ItemError(item, reason)
        self.moved.take(Added(failed=[(item, reason)]))

    def report(self) -> None:
        if self.read > self.reported:
            self.options.progress(f"moving {self.modality}", self.read, self.table.state().rows)
        self.reported = self.read


class Seen:
    """The names that have been met, 16 bytes each, whatever their length."""

    def __init__(self) -> None:
        self._hashes = np.empty(0, "S16")  # sorted

    def new(self, names: Sequence[str]) -> list[bool]:
        """Whether each name is met for the first time, also within this call."""
        hashes = [hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest() for name in names]
        asked, first = np.unique(np.array(hashes, "S16"), return_index=True)
        places = np.searchsorted(self._hashes, asked)
        known = np.zeros(len(asked), bool)
        inside = places < len(self._hashes)
        known[inside] = self._hashes[places[inside]] == asked[inside]
        self._hashes = np.insert(self._hashes, places[~known], asked[~known])
        found = np.zeros(len(names), bool)
        found[first[~known]] = True
        return list(map(bool, found))


def advice(location: str, anchor: str = "NEW") -> str:
    """How to move an index to the space of an anchor."""
    command = f"binder index reembed {shlex.quote(location)} --anchor {shlex.quote(anchor)} --out NEW.idx"
    return f"to move the index: {command}"


def load_target(
    source: Store,
    modalities: Sequence[str] | None,
    encoders: Sequence[str],
    *,
    anchor: str | None,
    prompt: str | None = None,
    trunk: str | None = None,
    device: str = "auto",
    workers: int = 0,
) -> Binder:
    """The Binder of the space to move to. Raises ConfigError for an encoder of a modality that is not moved."""
    from binder.api import Binder
    from binder.artifact import hub
    from binder.artifact.run_folder import read_card

    moving = [table.name for table in source.tables(modalities)]
    for run in encoders:
        encodes = read_card(hub.local(run)).modality
        if encodes not in moving:
            whose = "is not among those to move" if encodes in source.names() else f"{source.location} does not hold"
            raise ConfigError(f"{run}: an encoder of {encodes}, which {whose}; leave it out")
    return Binder.of(encoders, anchor=anchor, prompt=prompt, trunk=trunk, device=device, workers=workers)


def target(source: Store, out: str | os.PathLike[str], space: Binder, options: Mapping[str, str] | None) -> Store:
    """The new index: created now, or begun by an earlier call with the same source. Raises StoreError."""
    place, origin = _place(os.fspath(out)), _place(source.location)
    if place == origin:
        raise StoreError(f"{source.location}: is the index to move itself; choose another place for the new one")
    if source.folder and "://" not in place and Path(place).is_relative_to(origin):
        raise StoreError(f"{place}: lies inside the index {source.location}; choose another place for the new one")
    store = Store(out, options, create=True)
    if not store.exists():
        store.set_note(ORIGIN, json.dumps({"location": origin}))  # before the record, so that no index is without it
        store.record = Record.new(space.space, space.anchor.embed_dim, space.anchor.name)
        return store
    there = store.record
    if there.space != space.space:
        raise StoreError(
            f"{store.location}: there is an index of another space, {there.space[:8]} (anchor {there.anchor}), "
            f"not {space.space[:8]} (anchor {space.anchor.name}); choose another place for the new one"
        )
    if _origin(store) != origin:
        raise StoreError(f"{store.location}: there is an index that was not made from {origin}; choose another place")
    return store


def move(tables: Sequence[Table], store: Store, space: Binder, options: Options) -> Moved:
    """Encode the items of these tables again, and write them into tables of the same names with all that is theirs."""
    moved = Moved()
    for table in tables:
        _move(_Move(table, store, space, options, moved))
        made = store.table(table.name)
        if made:
            maintain(made, spent_s=math.inf)  # it takes little beside encoding
    return moved


def _move(one: _Move) -> None:
    """A table in as many passes as there are lengths of segments, whole items last."""
    lengths = _lengths(one.table)
    for every_s in sorted(set(lengths.values()), key=lambda length: (length is None, length)):
        rows = _first_rows(one, lengths, every_s)
        if one.modality not in one.space.encoders:
            for row in rows:
                one.left_behind(row["item"], f"no encoder of {one.modality} for the new space; give it as --encoder")
                one.report()
            continue
        own = replace(one.options, every_s=every_s)
        task = adding.task_of(one.store, one.space, one.modality, own, one.table.state().metadata)
        for _, part in adding.add_stream(task, _found(one, rows, task.inline, every_s)):
            one.moved.take(part)
            one.report()
    one.report()


def _lengths(table: Table) -> dict[str | None, float | None]:
    """Recipe -> length of segments, of all recipes in a table."""
    recipes: set[str | None] = set()
    for batch in table.scan(["_recipe"]):
        recipes.update(pa.compute.unique(batch["_recipe"]).to_pylist())
    return {recipe: every_of(recipe) for recipe in recipes}


def _first_rows(
    one: _Move, lengths: Mapping[str | None, float | None], every_s: float | None
) -> Iterator[dict[str, Any]]:
    """One row, without its vector, of every item with this length of segments."""
    columns = ["item", "start_s", "text", "_content", "_recipe", "_size", *one.table.state().metadata]
    for batch in one.table.scan(columns):
        rows = [row for row in batch.to_pylist() if lengths.get(row["_recipe"], math.inf) == every_s]
        for row, new in zip(rows, one.seen.new([row["item"] for row in rows]), strict=True):
            one.read += 1
            if new:
                yield row


def _found(
    one: _Move, rows: Iterator[dict[str, Any]], inline: bool, every_s: float | None
) -> Iterator[tuple[str, Found]]:
    """Rows -> names and items, of those that can be made again."""
    for row in rows:
        try:
            item = _source_of(row, inline, every_s)
        except ItemError as error:
            one.left_behind(error.item, error.reason)
            continue
        meta = {name: row[name] for name in one.table.state().metadata if row[name] is not None}
        yield row["item"], Found(one.modality, item, row["text"], meta)


def _source_of(row: Mapping[str, Any], inline: bool, every_s: float | None) -> Item:
    """What a row was made from: the file, or the text itself. Raises ItemError where the row does not say."""
    name, from_elsewhere = row["item"], row["_recipe"] is None
    if from_elsewhere and name == row["_content"]:
        raise ItemError(name, "was added as a vector without a name; there is nothing to encode")
    if every_s is None and row["start_s"] is not None:
        raise ItemError(name, "was added as vectors of segments; their length is not known")
    if inline and row["text"] is not None:
        return row["text"]
    if not inline and Path(name).is_absolute():
        return Path(name)
    if from_elsewhere:
        raise ItemError(name, "was added as a vector under a name; there is nothing to encode")
    if row["_size"] is None:
        raise ItemError(name, "was added from memory; there is nothing to encode")
    raise ItemError(name, "was added under a name of its own; where its file is, the index does not say")


def _place(location: str) -> str:
    """What two spellings of a location have in common. Raises StoreError for none that can be one."""
    folder = folder_of(location)
    return str(folder.resolve()) if folder else location.rstrip("/")


def _origin(store: Store) -> str | None:
    """The location of the index that this one was made from; None if it was filled otherwise."""
    try:
        values = parse_json(store.note(ORIGIN) or "null")
    except ValueError:
        return None
    return values.get("location") if isinstance(values, dict) else None
