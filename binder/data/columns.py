"""The items of one modality in a manifest, deduplicated by content, and their vectors.

Shapes: N rows, U unique items of one modality, D embed_dim.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from binder.data.cache import content_key
from binder.data.encode import Encoded
from binder.data.manifest import Row
from binder.errors import ItemError
from binder.modality import Item
from binder.space import vectors


@dataclass(frozen=True)
class Column:
    """The items of one modality in N rows, by content key."""

    keys: list[bytes | None]  # (N,) content key of each row's item, None where there is none or it is unreadable
    items: dict[bytes, Item]  # each unique item
    where: dict[bytes, str]  # FILE:LINE of its first use
    bad: list[tuple[str, ItemError]]  # FILE:LINE and error of the unreadable ones


@dataclass(frozen=True)
class Side:
    """One modality of N rows, encoded."""

    vectors: vectors.Vectors  # (U, D) of its unique items
    of_row: NDArray[np.int64]  # (N,) position in `vectors`, -1 where the row has no item or it is unreadable

    def of_rows(self, rows: Sequence[int]) -> Side:
        """The side of some of the rows, sharing all vectors."""
        return Side(self.vectors, self.of_row[np.asarray(rows, np.int64)])

    def restrict(self, rows: Sequence[int]) -> Side:
        """The side of some of the rows, with only the vectors that they use."""
        of_row = self.of_row[np.asarray(rows, np.int64)]
        used, compact = np.unique(of_row[of_row >= 0], return_inverse=True)
        renumbered = np.full(len(of_row), -1, np.int64)
        renumbered[of_row >= 0] = compact
        return Side(self.vectors[used], renumbered)


def column_of(rows: Sequence[Row], modality: str, strict: bool = False) -> Column:
    """The items of `modality` in the rows, by content key. With `strict`, raises the first ItemError."""
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


def encoded_side(
    column: Column, encode: Callable[[Sequence[Item], Sequence[bytes]], Encoded]
) -> tuple[Side, list[tuple[str, ItemError]]]:
    """Encode each unique item of a column once -> its side, and FILE:LINE and error of what could not be encoded."""
    keys = list(column.items)
    encoded = encode(list(column.items.values()), keys)
    bad = [*column.bad, *((column.where[keys[position]], error) for position, error in encoded.bad)]
    place = {keys[position]: i for i, position in enumerate(encoded.good)}
    of_row = np.array([-1 if key is None else place.get(key, -1) for key in column.keys], np.int64)
    return Side(encoded.vectors, of_row), bad
