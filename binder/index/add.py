"""Adding: items are encoded, unless they are there unchanged, and written in one commit after another.

Each item is written whole or not at all, so a second `add` after a crash completes the first.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from binder.data.cache import content_key
from binder.data.sources import Found
from binder.errors import ConfigError, ItemError, PluginError
from binder.errors import name_of as shown_name
from binder.files import utf8, why
from binder.index import recipes, rows
from binder.index.maintenance import COMMITS, maintain
from binder.index.rows import KEY, VECTOR
from binder.index.store import Store
from binder.index.table import Table, one_of
from binder.modality import Item, Unusable

if TYPE_CHECKING:
    from binder.api import Binder
    from binder.data.encode import Encoded, Progress

COMMIT_BYTES = 64 * 2**20  # of vectors in one commit
FIRST_ITEMS, MAX_ITEMS = 64, 2048  # in the first commit; in any
COMMIT_S = 10.0  # the aim for a commit, where encoding is slow


@dataclass
class Added:
    """What became of the items."""

    inserted: int = 0  # rows
    updated: int = 0  # rows
    unchanged: int = 0  # items, or rows if vectors were given
    failed: list[tuple[str, str]] = field(default_factory=list)  # item and reason

    def take(self, other: Added) -> None:
        """Add another's counts to these."""
        self.inserted += other.inserted
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.failed += other.failed


@dataclass(frozen=True)
class Options:
    """How to add; see `Index.add`."""

    every_s: float | None
    force: bool
    strict: bool
    progress: Progress


@dataclass(frozen=True)
class Task:
    """Items of one modality on their way into their table."""

    store: Store
    space: Binder
    modality: str
    options: Options
    inline: bool  # whether items are texts
    every_s: float | None  # the length of segments; None where items have no time axis
    recipe: str
    metadata: Mapping[str, pa.DataType] = field(default_factory=dict)  # columns that a new table starts with


@dataclass(frozen=True)
class Known:
    """What the table holds of an item."""

    keys: list[str]
    content: str | None
    recipe: str | None
    size: int | None
    mtime_ns: int | None
    extra: Mapping[str, Any]  # text and metadata


def silent(stage: str, done: int, total: int) -> None:
    """Progress that is not shown."""


def add_items(
    store: Store,
    space: Binder,
    items: Iterable[Found],
    metadata: Any,
    names: Sequence[str] | None,
    options: Options,
) -> Added:
    """Encode and write items of any modality. Raises PluginError for a missing encoder, ConfigError."""
    found = _with_metadata(list(items), metadata, store)
    if names is not None and len(names) != len(found):
        raise ConfigError(f"{len(names)} names for {len(found)} items")
    added = Added()
    for modality in dict.fromkeys(f.modality for f in found):
        own = [i for i, f in enumerate(found) if f.modality == modality]
        task = task_of(store, space, modality, options)
        added.take(_add_found(task, [found[i] for i in own], [names[i] for i in own] if names is not None else None))
    return added


def task_of(
    store: Store,
    space: Binder,
    modality: str,
    options: Options,
    metadata: Mapping[str, pa.DataType] | None = None,
) -> Task:
    """The task for items of that modality. Raises PluginError for a missing encoder."""
    if modality not in space.encoders:
        raise PluginError(f"no encoder for {modality!r} is loaded; open the index with a space that has one")
    every_s = options.every_s if recipes.has_time(space, modality) else None
    inline, recipe = space.registry.get(modality).inline, recipes.recipe_of(space, modality, every_s)
    return Task(store, space, modality, options, inline, every_s, recipe, metadata or {})


def add_vectors(store: Store, modality: str, batches: Iterable[pa.Table], options: Options) -> Added:
    """Write rows with vectors that were made elsewhere; never more than one commit of them is in memory."""
    added, done = Added(), 0
    for batch in batches:
        for part in _parts(batch):
            table = store.make(modality, rows.schema(part.schema.field(VECTOR).type.list_size))
            unique = rows.last_of_each(part)
            inserted, updated = (table.overwrite if options.force else table.merge)(unique)
            added.take(Added(inserted, updated, len(unique) - inserted - updated))
            done += len(part)
            options.progress(f"adding {modality}", done, done)
    return added


def _with_metadata(found: list[Found], metadata: Any, store: Store) -> list[Found]:
    """The items with the metadata of manifests and of the argument, converted to the kinds that are kept."""
    own: list[dict[str, Any]] = [{} for _ in found]
    for modality in dict.fromkeys(f.modality for f in found):
        places = [i for i, f in enumerate(found) if f.modality == modality]
        table = store.table(modality)
        have = table.state().metadata if table else {}
        names = [shown_name(found[i].item) for i in places]
        for i, meta in zip(places, rows.metadata_from_files([found[i].meta for i in places], names, have), strict=True):
            own[i] = meta
    given = rows.metadata_of(metadata, len(found))
    joined = []
    for f, a, b in zip(found, own, given.to_pylist() if given is not None else [{}] * len(found), strict=True):
        meta = {**a, **b}
        text = meta.pop("text", None)
        text = f.text if text is None else text
        joined.append(Found(f.modality, f.item, None if text is None else utf8(text), meta))
    return joined


def _add_found(task: Task, found: Sequence[Found], names: Sequence[str] | None) -> Added:
    """Encode and write what is new or has changed. Raises the first ItemError if `strict`."""
    wanted, added = _each_once(found, names or [_name(f.item, task.inline) for f in found]), Added()
    for name in [name for name in wanted if not name.isascii()]:
        try:
            _check_name(wanted[name].item, name)
        except ItemError as error:
            if task.options.strict:
                raise
            added.failed.append((error.item, error.reason))
            del wanted[name]
    done = 0
    for count, part in add_stream(task, wanted.items()):
        added.take(part)
        done += count
        task.options.progress(f"adding {task.modality}", done, len(wanted))
    return added


def add_stream(task: Task, named: Iterable[tuple[str, Found]]) -> Iterator[tuple[int, Added]]:
    """Encode and write what is new or has changed of items under distinct names, one commit at a time.

    After each commit: how many items it was about, and what became of them. Raises the first ItemError if `strict`.
    """
    todo = iter(named)
    least, size = 1, FIRST_ITEMS
    if task.space.workers:  # they take seconds to start, and start again for each commit
        least = size = MAX_ITEMS
    while chunk := dict(itertools.islice(todo, size)):
        began = time.monotonic()
        yield len(chunk), _add_chunk(task, chunk)
        size = min(MAX_ITEMS, 2 * size) if time.monotonic() - began < COMMIT_S else max(least, size // 2)


def _each_once(found: Sequence[Found], names: Sequence[str]) -> dict[str, Found]:
    """By name; an item that is listed repeatedly, such as a picture with five captions, keeps all its words."""
    once: dict[str, Found] = {}
    for name, f in zip(names, found, strict=True):
        before = once.get(name)
        words = dict.fromkeys(w for x in (before, f) if x and x.text for w in x.text.split("\n"))
        once[name] = Found(f.modality, f.item, "\n".join(words) or None, {**(before.meta if before else {}), **f.meta})
    return once


def _add_chunk(task: Task, wanted: Mapping[str, Found]) -> Added:
    table = task.store.table(task.modality)
    known = _known_of(table, list(wanted)) if table else {}
    added, marks, reworded, touched = Added(), {}, [], {}
    for name, found in wanted.items():
        have = known.get(name)
        try:
            mark, same = _compared(found, have, task)
        except ItemError as error:
            if task.options.strict:
                raise
            added.failed.append((name, error.reason))
            continue
        if not same or have is None:
            marks[name] = mark
            continue
        if mark.get("_mtime_ns") not in (None, have.mtime_ns):
            touched[name] = mark
        if _brings_more(found, have):
            reworded.append(name)
        else:
            added.unchanged += 1
    if marks:
        added.take(_encode(task, {name: wanted[name] for name in marks}, marks, known))
    if table and reworded:
        keys = [(key, name) for name in reworded for key in known[name].keys]
        extra = _extra_columns([wanted[name] for _, name in keys], task.inline)
        added.updated += table.amend(extra.append_column(KEY, pa.array([key for key, _ in keys], pa.string())))
    if table and touched:  # so that the time alone will do next time
        stats = [(key, mark) for name, mark in touched.items() for key in known[name].keys]
        times = {c: pa.array([mark[c] for _, mark in stats], pa.int64()) for c in ("_size", "_mtime_ns")}
        table.amend(pa.table({KEY: [key for key, _ in stats], **times}))
    made = task.store.table(task.modality) if added.inserted or added.updated else None
    if made and made.commits >= COMMITS:
        maintain(made)
    return added


def _encode(
    task: Task, wanted: Mapping[str, Found], marks: Mapping[str, dict[str, Any]], known: Mapping[str, Known]
) -> Added:
    """One commit of items that are new or have changed, with all segments of each."""
    names = list(wanted)
    keys = [bytes.fromhex(marks[name]["_content"]) for name in names]
    items = [found.item for found in wanted.values()]
    made = task.space.encode(task.modality, items, keys=keys, every_s=task.every_s, strict=task.options.strict)
    added = Added(failed=[(names[p], error.reason) for p, error in made.bad])
    if not made.good:
        return added
    batch = rows.last_of_each(_encoded_rows(task, names, wanted, marks, made))
    table = task.store.make(task.modality, rows.schema(made.vectors.shape[1], task.metadata))
    replace = [names[p] for p in dict.fromkeys(made.good) if names[p] in known]
    added.inserted, added.updated = table.overwrite(batch, replace=replace)
    return added


def _encoded_rows(
    task: Task, names: Sequence[str], wanted: Mapping[str, Found], marks: Mapping[str, dict[str, Any]], made: Encoded
) -> pa.Table:
    own = [names[p] for p in made.good]
    spans = made.spans or [None] * len(own)
    columns: dict[str, list[Any]] = {
        "item": own,
        "start_s": [span.start_s if span else None for span in spans],
        "end_s": [span.end_s if span else None for span in spans],
        "_recipe": [task.recipe] * len(own),
    }
    columns |= {c: [marks[name].get(c) for name in own] for c in ("_content", "_size", "_mtime_ns")}
    return rows.rows_of(columns, made.vectors, _extra_columns([wanted[name] for name in own], task.inline))


def _extra_columns(found: Sequence[Found], inline: bool) -> pa.Table:
    """The columns of text and metadata of the items."""
    texts = [str(f.item) if inline else f.text for f in found]
    extra: dict[str, Any] = {"text": pa.array(texts, pa.string())} if any(text is not None for text in texts) else {}
    meta = rows.metadata_of([f.meta for f in found], len(found))
    return pa.table(extra | ({name: meta[name] for name in meta.column_names} if meta is not None else {}))


def _parts(batch: pa.Table) -> Iterator[pa.Table]:
    """Slices of at most COMMIT_BYTES of vectors."""
    size = max(1, COMMIT_BYTES // (4 * batch.schema.field(VECTOR).type.list_size))
    return (batch.slice(start, size) for start in range(0, len(batch), size))


def _name(item: Item, inline: bool) -> str:
    """What an item is called in the index: a file by its absolute path, a text by itself, all else by its hash."""
    if isinstance(item, str | Path) and not inline:
        return rows.absolute(item)
    return str(item) if isinstance(item, str | Unusable) else content_key(item).hex()


def _check_name(item: Item, name: str) -> None:
    """Raises ItemError for a name that is no UTF-8, which LanceDB cannot store."""
    if utf8(name) != name:
        advice = "rename the file" if isinstance(item, Path) else "fix the text"
        raise ItemError(utf8(name), f"not valid Unicode, so the index cannot store it; {advice}")


def _known_of(table: Table, names: Sequence[str]) -> dict[str, Known]:
    """What the table holds of the items with these names."""
    extra = ["text", *table.state().metadata]
    columns = [KEY, "item", "_content", "_recipe", "_size", "_mtime_ns", *extra]
    found: dict[str, Known] = {}
    for batch in table.scan(columns, one_of("item", names)):
        for row in batch.to_pylist():
            if row["item"] in found:
                found[row["item"]].keys.append(row[KEY])
                continue
            own = {name: row[name] for name in extra if row[name] is not None}
            content, recipe, size, mtime_ns = (row[c] for c in ("_content", "_recipe", "_size", "_mtime_ns"))
            found[row["item"]] = Known([row[KEY]], content, recipe, size, mtime_ns, own)
    return found


def _compared(found: Found, known: Known | None, task: Task) -> tuple[dict[str, Any], bool]:
    """The columns that identify the item's content, and whether the table holds just that. Raises ItemError."""
    mark: dict[str, Any] = {}
    alike = known is not None and known.recipe == task.recipe and not task.options.force
    if isinstance(found.item, Path):
        try:
            stat = found.item.stat()
        except (OSError, ValueError) as error:  # a NUL in the path
            missing = isinstance(error, FileNotFoundError)
            raise ItemError(found.item, "no such file" if missing else f"cannot be read: {why(error)}") from None
        mark = {"_size": stat.st_size, "_mtime_ns": stat.st_mtime_ns if rows.settled(stat.st_mtime_ns) else None}
        if alike and known and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
            return mark, True  # known.mtime_ns is null if it proves nothing
    mark["_content"] = content_key(found.item).hex()
    return mark, bool(alike and known and known.content == mark["_content"])


def _brings_more(found: Found, known: Known) -> bool:
    """Whether given text or metadata differs from that in the table; what is not given stays."""
    given = dict(found.meta)
    if found.text is not None:
        given["text"] = found.text
    return any(value is not None and not rows.same(known.extra.get(name), value) for name, value in given.items())
