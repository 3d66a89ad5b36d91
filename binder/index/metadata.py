"""What is said of items, as columns of the kinds that are kept: text, numbers, truth values, times.

Numbers are float64, times microseconds; those with a time zone are kept as UTC, so that the instant stays.

What a program gives as metadata is refused where it cannot be kept; of what stands in somebody's file only the value
that cannot be is left out, with a warning that names its item.

Shapes: N items.
"""

from __future__ import annotations

import datetime
import decimal
import json
import logging
import math
import numbers
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from binder.errors import ConfigError, one_line
from binder.files import utf8
from binder.index.rows import OWN, VECTOR

log = logging.getLogger(__name__)

NAME = re.compile(r"[^\W_][\w -]{0,63}")  # of a column: what a condition can name
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
EXACT = 2**53  # float64 holds whole numbers up to here
LONGEST = 100_000  # characters of a value that is no text and is kept as one
TIME, INSTANT = pa.timestamp("us"), pa.timestamp("us", "UTC")
FIRST_S, LAST_S = -62_135_596_800, 253_402_300_799  # years 1 to 9999, in seconds: what Python can show
KINDS = {"text": pa.string(), "number": pa.float64(), "truth": pa.bool_(), "time": TIME, "instant": INSTANT}


def columns_of(metadata: Any, n: int) -> pa.Table | None:
    """What a program gives as metadata of N items -> columns of KINDS; None for nothing.

    A mapping of columns (a value that is no list holds for all), rows as mappings, or anything that pyarrow reads as
    a table (a data frame). A column `text` holds the words beside each item. Raises ConfigError.
    """
    if metadata is None:
        return None
    try:
        if isinstance(metadata, Mapping):
            columns = {str(k): v if _many(v) else [v] * n for k, v in metadata.items()}
            found = pa.table(columns) if columns else None
        elif isinstance(metadata, Sequence):
            keys = dict.fromkeys(str(key) for row in metadata for key in row)
            columns = {key: [row.get(key) for row in metadata] for key in keys}
            found = pa.table(columns) if columns else None
        else:
            found = pa.table(metadata)
    except (OverflowError, pa.ArrowInvalid) as error:
        large = isinstance(error, OverflowError) or "too large" in str(error)
        wrong = "numbers beyond 2^53; give them as text" if large else "values of several kinds"
        raise ConfigError(f"metadata: a column holds {wrong}: {one_line(error)}") from None
    except (pa.ArrowException, TypeError, AttributeError, ValueError) as error:
        said = one_line(error)
        raise ConfigError(f"metadata: a column holds values of several kinds, or no table: {said}") from None
    if found is None:
        return None
    if len(found) != n:
        raise ConfigError(f"metadata: {len(found)} rows for {n} items")
    return checked(found)


def checked(found: pa.Table, source: str | None = None) -> pa.Table:
    """The same columns as KINDS. Raises ConfigError for a name or a type that cannot be kept.

    With `source`, somebody's file, such a column is left out with a warning; numbers too large for it become text.
    """
    kept: dict[str, pa.ChunkedArray] = {}
    for name in found.column_names:
        try:
            check_name(name, kept)
            column = _converted(name, found[name], as_text=source is not None)
        except ConfigError as error:
            if source is None:
                raise
            log.warning("%s: %s; it is left out", source, error)
            continue
        if column is not None:
            kept[name] = column
    return pa.table(kept) if kept else found.select([])


def check_name(name: str, others: Sequence[str] | Mapping[str, Any]) -> None:
    """Raises ConfigError for what cannot be the name of a column beside these."""
    if not NAME.fullmatch(name):
        expected = "expected a letter, then letters, digits, spaces, _ or -; rename it"
        raise ConfigError(f"metadata column {name[:80]!r}: {expected}")
    if name != "text" and (name in OWN or name == VECTOR):
        raise ConfigError(f"metadata column {name!r}: the index has one of its own of this name; rename it")
    if name.lower() in {other.lower() for other in others}:
        raise ConfigError(f"metadata column {name!r} differs from another only in capital letters; rename it")


def from_files(
    metas: Sequence[Mapping[str, Any]], items: Sequence[str], have: Mapping[str, pa.DataType]
) -> list[dict[str, Any]]:
    """What manifests say of N items -> the same as plain values, each column of one kind.

    That is the kind the table has (`have`), or else that of most of its values. What cannot be of it is left out, and
    the first item that this befell is named.
    """
    made: list[dict[str, Any]] = [{} for _ in metas]
    names: dict[str, None] = {}
    for key in dict.fromkeys(str(key) for meta in metas for key in meta):
        try:
            check_name(key, [*names, *(name for name in have if name != key)])
        except ConfigError as error:
            log.warning("%s; it is left out", error)
            continue
        names[key] = None
        cells = {i: meta[key] for i, meta in enumerate(metas) if not _nothing(meta.get(key))}
        wanted = _kind_of_type(have[key]) if key in have else _kind_of_most([*cells.values()])
        lost: list[tuple[int, str]] = []
        rounded: list[int] = []
        for i, cell in cells.items():
            try:
                made[i][key] = _as(wanted, cell)
            except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
                lost.append((i, str(error) or type(error).__name__))
            else:
                if wanted == "number" and isinstance(cell, int) and int(made[i][key]) != cell:
                    rounded.append(i)
        if lost:
            i, why = lost[0]
            log.warning("metadata %r of %d items is left out, the first: %s: %s", key, len(lost), items[i], why)
        if rounded:
            log.warning(
                "metadata %r of %d items is rounded, the first: %s; numbers beyond 2^53 keep their digits as text",
                *(key, len(rounded), items[rounded[0]]),
            )
    return made


def value(cell: Any) -> Any:
    """A cell as it is shown: whole numbers without a point, instants in UTC."""
    if isinstance(cell, float) and abs(cell) <= EXACT and cell.is_integer():
        return int(cell)
    if isinstance(cell, datetime.datetime) and cell.tzinfo is not None:
        return cell.astimezone(datetime.UTC)
    return cell


def _many(values: Any) -> bool:
    return not isinstance(values, str | bytes) and hasattr(values, "__len__")


def _nothing(cell: Any) -> bool:
    """None, NaN, pandas' NaT: what does not equal itself."""
    return cell is None or (isinstance(cell, float | datetime.datetime) and bool(cell != cell))


def _kind_of_type(kind: pa.DataType) -> str:
    return next((name for name, known in KINDS.items() if known == kind), "text")


def _kind_of_most(cells: Sequence[Any]) -> str:
    """Of equally many kinds text, which holds the others, too; times of which any has a zone are instants."""
    kinds = [_kind(cell) for cell in cells]
    most = max(KINDS, key=lambda kind: (kinds.count(kind), kind == "text"))
    return "instant" if most == "time" and "instant" in kinds else most


def _kind(cell: Any) -> str:
    if isinstance(cell, bool | np.bool_):
        return "truth"
    if isinstance(cell, numbers.Real | decimal.Decimal):
        return "number"
    if isinstance(cell, datetime.datetime):
        return "time" if cell.tzinfo is None else "instant"
    return "time" if isinstance(cell, datetime.date) else "text"


def _as(wanted: str, cell: Any) -> Any:
    """The cell as that kind of value. Raises ValueError and its like where it cannot be."""
    if isinstance(cell, np.generic):
        cell = cell.item()
    if wanted == "text":
        return _as_text(cell)
    if wanted == "truth":
        if not isinstance(cell, bool):
            raise ValueError(f"{_short(cell)} is neither true nor false")
        return cell
    if wanted == "number":
        if isinstance(cell, bool) or not (_kind(cell) == "number" or NUMBER.fullmatch(str(cell))):
            raise ValueError(f"{_short(cell)} is no number")
        number = float(cell)
        if not math.isfinite(number):
            raise ValueError("too large a number")
        return number
    return _as_time(wanted, cell)


def _as_text(cell: Any) -> str:
    if isinstance(cell, str):
        return utf8(cell)
    if isinstance(cell, bool | dict | list | tuple):
        text = json.dumps(cell, ensure_ascii=False, default=str)
    else:
        text = cell.isoformat() if isinstance(cell, datetime.date) else str(cell)
    if len(text) > LONGEST:
        raise ValueError(f"more than {LONGEST} characters")
    return utf8(text)


def _as_time(wanted: str, cell: Any) -> datetime.datetime:
    if isinstance(cell, str):
        cell = datetime.datetime.fromisoformat(cell)
    if isinstance(cell, datetime.date) and not isinstance(cell, datetime.datetime):
        cell = datetime.datetime(cell.year, cell.month, cell.day)
    if not isinstance(cell, datetime.datetime):
        raise ValueError(f"{_short(cell)} is no time")
    instant = cell.replace(tzinfo=datetime.UTC) if cell.tzinfo is None else cell.astimezone(datetime.UTC)
    return instant if wanted == "instant" else instant.replace(tzinfo=None)


def _short(cell: Any) -> str:
    return type(cell).__name__ if isinstance(cell, int | dict | list) else repr(cell)[:40]


def _converted(name: str, column: pa.ChunkedArray, as_text: bool) -> pa.ChunkedArray | None:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _converted(name, column.cast(kind.value_type), as_text)
    if pa.types.is_null(kind):
        return None  # says nothing
    if pa.types.is_boolean(kind):
        return column
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        try:
            return column.cast(pa.float64())
        except pa.ArrowInvalid:  # float64 holds no whole number beyond 2^53 exactly
            if as_text:
                return column.cast(pa.string())
            raise ConfigError(f"metadata column {name!r}: numbers beyond 2^53; give them as text") from None
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return _times(name, column)
    raise ConfigError(f"metadata column {name!r} holds {kind}; expected text, numbers, truth values or dates")


def _times(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """In microseconds. Raises ConfigError for years that are none."""
    zone = getattr(column.type, "tz", None)
    try:
        seconds = column.cast(pa.timestamp("s", zone), safe=False).cast(pa.int64())
        ends = pa.compute.min_max(seconds).as_py()
        if ends["min"] is None or FIRST_S <= ends["min"] <= ends["max"] <= LAST_S:
            return column.cast(pa.timestamp("us", "UTC" if zone else None), safe=False)
    except pa.ArrowException:
        pass
    raise ConfigError(f"metadata column {name!r} holds times outside the years 1 to 9999")
