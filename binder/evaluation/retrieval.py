"""Retrieval between every two modalities of a manifest.

Shapes: N rows, U unique items of one modality, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder.data.columns import Side
from binder.evaluation import metrics


def retrieval_rows(
    sides: Mapping[str, Side], trained: Callable[[str, str], bool], queries: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """One row per ordered pair of modalities that share rows: R@k, median rank, mAP, chance, whether it was trained.

    A query's matches are the targets of all rows it stands in, so that one sound may have several pictures. `queries`
    are the modalities that are searched with: all, if nothing is said.
    """
    result = []
    for query, target in ((q, t) for q in queries or sides for t in sides if q != t):
        relevant = matches(sides[query], sides[target])
        if relevant:
            used = sorted(relevant)
            table = metrics.retrieval(
                sides[query].vectors[used], sides[target].vectors, [relevant[position] for position in used]
            )
            result.append({"query": query, "target": target, "trained": trained(query, target), **asdict(table)})
    return result


def matches(query: Side, target: Side) -> dict[int, NDArray[np.int64]]:
    """Position of each query -> positions of its targets."""
    found: dict[int, set[int]] = {}
    for q, t in zip(query.of_row.tolist(), target.of_row.tolist(), strict=True):
        if q >= 0 and t >= 0:
            found.setdefault(q, set()).add(t)
    return {q: np.array(sorted(ts), np.int64) for q, ts in found.items()}
