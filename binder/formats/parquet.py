"""The columns of a Parquet file, each read on demand and only after its size was checked. Free of torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from binder.errors import ItemError, one_line
from binder.formats.content import MAX_BYTES
from binder.formats.delimited import MAX_CELLS, MAX_COLUMNS

if TYPE_CHECKING:
    import pyarrow

PARQUET, ENCRYPTED = b"PAR1", b"PARE"  # first bytes of a plain and of an encrypted file
MAX_STRING, MAX_LIST = 1 << 24, 1 << 17  # bytes of a string and entries of a list in the footer


class ParquetColumns:
    """The columns of a Parquet file, with the part of a pyarrow table's interface that `Table` uses."""

    def __init__(self, data: bytes, name: str) -> None:
        """Raises ItemError where the file is damaged, encrypted or has too many rows or columns for one item."""
        import pyarrow
        from pyarrow import parquet

        self.name = name
        if data.startswith(ENCRYPTED):
            raise ItemError(name, "an encrypted Parquet file: save it without encryption")
        try:
            self.file = parquet.ParquetFile(
                pyarrow.BufferReader(data),
                thrift_string_size_limit=MAX_STRING,
                thrift_container_size_limit=MAX_LIST,
            )
            self.schema = self.file.schema_arrow
            self.column_names = list(self.schema.names)
            groups = [self.file.metadata.row_group(i) for i in range(self.file.metadata.num_row_groups)]
            self.num_rows = max(int(self.file.metadata.num_rows), sum(group.num_rows for group in groups))
            leaves = int(self.file.metadata.num_columns)
        except Exception as error:  # Arrow raises many types, Python's own among them
            raise ItemError(name, f"not a readable Parquet file: {one_line(error)}") from None
        if self.num_rows > MAX_CELLS or leaves > MAX_COLUMNS:
            raise ItemError(
                name,
                f"{self.num_rows:,} rows of {leaves:,} columns: at most {MAX_CELLS:,} rows and {MAX_COLUMNS:,} "
                "columns are read; cut it into recordings",
            )

    def __getitem__(self, column: str) -> pyarrow.ChunkedArray:
        """One column of numbers or of times. Raises ItemError where it has another type or cannot be read."""
        from pyarrow import types

        kind = self.schema.field(column).type
        plain = kind.value_type if types.is_dictionary(kind) else kind
        if not (types.is_primitive(plain) or types.is_decimal(plain) or types.is_null(plain)):
            raise ItemError(self.name, f"column {column!r}: expected numbers, got {str(plain)[:60]}")
        try:
            self._check_size(column)
            cells = self.file.read(columns=[column], use_threads=False)[column]
            return cells.cast(plain) if plain is not kind else cells
        except ItemError:
            raise
        except Exception as error:
            raise ItemError(self.name, f"not a readable Parquet file: column {column!r}: {one_line(error)}") from None

    def _check_size(self, column: str) -> None:
        """Raises ItemError where a column would unpack to more than its number of rows can need."""
        data: Any = self.file.metadata
        place = next(i for i in range(data.num_columns) if data.schema.column(i).path == column)
        chunks = [data.row_group(i).column(place) for i in range(data.num_row_groups)]
        values = sum(chunk.num_values for chunk in chunks)
        size = sum(chunk.total_uncompressed_size for chunk in chunks)
        if values > self.num_rows or size > MAX_BYTES:
            raise ItemError(
                self.name, f"column {column!r} claims {values:,} values in {size:,} bytes; is the file damaged?"
            )
