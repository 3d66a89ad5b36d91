"""Searching: a query, by vector or by words, is put to every table at once; the hits are merged, fused and grouped.

Up to 32 MiB of vectors (16,000 of 512 dimensions) are held in memory and compared one by one, which is exact and faster
than any index. Larger tables are searched by their codes, and the best candidates compared exactly.

Shapes: N rows, D embed_dim.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from binder.errors import ConfigError, StoreError
from binder.files import utf8
from binder.index import hits as hitting
from binder.index.calibration import Calibration, Kept
from binder.index.condition import NoColumn
from binder.index.hits import Hit
from binder.index.rows import KEY, SCORE, VECTOR, absolute, matrix
from binder.index.store import Record
from binder.index.table import State, Table, one_of
from binder.space import vectors as geometry
from binder.space.embeddings import Embeddings
from binder.space.vectors import Vectors

T = TypeVar("T")

EXACT = 256 * 2**20  # bytes of vectors that `exact` holds in memory
SUBSET = 2048  # rows that meet a condition, up to which they are compared one by one
NAMES_AT_ONCE = 4096  # in one condition


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
class Query:
    """What every table is asked."""

    vector: Vectors | None  # (D,); None if only words are looked up
    words: str | None
    modality: str | None = None  # of the query, if it is of one


@dataclass(frozen=True)
class Memory:
    """A table's rows as of one version."""

    version: int
    rows: pa.Table  # the columns of a hit, and VECTOR
    z_ND: Vectors  # a view of VECTOR
    numbers: np.ndarray  # (N,) LanceDB's row numbers


def query_of(
    query: Any, items: Mapping[str, Any], mode: str, record: Record, embed: Callable[..., Embeddings]
) -> Query:
    """A vector, or one item as a keyword, as `Index.search` takes them. Raises ConfigError, SpaceError."""
    words = None
    if mode != "vector":
        words = items.get("text")
        if not isinstance(words, str) or len(items) > 1 or (mode == "text" and query is not None):
            raise ConfigError(f"mode {mode!r} looks up words: give them as text=...")
        if mode == "text":
            return Query(None, words)
        items = items if query is None else {}
    if (query is None) == (not items):
        raise ConfigError("search needs a vector, or one item as a keyword such as text=...")
    if query is None and len(items) != 1:
        raise ConfigError(f"give exactly one modality as a keyword, got {', '.join(items)}")
    z = embed(**items) if query is None else query
    return Query(record.one_vector(z), words, z.modality if isinstance(z, Embeddings) else None)


def run(tables: Sequence[Table], query: Query, options: Options, kept: Kept) -> list[Hit]:
    """The k best hits of all tables, best first."""
    calibration = None if query.vector is None else kept.now()
    by_probability = kept.orders(options.rank_by, tables, calibration)

    def ask(n: int) -> list[Hit]:
        lists = []
        if query.vector is not None:
            near = side_by_side(tables, lambda table: _near(table, query, options, calibration, n))
            lists.append(hitting.merged(near, n, by_probability=by_probability))
        if query.words is not None:
            lists.append(hitting.merged(side_by_side(tables, lambda table: _worded(table, query, options, n)), n))
        return lists[0] if len(lists) == 1 else hitting.fused(lists, n)

    def reduce(hits: list[Hit]) -> list[Hit]:
        hits = hitting.by_item(hits) if options.per_item else hits
        return hits if options.collapse is None else hitting.collapsed(hits, options.collapse)

    reduces = options.per_item or options.collapse is not None
    found = hitting.enough(ask, options.k, reduce if reduces else None)
    return found if options.vectors or options.collapse is None else [hitting.without_vector(hit) for hit in found]


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


def _near(table: Table, query: Query, options: Options, calibration: Calibration | None, n: int) -> list[Hit]:
    assert query.vector is not None
    rows = _nearest(table, query.vector, n, options)
    found = hitting.hits_of(table.name, rows) if rows is not None else []
    if calibration is None or not calibration.covers(table):
        return found
    scores = [hit.score for hit in found]
    probabilities = calibration.probabilities(query.vector, query.modality, table.name, scores)
    return [replace(hit, probability=float(p)) for hit, p in zip(found, probabilities, strict=True)]


def _worded(table: Table, query: Query, options: Options, n: int) -> list[Hit]:
    assert query.words is not None
    state = table.state()
    if not state.searchable:
        return []
    return hitting.hits_of(table.name, table.matching(query.words, n, _columns(state, options), options.where))


def _nearest(table: Table, query_D: Vectors, n: int, options: Options) -> pa.Table | None:
    """The n best rows by cosine, best first: the columns of a hit and SCORE. Raises StoreError for a bad condition."""
    state, where = table.state(), options.where
    if not state.rows:
        return None
    if state.in_memory or (options.exact and state.nbytes <= EXACT):
        return _from_memory(table, query_D, n, options)
    if where is not None and not options.exact and table.count(where) <= max(SUBSET, n):
        batches = list(table.scan([*state.shown, VECTOR], where))
        if not batches:
            return None
        rows = pa.Table.from_batches(batches).combine_chunks()
        return _best_rows(rows, matrix(rows[VECTOR]) @ query_D, n, options)
    return table.nearest(query_D, n, _columns(state, options), where, exact=options.exact)


def _from_memory(table: Table, query_D: Vectors, n: int, options: Options) -> pa.Table:
    while True:
        memory, allowed = _memory(table), None
        if options.where is None:
            break
        _, allowed = table.numbered(["item"], options.where)
        if table.state().version == memory.version:  # else the numbers may be those of other rows
            break
    scores = memory.z_ND @ query_D
    if allowed is not None:
        scores[~np.isin(memory.numbers, allowed)] = -np.inf
        n = min(n, len(allowed))
    return _best_rows(memory.rows, scores, n, options)


def _memory(table: Table) -> Memory:
    state = table.state()
    if table.memory is None or table.memory.version != state.version:
        rows, numbers = table.numbered([*state.shown, VECTOR])
        rows = rows.combine_chunks()
        table.memory = Memory(state.version, rows, matrix(rows[VECTOR]), numbers)
    memory: Memory = table.memory
    return memory


def _columns(state: State, options: Options) -> list[str]:
    return [*state.shown, *([VECTOR] if options.fetch_vectors else [])]


def _best_rows(rows: pa.Table, scores_N: np.ndarray, n: int, options: Options) -> pa.Table:
    best = _best(scores_N, n)
    found = (rows if options.fetch_vectors else rows.drop_columns(VECTOR)).take(pa.array(best))
    return found.append_column(SCORE, pa.array(scores_N[best], pa.float32()))


def _best(scores_N: np.ndarray, n: int) -> np.ndarray:
    """Positions of the n largest scores, largest first; ties in the order of the rows."""
    candidates = np.arange(len(scores_N))
    if 0 < n < len(scores_N):
        candidates = np.flatnonzero(scores_N >= np.partition(scores_N, -n)[-n])
    return candidates[np.lexsort((candidates, -scores_N[candidates]))][:n]
