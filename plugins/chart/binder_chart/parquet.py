"""A Parquet file -> a table. What its footer promises is held against what a chart may have before it unfolds."""

from __future__ import annotations

from typing import Any

from binder import ItemError
from binder_chart.table import Table, check_size, differing, from_columns

MOST_UNFOLDED = 256 * 2**20  # bytes of all columns before compression


def read_parquet(name: str, data: bytes) -> Table:
    """Bytes -> the table; the key `kind` of the file's metadata says how it wants to be drawn.

    Raises ItemError: no Parquet, cut off, too large once it is unfolded, with columns that hold lists or the like.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        footer, schema = file.metadata, file.schema_arrow
        check_size(name, footer.num_rows, len(schema))
        for field in schema:
            if pyarrow.types.is_nested(field.type):
                raise ItemError(name, f"column {field.name!r} holds {field.type} in a cell; expected a flat table")
        groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
        parts = [group.column(i) for group in groups for i in range(group.num_columns)]
        if sum(part.total_uncompressed_size for part in parts) > MOST_UNFOLDED:
            raise ItemError(name, f"more than {MOST_UNFOLDED >> 20} MiB once unfolded; sum it up first")
        check_size(name, max([group.num_rows for group in groups], default=0), len(schema))
        check_size(name, max([part.num_values for part in parts], default=0), 1)
        # a text that repeats a million times is held once
        texts = [field.name for field in schema if pyarrow.types.is_string(field.type)]
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(data), read_dictionary=texts, use_threads=False)
        columns = {i: (str(field.name), _cells(table.column(i))) for i, field in enumerate(table.schema)}
    except ItemError:
        raise
    except Exception as error:  # of Arrow, of the codecs, of dates that Python cannot hold
        raise ItemError(
            name, f"not Parquet that can be read, or cut off: {' '.join(str(error).split())[:200]}"
        ) from None
    kind = (schema.metadata or {}).get(b"kind")
    return from_columns(name, differing(columns), kind.decode("utf-8", "replace") if kind else None)


def _cells(column: Any) -> list[Any]:
    """A chunked array -> Python's values; points in time that Python cannot hold as text."""
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        cells: list[Any] = []
        for chunk in column.chunks:
            values = [*chunk.dictionary.to_pylist(), None]
            cells += [values[-1 if index is None else index] for index in chunk.indices.to_pylist()]
        return cells
    try:
        return column.to_pylist()
    except (ValueError, OverflowError):
        return column.cast(pyarrow.string()).to_pylist()
