"""Searching: queries, by vector or by words, are put to every table at once; the hits are merged, fused and grouped.

Shapes: Q queries, N rows, D embed_dim.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa

from binder.data.items import holds_items
from binder.errors import ConfigError, StoreError
from binder.files import utf8
from binder.index import hits as hitting
from binder.index.calibration import Calibration, Kept
from binder.index.condition import NoColumn
from binder.index.hits import Hit
from binder.index.nearest import nearest
from binder.index.rows import KEY, VECTOR, absolute, matrix
from binder.index.store import Record
from binder.index.table import Table, one_of
from binder.space import vectors as geometry
from binder.space.embeddings import Embeddings
from binder.space.vectors import Vectors

T = TypeVar("T")
Mode = Literal["vector", "text", "hybrid"]
RankBy = Literal["score", "probability"]

NAMES_AT_ONCE = 4096  # in one condition
QUERIES_AT_ONCE = 256


@dataclass(frozen=True)
class Options:
    """How to search; see `Index.search`. Raises ConfigError for values that do not exist."""

    k: int
    where: str | None
    mode: str
    rank_by: str | None
    exact: bool
    per_item: bool
    collapse: float | None
    vectors: bool

    def __post_init__(self) -> None:
        if self.k < 1 or self.mode not in ("vector", "text", "hybrid"):
            expected = "expected k of at least 1, mode vector, text or hybrid"
            raise ConfigError(f"k is {self.k}, mode {self.mode!r}; {expected}")
        by_probability = self.rank_by == "probability"
        if self.rank_by not in (None, "score", "probability") or (by_probability and self.mode == "text"):
            expected = "expected score, or probability (not in mode text)"
            raise ConfigError(f"rank_by is {self.rank_by!r} in mode {self.mode!r}; {expected}")

    @property
    def fetch_vectors(self) -> bool:
        return self.vectors or self.collapse is not None


@dataclass(frozen=True)
class Queries:
    """What every table is asked: Q queries, which are searched for in one pass."""

    vectors_QD: Vectors | None  # None if only words are looked up
    words: tuple[str, ...] | None  # (Q,)
    modality: str | None = None  # of the queries, if they are of one
    one: bool = True  # whether they were given as one query, not as a list

    def __len__(self) -> int:
        return len(self.vectors_QD if self.vectors_QD is not None else self.words or ())

    def __getitem__(self, part: Any) -> Queries:
        """Those at these places: a slice, or an array of numbers."""
        words = None if self.words is None else tuple(np.array(self.words, object)[part])
        return replace(self, vectors_QD=None if self.vectors_QD is None else self.vectors_QD[part], words=words)


def queries_of(
    query: Any, items: Mapping[str, Any], mode: str, record: Record, embed: Callable[..., Embeddings]
) -> Queries:
    """Vectors, or items as a keyword, as `Index.search` takes them. Raises ConfigError, SpaceError."""
    words = None
    if mode != "vector":
        words = _words(items.get("text"))
        if words is None or len(items) > 1 or (mode == "text" and query is not None):
            raise ConfigError(f"mode {mode!r} looks up words: give them as text=...")
        items = {"text": items["text"] if isinstance(items["text"], str) else list(words)}
        if mode == "text":
            return Queries(None, words, one=isinstance(items["text"], str))
    several = any(map(holds_items, items.values()))
    if query is not None and mode == "hybrid":
        items = {}
    if (query is None) == (not items):
        raise ConfigError("search needs a vector, or one item as a keyword such as text=...; or several in a list")
    if query is None and len(items) != 1:
        raise ConfigError(f"give exactly one modality as a keyword, got {', '.join(items)}")
    z = record.embeddings(embed(**items) if query is None else query)
    if words is not None and len(words) != len(z):
        raise ConfigError(f"{len(words)} texts for {len(z)} vectors: mode {mode!r} needs one for each")
    return Queries(z.vectors, words, z.modality, one=len(z) == 1 and not several)


def _words(asked: Any) -> tuple[str, ...] | None:
    """What to look up for each query; None where it is no text."""
    words = tuple(asked) if holds_items(asked) else (asked,)
    return words if all(isinstance(text, str) for text in words) else None


def run(tables: Sequence[Table], queries: Queries, options: Options, kept: Kept) -> list[list[Hit]]:
    """For each query the k best hits of all tables, best first."""
    calibration = None if queries.vectors_QD is None else kept.now()
    by_probability = kept.orders(options.rank_by, tables, calibration)

    def reduce(hits: list[Hit]) -> list[Hit]:
        hits = hitting.by_item(hits) if options.per_item else hits
        return hits if options.collapse is None else hitting.collapsed(hits, options.collapse)

    reduces = options.per_item or options.collapse is not None
    found: list[list[Hit]] = []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        some = queries[start : start + QUERIES_AT_ONCE]

        def ask(places: Sequence[int], n: int, some: Queries = some) -> list[list[Hit]]:
            return _asked(tables, some[list(places)], n, options, calibration, by_probability)

        found += hitting.enough(ask, len(some), options.k, reduce if reduces else None)
    if options.vectors or options.collapse is None:
        return found
    return [[hitting.without_vector(hit) for hit in hits] for hits in found]


def side_by_side(tables: Sequence[Table], ask: Callable[[Table], T]) -> list[T]:
    """The answers of the tables, asked in parallel, except of those that lack a column of the condition.

    Raises StoreError if all tables lack it.
    """

    def one(table: Table) -> T | NoColumn:
        try:
            return ask(table)
        except NoColumn as error:
            return error

    if len(tables) < 2:
        answers = [one(table) for table in tables]
    else:
        with ThreadPoolExecutor(len(tables)) as pool:
            answers = list(pool.map(one, tables))
    errors = [answer for answer in answers if isinstance(answer, NoColumn)]
    if errors and len(errors) == len(answers):
        raise max(errors, key=lambda error: len(str(error)))  # of the table with the most columns
    return [answer for answer in answers if not isinstance(answer, NoColumn)]


def named(table: Table, items: Sequence[str | Path]) -> Iterator[list[str]]:
    """Names that the table may have for these items, and for the files below folders among them, some at a time."""
    names = {name for item in items for name in _spellings(item)}
    folders = tuple(absolute(item) + os.sep for item in items if "\0" not in str(item) and Path(item).is_dir())
    if folders:
        for batch in table.scan(["item"]):
            names.update(name for name in batch["item"].to_pylist() if name.startswith(folders))
    listed = sorted(names)
    return (listed[start : start + NAMES_AT_ONCE] for start in range(0, len(listed), NAMES_AT_ONCE))


def vector_of(tables: Sequence[Table], item: str | Path) -> tuple[Vectors, set[tuple[str, str]]]:
    """(D,) the direction of an item (of the mean of its segments), and the (modality, item) that it was found as.

    Raises StoreError if no table has it.
    """
    names = _spellings(item)
    for table in tables:
        batches = list(table.scan(["item", VECTOR], one_of(KEY, names) | one_of("item", names)))
        rows = pa.Table.from_batches(batches) if batches else None
        if rows is not None and len(rows):
            z = geometry.normalize(matrix(rows[VECTOR]).mean(0))
            return z, {(table.name, str(name)) for name in rows["item"].to_pylist()}
    raise StoreError(f"{item}: not in the index; add it, or search with it as a query")


def _spellings(item: str | Path) -> list[str]:
    return list(dict.fromkeys([utf8(str(item)), utf8(absolute(item))]))


def _asked(
    tables: Sequence[Table],
    queries: Queries,
    n: int,
    options: Options,
    calibration: Calibration | None,
    by_probability: bool,
) -> list[list[Hit]]:
    """For each query the n best hits of all tables, by vector, by words, or fused."""
    ways, places = [], range(len(queries))
    if queries.vectors_QD is not None:
        near = side_by_side(tables, lambda table: _near(table, queries, options, calibration, n))
        ways.append([hitting.merged([a[i] for a in near], n, by_probability=by_probability) for i in places])
    if queries.words is not None:
        worded = side_by_side(tables, lambda table: _worded(table, queries, options, n))
        ways.append([hitting.merged([a[i] for a in worded], n) for i in places])
    if len(ways) == 1:
        return ways[0]
    return [hitting.fused(lists, n) for lists in zip(*ways, strict=True)]


def _near(table: Table, queries: Queries, options: Options, calibration: Calibration | None, n: int) -> list[list[Hit]]:
    assert queries.vectors_QD is not None
    answers = nearest(table, queries.vectors_QD, n, options)
    found = [[] if rows is None else hitting.hits_of(table.name, rows) for rows in answers]
    if calibration is None or not calibration.covers(table):
        return found
    judged = []
    for query_D, hits in zip(queries.vectors_QD, found, strict=True):
        scores = [hit.score for hit in hits]
        probabilities = calibration.probabilities(query_D, queries.modality, table.name, scores)
        judged.append([replace(hit, probability=float(p)) for hit, p in zip(hits, probabilities, strict=True)])
    return judged


def _worded(table: Table, queries: Queries, options: Options, n: int) -> list[list[Hit]]:
    """One query after the other: the store looks up one at a time."""
    assert queries.words is not None
    state = table.state()
    if not state.searchable:
        return [[] for _ in queries.words]
    columns = [*state.shown, *([VECTOR] if options.fetch_vectors else [])]
    answers = (table.matching(words, n, columns, options.where) for words in queries.words)
    return [hitting.hits_of(table.name, rows) for rows in answers]
