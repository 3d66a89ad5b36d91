"""A table -> what to draw: which column is the axis, which are the series, which chart type fits.

Shapes: P points along the axis, S series.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from binder import ItemError
from binder_chart.cells import Column, understand
from binder_chart.config import Kind
from binder_chart.dates import Floats
from binder_chart.table import Table

Axis = Literal["time", "category", "number", "order"]  # what the axis shows; order: the row numbers

MAX_SERIES = 12  # more cannot be told apart
MAX_BARS, MAX_POINTS = 60, 500  # beyond, neighbors are averaged
MANY_TIMES = 16  # points in time from which a line is clearer than bars
LONG_NAME, MANY_NAMES = 14, 8  # average length and number of names above which bars are horizontal, to make room
WHOLE = 0.02  # deviation from 100 % up to which parts make a whole
MAX_SLICES = 12
LARGE = 1e288  # the sum of a million such numbers is still finite
WAYS = 4  # to draw a table whose chart type is open
WIDE = 5  # so many columns named after points in time are points, not series


@dataclass(frozen=True)
class Plot:
    """What is drawn, apart from the style."""

    kind: Kind
    axis: Axis
    x: Floats  # (P,) position of the points on the axis
    labels: tuple[str, ...]  # (P,)
    names: tuple[str, ...]  # (S,)
    values: Floats  # (S, P), NaN where missing
    unit: str = ""
    horizontal: bool = False  # bars extend to the right
    stacked: bool = False


def plot(table: Table, name: str, kind: Kind | None = None) -> Plot:
    """A table as the chart type that it sets, else `kind`, else the best. Raises ItemError if nothing can be drawn."""
    with np.errstate(all="ignore"):  # sums of the largest floats may overflow, which affects no decision here
        data = arrange(table, name)
        wanted = table.kind or kind
        if wanted and wanted not in fitting(data):
            raise ItemError(name, f"cannot be drawn as a {wanted} chart; it could be: {', '.join(fitting(data))}")
        return shape(data, wanted or best(data))


def ways(table: Table, name: str) -> list[Plot]:
    """A table as vertical bars, horizontal bars, a line, and a pie where that fits (else bars again): WAYS plots."""
    with np.errstate(all="ignore"):
        data = arrange(table, name)
        bars = replace(shape(data, "bar"), horizontal=False)
        pie = shape(data, "pie") if "pie" in fitting(data) else bars
        return [bars, replace(bars, horizontal=True), shape(data, "line"), pie]


def arrange(table: Table, name: str) -> Plot:
    """The table's columns in their roles; the chart type is still open. Raises ItemError if nothing can be drawn."""
    numbers = [column for column in table.columns if column.kind == "number" and np.isfinite(column.values).any()]
    others = [column for column in table.columns if column.kind in ("time", "category")]
    if not numbers:
        kinds = ", ".join(sorted({column.kind for column in table.columns}))
        raise ItemError(name, f"no column of numbers to draw (its columns: {kinds})")
    along = next((c for c in others if c.kind == "time"), others[0] if others else None)
    if _is_wide(numbers):
        data = _wide(numbers, along)
    elif along is not None:
        data = _long(along, others, numbers) or _along(along, numbers)
    elif len(numbers) > 1:
        data = _along(numbers[0], numbers[1:])
    else:
        data = _along(replace(numbers[0], texts=("",) * len(numbers[0].texts)), numbers, order=True)
    if np.isfinite(data.values).sum() < 2:
        raise ItemError(name, "a single number; expected at least two to draw")
    return data


def fitting(data: Plot) -> list[Kind]:
    """The chart types that make sense for these data, the common ones first."""
    kinds: list[Kind] = ["bar", "line", "area", "scatter"]
    few = len(data.values) == 1 and len(data.x) <= MAX_SLICES
    if few and data.axis != "number" and np.nanmin(data.values) >= 0 < np.nansum(data.values):
        kinds.append("pie")
    return kinds


def best(data: Plot) -> Kind:
    """The chart type that most people would choose."""
    points = len(data.x)
    if data.axis == "number":
        return "line" if np.all(np.diff(data.x) > 0) and points > 2 and _smooth(data) else "scatter"
    if data.axis == "time":
        return "line" if points >= MANY_TIMES else "bar"
    return "bar" if points <= MAX_BARS else "line"


def shape(data: Plot, kind: Kind) -> Plot:
    """The data as a chart of that type: sorted, with no more points than can be seen."""
    if data.axis in ("time", "number") and kind != "scatter":
        data = _sorted(data)
    data = _thinned(data, MAX_BARS if kind in ("bar", "pie") else MAX_POINTS, sample=kind == "scatter")
    names = [label for label in data.labels if label]
    length = sum(map(len, names)) / max(len(names), 1)
    horizontal = data.axis == "category" and (length > LONG_NAME or len(data.x) > MANY_NAMES)
    return replace(
        data, kind=kind, horizontal=kind == "bar" and horizontal, stacked=kind in ("bar", "area") and _is_whole(data)
    )


def _is_wide(numbers: Sequence[Column]) -> bool:
    """Whether the header is the axis: 1990, 1991 ..., or a single row of numbers."""
    if len(numbers[0].texts) == 1:
        return len(numbers) > 1
    return len(numbers) >= WIDE and understand("", [c.name for c in numbers], first=True).kind == "time"


def _wide(numbers: Sequence[Column], names: Column | None) -> Plot:
    """The header is the axis and each row a series."""
    header = understand("", [column.name for column in numbers], first=True)
    rows = np.stack([column.values for column in numbers], axis=1)
    kept = [i for i, row in enumerate(rows) if np.isfinite(row).any()][:MAX_SERIES]
    labels = [names.texts[i] if names else "" for i in kept]
    if header.kind == "time":
        return Plot("line", "time", header.values, header.texts, tuple(labels), rows[kept], numbers[0].unit)
    order = np.arange(len(numbers), dtype=np.float64)
    return Plot("bar", "category", order, header.texts, tuple(labels), rows[kept], numbers[0].unit)


def _along(along: Column, numbers: Sequence[Column], order: bool = False) -> Plot:
    """The column `along` is the axis and each column of numbers a series."""
    axis: Axis = "order" if order or along.kind == "empty" else along.kind
    known = np.isfinite(along.values) if axis in ("time", "number") else np.ones(len(along.texts), bool)
    x = along.values if axis in ("time", "number") else np.arange(len(along.texts), dtype=np.float64)
    numbers = numbers[:MAX_SERIES]
    values = np.stack([column.values for column in numbers])
    seen = known & np.isfinite(values).any(axis=0)
    labels = tuple(text for text, kept in zip(along.texts, seen, strict=True) if kept)
    x = np.arange(seen.sum(), dtype=np.float64) if axis in ("category", "order") else x[seen]
    return Plot("bar", axis, x, labels, tuple(c.name for c in numbers), values[:, seen], numbers[0].unit)


def _long(along: Column, others: Sequence[Column], numbers: Sequence[Column]) -> Plot | None:
    """Long form (a row per point and series) -> a series per name; None where no column names the series.

    Rows with the same point and series are averaged.
    """
    groups = next((c for c in others if c is not along and c.kind == "category" and _names_series(c, along)), None)
    if groups is None:
        return None
    points = list(dict.fromkeys(text for text in along.texts if text))
    series = list(dict.fromkeys(text for text in groups.texts if text))[:MAX_SERIES]
    place, number = {text: i for i, text in enumerate(points)}, {text: i for i, text in enumerate(series)}
    sums, counts = np.zeros((len(series), len(points))), np.zeros((len(series), len(points)))
    large = np.nanmax(np.abs(numbers[0].values)) > LARGE
    scale = 2.0**64 if large else 1.0  # sums of the largest floats would overflow
    for group, point, value in zip(groups.texts, along.texts, (numbers[0].values / scale).tolist(), strict=True):
        if group in number and point in place and np.isfinite(value):
            sums[number[group], place[point]] += value
            counts[number[group], place[point]] += 1
    values = scale * np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    where = dict(zip(along.texts, along.values.tolist(), strict=True))
    axis: Axis = "time" if along.kind == "time" else "category"
    x = np.array([where[text] for text in points]) if axis == "time" else np.arange(len(points), dtype=np.float64)
    kept = np.isfinite(x) & np.isfinite(values).any(axis=0)
    labels = tuple(text for text, keep in zip(points, kept, strict=True) if keep)
    return Plot("line", axis, x[kept], labels, tuple(series), values[:, kept], numbers[0].unit)


def _names_series(groups: Column, along: Column) -> bool:
    """Whether the points repeat, with different names in `groups`."""
    points, names = len(set(along.texts)), len(set(groups.texts))
    return names >= 2 and points < len(along.texts) and names < len(groups.texts)


def _is_whole(data: Plot) -> bool:
    """Whether the series are parts of a whole: at most points they sum to 100 or to 1."""
    if len(data.values) < 2 or np.nanmin(data.values) < 0:
        return False
    sums = np.nansum(data.values, axis=0)
    return bool(any(np.mean(np.abs(sums / whole - 1) <= WHOLE) >= 0.8 for whole in (100, 1)))


def _smooth(data: Plot) -> bool:
    """Whether neighbors are similar, as along a curve: the variance of the differences is below that of the values."""
    return all(np.nanvar(np.diff(row)) < np.nanvar(row) for row in data.values if np.isfinite(np.diff(row)).any())


def _sorted(data: Plot) -> Plot:
    """The points in ascending order along the axis."""
    order = np.argsort(data.x, kind="stable")
    labels = tuple(data.labels[i] for i in order.tolist())
    return replace(data, x=data.x[order], labels=labels, values=data.values[:, order])


def _thinned(data: Plot, most: int, sample: bool) -> Plot:
    """At most `most` points: neighbors averaged, or with `sample` a selection."""
    points = len(data.x)
    if points <= most:
        return data
    if sample:
        kept = np.linspace(0, points - 1, most).round().astype(int)
        return replace(data, x=data.x[kept], labels=tuple(data.labels[i] for i in kept), values=data.values[:, kept])
    parts = np.array_split(np.arange(points), most)
    values = np.stack([_mean(data.values[:, part]) for part in parts], axis=1)
    first = [int(part[0]) for part in parts]
    return replace(data, x=data.x[first], labels=tuple(data.labels[i] for i in first), values=values)


def _mean(values: Floats) -> Floats:
    """(S, P) -> (S,): the mean of the values that are not missing."""
    known = np.isfinite(values)
    counts = np.maximum(known.sum(axis=1), 1)
    means = np.where(known, values / counts[:, None], 0).sum(axis=1)  # divided before the sum, which could overflow
    return np.where(known.any(axis=1), means, np.nan)
