"""What an index holds, whether it is whole, and where an item is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from binder.data.cache import content_key
from binder.errors import BinderError, ItemError, StoreError
from binder.files import utf8
from binder.index.calibration import SAMPLE, Calibration
from binder.index.record import Record
from binder.index.rows import KEY, VECTOR, absolute
from binder.index.store import Store
from binder.index.table import Table, one_of
from binder.space import vectors
from binder.space.vectors import Vectors

AT_ONCE = 4096  # names in one condition


def info(store: Store, record: Record, tables: Sequence[Table], calibration: Calibration | None) -> dict[str, Any]:
    """Plain values, for `binder index info`."""
    modalities = {}
    for table in tables:
        state, null = table.state(), calibration.nulls.get(table.name) if calibration else None
        modalities[table.name] = {
            "rows": state.rows,
            "search": "exact, from memory" if state.in_memory else "1-bit codes" if state.vector_index else "scan",
            "words": list(state.worded),
            "calibrated": calibration is not None and calibration.covers(table),
            "calibrated_from": min(null.rows, SAMPLE) if null else None,  # rows that were looked at
            "calibrated_at": null.rows if null else None,  # rows that there were then
            "metadata": {name: _kind(kind) for name, kind in state.metadata.items()},
            "version": state.version,
        }
    return {
        "location": store.location,
        "space": record.space,
        "anchor": record.anchor,
        "embed_dim": record.embed_dim,
        "encoders": record.encoders,
        "created": record.created,
        "bytes": _size(store.folder) if store.folder else None,
        "modalities": modalities,
    }


def verify(record: Record, tables: Sequence[Table], files: bool, progress: Any) -> list[str]:
    """Every row read: its vector finite, of length one and of the index's width, its key its own; problems as lines."""
    problems: list[str] = []
    for table in tables:
        try:
            problems += [f"{table.name}: {problem}" for problem in _verified(record, table, files, progress)]
        except BinderError as error:
            problems.append(f"{table.name}: cannot be read: {error}")
    return problems


def named(table: Table, items: Sequence[str | Path]) -> Iterator[list[str]]:
    """The names under which the index may hold these, some at a time: as they are, as paths, files below a folder."""
    names = {name for item in items for name in _spellings(item)}
    folders = tuple(absolute(item) + os.sep for item in items if "\0" not in str(item) and Path(item).is_dir())
    if folders:
        for batch in table.scan(["item"]):
            names.update(name for name in batch["item"].to_pylist() if name.startswith(folders))
    listed = sorted(names)
    return (listed[start : start + AT_ONCE] for start in range(0, len(listed), AT_ONCE))


def vector_of(tables: Sequence[Table], item: str | Path) -> tuple[Vectors, set[tuple[str, str]]]:
    """(D,) the direction of an item (of the mean of its pieces), and (modality, item) of what that was.

    Raises StoreError where no table holds it.
    """
    names = _spellings(item)
    for table in tables:
        batches = list(table.scan(["item", VECTOR], one_of(KEY, names) | one_of("item", names)))
        rows = pa.Table.from_batches(batches) if batches else None
        if rows is not None and len(rows):
            z = np.concatenate([c.flatten().to_numpy() for c in rows[VECTOR].chunks if len(c)]).reshape(len(rows), -1)
            return vectors.normalize(z.mean(0)), {(table.name, str(name)) for name in rows["item"].to_pylist()}
    raise StoreError(f"{item}: not in the index; add it, or search with it as a query")


def _spellings(item: str | Path) -> list[str]:
    return list(dict.fromkeys([utf8(str(item)), utf8(absolute(item))]))


def _verified(record: Record, table: Table, files: bool, progress: Any) -> Iterator[str]:
    state, keys, read = table.state(), set(), 0
    if state.embed_dim != record.embed_dim:
        yield f"vectors of {state.embed_dim} dimensions, the index has {record.embed_dim}"
    for batch in table.scan([KEY, "item", "_content", "_size", VECTOR]):
        z = batch[VECTOR].flatten().to_numpy(zero_copy_only=False).reshape(len(batch), -1)
        wrong = ~np.isclose(np.linalg.norm(z, axis=1), 1, atol=1e-3)
        for i, row in enumerate(batch.drop_columns(VECTOR).to_pylist()):
            if wrong[i]:
                yield f"{row['item']}: its vector is not of length 1"
            if row[KEY] in keys:
                yield f"{row['item']}: there twice"
            keys.add(row[KEY])
            if files and row["_size"] is not None:
                yield from _file_problem(row["item"], row["_content"])
        read += len(batch)
        progress(f"verifying {table.name}", read, state.rows)
    if read != state.rows:
        yield f"{read} rows could be read of {state.rows}"


def _file_problem(path: str, content: str) -> Iterator[str]:
    try:
        if content_key(Path(path)).hex() != content:
            yield f"{path}: has changed since it was added"
    except ItemError as error:
        yield str(error)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_floating(kind):
        return "number"
    return "text" if pa.types.is_string(kind) else "true or false" if pa.types.is_boolean(kind) else "time"


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
