"""One modality's rows in the store: read, written in whole commits, made durable.

The settings are measured (benchmarks/index.py): one table per modality, because a query of another modality lies far
from all of a table's partitions; 1-bit RaBitQ codes that fit in memory; the best candidates compared exactly.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from binder.errors import StoreError
from binder.index.condition import compiled
from binder.index.durability import Flusher
from binder.index.guard import Conflict, guarded
from binder.index.rows import HIDDEN, KEY, OWN, VECTOR, keyed

if TYPE_CHECKING:
    from lancedb.expr import Expr
    from lancedb.table import LanceTable

log = logging.getLogger(__name__)
T = TypeVar("T")

IN_MEMORY = 32 * 2**20  # bytes of vectors up to which every search compares all of them, from memory
COMMITS = 64  # after so many a long `add` looks whether the table should be put in order
TIMES = (pa.timestamp("us"), pa.timestamp("us", "UTC"))  # one without a time zone is of UTC
ATTEMPTS = 12  # when several processes write
GRAIN_NS = 2_000_000_000  # file systems tell times apart that lie so far from each other


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
        self._versions = folder / "_versions" if folder else None
        self._state: State | None = None
        self._as_of: int | None = None  # when the folder of versions had last changed, as the state was read
        self.commits = 0  # since it was last put in order

    @property
    def due(self) -> bool:
        """Whether there were so many commits that a long `add` should look after the table."""
        return self.commits >= COMMITS

    def state(self) -> State:
        """As of the newest commit of any process."""
        changed = self._changed_ns()
        if self._state is not None and changed is not None and changed == self._as_of:
            return self._state
        with guarded(self.where):
            version = self.inner.version
            if self._state is None or self._state.version != version:
                schema = self.inner.schema
                indices = {column: i.name for i in self.inner.list_indices() for column in i.columns}
                shown = [name for name in schema.names if name not in HIDDEN]
                worded = tuple(name for name in schema.names if name in indices and name != VECTOR)
                rows = self.inner.count_rows()
                self._state = State(version, rows, schema, indices.get(VECTOR), worded, shown)
        self._as_of = changed
        return self._state

    def _changed_ns(self) -> int | None:
        """When a local table's versions last changed; None where another commit may have left the same time.

        It takes microseconds, asking the store for its version a turn of its thread, several times in every search.
        """
        if self._versions is None:
            return None
        try:
            changed = self._versions.stat().st_mtime_ns
        except OSError:  # the store says what is wrong
            return None
        return changed if time.time_ns() - changed > GRAIN_NS else None

    def count(self, where: str | None = None) -> int:
        if where is None:
            return self.state().rows
        condition = self.condition(where)
        with guarded(self.where, where):
            return self.inner.count_rows(condition)

    def condition(self, where: str) -> str:
        """A user's condition as the store may read it. Raises StoreError, NoColumn where this table lacks a column."""
        return compiled(where, self.state().shown)

    def scan(
        self, columns: Sequence[str], where: str | Expr | None = None, *, rows: int = 8192
    ) -> Iterator[pa.RecordBatch]:
        """The rows, or those that meet a condition, in batches of at most so many."""
        query = self.inner.search().select(list(columns))
        shown = where if isinstance(where, str) else None
        if where is not None:
            query = query.where(self.condition(where) if isinstance(where, str) else where)
        with guarded(self.where, shown):
            reader = query.to_batches(batch_size=rows)
        while True:
            with guarded(self.where, shown):
                batch = next(iter(reader), None)
            if batch is None:
                return
            yield batch

    def merge(self, rows: pa.Table) -> tuple[int, int]:
        """A commit of the new keys, and one of the rows that differ, where there are some.

        Columns that `rows` lacks stay as they are. Returns how many were inserted and updated. Raises StoreError where
        a column holds another kind of values.
        """
        rows = self._fit(keyed(rows, KEY))
        # inserting by itself takes half the time: the store reads nothing but the keys
        inserted = self.commit(
            lambda: self.inner.merge_insert(KEY).when_not_matched_insert_all().execute(rows)
        ).num_inserted_rows
        if inserted == len(rows):
            return inserted, 0
        differ = _differs([name for name in rows.column_names if name in self._compared()])
        return inserted, self.commit(
            lambda: self.inner.merge_insert(KEY).when_matched_update_all(where=differ).execute(rows)
        ).num_updated_rows

    def overwrite(self, rows: pa.Table, *, replace: Sequence[str] = ()) -> tuple[int, int]:
        """One commit: rows inserted or updated, and of the items in `replace` the rest deleted.

        Columns, result and error as of `merge`.
        """
        rows = self._fit(keyed(rows, KEY))

        def write() -> tuple[int, int]:
            builder = self.inner.merge_insert(KEY).when_matched_update_all().when_not_matched_insert_all()
            if replace:
                builder = builder.when_not_matched_by_source_delete(one_of("item", replace))
            done = builder.execute(rows)
            return done.num_inserted_rows, done.num_updated_rows

        return self.commit(write)

    def amend(self, rows: pa.Table) -> int:
        """One commit: the columns given, of rows that are there, take new values; returns how many rows."""
        rows = self._fit(keyed(rows, KEY))
        return self.commit(
            lambda: self.inner.merge_insert(KEY).when_matched_update_all().execute(rows)
        ).num_updated_rows

    def put(self, rows: pa.Table, key: str) -> None:
        """One commit: rows inserted, or put in place of those with the same key."""
        rows = keyed(rows, key)
        self.commit(
            lambda: self.inner.merge_insert(key).when_matched_update_all().when_not_matched_insert_all().execute(rows)
        )

    def delete(self, where: str | Expr) -> int:
        """Delete the rows that meet a condition; returns how many."""
        shown = where if isinstance(where, str) else None
        condition = self.condition(where) if isinstance(where, str) else where
        before = self.state().rows
        done = self.commit(lambda: self.inner.delete(condition), shown)
        return int(getattr(done, "num_deleted_rows", before - self.state().rows))

    def _fit(self, rows: pa.Table) -> pa.Table:
        """The rows with their times as they are kept here; new columns are made. Raises StoreError for another type."""
        have = self.state().schema
        times = {f.name: f.type for f in have if f.type in TIMES}
        fields = [f.with_type(times[f.name]) if f.name in times and f.type in TIMES else f for f in rows.schema]
        schema = pa.schema(fields)
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
                self.commit(lambda: self.inner.add_columns(pa.schema(new)))
            except StoreError:
                self.inner.checkout_latest()
                if not set(schema.names) <= set(self.state().schema.names):  # not another process that was faster
                    raise
        return rows.cast(schema)

    def _compared(self) -> set[str]:
        return {"_content", "_recipe", "text", *self.state().metadata}

    def commit(self, write: Callable[[], T], shown: str | None = None) -> T:
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
        self.commits += 1
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
