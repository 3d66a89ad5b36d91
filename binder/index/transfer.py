"""A whole index as one Parquet or Arrow file, and files of vectors as rows: what `binder embed` writes, too."""

from __future__ import annotations

import contextlib
import csv
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from binder import files
from binder.artifact import vectors_file
from binder.errors import BinderError, ConfigError, ManifestError, SpaceError, StoreError, one_line
from binder.index import metadata, rows
from binder.index.guard import guarded
from binder.index.record import Record
from binder.index.rows import KEY, OWN, VECTOR, vector_rows
from binder.index.table import Table
from binder.space.embeddings import Embeddings

PARQUET, ARROW = (".parquet",), (".arrow", ".feather", ".ipc")
SUFFIXES = (*PARQUET, *ARROW)
BATCH = 8192  # rows


def is_vectors(path: Path) -> bool:
    """Whether it is a file of vectors, by its beginning: Parquet or Arrow with their columns, or as `embed` writes."""
    if not files.is_file(path):
        return False
    if path.suffix.lower() not in SUFFIXES:
        return path.suffix.lower() in vectors_file.WRITERS and vectors_file.holds_vectors(path)
    with contextlib.suppress(OSError, pa.ArrowException):
        return {"item", "modality", VECTOR} <= set(_schema(path).names)
    return path.suffix.lower() in ARROW


def write(path: Path, tables: Sequence[Table], record: Record) -> int:
    """Every row of the tables into one file, written beside and renamed. Returns how many. Raises StoreError."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}")
    schema = _union(tables, record)
    count = 0

    def save(beside: Path) -> None:
        nonlocal count
        with guarded(str(path)), _writer(beside, path.suffix.lower(), schema) as writer:
            for table in tables:
                names = [name for name in table.state().schema.names if name != KEY]
                for batch in table.scan(names, rows=BATCH):
                    writer.write_batch(_widened(batch, schema, table.name))
                    count += len(batch)

    files.write_beside(path, save, StoreError)
    return count


def read(path: Path, record: Record) -> Iterator[tuple[str, pa.Table]]:
    """(modality, rows) in batches. Raises SpaceError for another space, ManifestError where it cannot be read."""
    try:
        for found in _tables(path):
            space = (found.schema.metadata or {}).get(vectors_file.SPACE, b"").decode("utf-8", "replace")
            if space != record.space:
                whose = f"of space {space[:8]}" if space else "of no space that it names"
                raise SpaceError(f"{path}: vectors {whose}, the index is of space {record.space[:8]}")
            modalities = _texts(found, "modality")
            for modality in dict.fromkeys(modalities):
                of_it = found.filter(pa.array([name == modality for name in modalities]))
                yield modality, _as_rows(path, of_it.combine_chunks(), record)
    except BinderError:
        raise
    except (OSError, pa.ArrowException, KeyError, ValueError, csv.Error, zipfile.BadZipFile, StopIteration) as error:
        said = one_line(error)
        raise ManifestError(f"{path}: not a readable file of vectors: {said}") from None


def _texts(found: pa.Table, name: str) -> list[str]:
    """A column that names something in every row. Raises ValueError where it does not."""
    cells = found[name].to_pylist()
    if not all(isinstance(cell, str) and cell for cell in cells):
        raise ValueError(f"a row has no {name}")
    return cells


def _as_rows(path: Path, found: pa.Table, record: Record) -> pa.Table:
    flat = found[VECTOR].combine_chunks()
    if not pa.types.is_fixed_size_list(flat.type) and len(set(pa.compute.list_value_length(flat).to_pylist())) != 1:
        raise ManifestError(f"{path}: its vectors are not all of one length")
    z = np.asarray(flat.flatten(), np.float32).reshape(len(found), -1)
    if z.shape[1] != record.embed_dim:
        raise SpaceError(f"{path}: vectors of {z.shape[1]} dimensions, the index has {record.embed_dim}")
    items = _texts(found, "item")
    made = vector_rows(Embeddings(z, record.space, items), _metadata(found, path), inline=False)
    for name in [name for name in OWN if name != KEY and name in found.column_names]:
        column = found[name].cast(OWN[name])
        if name in made.column_names:
            column = pa.compute.coalesce(column, made[name])
            made = made.drop_columns(name)
        made = made.append_column(name, column)
    nothing = [None] * len(made)
    spans = [made[name].to_pylist() if name in made.column_names else nothing for name in ("start_s", "end_s")]
    tails = [rows.fragment(start, end) for start, end in zip(*spans, strict=True)]
    bare = [item.removesuffix(tail) for item, tail in zip(items, tails, strict=True)]
    keys = [item + tail for item, tail in zip(bare, tails, strict=True)]
    made = made.drop_columns([KEY, "item"])
    return made.append_column(KEY, pa.array(keys, pa.string())).append_column("item", pa.array(bare, pa.string()))


def _metadata(found: pa.Table, path: Path) -> pa.Table | None:
    names = [n for n in found.column_names if n not in OWN and n not in ("modality", VECTOR)]
    return metadata.checked(found.select(names), str(path)) if names else None


def _union(tables: Sequence[Table], record: Record) -> pa.Schema:
    columns = {"item": pa.string(), "modality": pa.string()}
    for table in tables:
        own = {f.name: f.type for f in table.state().schema if f.name not in (KEY, VECTOR)}
        columns |= {name: kind if columns.get(name, kind) == kind else pa.string() for name, kind in own.items()}
    columns[VECTOR] = pa.list_(pa.float32(), record.embed_dim)
    return pa.schema(columns, metadata={"binder.space": record.space, "binder.anchor": record.anchor or ""})


def _widened(batch: pa.RecordBatch, schema: pa.Schema, modality: str) -> pa.RecordBatch:
    columns = []
    for column in schema:
        if column.name == "modality":
            columns.append(pa.array([modality] * len(batch), pa.string()))
        elif column.name in batch.schema.names:
            columns.append(batch[column.name].cast(column.type))
        else:
            columns.append(pa.nulls(len(batch), column.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _writer(path: Path, suffix: str, schema: pa.Schema) -> Any:
    if suffix in PARQUET:
        import pyarrow.parquet as pq

        return pq.ParquetWriter(path, schema)
    return pa.ipc.new_file(str(path), schema)


def _tables(path: Path) -> Iterator[pa.Table]:
    """The rows of a file of any layout, some at a time; the space in their schema's metadata."""
    if path.suffix.lower() in SUFFIXES:
        yield from (pa.table(batch) for batch in _batches(path))
    else:
        yield from vectors_file.batches(path)


def _schema(path: Path) -> pa.Schema:
    if path.suffix.lower() in PARQUET:
        import pyarrow.parquet as pq

        return pq.read_schema(path)
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).schema


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    if path.suffix.lower() in PARQUET:
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=BATCH)
    else:
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            for i in range(reader.num_record_batches):
                batch = reader.get_batch(i)
                batch.validate(full=True)  # its offsets are the file's word, until now
                yield batch
