"""Items and vectors into an index: streamed, one commit after another, each item whole or not at all.

What is there already is left alone, so a second `add` after a crash completes the first.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from binder.data.sources import Found
from binder.errors import ConfigError, ItemError, PluginError
from binder.index import metadata, rows
from binder.index.changes import Known, check_name, compared, known_of, name_of, pieces, recipe_of, says_more
from binder.index.rows import KEY, VECTOR
from binder.index.store import Store
from binder.index.upkeep import maintain
from binder.registry import registry

if TYPE_CHECKING:
    from binder.api import Binder
    from binder.data.encode import Encoded, Progress

COMMIT_BYTES = 64 * 2**20  # of vectors in one commit
FIRST, MOST = 64, 2048  # items in the first commit; at most
COMMIT_S = 10.0  # commits take about so long where encoding is slow


@dataclass
class Added:
    """What became of the items."""

    inserted: int = 0  # rows
    updated: int = 0  # rows
    unchanged: int = 0  # items, or rows where vectors were given
    failed: list[tuple[str, str]] = field(default_factory=list)  # item and reason

    def take(self, other: Added) -> None:
        """Count what another says, too."""
        self.inserted += other.inserted
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.failed += other.failed


@dataclass(frozen=True)
class Task:
    """Items of one modality on their way into their table."""

    store: Store
    space: Binder
    modality: str
    inline: bool
    every_s: float | None
    force: bool
    strict: bool
    recipe: str


def add_items(
    store: Store,
    space: Binder,
    found: Sequence[Found],
    names: Sequence[str] | None,
    *,
    every_s: float | None,
    force: bool,
    strict: bool,
    progress: Progress,
) -> Added:
    """Encode and keep items of any modalities. Raises PluginError where an encoder is missing, ConfigError."""
    if names is not None and len(names) != len(found):
        raise ConfigError(f"{len(names)} names for {len(found)} items")
    added = Added()
    for modality in dict.fromkeys(f.modality for f in found):
        own = [i for i, f in enumerate(found) if f.modality == modality]
        if modality not in space.encoders:
            raise PluginError(f"no encoder for {modality!r} is loaded; open the index with a space that has one")
        length = pieces(space, modality, every_s)
        inline, recipe = registry().get(modality).inline, recipe_of(space, modality, length)
        task = Task(store, space, modality, inline, length, force, strict, recipe)
        called = [names[i] for i in own] if names is not None else None
        added.take(add_found(task, [found[i] for i in own], called, progress))
    return added


def add_found(task: Task, found: Sequence[Found], names: Sequence[str] | None, progress: Progress) -> Added:
    """Encode and keep what is new or has changed. Raises the first ItemError if `task.strict`."""
    wanted, added = _each_once(found, names or [name_of(f.item, task.inline) for f in found]), Added()
    for name in [name for name in wanted if not name.isascii()]:
        try:
            check_name(wanted[name].item, name)
        except ItemError as error:
            if task.strict:
                raise
            added.failed.append((error.item, error.reason))
            del wanted[name]
    todo = iter(wanted.items())
    least, size = 1, FIRST
    if task.space.workers:  # they take seconds to start, and start for each commit
        least = size = MOST
    done = 0
    while chunk := dict(itertools.islice(todo, size)):
        began = time.monotonic()
        added.take(_add_chunk(task, chunk))
        done += len(chunk)
        progress(f"adding {task.modality}", done, len(wanted))
        size = min(MOST, 2 * size) if time.monotonic() - began < COMMIT_S else max(least, size // 2)
    return added


def add_vectors(store: Store, modality: str, batches: Iterable[pa.Table], *, force: bool, progress: Progress) -> Added:
    """Keep rows with vectors that were made elsewhere; whatever their number, one commit is in memory."""
    added, done = Added(), 0
    for batch in batches:
        for part in _parts(batch):
            table = store.make(modality, rows.schema(part.schema.field(VECTOR).type.list_size))
            unique = rows.last_of_each(part)
            inserted, updated = (table.overwrite if force else table.merge)(unique)
            added.take(Added(inserted, updated, len(unique) - inserted - updated))
            done += len(part)
            progress(f"adding {modality}", done, done)
    return added


def _each_once(found: Sequence[Found], names: Sequence[str]) -> dict[str, Found]:
    """By name; an item that is listed several times, as a picture with five captions is, keeps all its words."""
    once: dict[str, Found] = {}
    for name, f in zip(names, found, strict=True):
        before = once.get(name)
        words = dict.fromkeys(w for x in (before, f) if x and x.text for w in x.text.split("\n"))
        once[name] = Found(f.modality, f.item, "\n".join(words) or None, {**(before.meta if before else {}), **f.meta})
    return once


def _add_chunk(task: Task, wanted: Mapping[str, Found]) -> Added:
    table = task.store.table(task.modality)
    known = known_of(table, list(wanted)) if table else {}
    added, marks, reworded, touched = Added(), {}, [], {}
    for name, found in wanted.items():
        have = known.get(name)
        try:
            mark, same = compared(found, have, task.recipe, task.force)
        except ItemError as error:
            if task.strict:
                raise
            added.failed.append((name, error.reason))
            continue
        if not same or have is None:
            marks[name] = mark
            continue
        if mark.get("_mtime_ns") not in (None, have.mtime_ns):
            touched[name] = mark
        if says_more(found, have):
            reworded.append(name)
        else:
            added.unchanged += 1
    if marks:
        added.take(_encode(task, {name: wanted[name] for name in marks}, marks, known))
    if table and reworded:
        said = [(key, name) for name in reworded for key in known[name].keys]
        added.updated += table.amend(_said([wanted[n] for _, n in said], {KEY: [key for key, _ in said]}, task.inline))
    if table and touched:  # next time their time is proof enough
        keys = [(key, mark) for name, mark in touched.items() for key in known[name].keys]
        times = {c: pa.array([mark[c] for _, mark in keys], pa.int64()) for c in ("_size", "_mtime_ns")}
        table.amend(pa.table({KEY: [key for key, _ in keys], **times}))
    if added.inserted or added.updated:
        made = task.store.table(task.modality)
        if made and made.due:
            maintain(made)
    return added


def _encode(
    task: Task, wanted: Mapping[str, Found], marks: Mapping[str, dict[str, Any]], known: Mapping[str, Known]
) -> Added:
    """One commit of items that are new or have changed: all pieces of each."""
    names = list(wanted)
    keys = [bytes.fromhex(marks[name]["_content"]) for name in names]
    items = [found.item for found in wanted.values()]
    made = task.space.encode(task.modality, items, keys=keys, every_s=task.every_s, strict=task.strict)
    added = Added(failed=[(names[p], error.reason) for p, error in made.bad])
    if not made.good:
        return added
    batch = rows.last_of_each(_encoded_rows(task, names, wanted, marks, made))
    table = task.store.make(task.modality, rows.schema(made.vectors.shape[1]))
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
    batch = rows.table(columns, made.vectors)
    said = _said([wanted[name] for name in own], {}, task.inline)
    for name in said.column_names:
        batch = batch.append_column(name, said[name])
    return batch


def _said(found: Sequence[Found], columns: dict[str, Sequence[Any]], inline: bool) -> pa.Table:
    """What is said of the items, as columns beside the given ones."""
    texts = [str(f.item) if inline else f.text for f in found]
    said = dict(columns)
    if any(text is not None for text in texts):
        said["text"] = texts
    meta = metadata.columns_of([f.meta for f in found], len(found))
    return pa.table(
        {
            **{name: pa.array(cells, pa.string()) for name, cells in said.items()},
            **({n: meta[n] for n in meta.column_names} if meta is not None else {}),
        }
    )


def _parts(batch: pa.Table) -> Iterator[pa.Table]:
    """Slices of at most COMMIT_BYTES of vectors."""
    size = max(1, COMMIT_BYTES // (4 * batch.schema.field(VECTOR).type.list_size))
    return (batch.slice(start, size) for start in range(0, len(batch), size))
