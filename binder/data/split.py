"""Splits rows into training and held-out ones, so that nothing held out is seen in training."""

from __future__ import annotations

import datetime
import logging
import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from binder.data.manifest import Row
from binder.errors import ManifestError

log = logging.getLogger(__name__)

TRAIN, VAL = ("train", "training"), ("val", "valid", "validation", "dev")

TIME, ORDER = "time:", "order"  # splits by when a recording was made

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
    out). `time:COLUMN` holds the last `fraction` out by the times or numbers in that column, `order` by the order of
    the rows: what was recorded later. Otherwise about `fraction` of the rows, at most MAX_HELD_OUT, are held out at
    random; with `group`, rows that agree in that column stay together.

    Raises ManifestError for a column that is not there, or whose values cannot be ordered.
    """
    if column is not None and (column.startswith(TIME) or (column == ORDER and ORDER not in rows[0].meta)):
        return _last(rows, links, column.removeprefix(TIME) if column.startswith(TIME) else None, fraction)
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


def said(column: str | None, group: str | None) -> str:
    """How rows are held out, in a few words for people."""
    if column is not None:
        return f"the latest by {column.removeprefix(TIME)}" if column.startswith(TIME) else f"by {column}"
    return "at random" if group is None else f"at random, {group} kept together"


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


def _last(
    rows: Sequence[Row], links: Sequence[Sequence[Hashable]], column: str | None, fraction: float
) -> tuple[list[int], list[int]]:
    """Positions of the earlier rows, and of the last ones, of which none has the recording of an earlier one.

    The first name in `links` is that of the recording. Pictures and texts may return: what is later is the recordings.
    """
    times = list(range(len(rows))) if column is None else _times(rows, column)
    order = sorted(range(len(rows)), key=lambda i: times[i])
    cut = len(rows) - min(max(1, round(fraction * len(rows))), MAX_HELD_OUT)
    while 0 < cut < len(rows) and times[order[cut]] == times[order[cut - 1]]:
        cut += 1  # what is of one time stays together
    if fraction and not 0 < cut < len(rows):
        raise ManifestError(f"{rows[0].source}: column {column!r}: the last rows all have the same time; use --group")
    if not fraction:
        return list(range(len(rows))), []
    train, val = sorted(order[:cut]), sorted(order[cut:])
    seen = {links[i][0] for i in train}
    again = [i for i in val if links[i][0] in seen]
    if again:
        log.warning(
            "%d of the later rows have a recording that trains, the first at %s; left out of validation",
            len(again),
            rows[again[0]].where,
        )
    return train, [i for i in val if i not in set(again)]


def _times(rows: Sequence[Row], column: str) -> list[float]:
    """The times in a column, as numbers that can be ordered: numbers as they are, dates in seconds."""
    _require(rows, column)
    found: list[float] = []
    kinds: dict[str, Row] = {}
    for row in rows:
        kind, value = _time(row, column)
        kinds.setdefault(kind, row)
        found.append(value)
    if len(kinds) > 1:
        (one, a), (other, b) = list(kinds.items())[:2]
        raise ManifestError(f"column {column!r} cannot be ordered: {a.where} is {one}, {b.where} is {other}")
    return found


def _time(row: Row, column: str) -> tuple[str, float]:
    """What kind of time it is, and its number. Raises ManifestError for what is none."""
    value = row.meta[column]
    try:
        if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
            value = datetime.datetime.combine(value, datetime.time())
        if not isinstance(value, datetime.datetime):
            try:
                number = float(value)
            except ValueError:
                value = datetime.datetime.fromisoformat(str(value).strip())
            else:
                if not math.isfinite(number):
                    raise ValueError
                return "a number", number
        if value.tzinfo is not None:
            return "a time with a zone", value.timestamp()
        return "a time without a zone", value.replace(tzinfo=datetime.UTC).timestamp()
    except (ValueError, TypeError, OverflowError):
        shown = str(row.meta[column])[:40]
        raise ManifestError(
            f"{row.where}: {column} is {shown!r}, expected a number or a time such as 2026-03-01 14:30"
        ) from None


def _require(rows: Sequence[Row], column: str) -> None:
    """Raises ManifestError for a row without that column."""
    lacking = next((row for row in rows if row.meta.get(column) is None), None)
    if lacking is not None:
        raise ManifestError(f"{lacking.where}: no column {column!r}; columns: {', '.join(lacking.meta) or 'none'}")
