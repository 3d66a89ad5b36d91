"""Splits rows into training and held-out ones, so that nothing held out is seen in training."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from binder.data.manifest import Row
from binder.errors import ManifestError

log = logging.getLogger(__name__)

TRAIN, VAL = ("train", "training"), ("val", "valid", "validation", "dev")

MAX_HELD_OUT = 10_000  # rows: enough for R@k to a percent; every validation compares all of them with all


def split_rows(
    rows: Sequence[Row],
    links: Sequence[Sequence[Hashable]],
    *,
    column: str | None,
    group: str | None,
    fraction: float,
    seed: int,
) -> tuple[list[int], list[int]]:
    """Positions of the training rows and of the held-out rows.

    `links` lists the contents of each row (its recording, its picture, as keys): rows that share one stay on the same
    side. With `column`, that column of the manifest marks train and val (rows with other values, such as test, are left
    out). Otherwise about `fraction` of the rows, at most MAX_HELD_OUT, are held out at random; with `group`, rows that
    agree in that column stay together.
    """
    if column is not None:
        return _by_column(rows, links, column)
    if group is not None:
        _require(rows, group)
        links = [[*names, ("group", str(row.meta[group]))] for names, row in zip(links, rows, strict=True)]
    if fraction == 0:
        return list(range(len(rows))), []
    parts = components(links)
    wanted = min(max(1, round(fraction * len(rows))), MAX_HELD_OUT)
    order = np.random.default_rng(seed).permutation(len(parts))
    val: list[int] = []
    for index in order:
        if len(val) < wanted and len(val) + len(parts[index]) <= 2 * wanted and len(parts) > 1:
            val += parts[index]
    if not val:
        log.warning("no rows could be held out: all of them share recordings, pictures or groups")
    held = set(val)
    return [i for i in range(len(rows)) if i not in held], sorted(val)


def components(links: Sequence[Sequence[Hashable]]) -> list[list[int]]:
    """Positions grouped into connected components: two that share a name, directly or through others, are together."""
    parent = list(range(len(links)))
    owner: dict[Hashable, int] = {}
    for i, names in enumerate(links):
        for name in names:
            parent[root(parent, i)] = root(parent, owner.setdefault(name, i))
    groups: dict[int, list[int]] = {}
    for i in range(len(links)):
        groups.setdefault(root(parent, i), []).append(i)
    return list(groups.values())


def root(parent: Any, i: int) -> int:
    """The one that stands for the group of i in a union-find forest, a list or array of parents; it is kept shallow."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = int(parent[i])
    return i


def _by_column(rows: Sequence[Row], links: Sequence[Sequence[Hashable]], column: str) -> tuple[list[int], list[int]]:
    """Positions of the rows that a column marks as train, and of those marked val that share nothing with them."""
    _require(rows, column)
    values = [str(row.meta[column]).strip().lower() for row in rows]
    train = [i for i, value in enumerate(values) if value in TRAIN]
    val = [i for i, value in enumerate(values) if value in VAL]
    if not train:
        found = ", ".join(sorted(set(values))[:6])
        raise ManifestError(f"{rows[0].source}: column {column!r} marks no row as train (it holds: {found})")
    seen = {name for i in train for name in links[i]}
    leaks = [i for i in val if seen.intersection(links[i])]
    if leaks:
        log.warning(
            "%d held-out rows share a recording or picture with training, the first at %s; left out of validation",
            len(leaks),
            rows[leaks[0]].where,
        )
    return train, [i for i in val if i not in set(leaks)]


def _require(rows: Sequence[Row], column: str) -> None:
    """Raises ManifestError for a row without that column."""
    lacking = next((row for row in rows if row.meta.get(column) is None), None)
    if lacking is not None:
        raise ManifestError(f"{lacking.where}: no column {column!r}; columns: {', '.join(lacking.meta) or 'none'}")
