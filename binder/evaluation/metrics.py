"""Retrieval metrics: records that tables, cards, logs, pages and JSON iterate over. NumPy only.

To add a metric, put a record into `METRICS`; nothing else lists them.

Shapes: Q queries, N targets, K matches of a query, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder.space.vectors import Vectors

TIE = 1e-6  # scores closer than this are equal: the last bits depend on how a matrix product is cut into blocks
FEW = 16  # matches up to which counting is faster than sorting
NO_RESULT = "–"  # in tables
NO_MISS = "no result: among so few targets no search can miss"
CHUNK, SCORES = 512, 2**21  # most queries, and most cosines, that are scored at a time: memory stays bounded

Ranks = NDArray[np.int64]  # (K,) of a query's matches, ascending, counted from 1


@dataclass(frozen=True)
class Metric:
    """A measure of how well queries find their targets."""

    name: str  # its key in JSON, cards and logs
    label: str  # its column in tables
    of_query: Callable[[Ranks], float]
    over_queries: Callable[[NDArray[np.float64]], Any] = np.mean  # (Q,) values of `of_query` -> value
    higher_is_better: bool = True
    decimals: int | None = 3  # in tables; None: as many as it needs
    percent: bool = False  # a share, 0..1, that pages show as a percentage
    trivial_up_to: int = 0  # number of targets up to which every search reaches the best value: no result
    logged: bool = False  # after each evaluation during training; pages draw it as a curve, so it must be a share
    chance: Callable[[int, int], float] | None = None  # numbers of matches and targets -> value for a random order

    def of(self, row: Mapping[str, Any]) -> float | None:
        """Its value in a row of results; None if that is no result, or if the row is older than the metric."""
        missing = self.name not in row or row["n_targets"] <= self.trivial_up_to
        return None if missing else float(row[self.name])

    def text(self, value: float | None, missing: str = NO_RESULT) -> str:
        """A value as tables show it."""
        if value is None:
            return missing
        return f"{value:g}" if self.decimals is None else f"{value:.{self.decimals}f}"


def recall(k: int, **more: Any) -> Metric:
    """R@k: the share of queries with a match among the first k."""
    return Metric(f"r{k}", f"R@{k}", lambda ranks: ranks[0] <= k, percent=True, trivial_up_to=k, **more)


def _precision(ranks: Ranks) -> float:
    """The average precision of a query: the mean over its matches of the precision at their rank."""
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))


METRICS = [  # the first is the one that baselines and chance are compared by
    recall(1, logged=True, chance=lambda matches, targets: matches / targets),
    recall(5),
    recall(10, logged=True),
    Metric("median_rank", "median rank", lambda ranks: ranks[0], np.median, higher_is_better=False, decimals=None),
    Metric("map", "mAP", _precision),
]


def retrieval(queries: Vectors, targets: Vectors, relevant: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    """(Q, D), (N, D) unit vectors; for each query the positions of its matches (at least one) -> {metric: value}.

    Besides the metrics: `n` queries, `n_targets`, and `chance_NAME`. A wrong target that ties with a match is ranked
    before it, so that a constant embedding scores nothing.
    """
    values_MQ = np.empty((len(METRICS), len(queries)))
    for part in parts(len(queries), len(targets)):
        for i, scores in enumerate(queries[part] @ targets.T, start=part.start):
            ranks = _ranks(scores, relevant[i])
            values_MQ[:, i] = [metric.of_query(ranks) for metric in METRICS]
    matches = [len(np.unique(r)) for r in relevant]
    return {
        "n": len(queries),
        "n_targets": len(targets),
        **{m.name: float(m.over_queries(values)) for m, values in zip(METRICS, values_MQ, strict=True)},
        **{
            f"chance_{m.name}": float(np.mean([m.chance(k, len(targets)) for k in matches]))
            for m in METRICS
            if m.chance
        },
    }


def no_result(n_targets: int) -> list[str]:
    """The metrics that say nothing about so few targets: R@k where the first k are all there are."""
    return [metric.name for metric in METRICS if n_targets <= metric.trivial_up_to]


def lower_is_better() -> str:
    """A sentence that names the metrics of that direction; empty if there are none."""
    labels = [metric.label for metric in METRICS if not metric.higher_is_better]
    return f"Lower is better: {', '.join(labels)}." if labels else ""


def parts(queries: int, targets: int) -> Iterator[slice]:
    """Consecutive slices of the queries, so small that their cosines with all targets fit into memory."""
    size = max(16, min(CHUNK, SCORES // max(1, targets)))
    return (slice(start, start + size) for start in range(0, queries, size))


def _ranks(scores_N: NDArray[np.float32], relevant_K: NDArray[np.int64]) -> Ranks:
    """Scores of a query's targets, positions of its matches -> their ranks."""
    right = np.zeros(len(scores_N), bool)
    right[relevant_K] = True
    hits = np.sort(scores_N[right])[::-1]
    wrong = scores_N[~right]
    if len(hits) <= FEW:
        before = np.array([np.count_nonzero(wrong >= hit - TIE) for hit in hits])  # wrong ones that score as much
    else:
        before = len(wrong) - np.searchsorted(np.sort(wrong), hits - TIE, side="left")
    ranks_K: Ranks = np.arange(1, len(hits) + 1) + before
    return ranks_K
