"""Vectors made elsewhere become rows, whether given by a program or in a file; all rows become one file.

Shapes: N rows, D embed_dim.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from binder import files
from binder.errors import BinderError, ConfigError, ManifestError, SpaceError, StoreError, one_line
from binder.index import rows, times
from binder.index.lance import guarded
from binder.index.rows import KEY, OWN, VECTOR
from binder.index.store import Record
from binder.index.table import Table
from binder.registry import Registry
from binder.space import vectors_file
from binder.space.embeddings import Embeddings
from binder.space.segments import fragment
from binder.space.vectors_file import ANCHOR, SPACE

PARQUET, ARROW = (".parquet",), (".arrow", ".feather", ".ipc")
SUFFIXES = (*PARQUET, *ARROW)
BATCH = 8192  # rows


def are_vectors(value: Any, record: Record) -> bool:
    """Whether it is Embeddings, a float array (N, D), or an iterator, which streams them; all else is items."""
    if isinstance(value, np.ndarray):
        return value.ndim == 2 and value.shape[1] == record.embed_dim and value.dtype.kind == "f"
    return isinstance(value, Embeddings | Iterator)


def batches_of(
    value: Any, modality: str, metadata: Any, names: Sequence[str] | None, record: Record, registry: Registry
) -> Iterator[pa.Table]:
    """Vectors as `Index.add` takes them -> rows, in batches as they come. Raises SpaceError, ConfigError."""
    inline = modality in registry.names() and registry.get(modality).inline
    single = isinstance(value, Embeddings | np.ndarray)
    if not single and (metadata is not None or names is not None):
        raise ConfigError("metadata and names do not go with an iterator; let it yield pairs (vectors, metadata)")
    for part in [(value, metadata)] if single else value:
        vectors, given = part if isinstance(part, tuple) else (part, None)
        z = _checked(vectors, modality, names, record)
        yield _rows(z, rows.metadata_of(given, len(z)), inline)


def is_file_of_vectors(path: Path) -> bool:
    """Whether a file begins as one of vectors: with the columns of `export`, or as `binder embed` writes it."""
    if not files.is_file(path):
        return False
    if path.suffix.lower() not in SUFFIXES:
        return path.suffix.lower() in vectors_file.WRITERS and vectors_file.holds_vectors(path)
    with contextlib.suppress(OSError, pa.ArrowException):
        return {"item", "modality", VECTOR} <= set(_schema(path).names)
    return path.suffix.lower() in ARROW


def read(path: Path, record: Record) -> Iterator[tuple[str, pa.Table]]:
    """(modality, rows) in batches. Raises SpaceError for another space, ManifestError for a file that is damaged."""
    try:
        for found in _tables(path):
            space = (found.schema.metadata or {}).get(SPACE, b"").decode("utf-8", "replace")
            if space != record.space:
                whose = f"of space {space[:8]}" if space else "that do not name their space"
                raise SpaceError(f"{path}: vectors {whose}, the index is of space {record.space[:8]}")
            modalities = _texts(found, "modality")
            for modality in dict.fromkeys(modalities):
                of_it = found.filter(pa.array([name == modality for name in modalities]))
                yield modality, _rows_of_file(path, of_it.combine_chunks(), record)
    except BinderError:
        raise
    except (OSError, pa.ArrowException, KeyError, ValueError, csv.Error, zipfile.BadZipFile, StopIteration) as error:
        raise ManifestError(f"{path}: not a readable file of vectors: {one_line(error)}") from None


def write(path: Path, tables: Sequence[Table], record: Record) -> int:
    """All rows of the tables into one file, written beside and renamed. Returns how many. Raises StoreError."""
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


def _checked(part: Any, modality: str, names: Sequence[str] | None, record: Record) -> Embeddings:
    """Vectors as Embeddings of the index's space. Raises SpaceError, ConfigError where they do not fit."""
    z = part if isinstance(part, Embeddings) else Embeddings(part, record.space)
    if names is not None:
        z = Embeddings(z.vectors, z.space, names, z.modality)
    if z.modality not in (None, modality):
        raise ConfigError(f"these are vectors of {z.modality}, not of {modality}")
    record.check(z)
    return z


def _rows(z: Embeddings, metadata: pa.Table | None, inline: bool) -> pa.Table:
    """Embeddings (N, D) with metadata -> rows. A vector without a name is named by its hash."""
    content = _hashes(z)
    items = z.items or content
    columns: dict[str, Sequence[Any]] = {"item": items, "_content": content}
    return rows.rows_of(columns | ({"text": items} if inline else {}), z.vectors, metadata)


def _hashes(z: Embeddings) -> list[str]:
    return [hashlib.blake2b(row, digest_size=16).hexdigest() for row in np.ascontiguousarray(z.vectors)]


def _rows_of_file(path: Path, found: pa.Table, record: Record) -> pa.Table:
    flat = found[VECTOR].combine_chunks()
    if not pa.types.is_fixed_size_list(flat.type) and len(set(pa.compute.list_value_length(flat).to_pylist())) != 1:
        raise ManifestError(f"{path}: its vectors are not all of one length")
    z_ND = np.asarray(flat.flatten(), np.float32).reshape(len(found), -1)
    if z_ND.shape[1] != record.embed_dim:
        raise SpaceError(f"{path}: vectors of {z_ND.shape[1]} dimensions, the index has {record.embed_dim}")
    z = Embeddings(z_ND, record.space, _texts(found, "item"))
    names = [name for name in OWN if name != KEY and name in found.column_names]
    own = {name: found[name].cast(OWN[name]).to_pylist() for name in names}
    nothing = [None] * len(z)
    spans = zip(own.get("start_s", nothing), own.get("end_s", nothing), strict=True)
    own["item"] = [item.removesuffix(fragment(*span)) for item, span in zip(z.items, spans, strict=True)]
    kept = own.get("_content", nothing)
    own["_content"] = [known or made for known, made in zip(kept, _hashes(z), strict=True)]
    others = [name for name in found.column_names if name not in OWN and name not in ("modality", VECTOR)]
    return rows.rows_of(own, z.vectors, rows.checked(found.select(others), str(path)) if others else None)


def _texts(found: pa.Table, name: str) -> list[str]:
    """A column that must name something in every row. Raises ValueError where it does not."""
    cells: list[str] = found[name].to_pylist()
    if not all(isinstance(cell, str) and cell for cell in cells):
        raise ValueError(f"a row has no {name}")
    return cells


def _union(tables: Sequence[Table], record: Record) -> pa.Schema:
    columns = {"item": pa.string(), "modality": pa.string()}
    for table in tables:
        own = {f.name: times.given(f) for f in table.state().schema if f.name not in (KEY, VECTOR)}
        columns |= {name: _wide(columns.get(name, kind), kind) for name, kind in own.items()}
    columns[VECTOR] = pa.list_(pa.float32(), record.embed_dim)
    return pa.schema(columns, metadata={SPACE: record.space, ANCHOR: record.anchor or ""})


def _wide(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """The type of a column that two tables have."""
    if one == other:
        return one
    instants = all(rows.kind_of_type(kind) == "instant" for kind in (one, other))  # of two zones
    return times.INSTANT if instants else pa.string()


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
    """The rows of a file in any format, in batches, with the space in the schema's metadata."""
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
                batch.validate(full=True)  # else nothing has checked the offsets in the file
                yield batch
