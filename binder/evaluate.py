"""Retrieval between every two modalities of a manifest, and zero-shot classification by prompts.

Shapes: N rows, U unique items of one modality, D embed_dim, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binder import metrics, vectors
from binder.cache import content_key
from binder.encode import Encoded
from binder.errors import ConfigError, ItemError
from binder.manifest import Row
from binder.modality import Item


@dataclass(frozen=True)
class Column:
    """The items of one modality in N rows, by content."""

    keys: list[bytes | None]  # (N,) content key of each row, None where it has none that can be read
    items: dict[bytes, Item]  # each different one
    where: dict[bytes, str]  # file:row of its first use
    bad: list[tuple[str, ItemError]]  # file:row and reason of the unreadable ones


@dataclass(frozen=True)
class Side:
    """One modality of a set of rows, encoded."""

    vectors: vectors.Vectors  # (U, D) of its different items
    of_row: NDArray[np.int64]  # (N,) position in `vectors`, -1 where the row has none or it cannot be read

    def of_rows(self, rows: Sequence[int]) -> Side:
        """The side of some of the rows, with all vectors: no copy of them."""
        return Side(self.vectors, self.of_row[np.asarray(rows, np.int64)])

    def restrict(self, rows: Sequence[int]) -> Side:
        """The side of some of the rows, without the items that only others use."""
        of_row = self.of_row[np.asarray(rows, np.int64)]
        used, compact = np.unique(of_row[of_row >= 0], return_inverse=True)
        renumbered = np.full(len(of_row), -1, np.int64)
        renumbered[of_row >= 0] = compact
        return Side(self.vectors[used], renumbered)


def column(rows: Sequence[Row], modality: str, strict: bool = False) -> Column:
    """The items of `modality` in the rows, each named by its content. Raises the first ItemError if `strict`."""
    result = Column([], {}, {}, [])
    for row in rows:
        key = None
        if modality in row.items:
            try:
                key = content_key(row.items[modality])
                result.items.setdefault(key, row.items[modality])
                result.where.setdefault(key, row.where)
            except ItemError as error:
                if strict:
                    raise
                result.bad.append((row.where, error))
        result.keys.append(key)
    return result


def side(
    column: Column, encode: Callable[[Sequence[Item], Sequence[bytes]], Encoded]
) -> tuple[Side, list[tuple[str, ItemError]]]:
    """Encode a column, each different item once; also file:row and reason of what could not be encoded."""
    keys = list(column.items)
    encoded = encode(list(column.items.values()), keys)
    bad = [*column.bad, *((column.where[keys[position]], error) for position, error in encoded.bad)]
    place = {keys[position]: i for i, position in enumerate(encoded.good)}
    of_row = np.array([-1 if key is None else place.get(key, -1) for key in column.keys], np.int64)
    return Side(encoded.vectors, of_row), bad


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


def class_vectors(
    labels: Sequence[str], templates: Iterable[str], embed_text: Callable[[Sequence[str]], vectors.Vectors]
) -> vectors.Vectors:
    """C labels -> (C, D): the mean of the prompts' vectors, normalised (prompt ensemble, Radford et al. 2021).

    Raises ConfigError for labels that repeat and for a template without {}.
    """
    templates = list(templates)
    if len(set(labels)) != len(labels) or not labels:
        raise ConfigError("labels must be given and must differ")
    if not templates:
        raise ConfigError("at least one template must be given")
    wrong = [t for t in templates if t.count("{}") != 1]
    if wrong:
        raise ConfigError(f"template {wrong[0]!r}: needs {{}} once, where the label goes")
    prompts = [template.replace("{}", label) for label in labels for template in templates]
    z = embed_text(prompts).reshape(len(labels), len(templates), -1)
    return vectors.normalize(z.mean(1))


def softmax(logits: NDArray[np.floating]) -> NDArray[np.floating]:
    """(N, C) -> (N, C) rows that sum to 1."""
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)
