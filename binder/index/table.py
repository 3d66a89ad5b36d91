"""One modality's rows in the store: written in whole commits, kept fast, made durable.

The settings are measured (benchmarks/index.py): one table per modality, because a query of another modality lies far
from all of a table's partitions; 1-bit RaBitQ codes that fit in memory; the best candidates compared exactly.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from binder.errors import StoreError
from binder.index.durability import Flusher
from binder.index.guard import Conflict, condition_of, guarded
from binder.index.rows import HIDDEN, KEY, OWN, VECTOR

if TYPE_CHECKING:
    from lancedb.expr import Expr
    from lancedb.table import LanceTable

log = logging.getLogger(__name__)
T = TypeVar("T")

IN_MEMORY = 32 * 2**20  # bytes of vectors up to which every search compares all of them, from memory
UNINDEXED = 2048  # rows without a code up to which a search compares them one by one
COMMITS = 64  # after so many a long `add` looks whether the table should be put in order
FRAGMENTS = 24  # more files than this, and one for 10,000 rows, are put together: that writes most rows anew
OPTIMIZE_S = 1e-5  # seconds a row that putting a table in order takes, about
GROWN = 4  # times as many rows as the partitions were made for: make them again
KEEP_S = 600.0  # how long files of older versions stay for readers that are at work
ATTEMPTS = 12  # when several processes write


@dataclass(frozen=True)
class State:
    """What is asked of a table in every search, read once per version."""

    version: int
    rows: int
    schema: pa.Schema
    vector_index: str | None
    worded: tuple[str, ...]  # columns whose words can be looked up
    shown: list[str] = field(default_factory=list)  # columns of a hit

    @property
    def embed_dim(self) -> int:
        return self.schema.field(VECTOR).type.list_size

    @property
    def in_memory(self) -> bool:
        return self.nbytes <= IN_MEMORY

    @property
    def nbytes(self) -> int:
        """Of all vectors."""
        return self.rows * self.embed_dim * 4

    @property
    def metadata(self) -> dict[str, pa.DataType]:
        return {f.name: f.type for f in self.schema if f.name not in OWN and f.name != VECTOR}


class Table:
    """The rows of one modality."""

    def __init__(self, name: str, inner: LanceTable, where: str, folder: Path | None) -> None:
        self.name, self.inner, self.where = name, inner, where
        self.memory: Any = None  # what a search keeps of it
        self._flusher = Flusher(folder) if folder else None
        self._state: State | None = None
        self._commits = 0

    @property
    def due(self) -> bool:
        """Whether there were so many commits that a long `add` should look after the table."""
        return self._commits >= COMMITS

    def state(self) -> State:
        """As of the newest commit of any process."""
        with guarded(self.where):
            version = self.inner.version
            if self._state is None or self._state.version != version:
                schema = self.inner.schema
                indices = {column: i.name for i in self.inner.list_indices() for column in i.columns}
                shown = [name for name in schema.names if name not in HIDDEN]
                worded = tuple(name for name in schema.names if name in indices and name != VECTOR)
                rows = self.inner.count_rows()
                self._state = State(version, rows, schema, indices.get(VECTOR), worded, shown)
        return self._state

    def count(self, where: str | None = None) -> int:
        if where is None:
            return self.state().rows
        condition = condition_of(where)
        with guarded(self.where, where):
            return self.inner.count_rows(condition)

    def scan(
        self, columns: Sequence[str], where: str | Expr | None = None, *, rows: int = 8192
    ) -> Iterator[pa.RecordBatch]:
        """The rows, or those that meet a condition, in batches of at most so many."""
        query = self.inner.search().select(list(columns))
        shown = where if isinstance(where, str) else None
        if where is not None:
            query = query.where(condition_of(where) if isinstance(where, str) else where)
        with guarded(self.where, shown):
            reader = query.to_batches(batch_size=rows)
        while True:
            with guarded(self.where, shown):
                batch = next(iter(reader), None)
            if batch is None:
                return
            yield batch

    def merge(self, rows: pa.Table, *, replace: Sequence[str] = (), force: bool = False) -> tuple[int, int]:
        """One commit: new keys are inserted, rows that differ updated; of the items in `replace` the rest is deleted.

        With `force` all are updated. Columns that `rows` lacks stay as they are. Returns how many were inserted and
        updated. Raises StoreError where a column holds another kind of values.
        """
        self._fit(rows.schema)
        same = None if force else _differs([n for n in rows.column_names if n in self._compared()])

        def write() -> tuple[int, int]:
            builder = self.inner.merge_insert(KEY).when_matched_update_all(where=same).when_not_matched_insert_all()
            if replace:
                builder = builder.when_not_matched_by_source_delete(one_of("item", replace))
            done = builder.execute(rows)
            return done.num_inserted_rows, done.num_updated_rows

        return self._commit(write)

    def amend(self, rows: pa.Table) -> int:
        """One commit: the columns given, of rows that are there, take new values; returns how many rows."""
        self._fit(rows.schema)
        return self._commit(
            lambda: self.inner.merge_insert(KEY).when_matched_update_all().execute(rows)
        ).num_updated_rows

    def put(self, rows: pa.Table, key: str) -> None:
        """One commit: rows inserted, or put in place of those with the same key."""
        self._commit(
            lambda: self.inner.merge_insert(key).when_matched_update_all().when_not_matched_insert_all().execute(rows)
        )

    def delete(self, where: str | Expr) -> int:
        """Delete the rows that meet a condition; returns how many."""
        shown = where if isinstance(where, str) else None
        condition = condition_of(where) if isinstance(where, str) else where
        before = self.state().rows
        done = self._commit(lambda: self.inner.delete(condition), shown)
        return int(getattr(done, "num_deleted_rows", before - self.state().rows))

    def maintain(self, *, force: bool = False, spent_s: float = 0.0, keep_s: float = KEEP_S) -> None:
        """Build or extend what makes search fast, put small files together, drop old versions; where it pays.

        It pays where much has come since the last time, or where it takes no longer than adding took (`spent_s`).
        """
        state = self.state()
        if state.rows == 0:
            return
        if not state.in_memory and (state.vector_index is None or self._outgrown(state)):
            self._commit(self._build)
        for column in ["text", *(name for name, kind in state.metadata.items() if pa.types.is_string(kind))]:
            if column not in state.worded and self.count(f"`{column}` IS NOT NULL"):
                self._commit(lambda column=column: self._build_words(column))  # type: ignore[misc]
        new = self._unindexed()
        behind = new > UNINDEXED and (new > state.rows // 10 or spent_s > state.rows * OPTIMIZE_S)
        if force or behind or self._scattered(state.rows):
            with contextlib.suppress(Conflict):  # another process is at it
                self._commit(lambda: self._optimize(keep_s))
        self._commits = 0

    def _optimize(self, keep_s: float) -> None:
        self.inner.optimize(cleanup_older_than=timedelta(seconds=max(keep_s, 0.001)))  # it warns at 0

    def _build(self) -> None:
        from lancedb.index import IvfFlat, IvfRq

        dim = self.state().embed_dim
        config: Any = IvfRq(distance_type="cosine", num_bits=1) if dim % 8 == 0 else IvfFlat(distance_type="cosine")
        self.inner.create_index(VECTOR, config=config, replace=True, name=f"vector_{self.state().rows}")

    def _build_words(self, column: str) -> None:
        from lancedb.index import FTS

        self.inner.create_index(column, config=FTS(), replace=True, name=f"words_{column}")

    def _outgrown(self, state: State) -> bool:
        """Whether there are many more rows than the partitions were made for (the index's name says how many)."""
        made_for = (state.vector_index or "").rpartition("_")[2]
        return made_for.isdigit() and state.rows > GROWN * int(made_for)

    def _scattered(self, rows: int) -> bool:
        with guarded(self.where):
            stats: Any = self.inner.stats()
            return int(stats["fragment_stats"]["num_small_fragments"]) > FRAGMENTS + rows // 10_000

    def _unindexed(self) -> int:
        with guarded(self.where):
            return max((index.num_unindexed_rows or 0 for index in self.inner.list_indices()), default=0)

    def _fit(self, schema: pa.Schema) -> None:
        """Make the columns that are new. Raises StoreError for one of another type."""
        have = self.state().schema
        for column in schema:
            if column.name in have.names and have.field(column.name).type != column.type:
                raise StoreError(
                    f"{self.where}: column {column.name!r} of {self.name} holds {have.field(column.name).type}, "
                    f"not {column.type}"
                )
        new = [column for column in schema if column.name not in have.names]
        clash = {c.name for c in new if c.name.lower() in {name.lower() for name in have.names}}
        if clash:
            raise StoreError(f"{self.where}: column {min(clash)!r} differs from another only in capital letters")
        if new:
            try:
                self._commit(lambda: self.inner.add_columns(pa.schema(new)))
            except StoreError:
                self.inner.checkout_latest()
                if not set(schema.names) <= set(self.state().schema.names):  # not another process that was faster
                    raise

    def _compared(self) -> set[str]:
        return {"_content", "_recipe", "text", *self.state().metadata}

    def _commit(self, write: Callable[[], T], shown: str | None = None) -> T:
        """Run one write; where another process was faster, again. Then flush it to disk: only now it is done."""
        for attempt in range(ATTEMPTS):
            try:
                with guarded(self.where, shown):
                    done = write()
                break
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0, 0.01 * 2 ** min(attempt, 6)))
                self.inner.checkout_latest()
        self._commits += 1
        if self._flusher:
            with guarded(self.where):
                self._flusher.flush()
        return done


def one_of(column: str, values: Sequence[str]) -> Expr:
    """The condition that a column holds one of these values; they are never part of a text that is parsed."""
    from lancedb.expr import col

    return col(column).isin(list(values))


def _differs(columns: Sequence[str]) -> str:
    """The condition under which a row is updated: some column changed. Names are checked when they are made."""
    return " OR ".join(
        f"(target.`{c}` != source.`{c}`) OR ((target.`{c}` IS NULL) != (source.`{c}` IS NULL))" for c in columns
    )
