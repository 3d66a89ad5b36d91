"""The best rows of one table for a query: by vector, or by words.

Up to 32 MiB of vectors (16,000 of 512 dimensions) are held in memory and compared one by one, which is exact and
faster than any index; more are searched by their codes, the best candidates compared exactly.

Shapes: N rows, D embed_dim.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa

from binder.index.guard import guarded
from binder.index.rows import VECTOR
from binder.index.table import State, Table
from binder.space.vectors import Vectors

EXACT = 256 * 2**20  # bytes of vectors that `exact` holds in memory
PROBES = 128  # partitions of 8192 rows that are read: all of a million rows, whatever side the query comes from
CANDIDATES = 160  # compared exactly at least
SUBSET = 2048  # rows left by a condition up to which they are compared one by one
SCORE = "_score"  # the column of the result: the cosine, or the store's own BM25


@dataclass(frozen=True)
class Memory:
    """A table's vectors and what is shown of each row, as of one version."""

    version: int
    z_ND: Vectors
    shown: pa.Table  # N rows, columns of a hit
    row_ids: np.ndarray  # (N,) the store's own


def nearest(
    table: Table, query_D: Vectors, n: int, *, where: str | None = None, exact: bool = False, vectors: bool = False
) -> pa.Table:
    """The n best rows by cosine, best first: the columns of a hit and SCORE, with `vectors` also VECTOR.

    Raises StoreError for a condition that the store cannot read.
    """
    state = table.state()
    if not state.rows:
        return _empty(state, vectors)
    if state.in_memory or (exact and state.nbytes <= EXACT):
        return _from_memory(table, query_D, n, where, vectors)
    columns = [*state.shown, *([VECTOR] if vectors else [])]
    if where is not None and not exact:
        matches = table.count(where)
        if matches <= max(SUBSET, n):
            return _one_by_one(table, query_D, n, where, columns)
    search = table.inner.search(query_D, vector_column_name=VECTOR).distance_type("cosine").limit(n)
    if exact or state.vector_index is None:
        search = search.bypass_vector_index()
    else:
        search = search.nprobes(PROBES).refine_factor(max(10, -(-CANDIDATES // n)))
    if where is not None:
        search = search.where(table.condition(where))
    with guarded(table.where, where):
        found = search.select([*columns, "_distance"]).to_arrow()
    scores = 1 - found["_distance"].to_numpy()
    return found.drop_columns("_distance").append_column(SCORE, pa.array(scores, pa.float32()))


def matching(table: Table, words: str, n: int, *, where: str | None = None, vectors: bool = False) -> pa.Table:
    """The n rows whose text or metadata fits the words best (BM25), best first: the columns of a hit and SCORE."""
    from lancedb.query import MatchQuery, MultiMatchQuery

    state = table.state()
    if not state.worded:
        return _empty(state, vectors)
    match, match_any = cast(Any, MatchQuery), cast(Any, MultiMatchQuery)  # their types do not show their defaults
    asked = match(words, state.worded[0]) if len(state.worded) == 1 else match_any(words, list(state.worded))
    search = table.inner.search(asked, query_type="fts").limit(n)
    if where is not None:
        search = search.where(table.condition(where))
    with guarded(table.where, where):
        return search.select([*state.shown, *([VECTOR] if vectors else []), SCORE]).to_arrow()


def _from_memory(table: Table, query_D: Vectors, n: int, where: str | None, vectors: bool) -> pa.Table:
    while True:
        memory = _memory(table)
        allowed = None if where is None else _row_ids(table, where)
        if allowed is None or table.state().version == memory.version:  # else the numbers may mean other rows
            break
    scores = memory.z_ND @ query_D
    if allowed is not None:
        scores[~np.isin(memory.row_ids, allowed)] = -np.inf
        n = min(n, len(allowed))
    best = _best(scores, n)
    found = memory.shown.take(pa.array(best)).append_column(SCORE, pa.array(scores[best], pa.float32()))
    return _with_vectors(found, memory.z_ND[best]) if vectors else found


def _memory(table: Table) -> Memory:
    state = table.state()
    if table.memory is None or table.memory.version != state.version:
        search = table.inner.search().with_row_id(True).select([*state.shown, VECTOR])
        with guarded(table.where):
            rows = search.to_arrow().combine_chunks()
        table.memory = Memory(state.version, _matrix(rows[VECTOR]), rows.select(state.shown), rows["_rowid"].to_numpy())
    return table.memory


def _row_ids(table: Table, where: str) -> np.ndarray:
    condition = table.condition(where)
    with guarded(table.where, where):
        return table.inner.search().where(condition).with_row_id(True).select(["item"]).to_arrow()["_rowid"].to_numpy()


def _one_by_one(table: Table, query_D: Vectors, n: int, where: str, columns: list[str]) -> pa.Table:
    wanted = columns if VECTOR in columns else [*columns, VECTOR]
    batches = list(table.scan(wanted, where))
    if not batches:
        return _empty(table.state(), VECTOR in columns)
    rows = pa.Table.from_batches(batches).combine_chunks()
    scores = _matrix(rows[VECTOR]) @ query_D
    best = _best(scores, n)
    return rows.select(columns).take(pa.array(best)).append_column(SCORE, pa.array(scores[best], pa.float32()))


def _best(scores: np.ndarray, n: int) -> np.ndarray:
    """Positions of the n largest, largest first; of equal ones the first."""
    n = min(n, len(scores))
    some = np.argpartition(-scores, n - 1)[:n] if 0 < n < len(scores) else np.arange(len(scores))[:n]
    return some[np.lexsort((some, -scores[some]))] if n == 0 or n == len(scores) else _with_ties(scores, some, n)


def _with_ties(scores: np.ndarray, some: np.ndarray, n: int) -> np.ndarray:
    """The same where rows that equal the last of them were left out: of those, too, the first ones count."""
    candidates = np.flatnonzero(scores >= scores[some].min())
    return candidates[np.lexsort((candidates, -scores[candidates]))][:n]


def _matrix(column: pa.ChunkedArray) -> Vectors:
    """A column of fixed-size lists -> (N, D), without a copy where it is one piece."""
    chunks = [c.flatten().to_numpy(zero_copy_only=True).reshape(len(c), -1) for c in column.chunks if len(c)]
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def _with_vectors(rows: pa.Table, z_ND: Vectors) -> pa.Table:
    flat = pa.array(np.ascontiguousarray(z_ND).reshape(-1))
    return rows.append_column(VECTOR, pa.FixedSizeListArray.from_arrays(flat, z_ND.shape[1]))


def _empty(state: State, vectors: bool) -> pa.Table:
    names = [*state.shown, *([VECTOR] if vectors else [])]
    schema = pa.schema([state.schema.field(name) for name in names]).append(pa.field(SCORE, pa.float32()))
    found: Any = schema.empty_table()
    return found
