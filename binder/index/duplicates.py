"""Items that lie near to each other, over a whole table: all compared with all, block by block.

Shapes: N rows, B rows of a block, D embed_dim.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from binder.errors import ConfigError
from binder.index.hits import Hit, hits_of
from binder.index.nearest import SCORE
from binder.index.rows import VECTOR
from binder.index.table import Table, one_of
from binder.space.vectors import Vectors

if TYPE_CHECKING:
    from binder.data.encode import Progress

BLOCK = 2048  # rows


def groups(table: Table, cosine: float, progress: Progress) -> list[list[Hit]]:
    """Groups of items, the largest first, each item with its cosine to the first of its group.

    Items are of one group where a chain of pairs at `cosine` or more joins them. Pieces of one item are not
    duplicates of each other.
    """
    if not 0 < cosine <= 1:
        raise ConfigError(f"a cosine of {cosine:g}: expected more than 0, at most 1")
    state = table.state()
    with tempfile.TemporaryFile() as file:  # on disk: the vectors of a large index do not fit in memory
        keys, items = _dump(table, file)
        if not keys:
            return []
        z_ND = np.memmap(file, np.float32, "r", shape=(len(keys), state.embed_dim))
        parent = np.arange(len(keys))
        for i, j in _pairs(z_ND, cosine, table.name, progress):
            if items[i] != items[j]:
                parent[_root(parent, max(i, j))] = _root(parent, min(i, j))
        members: dict[int, list[int]] = {}
        for i in range(len(keys)):
            members.setdefault(_root(parent, i), []).append(i)
        found = [group for group in members.values() if len(group) > 1]
        scores = {keys[i]: float(z_ND[i] @ z_ND[group[0]]) for group in found for i in group}
        hits = _hits(table, list(scores), scores)
        shown = [[hits[keys[i]] for i in group if keys[i] in hits] for group in found]
    return sorted((group for group in shown if len(group) > 1), key=lambda group: (-len(group), group[0].key))


def _dump(table: Table, file: object) -> tuple[list[str], list[str]]:
    """Write the vectors to the file; the keys and items of the rows in the same order."""
    keys: list[str] = []
    items: list[str] = []
    for batch in table.scan(["_key", "item", VECTOR]):
        batch[VECTOR].flatten().to_numpy(zero_copy_only=False).tofile(file)
        keys += batch["_key"].to_pylist()
        items += batch["item"].to_pylist()
    return keys, items


def _pairs(z_ND: Vectors, cosine: float, name: str, progress: Progress) -> Iterator[tuple[int, int]]:
    """Every i < j whose vectors lie that near."""
    n = len(z_ND)
    for start in range(0, n, BLOCK):
        z_BD = np.array(z_ND[start : start + BLOCK])
        for other in range(start, n, BLOCK):
            near = z_BD @ z_ND[other : other + BLOCK].T >= cosine
            for i, j in zip(*np.nonzero(near), strict=True):
                if start + i < other + j:
                    yield int(start + i), int(other + j)
        progress(f"comparing {name}", min(n, start + BLOCK), n)


def _root(parent: np.ndarray, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = int(parent[i])
    return i


def _hits(table: Table, keys: list[str], scores: dict[str, float]) -> dict[str, Hit]:
    columns = table.state().shown
    found: dict[str, Hit] = {}
    for batch in table.scan(columns, one_of("_key", keys)) if keys else ():
        rows = pa.Table.from_batches([batch]).append_column(SCORE, pa.array([0.0] * len(batch), pa.float32()))
        found |= {hit.key: replace(hit, score=scores[hit.key]) for hit in hits_of(table.name, rows)}
    return found
