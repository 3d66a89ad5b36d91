"""One modality's table: the only module that works with LanceDB's own table object.

The settings were measured (benchmarks/index.py): one table per modality, because a query of another modality lies far
from all of a table's partitions; 1-bit RaBitQ codes, which fit in memory; the best candidates compared exactly.

Shapes: N rows, D embed_dim.
"""

from __future__ import annotations

import contextlib
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import pyarrow as pa

from binder.errors import StoreError
from binder.index import times
from binder.index.condition import compiled
from binder.index.lance import Conflict, Files, bounded, guarded
from binder.index.rows import HIDDEN, KEY, OWN, SCORE, VECTOR, matrix, unique
from binder.space.vectors import Vectors

if TYPE_CHECKING:
    from lancedb.expr import Expr
    from lancedb.table import LanceTable

T = TypeVar("T")

NUMBER, ASKED = "_rowid", "query_index"  # LanceDB's names in an answer

IN_MEMORY = 32 * 2**20  # bytes of vectors up to which a search holds them in memory and compares all
PROBES = 128  # partitions of 8192 rows that are read: all of a million rows, whatever modality the query is of
CANDIDATES = 160  # rows that are compared exactly, at least
# Good partitions are not needed where all of them are read: the same recall as with the defaults in half the time.
QUICK: dict[str, Any] = {"sample_rate": 64, "max_iterations": 10}
ATTEMPTS = 12  # at a commit, while other processes write


@dataclass(frozen=True)
class State:
    """What every search needs to know of a table, read once per version."""

    version: int
    rows: int
    schema: pa.Schema
    vector_index: str | None  # its name
    coded: bool  # whether all rows are in it
    searchable: tuple[str, ...]  # columns with a full-text index
    shown: list[str]  # columns of a hit

    @property
    def embed_dim(self) -> int:
        return int(self.schema.field(VECTOR).type.list_size)

    @property
    def nbytes(self) -> int:
        """Of all vectors."""
        return self.rows * self.embed_dim * 4

    @property
    def in_memory(self) -> bool:
        return self.nbytes <= IN_MEMORY

    @property
    def metadata(self) -> dict[str, pa.DataType]:
        """The users' columns, times with their zone."""
        return {f.name: times.given(f) for f in self.schema if f.name not in OWN and f.name != VECTOR}


class Table:
    """The rows of one modality."""

    def __init__(self, name: str, inner: LanceTable, where: str, folder: Path | None) -> None:
        self.name, self.inner, self.where = name, inner, where
        self.memory: Any = None  # held by `search` between queries
        self.commits = 0  # since the last maintenance
        self._files = Files(folder) if folder else None
        self._state: State | None = None
        self._changed: int | None = None  # when the table had last changed as the state was read

    def state(self) -> State:
        """As of the newest commit of any process."""
        changed = self._files.changed_ns() if self._files else None
        if self._state is not None and changed is not None and changed == self._changed:
            return self._state
        with guarded(self.where):
            version = self.inner.version
            if self._state is None or self._state.version != version:
                schema, rows = self.inner.schema, self.inner.count_rows()
                built = self.inner.list_indices()
                indexes = {column: index.name for index in built for column in index.columns}
                coded = VECTOR in indexes and not any(i.num_unindexed_rows for i in built if i.columns == [VECTOR])
                shown = [name for name in schema.names if name not in HIDDEN]
                searchable = tuple(name for name in schema.names if name in indexes and name != VECTOR)
                self._state = State(version, rows, schema, indexes.get(VECTOR), coded, searchable, shown)
        self._changed = changed
        return self._state

    def condition(self, where: str) -> str:
        """A user's condition in LanceDB's SQL. Raises StoreError, NoColumn where this table lacks a column of it."""
        return compiled(where, self.state().shown)

    def count(self, where: str | None = None) -> int:
        if where is None:
            return self.state().rows
        condition = self.condition(where)
        with guarded(self.where, where):
            return self.inner.count_rows(condition)

    def scan(
        self, columns: Sequence[str], where: str | Expr | None = None, *, rows: int = 8192
    ) -> Iterator[pa.RecordBatch]:
        """All rows, or those that meet a condition, in batches of at most so many."""
        query, shown = self.inner.search().select(list(columns)), _quoted(where)
        if where is not None:
            query = query.where(self._compiled(where))
        large = VECTOR in columns and where is None
        with guarded(self.where, shown):
            reader = query.to_batches(batch_size=rows)
        while True:
            with guarded(self.where, shown), bounded if large else contextlib.nullcontext():
                batch = next(iter(reader), None)
            if batch is None:
                return
            yield batch

    def nearest(
        self, queries_QD: Vectors, n: int, columns: Sequence[str], where: str | None, *, exact: bool, refine: int | None
    ) -> pa.Table:
        """The n best rows of each query by cosine, with ASKED (its place among the queries) and NUMBER (LanceDB's).

        By the vector index, where there is one, unless `exact`: the best of n * `refine` by codes, or the n by codes.
        """
        asked: Any = list(queries_QD) if (several := len(queries_QD) > 1) else queries_QD[0]
        query = self.inner.search(asked, vector_column_name=VECTOR).distance_type("cosine").limit(n).with_row_id(True)
        query = query.bypass_vector_index() if exact or self.state().vector_index is None else query.nprobes(PROBES)
        query = query if exact or refine is None else query.refine_factor(refine)
        found = self._answer(query.select([*columns, "_distance"]), where)
        return found if several else found.append_column(ASKED, pa.array(np.zeros(len(found), np.int32)))

    def at(self, numbers: np.ndarray, columns: Sequence[str]) -> pa.Table:
        """The rows of these numbers (N,), which must be sorted. Raises StoreError where a row is gone."""
        with guarded(self.where):
            found = self.inner.take_row_ids(numbers.tolist()).with_row_id().select(list(columns)).to_arrow()
        have = found[NUMBER].to_numpy()
        if len(have) != len(numbers):
            raise StoreError(f"{self.where}: {len(numbers) - len(have)} rows of {self.name} could not be read")
        return found.select(list(columns)).take(pa.array(np.argsort(have))).combine_chunks()

    def matching(self, words: str, n: int, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """The n rows whose text or metadata match the words best, best first, with SCORE (BM25).

        Some column must have a full-text index.
        """
        from lancedb.query import MatchQuery, MultiMatchQuery

        match, match_any = cast(Any, MatchQuery), cast(Any, MultiMatchQuery)  # their types do not show their defaults
        names = list(self.state().searchable)
        asked = match(words, names[0]) if len(names) == 1 else match_any(words, names)
        return self._answer(self.inner.search(asked, query_type="fts").limit(n).select([*columns, SCORE]), where)

    def numbered(self, columns: Sequence[str], where: str | None = None) -> tuple[pa.Table, np.ndarray]:
        """All rows, or those that meet a condition, and LanceDB's number of each (N,): it may change with a commit."""
        found = self._answer(self.inner.search().with_row_id(True).select(list(columns)), where)
        return found.select(list(columns)), found[NUMBER].to_numpy()

    def vectors_at(self, positions: Sequence[int]) -> Vectors:
        """(N, D) vectors of the rows at these positions."""
        with guarded(self.where):
            return matrix(self.inner.take_offsets(list(positions)).select([VECTOR]).to_arrow()[VECTOR])

    def merge(self, rows: pa.Table) -> tuple[int, int]:
        """A commit that inserts new keys, and if there are others, one that updates the rows that differ.

        Columns that `rows` lacks stay as they are. Returns how many were inserted and updated. Raises StoreError where
        a column holds values of another type.
        """
        rows = self._fitted(rows)
        # an insert alone takes half the time: LanceDB reads nothing but the keys
        inserted, _ = self._merge(rows, insert=True)
        if inserted == len(rows):
            return inserted, 0
        compared = {"_content", "_recipe", "text", *self.state().metadata}
        differ = _differ([name for name in rows.column_names if name in compared])
        return inserted, self._merge(rows, update=differ)[1]

    def overwrite(self, rows: pa.Table, *, replace: Sequence[str] = ()) -> tuple[int, int]:
        """One commit: insert or update rows, and delete the other rows of the items in `replace`.

        Columns, result and errors as with `merge`.
        """
        return self._merge(self._fitted(rows), insert=True, update=True, replace=replace)

    def amend(self, rows: pa.Table) -> int:
        """One commit: set the given columns of rows that exist. Returns how many rows."""
        return self._merge(self._fitted(rows), update=True)[1]

    def put(self, rows: pa.Table, key: str) -> None:
        """One commit: insert rows, or replace those with the same key."""
        self._merge(rows, key, insert=True, update=True)

    def delete(self, where: str | Expr) -> int:
        """Delete the rows that meet a condition. Returns how many."""
        condition, before = self._compiled(where), self.state().rows
        done = self.commit(lambda: self.inner.delete(condition), _quoted(where))
        return int(getattr(done, "num_deleted_rows", before - self.state().rows))

    def optimize(self, keep_s: float) -> None:
        """One commit: join small files, add new rows to the indexes, delete versions older than `keep_s` seconds."""

        def run() -> None:
            with warnings.catch_warnings():
                if keep_s <= 0:  # as the caller asked; a millisecond could keep what this call has just written
                    warnings.filterwarnings("ignore", "optimize.cleanup_older_than=0", UserWarning)
                self.inner.optimize(cleanup_older_than=timedelta(seconds=max(keep_s, 0.0)))

        self.commit(run)

    def index_vectors(self, name: str) -> None:
        """One commit: build the vector index under that name; another one is dropped."""
        from lancedb.index import IvfFlat, IvfRq

        config: Any = IvfFlat(distance_type="cosine")
        if self.state().embed_dim % 8 == 0:
            config = IvfRq(distance_type="cosine", num_bits=1, **QUICK)

        def run() -> None:
            self.inner.create_index(VECTOR, config=config, replace=True, name=name)
            for index in self.inner.list_indices():
                if index.columns == [VECTOR] and index.name != name:  # `replace` only goes by name
                    self.inner.drop_index(index.name)

        self.commit(run)

    def index_words(self, column: str) -> None:
        """One commit: build the full-text index of a column."""
        from lancedb.index import FTS

        self.commit(lambda: self.inner.create_index(column, config=FTS(), replace=True, name=f"words_{column}"))

    def small_files(self) -> int:
        with guarded(self.where):
            stats: Any = self.inner.stats()
            return int(stats["fragment_stats"]["num_small_fragments"])

    def unindexed(self) -> int:
        """Rows that some index lacks."""
        with guarded(self.where):
            return max((index.num_unindexed_rows or 0 for index in self.inner.list_indices()), default=0)

    def commit(self, write: Callable[[], T], shown: str | None = None) -> T:
        """Run a write, again where another process was faster, then flush it to disk: only then it is done."""
        for attempt in range(ATTEMPTS):
            try:
                with guarded(self.where, shown), bounded:
                    done = write()
                break
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0, 0.01 * 2 ** min(attempt, 6)))
                self._refresh()
        self.commits += 1
        if self._files:
            with guarded(self.where):
                self._files.flush()
        return done

    def _refresh(self) -> None:
        """See the commits of other processes."""
        inner: Any = self.inner  # LanceDB gives this method no types
        inner.checkout_latest()

    def _compiled(self, where: str | Expr) -> str | Expr:
        return self.condition(where) if isinstance(where, str) else where

    def _answer(self, query: Any, where: str | None) -> pa.Table:
        if where is not None:
            query = query.where(self.condition(where))
        with guarded(self.where, where):
            return query.to_arrow()

    def _merge(
        self, rows: pa.Table, key: str = KEY, *, insert: bool = False, update: bool | str = False, replace: Any = ()
    ) -> tuple[int, int]:
        """One commit. `update` may be the condition under which a row is; `replace` as in `overwrite`."""
        rows = rows.cast(pa.schema([unique(field.name) if field.name == key else field for field in rows.schema]))

        def run() -> tuple[int, int]:
            builder = self.inner.merge_insert(key)
            if update:
                builder = builder.when_matched_update_all(where=update if isinstance(update, str) else None)
            if insert:
                builder = builder.when_not_matched_insert_all()
            if replace:
                builder = builder.when_not_matched_by_source_delete(one_of("item", replace))
            done = builder.execute(rows)
            return done.num_inserted_rows, done.num_updated_rows

        return self.commit(run)

    def _fitted(self, rows: pa.Table) -> pa.Table:
        """The rows with times of the table's type; missing columns are created. Raises StoreError for another type."""
        have = self.state().schema
        of_time = {f.name: f for f in have if pa.types.is_timestamp(f.type)}  # without a time zone they are UTC
        given = [times.stored(f) for f in rows.schema]
        schema = pa.schema([of_time.get(f.name, f) if pa.types.is_timestamp(f.type) else f for f in given])
        for column in schema:
            if column.name in have.names and have.field(column.name).type != column.type:
                kinds = f"holds {have.field(column.name).type}, not {column.type}"
                raise StoreError(f"{self.where}: column {column.name!r} of {self.name} {kinds}")
        new = [column for column in schema if column.name not in have.names]
        clash = {c.name for c in new if c.name.lower() in {name.lower() for name in have.names}}
        if clash:
            raise StoreError(f"{self.where}: column {min(clash)!r} differs from another only in capital letters")
        if new:
            try:
                self.commit(lambda: self.inner.add_columns(pa.schema(new)))
            except StoreError:
                self._refresh()
                if not set(schema.names) <= set(self.state().schema.names):  # else another process was faster
                    raise
        return rows.cast(schema)


def one_of(column: str, values: Sequence[str]) -> Expr:
    """The condition that a column holds one of these values, which are never parsed."""
    from lancedb.expr import col

    return col(column).isin(list(values))


def _quoted(where: str | Expr | None) -> str | None:
    """How an error quotes a condition: only what a user wrote."""
    return where if isinstance(where, str) else None


def _differ(columns: Sequence[str]) -> str:
    """The condition that a row changes in some column. The names were checked when the columns were created."""
    return " OR ".join(
        f"(target.`{c}` != source.`{c}`) OR ((target.`{c}` IS NULL) != (source.`{c}` IS NULL))" for c in columns
    )
