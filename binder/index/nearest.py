"""The nearest rows of a table by cosine, for many queries in one pass over it.

Up to 32 MiB of vectors (16,000 of 512 dimensions) are held in memory and compared one by one, which is exact and faster
than any index. Larger tables are searched by their codes, which give candidates.

In either case the last word is the cosine in double precision, rounded once: products of matrices differ in the last
digits with the number of queries, and a query must find the same alone and among others.

Shapes: Q queries, N rows, C candidates of all queries together, D embed_dim.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa

from binder.errors import StoreError
from binder.index import table as tables
from binder.index.rows import SCORE, VECTOR, matrix
from binder.index.table import ASKED, NUMBER, Table
from binder.space.vectors import Vectors

EXACT = 256 * 2**20  # bytes of vectors that `exact` holds in memory
SUBSET = 2048  # rows that meet a condition, up to which they are compared one by one
SCORES = 64 * 2**20  # bytes of cosines at once
CANDIDATES = 32 * 2**20  # bytes of candidates' vectors at once
SPARE = 6  # rows more than are wanted: the store's last ones may be others in double precision
MARGIN = 1e-5  # more than a cosine in single precision is off


class How(Protocol):
    """What matters here of the options of a search."""

    @property
    def where(self) -> str | None: ...
    @property
    def exact(self) -> bool: ...
    @property
    def fetch_vectors(self) -> bool: ...


@dataclass(frozen=True)
class Memory:
    """A table's rows as of one version."""

    version: int
    rows: pa.Table  # the columns of a hit, and VECTOR
    z_ND: Vectors  # a view of VECTOR
    numbers: np.ndarray  # (N,) LanceDB's row numbers


def nearest(table: Table, queries_QD: Vectors, n: int, how: How) -> list[pa.Table | None]:
    """For each of Q queries the n best rows, best first: the columns of a hit and SCORE. None if there are none.

    Raises StoreError for a bad condition.
    """
    state, where = table.state(), how.where
    if not state.rows:
        return [None] * len(queries_QD)
    if state.in_memory or (how.exact and state.nbytes <= EXACT):
        return _from_memory(table, queries_QD, n, how)
    if where is not None and not how.exact and table.count(where) <= max(SUBSET, n):
        batches = list(table.scan([*state.shown, VECTOR], where))
        if not batches:
            return [None] * len(queries_QD)
        rows = pa.Table.from_batches(batches).combine_chunks()
        return list(_best_rows(rows, matrix(rows[VECTOR]), queries_QD, n, how))
    several = len(queries_QD) > 1 and state.coded and not how.exact
    ask, rows_each = (_by_codes, 10 * n + tables.CANDIDATES) if several else (_by_store, n + SPARE)
    found: list[pa.Table | None] = []
    for part_QD in _some(queries_QD, max(1, SCORES // ((24 if several else 4 * state.embed_dim) * rows_each))):
        found += ask(table, part_QD, n, how)
    return found


def _from_memory(table: Table, queries_QD: Vectors, n: int, how: How) -> list[pa.Table | None]:
    while True:
        memory, allowed = _memory(table), None
        if how.where is None:
            break
        _, numbers = table.numbered(["item"], how.where)
        if table.state().version == memory.version:  # else the numbers may be those of other rows
            allowed = np.isin(memory.numbers, numbers)
            break
    return list(_best_rows(memory.rows, memory.z_ND, queries_QD, n, how, allowed))


def _memory(table: Table) -> Memory:
    state = table.state()
    if table.memory is None or table.memory.version != state.version:
        rows, numbers = table.numbered([*state.shown, VECTOR])
        rows = rows.combine_chunks()
        table.memory = Memory(state.version, rows, matrix(rows[VECTOR]), numbers)
    memory: Memory = table.memory
    return memory


def _best_rows(
    rows: pa.Table, z_ND: Vectors, queries_QD: Vectors, n: int, how: How, allowed: np.ndarray | None = None
) -> Iterator[pa.Table]:
    """Of N rows, or those `allowed` (N,), the n best for each query."""
    n = min(n, len(rows) if allowed is None else int(allowed.sum()))
    shown = rows if how.fetch_vectors else rows.drop_columns(VECTOR)
    for part_QD in _some(queries_QD, max(1, SCORES // (4 * len(rows)))):
        for query_D, roughly_N in zip(part_QD, part_QD @ z_ND.T, strict=True):
            if allowed is not None:
                roughly_N[~allowed] = -np.inf
            likely = np.arange(len(rows))
            if n < len(rows):
                least = np.partition(roughly_N, -n)[-n] if n else np.inf
                likely = np.flatnonzero(roughly_N >= least - MARGIN)
            scores = _cosines(z_ND, query_D, likely)
            order = np.lexsort((likely, -scores))[:n]  # ties in the order of the rows
            yield _scored(shown.take(pa.array(likely[order])), scores[order])


def _by_store(table: Table, queries_QD: Vectors, n: int, how: How) -> list[pa.Table | None]:
    """The store refines its candidates itself, which for one query is fastest."""
    columns = [*table.state().shown, VECTOR]
    found = table.nearest(queries_QD, n + SPARE, columns, how.where, exact=how.exact, refine=_refine(n))
    if not len(found):
        return [None] * len(queries_QD)
    asked, numbers = found[ASKED].to_numpy(), found[NUMBER].to_numpy()
    scores = _pairwise(matrix(found[VECTOR]), queries_QD[asked])
    rows = found.select(columns if how.fetch_vectors else columns[:-1])
    best = _best_of_each(len(queries_QD), asked, numbers, scores, n)
    return [_scored(rows.take(pa.array(own)), scores[own]) for own in best]


def _by_codes(table: Table, queries_QD: Vectors, n: int, how: How) -> list[pa.Table | None]:
    """The same candidates, but what several queries have in common is read once.

    The store gives row numbers, which another process's commit can change: then it is asked again.
    """
    while True:
        version = table.state().version
        try:
            found = _refined(table, queries_QD, n, how)
        except StoreError:
            if table.state().version == version:
                raise
            continue
        if table.state().version == version:
            return found


def _refined(table: Table, queries_QD: Vectors, n: int, how: How) -> list[pa.Table | None]:
    candidates = table.nearest(queries_QD, (n + SPARE) * _refine(n), [], how.where, exact=False, refine=None)
    if not len(candidates):
        return [None] * len(queries_QD)
    asked_C, numbers_C = candidates[ASKED].to_numpy(), candidates[NUMBER].to_numpy()
    order = np.argsort(numbers_C, kind="stable")  # each row is read once, in the order in which they are stored
    asked_C, numbers_C = asked_C[order], numbers_C[order]
    scores_C = np.empty(len(numbers_C), np.float32)
    for part in _slices(len(numbers_C), max(1, CANDIDATES // (4 * queries_QD.shape[1]))):
        numbers, place = np.unique(numbers_C[part], return_inverse=True)
        z_CD = matrix(table.at(numbers, [VECTOR])[VECTOR])
        scores_C[part] = _pairwise(z_CD[place], queries_QD[asked_C[part]])
    best = _best_of_each(len(queries_QD), asked_C, numbers_C, scores_C, n)
    numbers = np.unique(numbers_C[np.concatenate(best)])
    rows = table.at(numbers, [*table.state().shown, *([VECTOR] if how.fetch_vectors else [])])
    return [_scored(rows.take(pa.array(np.searchsorted(numbers, numbers_C[own]))), scores_C[own]) for own in best]


def _refine(n: int) -> int:
    """How many candidates by codes there are for each row that is asked for."""
    return max(10, -(-tables.CANDIDATES // (n + SPARE)))


def _best_of_each(
    queries: int, asked_C: np.ndarray, numbers_C: np.ndarray, scores_C: np.ndarray, n: int
) -> list[np.ndarray]:
    """Places of the n best candidates of each query; ties in the order of the rows."""
    order = np.lexsort((numbers_C, -scores_C, asked_C))
    ends = np.searchsorted(asked_C[order], np.arange(queries + 1))
    return [order[start:end][:n] for start, end in itertools.pairwise(ends)]


def _cosines(z_ND: Vectors, query_D: Vectors, places: np.ndarray) -> np.ndarray:
    """The cosines of the rows at these places."""
    parts = [_pairwise(z_ND[places[part]], query_D[None]) for part in _slices(len(places), 4096)]
    return np.concatenate([np.empty(0, np.float32), *parts])


def _pairwise(a_CD: Vectors, b_CD: Vectors) -> np.ndarray:
    """(C,) cosines, from (C, D) and (C, D) or (1, D)."""
    pair = np.broadcast_arrays(a_CD, b_CD)
    products: np.ndarray = np.einsum("cd,cd->c", *pair, dtype=np.float64, casting="same_kind")
    return products.astype(np.float32)


def _scored(rows: pa.Table, scores: np.ndarray) -> pa.Table:
    return rows.append_column(SCORE, pa.array(scores, pa.float32()))


def _some(queries_QD: Vectors, most: int) -> Iterator[Vectors]:
    return (queries_QD[part] for part in _slices(len(queries_QD), most))


def _slices(n: int, most: int) -> Iterator[slice]:
    return (slice(start, min(n, start + most)) for start in range(0, n, most))
