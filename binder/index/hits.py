"""Hits: rows that a search found, and how lists of them are merged, fused, grouped and collapsed."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from binder.index.rows import SCORE, VECTOR, plain
from binder.space.segments import fragment

RRF = 60  # Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet", SIGIR 2009


@dataclass(frozen=True)
class Hit:
    """An item, or a segment of one, that a search found."""

    modality: str
    item: str  # the path of a file, the text itself, or the name it was given
    score: float  # the cosine to the query; in mode "text" BM25, in mode "hybrid" the sum of reciprocal ranks
    probability: float | None = field(default=None, compare=False)  # of a match, if the index is calibrated
    start_s: float | None = None  # of a segment: its place in the item
    end_s: float | None = None
    text: str | None = None  # words beside the item
    metadata: dict[str, Any] = field(default_factory=dict)
    others: tuple[Hit, ...] = ()  # hits that this one stands for: segments of the same item, or near-duplicates
    vector: np.ndarray | None = field(default=None, repr=False, compare=False)  # (D,), if asked for

    @property
    def path(self) -> str | None:
        """The file; None for a text."""
        return None if self.text == self.item else self.item

    @property
    def key(self) -> str:
        """Identifies the hit within its modality: the item, with #t=START,END for a segment."""
        return self.item + fragment(self.start_s, self.end_s)


def hits_of(modality: str, rows: pa.Table) -> list[Hit]:
    """Rows of an answer -> hits in the same order."""
    vectors = rows[VECTOR] if VECTOR in rows.column_names else None
    columns = {column.name: column for column in rows.schema}
    found = []
    for i, row in enumerate((rows.drop_columns(VECTOR) if vectors is not None else rows).to_pylist()):
        own = {name: row.pop(name) for name in ("item", "start_s", "end_s", "text")}
        score = float(row.pop(SCORE))
        metadata = {name: plain(cell, columns[name]) for name, cell in row.items() if cell is not None}
        vector = None if vectors is None else np.array(vectors[i].values)
        found.append(Hit(modality, score=score, metadata=metadata, vector=vector, **own))
    return found


def merged(lists: Iterable[Sequence[Hit]], k: int, *, by_probability: bool = False) -> list[Hit]:
    """The k best of several lists by score, or by probability; ties in a fixed order."""
    key = _by_probability if by_probability else _by_score
    return heapq.nsmallest(k, (hit for hits in lists for hit in hits), key=key)


def fused(lists: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    """The k best by the sum over the lists of 1 / (60 + rank)."""
    scores: dict[tuple[str, str], float] = {}
    seen: dict[tuple[str, str], Hit] = {}
    for hits in lists:
        for rank, hit in enumerate(hits, start=1):
            name = (hit.modality, hit.key)
            scores[name] = scores.get(name, 0.0) + 1 / (RRF + rank)
            seen.setdefault(name, hit)
    return merged([[replace(seen[name], score=score) for name, score in scores.items()]], k)


def enough(
    ask: Callable[[Sequence[int], int], list[list[Hit]]],  # which queries, how many hits of each
    queries: int,
    k: int,
    reduce: Callable[[list[Hit]], list[Hit]] | None,
) -> list[list[Hit]]:
    """Of each query the first k hits that `reduce` leaves.

    More are asked for, of the queries that need them, until there are enough or no more to find.
    """
    if reduce is None:
        return [hits[:k] for hits in ask(range(queries), k)]
    kept: list[list[Hit]] = [[] for _ in range(queries)]
    waiting, n = list(range(queries)), 4 * k
    while waiting:
        found = dict(zip(waiting, ask(waiting, n), strict=True))
        for i, hits in found.items():
            kept[i] = reduce(hits)
        waiting = [i for i in waiting if len(kept[i]) < k and len(found[i]) >= n]
        n *= 4
    return [hits[:k] for hits in kept]


def by_item(hits: Sequence[Hit]) -> list[Hit]:
    """The best hit of each item, with the item's other hits in `others`."""
    groups: dict[tuple[str, str], list[Hit]] = {}
    for hit in hits:
        groups.setdefault((hit.modality, hit.item), []).append(hit)
    return [replace(group[0], others=tuple(group[1:])) for group in groups.values()]


def collapsed(hits: Sequence[Hit], cosine: float) -> list[Hit]:
    """The hits below `cosine` to every better one, in order; each has those it stands for in `others`."""
    kept: list[list[Hit]] = []
    for hit in hits:
        near = (group for group in kept if float(group[0].vector @ hit.vector) >= cosine)  # type: ignore[operator]
        group = next(near, None)
        if group is None:
            kept.append([hit])
        else:
            group.append(hit)
    return [replace(group[0], others=(*group[0].others, *group[1:])) for group in kept]


def without_vector(hit: Hit) -> Hit:
    return replace(hit, vector=None, others=tuple(replace(other, vector=None) for other in hit.others))


def _by_score(hit: Hit) -> tuple[float, str, str, float]:
    return -hit.score, hit.modality, hit.item, hit.start_s or 0.0


def _by_probability(hit: Hit) -> tuple[float, float, str, str, float]:
    return -(hit.probability or 0.0), *_by_score(hit)
