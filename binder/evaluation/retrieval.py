"""Retrieval between all pairs of modalities of a manifest.

Shapes: N rows, U unique items of one modality, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder.data.columns import Side
from binder.data.manifest import Row
from binder.errors import ConfigError
from binder.evaluation import metrics


def comparable(rows: Sequence[Row], where: str, names: Sequence[str], encoders: Container[str]) -> list[str]:
    """Those of the modalities `names` that the rows have and `encoders` can encode.

    Raises ConfigError if there are fewer than two; `where` names the rows in it.
    """
    present = [name for name in names if any(name in row.items for row in rows)]
    usable = [name for name in present if name in encoders]
    if len(usable) < 2:
        missing = [name for name in present if name not in encoders]
        columns = dict.fromkeys(key for row in rows[:100] for key in [*row.items, *row.meta])
        shown = ", ".join(str(key)[:40] for key in list(columns)[:20]) or "none"
        hint = f"columns: {shown} (a column is named after its modality)"
        if missing:
            hint = f"no encoder loaded for {', '.join(missing)}"
        raise ConfigError(f"{where}: fewer than two modalities; {hint}")
    return usable


def retrieval_rows(
    sides: Mapping[str, Side], trained: Callable[[str, str], bool], queries: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """A row per ordered pair of modalities that occur together: the metrics, and whether the pair was trained together.

    The matches of a query are the targets of all rows it occurs in, so an item can have several. `queries` limits which
    modalities are searched with; by default all.
    """
    result = []
    for query, target in ((q, t) for q in queries or sides for t in sides if q != t):
        relevant = matches(sides[query], sides[target])
        if relevant:
            used = sorted(relevant)
            found = metrics.retrieval(
                sides[query].vectors[used], sides[target].vectors, [relevant[position] for position in used]
            )
            result.append({"query": query, "target": target, "trained": trained(query, target), **found})
    return result


def baseline_values(baselines: Sequence[Mapping[str, Any]], query: str, target: str) -> list[float | None]:
    """The first metric of each of a card's baselines for a pair of modalities; None if it has no such row."""
    name = metrics.METRICS[0].name
    rows = [row_of(baseline["retrieval"], query, target) for baseline in baselines]
    return [float(row[name]) if row and name in row else None for row in rows]


def row_of(rows: Sequence[Mapping[str, Any]], query: str, target: str) -> Mapping[str, Any] | None:
    """The row of a pair of modalities, if there is one."""
    return next((row for row in rows if (row["query"], row["target"]) == (query, target)), None)


def figures(row: Mapping[str, Any], baselines: Sequence[Mapping[str, Any]] = ()) -> dict[str, str]:
    """What tables show of a row, by column: metrics, chance levels, and the first metric of a card's baselines."""
    first, values = metrics.METRICS[0], baseline_values(baselines, row["query"], row["target"])
    return {
        **{m.label: m.text(m.of(row)) for m in metrics.METRICS},
        **{f"chance {m.label}": m.text(row.get(f"chance_{m.name}"), "") for m in metrics.METRICS if m.chance},
        **{f"{b['name']} {first.label}": first.text(value, "") for b, value in zip(baselines, values, strict=True)},
    }


def matches(query: Side, target: Side) -> dict[int, NDArray[np.int64]]:
    """Position of each query -> positions of its matches."""
    found: dict[int, set[int]] = {}
    for q, t in zip(query.of_row.tolist(), target.of_row.tolist(), strict=True):
        if q >= 0 and t >= 0:
            found.setdefault(q, set()).add(t)
    return {q: np.array(sorted(ts), np.int64) for q, ts in found.items()}
