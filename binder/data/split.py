"""Which rows train and which are held out, so that nothing held out was seen in training."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence

import numpy as np

from binder.data.manifest import Row
from binder.errors import ManifestError

log = logging.getLogger(__name__)

TRAIN, VAL = ("train", "training"), ("val", "valid", "validation", "dev")

MAX_HELD_OUT = 10_000  # rows: enough to tell R@k to a percent, and every check of a run searches all for all


def split_rows(
    rows: Sequence[Row],
    links: Sequence[Sequence[Hashable]],
    *,
    column: str | None,
    group: str | None,
    fraction: float,
    seed: int,
) -> tuple[list[int], list[int]]:
    """Positions of the training and of the held-out rows.

    `links` names what each row is made of (its recording, its picture, by content): rows that share one stay on one
    side. With `column` the manifest says which is which (train, val; other values, such as test, are left out); with
    `group` rows that agree in that column stay together. Otherwise about `fraction` of the rows, at most
    MAX_HELD_OUT, is held out at random.
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
    """Positions grouped so that any two that share a name, directly or through others, are together."""
    parent = list(range(len(links)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    owner: dict[Hashable, int] = {}
    for i, names in enumerate(links):
        for name in names:
            parent[find(i)] = find(owner.setdefault(name, i))
    groups: dict[int, list[int]] = {}
    for i in range(len(links)):
        groups.setdefault(find(i), []).append(i)
    return list(groups.values())


def _by_column(rows: Sequence[Row], links: Sequence[Sequence[Hashable]], column: str) -> tuple[list[int], list[int]]:
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
    lacking = next((row for row in rows if row.meta.get(column) is None), None)
    if lacking is not None:
        raise ManifestError(f"{lacking.where}: no column {column!r}; columns: {', '.join(lacking.meta) or 'none'}")
