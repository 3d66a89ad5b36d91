"""A search over several tables: side by side, merged or fused, grouped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from binder.index import hits as hitting
from binder.index.calibration import Calibration
from binder.index.condition import NoColumn
from binder.index.hits import Hit
from binder.index.nearest import matching, nearest
from binder.index.table import Table
from binder.space.vectors import Vectors

T = TypeVar("T")


@dataclass(frozen=True)
class Query:
    """What is asked of every table."""

    vector: Vectors | None  # (D,), or None where only words are looked up
    words: str | None
    where: str | None
    exact: bool
    vectors: bool  # whether hits hold theirs
    modality: str | None = None  # of the query, where it is of one
    calibration: Calibration | None = None  # gives the probability of each hit of the modalities that it covers
    by_probability: bool = False  # the order of several modalities' hits; it must cover all of them


def run(tables: Sequence[Table], query: Query, k: int, *, group: bool, collapse: float | None) -> list[Hit]:
    """The k best hits of all tables, best first."""

    def ask(n: int) -> list[Hit]:
        lists = []
        if query.vector is not None:
            near = side_by_side(tables, lambda table: _near(table, query, n))
            lists.append(hitting.merged(near, n, by_probability=query.by_probability))
        if query.words is not None:
            lists.append(hitting.merged(side_by_side(tables, lambda table: _worded(table, query, n)), n))
        return lists[0] if len(lists) == 1 else hitting.fused(lists, n)

    def reduce(hits: list[Hit]) -> list[Hit]:
        hits = hitting.by_item(hits) if group else hits
        return hits if collapse is None else hitting.collapsed(hits, collapse)

    return hitting.enough(ask, k, reduce if group or collapse is not None else None)


def side_by_side(tables: Sequence[Table], ask: Callable[[Table], T]) -> list[T]:
    """What `ask` gives for each table. Those that lack a column of the condition meet it nowhere.

    Raises StoreError where all lack it.
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
        raise max(errors, key=lambda error: len(str(error)))  # of the table with most columns
    return [answer for answer in answers if not isinstance(answer, NoColumn)]


def _near(table: Table, query: Query, n: int) -> list[Hit]:
    assert query.vector is not None
    rows = nearest(table, query.vector, n, where=query.where, exact=query.exact, vectors=query.vectors)
    found = hitting.hits_of(table.name, rows)
    if query.calibration is None or not query.calibration.covers(table):
        return found
    scores = [hit.score for hit in found]
    probabilities = query.calibration.probabilities(query.vector, query.modality, table.name, scores)
    return [replace(hit, probability=float(p)) for hit, p in zip(found, probabilities, strict=True)]


def _worded(table: Table, query: Query, n: int) -> list[Hit]:
    assert query.words is not None
    return hitting.hits_of(table.name, matching(table, query.words, n, where=query.where, vectors=query.vectors))
