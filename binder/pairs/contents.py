"""Findings from the contents of a manifest's rows: repeated rows, copies, leaks, near-duplicates, truncated texts.

Shapes: U unique items, D embed_dim.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from binder.anchors.base import Anchor
from binder.data.columns import Column
from binder.data.manifest import Row
from binder.data.split import TRAIN
from binder.modality import Item
from binder.space.vectors import Vectors

CHUNK = 1024  # vectors compared with all others at a time, to bound memory
MAX_NEAR = 200  # pairs of near-duplicates listed
MAX_REPEATED = 5  # repeated items listed


def repeated_rows(rows: Sequence[Row], columns: Mapping[str, Column]) -> list[tuple[int, int]]:
    """Positions of the rows with the same content as an earlier row, each with the position of that row."""
    first: dict[tuple[bytes | None, ...], int] = {}
    found = []
    for i in range(len(rows)):
        content = tuple(column.keys[i] for column in columns.values())
        if any(content) and first.setdefault(content, i) != i:
            found.append((i, first[content]))
    return found


def copies(rows: Sequence[Row], name: str, column: Column) -> list[list[str]]:
    """Groups of files of a modality with different paths but the same content."""
    paths: dict[bytes, dict[str, None]] = {}
    for row, key in zip(rows, column.keys, strict=True):
        if key is not None and isinstance(row.items[name], Path):
            paths.setdefault(key, {})[str(row.items[name])] = None
    return [list(group) for group in paths.values() if len(group) > 1]


def leaks(rows: Sequence[Row], files: Mapping[str, Column], split: str) -> list[tuple[str, int, int]]:
    """(modality, held-out row, training row) of items that occur, by content, on both sides of the split.

    Every value of the split column other than train is held out. Each row is listed once.
    """
    trains = [str(row.meta.get(split)).strip().lower() in TRAIN for row in rows]
    found: dict[int, tuple[str, int, int]] = {}
    for name, column in files.items():
        seen: dict[bytes, int] = {}
        for i, key in enumerate(column.keys):
            if trains[i] and key is not None:
                seen.setdefault(key, i)
        for i, key in enumerate(column.keys):
            if not trains[i] and key in seen:
                found.setdefault(i, (name, i, seen[key]))
    return [found[i] for i in sorted(found)]


def most_repeated(column: Column) -> list[tuple[str, int]]:
    """The items that occur in more than one row, with the number of rows, most frequent first."""
    counts = Counter(key for key in column.keys if key is not None)
    return [(item_name(column.items[key]), n) for key, n in counts.most_common(MAX_REPEATED) if n > 1]


def item_name(item: Item) -> str:
    """A short name for an item."""
    return item.name if isinstance(item, Path) else item if isinstance(item, str) else f"<{type(item).__name__}>"


def cut_texts(texts: Sequence[str], anchor: Anchor) -> list[int]:
    """Positions of the texts that are too long for the anchor, which truncates them."""
    return [i for i, text in enumerate(texts) if anchor.truncates(text)]


def near_duplicates(z_UD: Vectors, threshold: float) -> tuple[int, list[tuple[int, int, float]]]:
    """(U, D) unit vectors -> the number of pairs with a cosine above the threshold, and the closest: (i, j, cosine)."""
    count, found = 0, []
    for start in range(0, len(z_UD), CHUNK):
        cosine = z_UD[start : start + CHUNK] @ z_UD[start:].T
        i, j = np.nonzero(np.triu(cosine > threshold, 1))
        count += len(i)
        found += [(start + int(a), start + int(b), float(cosine[a, b])) for a, b in zip(i, j, strict=True)]
        found = sorted(found, key=lambda pair: -pair[2])[:MAX_NEAR]
    return count, found
