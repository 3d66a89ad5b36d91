"""The columns of an index: those that every table has, and the users' metadata.

Conditions can use `item` (the path of a file, the text itself, or a given name), `start_s` and `end_s` (of a segment),
`text` (words beside the item), and the metadata: text, numbers (float64), truth values and times (see `times`).

Metadata that a program gives is refused if it cannot be kept. Of metadata in files only the values that cannot be kept
are left out, with a warning that names the first item.

Shapes: N rows, D embed_dim.
"""

from __future__ import annotations

import datetime
import decimal
import json
import logging
import math
import numbers
import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from binder.errors import ConfigError, one_line
from binder.files import utf8
from binder.index import times
from binder.index.times import INSTANT, TIME
from binder.space.segments import fragment
from binder.space.vectors import Vectors

log = logging.getLogger(__name__)

KEY, VECTOR = "_key", "vector"
OWN = {  # columns of every table
    KEY: pa.string(),  # the item and the segment of it: unique
    "item": pa.string(),
    "start_s": pa.float64(),
    "end_s": pa.float64(),
    "text": pa.string(),
    "_content": pa.string(),  # hash of what the vector was made from
    "_recipe": pa.string(),  # hash of the encoder, and the length of segments
    "_size": pa.int64(),  # of the file, bytes
    "_mtime_ns": pa.int64(),  # of the file; null if it had changed just before it was read
}
HIDDEN = frozenset({KEY, VECTOR, "_content", "_recipe", "_size", "_mtime_ns"})
SCORE = "_score"  # in an answer, not in a table: the cosine, or BM25
MTIME_GRAIN_NS = 2_000_000_000  # two changes closer than this may get the same time on some file systems

COLUMN_NAME = re.compile(r"[^\W_][\w -]{0,63}")  # what a condition can name
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
EXACT = 2**53  # float64 holds all integers up to here
MAX_TEXT = 100_000  # characters of a value that is converted to text
KINDS = {"text": pa.string(), "number": pa.float64(), "true or false": pa.bool_(), "time": TIME, "instant": INSTANT}


def absolute(path: str | Path) -> str:
    """The path from the root, without `..` but through links: `resolve` would name a linked folder's target."""
    return os.path.abspath(Path(path).expanduser())  # noqa: PTH100


def settled(mtime_ns: int) -> bool:
    """Whether a file's time is old enough that any later change will show in it."""
    return time.time_ns() - mtime_ns > MTIME_GRAIN_NS


def schema(embed_dim: int, metadata: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
    """Of a new table."""
    fields = [pa.field(name, kind) for name, kind in OWN.items() if name != KEY]
    more = [times.stored(pa.field(name, kind)) for name, kind in (metadata or {}).items()]
    return pa.schema([unique(KEY), *fields, pa.field(VECTOR, pa.list_(pa.float32(), embed_dim)), *more])


def unique(name: str) -> pa.Field:
    """A string column in which LanceDB keeps each value once, even if two processes insert it at the same time."""
    return pa.field(name, pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"})


def rows_of(columns: Mapping[str, Sequence[Any]], z_ND: Vectors, metadata: pa.Table | None = None) -> pa.Table:
    """Columns of OWN (at least `item`; the key follows from them), vectors and metadata -> N rows."""
    n, embed_dim = z_ND.shape
    nothing = [None] * n
    spans = zip(columns["item"], columns.get("start_s", nothing), columns.get("end_s", nothing), strict=True)
    made: dict[str, Any] = {KEY: pa.array([item + fragment(start, end) for item, start, end in spans], pa.string())}
    made |= {name: pa.array(cells, OWN[name]) for name, cells in columns.items()}
    flat = pa.array(np.ascontiguousarray(z_ND).reshape(-1), pa.float32())
    made[VECTOR] = pa.FixedSizeListArray.from_arrays(flat, embed_dim)
    if metadata is not None:
        made |= {name: metadata[name] for name in metadata.column_names}
    return pa.table(made)


def last_of_each(rows: pa.Table) -> pa.Table:
    """Rows with distinct keys: of those with the same key the last."""
    last = {key: position for position, key in enumerate(rows[KEY].to_pylist())}
    return rows if len(last) == len(rows) else rows.take(sorted(last.values()))


def matrix(column: pa.ChunkedArray | pa.Array) -> Vectors:
    """A column of N lists of one length -> (N, D), without a copy where the column is a single chunk."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [c.flatten().to_numpy(zero_copy_only=False).reshape(len(c), -1) for c in chunks if len(c)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def metadata_of(given: Any, n: int) -> pa.Table | None:
    """Metadata of N items as a program gives it -> columns of KINDS; None where there is none.

    A mapping of columns (a value that is no list applies to all items), rows as mappings, or anything that pyarrow
    turns into a table (a data frame). A column `text` holds the words beside each item. Raises ConfigError.
    """
    if given is None:
        return None
    try:
        if isinstance(given, Mapping):
            columns = {str(k): v if _is_list(v) else [v] * n for k, v in given.items()}
            found = pa.table(columns) if columns else None
        elif isinstance(given, Sequence):
            keys = dict.fromkeys(str(key) for row in given for key in row)
            found = pa.table({key: [row.get(key) for row in given] for key in keys}) if keys else None
        else:
            found = pa.table(given)
    except (OverflowError, pa.ArrowInvalid) as error:
        large = isinstance(error, OverflowError) or "too large" in str(error)
        wrong = "numbers beyond 2^53; give them as text" if large else "values of several kinds"
        raise ConfigError(f"metadata: a column holds {wrong}: {one_line(error)}") from None
    except (pa.ArrowException, TypeError, AttributeError, ValueError) as error:
        wrong = "a column holds values of several kinds, or it is not a table"
        raise ConfigError(f"metadata: {wrong}: {one_line(error)}") from None
    if found is None:
        return None
    if len(found) != n:
        raise ConfigError(f"metadata: {len(found)} rows for {n} items")
    return checked(found)


def checked(found: pa.Table, source: str | None = None) -> pa.Table:
    """The same columns as KINDS. Raises ConfigError for a name or a type that cannot be kept.

    From a file (`source`) such a column is left out with a warning, and integers too large for float64 become text.
    """
    kept: dict[str, pa.ChunkedArray] = {}
    for name in found.column_names:
        try:
            check_column_name(name, kept)
            column = _converted(name, found[name], as_text=source is not None)
        except ConfigError as error:
            if source is None:
                raise
            log.warning("%s: %s; it is left out", source, error)
            continue
        if column is not None:
            kept[name] = column
    return pa.table(kept) if kept else found.select([])


def check_column_name(name: str, others: Sequence[str] | Mapping[str, Any]) -> None:
    """Raises ConfigError for a name that a metadata column cannot have beside these."""
    if not COLUMN_NAME.fullmatch(name):
        expected = "expected a letter, then letters, digits, spaces, _ or -; rename it"
        raise ConfigError(f"metadata column {name[:80]!r}: {expected}")
    if name != "text" and (name in OWN or name == VECTOR):
        raise ConfigError(f"metadata column {name!r}: the index has its own column of this name; rename it")
    if name.lower() in {other.lower() for other in others}:
        raise ConfigError(f"metadata column {name!r} differs from another only in capital letters; rename it")


def metadata_from_files(
    metas: Sequence[Mapping[str, Any]], items: Sequence[str], have: Mapping[str, pa.DataType]
) -> list[dict[str, Any]]:
    """Metadata of N items from manifests -> the same as plain values, each column of one kind.

    That is the kind of the table's column (`have`), or else of most of the values. Values that cannot be converted are
    left out.
    """
    made: list[dict[str, Any]] = [{} for _ in metas]
    names: dict[str, None] = {}
    for key in dict.fromkeys(str(key) for meta in metas for key in meta):
        try:
            check_column_name(key, [*names, *(name for name in have if name != key)])
        except ConfigError as error:
            log.warning("%s; it is left out", error)
            continue
        names[key] = None
        cells = {i: meta[key] for i, meta in enumerate(metas) if not _is_missing(meta.get(key))}
        kind = kind_of_type(have[key]) if key in have else _kind_of_most([*cells.values()])
        lost: list[tuple[int, str]] = []
        rounded: list[int] = []
        for i, cell in cells.items():
            try:
                made[i][key] = _as(kind, cell)
            except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
                lost.append((i, one_line(error)))
            else:
                if kind == "number" and isinstance(cell, int) and int(made[i][key]) != cell:
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


def plain(cell: Any, column: pa.Field) -> Any:
    """A cell of a table's column as a hit shows it: integers without a decimal point, instants in their zone."""
    if isinstance(cell, float) and abs(cell) <= EXACT and cell.is_integer():
        return int(cell)
    return times.shown(cell, column) if isinstance(cell, datetime.datetime) else cell


def same(a: Any, b: Any) -> bool:
    """Whether two cells are one as a table holds them; NaN, which does not equal itself, is one with NaN."""
    if isinstance(a, datetime.datetime) and isinstance(b, datetime.datetime):
        return times.same(a, b)
    return bool(a == b or (a != a and b != b))


def kind_of_type(kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return "instant"
    return next((name for name, known in KINDS.items() if known == kind), "text")


def _is_list(values: Any) -> bool:
    return not isinstance(values, str | bytes) and hasattr(values, "__len__")


def _is_missing(cell: Any) -> bool:
    """None, NaN, pandas' NaT, which does not equal itself."""
    return cell is None or (isinstance(cell, float | datetime.datetime) and bool(cell != cell))


def _kind_of_most(cells: Sequence[Any]) -> str:
    """In a tie text, which can hold the others, too; times are instants if any of them has a time zone.

    Text is instants where all of it is ISO times with an offset: as text these would not compare.
    """
    if cells and all(isinstance(cell, str) and times.WITH_OFFSET.fullmatch(cell) for cell in cells):
        return "instant"
    kinds = [_kind(cell) for cell in cells]
    most = max(KINDS, key=lambda kind: (kinds.count(kind), kind == "text"))
    return "instant" if most == "time" and "instant" in kinds else most


def _kind(cell: Any) -> str:
    if isinstance(cell, bool | np.bool_):
        return "true or false"
    if isinstance(cell, numbers.Real | decimal.Decimal):
        return "number"
    if isinstance(cell, datetime.datetime):
        return "time" if cell.tzinfo is None else "instant"
    return "time" if isinstance(cell, datetime.date) else "text"


def _as(kind: str, cell: Any) -> Any:
    """The cell as that kind of value. Raises ValueError and the like where it cannot be converted."""
    if isinstance(cell, np.generic):
        cell = cell.item()
    if kind == "text":
        return _as_text(cell)
    if kind == "true or false":
        if not isinstance(cell, bool):
            raise ValueError(f"{_short(cell)} is neither true nor false")
        return cell
    if kind == "number":
        if isinstance(cell, bool) or not (_kind(cell) == "number" or NUMBER.fullmatch(str(cell))):
            raise ValueError(f"{_short(cell)} is not a number")
        number = float(cell)
        if not math.isfinite(number):
            raise ValueError("number too large")
        return number
    return times.as_time(cell, instant=kind == "instant")


def _as_text(cell: Any) -> str:
    if isinstance(cell, str):
        return utf8(cell)
    if isinstance(cell, bool | dict | list | tuple):
        text = json.dumps(cell, ensure_ascii=False, default=str)
    else:
        text = cell.isoformat() if isinstance(cell, datetime.date) else str(cell)
    if len(text) > MAX_TEXT:
        raise ValueError(f"more than {MAX_TEXT} characters")
    return utf8(text)


def _short(cell: Any) -> str:
    return type(cell).__name__ if isinstance(cell, int | dict | list) else repr(cell)[:40]


def _converted(name: str, column: pa.ChunkedArray, as_text: bool) -> pa.ChunkedArray | None:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _converted(name, column.cast(kind.value_type), as_text)
    if pa.types.is_null(kind):
        return None
    if pa.types.is_boolean(kind):
        return column
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.string())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        try:
            return column.cast(pa.float64())
        except pa.ArrowInvalid:  # beyond 2^53 float64 does not hold every integer
            if as_text:
                return column.cast(pa.string())
            raise ConfigError(f"metadata column {name!r}: numbers beyond 2^53; give them as text") from None
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return times.converted(name, column)
    raise ConfigError(f"metadata column {name!r} holds {kind}; expected text, numbers, truth values or dates")
