"""Which held-out items are confused with each other, and which pairs are least similar. NumPy only.

Shapes: N rows, U unique items of one modality, D embed_dim.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from binder.data.columns import Side
from binder.evaluation import metrics
from binder.evaluation.retrieval import matches


@dataclass(frozen=True)
class Confusion:
    """A query whose first hit is wrong. Each item is given by a row it occurs in."""

    query: int
    right: int  # row of its most similar match
    found: int  # row of the wrong target that was found instead
    right_cosine: float
    found_cosine: float
    times: int = 1  # number of queries that made the same mistake


@dataclass(frozen=True)
class Pair:
    """A row and the similarity of its two items."""

    row: int
    cosine: float


def confusions(query: Side, target: Side) -> list[Confusion]:
    """The queries whose first hit is wrong: the most frequent mistakes first, then those with the largest margin."""
    relevant = matches(query, target)
    asked = sorted(relevant)
    of_query, of_target = _first_rows(query), _first_rows(target)
    found: dict[tuple[int, int], Confusion] = {}
    for part in (asked[chosen] for chosen in metrics.parts(len(asked), len(target.vectors))):
        for q, scores in zip(part, query.vectors[part] @ target.vectors.T, strict=True):
            own = relevant[q]
            right = int(own[scores[own].argmax()])
            others = scores.copy()
            others[own] = -np.inf
            wrong = int(others.argmax())
            if not others[wrong] > scores[right]:
                continue
            mistake = Confusion(
                of_query[q], of_target[right], of_target[wrong], float(scores[right]), float(others[wrong])
            )
            before = found.get((right, wrong))
            clearer = before if before is not None and _margin(before) >= _margin(mistake) else mistake
            found[right, wrong] = replace(clearer, times=before.times + 1 if before else 1)
    return sorted(found.values(), key=lambda c: (-c.times, -_margin(c)))


def weakest(query: Side, target: Side) -> list[Pair]:
    """The rows that have both items, the least similar first; one row for each distinct pair."""
    rows: dict[tuple[int, int], int] = {}
    for row, pair in enumerate(zip(query.of_row.tolist(), target.of_row.tolist(), strict=True)):
        if min(pair) >= 0:
            rows.setdefault(pair, row)
    cosines = {row: float(query.vectors[q] @ target.vectors[t]) for (q, t), row in rows.items()}
    return [Pair(row, cosine) for row, cosine in sorted(cosines.items(), key=lambda rc: rc[1])]


def _margin(c: Confusion) -> float:
    return c.found_cosine - c.right_cosine


def _first_rows(side: Side) -> dict[int, int]:
    """Position of an item -> the first row it occurs in."""
    first: dict[int, int] = {}
    for row, position in enumerate(side.of_row.tolist()):
        first.setdefault(position, row)
    return first
