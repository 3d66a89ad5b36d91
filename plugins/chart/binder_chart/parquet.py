"""A Parquet file -> a table. The sizes in its footer are checked before anything is decompressed."""

from __future__ import annotations

from typing import Any

from binder import ItemError, one_line
from binder_chart.table import Table, check_size, from_columns, unique_headers

MAX_UNCOMPRESSED = 256 * 2**20  # bytes of all columns


def read_parquet(name: str, data: bytes) -> Table:
    """Bytes -> the table; the key `kind` of the file's metadata sets the chart type.

    Raises ItemError: not Parquet, truncated, too large when decompressed, or with nested columns.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        footer, schema = file.metadata, file.schema_arrow
        check_size(name, footer.num_rows, len(schema))
        for field in schema:
            if pyarrow.types.is_nested(field.type):
                raise ItemError(name, f"column {field.name!r} has cells of type {field.type}; expected a flat table")
        groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
        parts = [group.column(i) for group in groups for i in range(group.num_columns)]
        if sum(part.total_uncompressed_size for part in parts) > MAX_UNCOMPRESSED:
            raise ItemError(name, f"more than {MAX_UNCOMPRESSED >> 20} MiB when decompressed: aggregate it first")
        check_size(name, max([group.num_rows for group in groups], default=0), len(schema))
        check_size(name, max([part.num_values for part in parts], default=0), 1)
        # a text that repeats a million times is stored once
        texts = [field.name for field in schema if pyarrow.types.is_string(field.type)]
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(data), read_dictionary=texts, use_threads=False)
        columns = {i: (str(field.name), _cells(table.column(i))) for i, field in enumerate(table.schema)}
    except ItemError:
        raise
    except Exception as error:  # from Arrow, the codecs, or dates beyond Python's range
        raise ItemError(name, f"not readable as Parquet, or truncated: {one_line(error)}") from None
    kind = (schema.metadata or {}).get(b"kind")
    return from_columns(name, unique_headers(columns), kind.decode("utf-8", "replace") if kind else None)


def _cells(column: Any) -> list[Any]:
    """A chunked array -> Python values; points in time beyond Python's range become text."""
    import pyarrow

    cells: list[Any] = []
    if pyarrow.types.is_dictionary(column.type):
        for chunk in column.chunks:
            values = [*chunk.dictionary.to_pylist(), None]
            cells += [values[-1 if index is None else index] for index in chunk.indices.to_pylist()]
        return cells
    try:
        cells = column.to_pylist()
    except (ValueError, OverflowError):
        cells = column.cast(pyarrow.string()).to_pylist()
    return cells
