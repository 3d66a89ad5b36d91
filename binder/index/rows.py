"""Rows of a table: which columns there are, and how items, vectors and metadata become them.

Columns that people use in conditions: `item` (the path of a file, the text itself, or the name that was given),
`start_s` and `end_s` (where it is a piece of the item), `text` (the words beside it), and their own metadata.
Numbers are kept as float64, times as microseconds.

Shapes: N rows, D embed_dim.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from binder.embeddings import Embeddings
from binder.errors import ConfigError
from binder.vectors import Vectors

KEY, VECTOR = "_key", "vector"
OWN = {  # columns that every table has
    KEY: pa.string(),  # the item, and which piece of it: unique
    "item": pa.string(),
    "start_s": pa.float64(),
    "end_s": pa.float64(),
    "text": pa.string(),
    "_content": pa.string(),  # names what the vector was made from by its bytes
    "_recipe": pa.string(),  # names the encoder and the length of pieces that made it
    "_size": pa.int64(),  # of the file, bytes
    "_mtime_ns": pa.int64(),  # of the file; null where it had changed just before it was read
}
HIDDEN = frozenset({KEY, VECTOR, "_content", "_recipe", "_size", "_mtime_ns"})
NAME = re.compile(r"[^\W_][\w -]{0,63}")  # of a metadata column: what a condition can name


def fragment(start_s: float | None, end_s: float | None) -> str:
    """'#t=2,4': a part of a medium by W3C Media Fragments 1.0, to the millisecond; '' for a whole one."""
    if start_s is None or end_s is None:
        return ""
    return "#t=" + ",".join(f"{second:.3f}".rstrip("0").rstrip(".") for second in (start_s, end_s))


def absolute(path: str | Path) -> str:
    """The path from the root, without `..`, links as they are: `resolve` would name a linked folder's target."""
    return os.path.abspath(Path(path).expanduser())  # noqa: PTH100


def schema(embed_dim: int) -> pa.Schema:
    """Of a new table."""
    fields = [pa.field(name, kind) for name, kind in OWN.items() if name != KEY]
    return pa.schema([unique(KEY), *fields, pa.field(VECTOR, pa.list_(pa.float32(), embed_dim))])


def unique(name: str) -> pa.Field:
    """A column of strings of which the store keeps each once, also where two processes insert it at the same time."""
    return pa.field(name, pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"})


def keyed(rows: pa.Table, key: str) -> pa.Table:
    """The same rows, the column `key` as the table has it that they go into."""
    return rows.cast(pa.schema([unique(field.name) if field.name == key else field for field in rows.schema]))


def table(columns: Mapping[str, Sequence[Any]], z_ND: Vectors, metadata: pa.Table | None = None) -> pa.Table:
    """Columns of OWN (`item` at least; the key is worked out), vectors and metadata -> N rows."""
    n, embed_dim = z_ND.shape
    spans = zip(columns["item"], columns.get("start_s", [None] * n), columns.get("end_s", [None] * n), strict=True)
    made: dict[str, Any] = {KEY: pa.array([item + fragment(start, end) for item, start, end in spans], pa.string())}
    made |= {name: pa.array(cells, OWN[name]) for name, cells in columns.items()}
    made[VECTOR] = pa.FixedSizeListArray.from_arrays(pa.array(z_ND.reshape(-1), pa.float32()), embed_dim)
    if metadata is not None:
        made |= {name: metadata[name] for name in metadata.column_names}
    return pa.table(made)


def vector_rows(z: Embeddings, metadata: pa.Table | None, inline: bool) -> pa.Table:
    """Embeddings (N, D) with metadata -> rows. A vector without a name is named by its content."""
    content = [hashlib.blake2b(row, digest_size=16).hexdigest() for row in np.ascontiguousarray(z.vectors)]
    items = z.items or content
    columns: dict[str, Sequence[Any]] = {"item": items, "_content": content}
    if inline:
        columns["text"] = items
    return table(columns, z.vectors, metadata)


def last_of_each(rows: pa.Table) -> pa.Table:
    """Rows of different keys: where one comes again, the last stays."""
    last = {key: position for position, key in enumerate(rows[KEY].to_pylist())}
    return rows if len(last) == len(rows) else rows.take(sorted(last.values()))


def metadata_table(metadata: Any, n: int) -> pa.Table | None:
    """What a user gives as metadata of N items -> columns of text, float64, bool or timestamps; None for nothing.

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
    except (pa.ArrowException, TypeError, AttributeError) as error:
        raise ConfigError(f"metadata: a column holds values of several kinds, or no table: {error}") from None
    if found is None:
        return None
    if len(found) != n:
        raise ConfigError(f"metadata: {len(found)} rows for {n} items")
    return checked(found)


def checked(found: pa.Table) -> pa.Table:
    """The same columns in the types that are kept. Raises ConfigError for a name or a type that cannot be."""
    kept: dict[str, pa.ChunkedArray] = {}
    for name in found.column_names:
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"metadata column {name!r}: expected a letter, then letters, digits, spaces, _ or -; rename it"
            )
        if name != "text" and (name in OWN or name == VECTOR):
            raise ConfigError(f"metadata column {name!r}: the index has one of its own of this name; rename it")
        if name.lower() in {other.lower() for other in kept}:
            raise ConfigError(f"metadata column {name!r} differs from another only in capital letters; rename it")
        column = _converted(name, found[name])
        if column is not None:
            kept[name] = column
    return pa.table(kept) if kept else found.select([])


def value(cell: Any) -> Any:
    """A cell as it is shown: whole numbers without a point."""
    return int(cell) if isinstance(cell, float) and math.isfinite(cell) and cell.is_integer() else cell


def _many(values: Any) -> bool:
    return not isinstance(values, str | bytes) and hasattr(values, "__len__")


def _converted(name: str, column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _converted(name, column.cast(kind.value_type))
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
            raise ConfigError(f"metadata column {name!r}: numbers beyond 2^53; give them as text") from None
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us"), safe=False)
    raise ConfigError(f"metadata column {name!r} holds {kind}; expected text, numbers, truth values or dates")
