"""What a search finds."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from binder.index.metadata import value
from binder.index.nearest import SCORE
from binder.index.rows import VECTOR, fragment

RRF = 60  # Cormack, Clarke and Büttcher, "Reciprocal rank fusion outperforms Condorcet", SIGIR 2009


@dataclass(frozen=True)
class Hit:
    """One item, or one piece of it, that a search found."""

    modality: str
    item: str  # the path of a file, the text itself, or the name that was given
    score: float  # the cosine to the query; in mode "text" BM25, in mode "hybrid" the fused reciprocal ranks
    probability: float | None = field(default=None, compare=False)  # of a match, where the index is calibrated
    start_s: float | None = None  # where it is a piece of an item: its place in it
    end_s: float | None = None
    text: str | None = None  # the words beside it
    metadata: dict[str, Any] = field(default_factory=dict)
    others: tuple[Hit, ...] = ()  # that it stands for: pieces of the same item, or near-duplicates
    vector: np.ndarray | None = field(default=None, repr=False, compare=False)  # (D,), where it was asked for

    @property
    def path(self) -> str | None:
        """The file, or None for a text, which is itself what was found."""
        return None if self.text == self.item else self.item

    @property
    def key(self) -> str:
        """The item, with #t=START,END for a piece of it: names it within its modality."""
        return self.item + fragment(self.start_s, self.end_s)


def hits_of(modality: str, rows: pa.Table) -> list[Hit]:
    """Rows as a search returns them -> hits in the same order."""
    vectors = rows[VECTOR] if VECTOR in rows.column_names else None
    found = []
    for i, row in enumerate((rows.drop_columns(VECTOR) if vectors is not None else rows).to_pylist()):
        own = {name: row.pop(name) for name in ("item", "start_s", "end_s", "text")}
        score = row.pop(SCORE)
        metadata = {name: value(cell) for name, cell in row.items() if cell is not None}
        vector = None if vectors is None else np.array(vectors[i].values)
        found.append(Hit(modality, score=float(score), metadata=metadata, vector=vector, **own))
    return found


def merged(lists: Iterable[Sequence[Hit]], k: int, *, by_probability: bool = False) -> list[Hit]:
    """The k best of several lists by score, or by probability; equal ones in a fixed order."""
    key = order_by_probability if by_probability else order
    return heapq.nsmallest(k, (hit for hits in lists for hit in hits), key=key)


def fused(lists: Sequence[Sequence[Hit]], k: int) -> list[Hit]:
    """The k best by the sum of 1 / (60 + rank) over the lists."""
    scores: dict[tuple[str, str], float] = {}
    seen: dict[tuple[str, str], Hit] = {}
    for hits in lists:
        for rank, hit in enumerate(hits, start=1):
            name = (hit.modality, hit.key)
            scores[name] = scores.get(name, 0.0) + 1 / (RRF + rank)
            seen.setdefault(name, hit)
    return merged([[replace(seen[name], score=score) for name, score in scores.items()]], k)


def enough(ask: Callable[[int], list[Hit]], k: int, reduce: Callable[[list[Hit]], list[Hit]] | None) -> list[Hit]:
    """The first k hits that `reduce` leaves, asking for more until they are there or all were seen."""
    if reduce is None:
        return ask(k)[:k]
    n = 4 * k
    while True:
        hits = ask(n)
        kept = reduce(hits)
        if len(kept) >= k or len(hits) < n:
            return kept[:k]
        n *= 4


def by_item(hits: Sequence[Hit]) -> list[Hit]:
    """The best hit of each item, which holds its other ones."""
    groups: dict[tuple[str, str], list[Hit]] = {}
    for hit in hits:
        groups.setdefault((hit.modality, hit.item), []).append(hit)
    return [replace(group[0], others=tuple(group[1:])) for group in groups.values()]


def collapsed(hits: Sequence[Hit], cosine: float) -> list[Hit]:
    """Each hit, in order, that lies at less than `cosine` from all better ones; it holds those it stands for."""
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


def order(hit: Hit) -> tuple[float, str, str, float]:
    return -hit.score, hit.modality, hit.item, hit.start_s or 0.0


def order_by_probability(hit: Hit) -> tuple[float, float, str, str, float]:
    return -(hit.probability or 0.0), *order(hit)
