"""Rows of a table: which columns there are, and how items, vectors and metadata become them.

Columns that people use in conditions: `item` (the path of a file, the text itself, or the name that was given),
`start_s` and `end_s` (where it is a piece of the item), `text` (the words beside it), and their own metadata.
Their kinds are in `metadata`.

Shapes: N rows, D embed_dim.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from binder.space.embeddings import Embeddings
from binder.space.vectors import Vectors

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
