"""Retrieval and classification metrics. NumPy only.

Shapes: Q queries, N targets, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from binder.space.vectors import Vectors

TIE = 1e-6  # scores closer than this are equal: the last bits depend on how a matrix product is cut into blocks
FEW = 16  # matches up to which counting is quicker than sorting
RATES = {"r1": 1, "r5": 5, "r10": 10}  # R@k: the k of each
NO_MISS = "no result: among so few targets no search can miss"
CHUNK, SCORES = 512, 2**21  # queries scored at a time at most, and cosines, so that memory stays bounded


@dataclass(frozen=True)
class Retrieval:
    """How well queries find their targets. Rates are 0..1."""

    n: int  # queries
    n_targets: int
    r1: float
    r5: float
    r10: float
    median_rank: float  # of the best match, counted from 1
    map: float  # mean average precision, telling where several targets match
    chance_r1: float  # R@1 of a random order


def retrieval(queries: Vectors, targets: Vectors, relevant: Sequence[NDArray[np.int64]]) -> Retrieval:
    """(Q, D), (N, D) unit vectors; for each query the positions of its matching targets (at least one).

    A wrong target that ties with the best right one is ranked before it, so that a constant embedding scores nothing.
    """
    ranks = np.empty(len(queries), np.int64)
    precisions = np.empty(len(queries))
    for part in parts(len(queries), len(targets)):
        for i, row in enumerate(queries[part] @ targets.T, start=part.start):
            ranks[i], precisions[i] = _rank(row, relevant[i])
    return Retrieval(
        n=len(queries),
        n_targets=len(targets),
        r1=float((ranks <= 1).mean()),
        r5=float((ranks <= 5).mean()),
        r10=float((ranks <= 10).mean()),
        median_rank=float(np.median(ranks)),
        map=float(precisions.mean()),
        chance_r1=float(np.mean([len(np.unique(r)) / len(targets) for r in relevant])),
    )


def trivial(n_targets: int) -> list[str]:
    """Those of the rates that say nothing: among so many targets the first k hold them all."""
    return [name for name, k in RATES.items() if k >= n_targets]


def parts(queries: int, targets: int) -> Iterator[slice]:
    """The queries in parts whose cosines to all targets are at hand at once."""
    size = max(16, min(CHUNK, SCORES // max(1, targets)))
    return (slice(start, start + size) for start in range(0, queries, size))


def _rank(scores: NDArray[np.float32], relevant: NDArray[np.int64]) -> tuple[int, float]:
    """Scores of one query -> rank of its best match, average precision."""
    right = np.zeros(len(scores), bool)
    right[relevant] = True
    hits = np.sort(scores[right])[::-1]
    wrong = scores[~right]
    if len(hits) <= FEW:
        before = np.array([np.count_nonzero(wrong >= hit - TIE) for hit in hits])  # wrong ones that score as much
    else:
        before = len(wrong) - np.searchsorted(np.sort(wrong), hits - TIE, side="left")
    order = np.arange(1, len(hits) + 1)
    return int(before[0]) + 1, float(np.mean(order / (order + before)))
