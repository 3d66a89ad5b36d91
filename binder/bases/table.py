"""Tables of numbers: CSV, TSV, Parquet and NumPy files, and arrays, as a Series of named columns. Free of torch.

Shapes: S samples (rows), C channels (columns).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from binder.bases.content import NUMPY, from_numpy, one_line, read_bytes
from binder.bases.series import Floats, Series
from binder.errors import ItemError, name_of, nearest
from binder.modality import Item

if TYPE_CHECKING:
    import pyarrow

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}  # in a unit of time


@dataclass(frozen=True)
class Table:
    """What `read_table` found: named columns, or an array whose columns have no names."""

    name: str  # of the item, for messages
    data: Any  # a pyarrow table or a NumPy array
    rate_hz: float | None = None  # where the item itself says so

    @property
    def columns(self) -> list[str]:
        """The columns' names; none of an array."""
        return [] if isinstance(self.data, np.ndarray) else list(self.data.column_names)

    def series(
        self,
        channels: Sequence[str],
        *,
        time: str | None = None,
        time_unit: str = "s",
        rate_hz: float | None = None,
    ) -> Series:
        """The named columns as a Series of (S, C); an array's columns are the channels in their order.

        Where there is a column `time` (in `time_unit`: s, ms, us or ns) it says when samples were taken, otherwise
        `rate_hz` does. Raises ItemError: the column that lacks, the cell that is no number, a rate that nobody knows.
        """
        rate = rate_hz if self.rate_hz is None else self.rate_hz
        if isinstance(self.data, np.ndarray):
            if rate is None:
                raise ItemError(self.name, "its rate is not known: expected (array, rate in Hz) or a rate to be set")
            return Series(self._array(len(channels)), rate_hz=rate)
        if self.data.num_rows == 0:
            raise ItemError(self.name, "a table without rows")
        values = np.stack([self.numbers(column) for column in channels], axis=1)
        if time is not None and time in self.columns:
            return Series(values, time_s=self.numbers(time) * SECONDS[time_unit])
        if rate is None:
            found = (
                f"no column {time!r} of times{nearest(time, self.columns)}" if time else "no column of times is named"
            )
            raise ItemError(self.name, f"its rate is not known: {found}, and no rate is set")
        return Series(values, rate_hz=rate)

    def _array(self, channels: int) -> Floats:
        """The array as (S, C) float64, whichever way it lies."""
        found = self.data
        if found.dtype.kind not in "iufb":
            raise ItemError(self.name, f"expected numbers, got an array of type {found.dtype}")
        if found.ndim == 1 and channels == 1:
            found = found[:, None]
        if found.ndim == 2 and found.shape[1] != channels == found.shape[0]:
            found = found.T
        if found.ndim != 2 or found.shape[1] != channels:
            raise ItemError(self.name, f"expected an array of shape (samples, {channels}), got {found.shape}")
        return found.astype(np.float64)

    def numbers(self, column: str) -> Floats:
        """One column (S,) as float64. Raises ItemError: it is not there, or which of its cells is no number."""
        import pyarrow

        if column not in self.columns:
            found = ", ".join(self.columns)[:160]
            raise ItemError(self.name, f"no column {column!r}{nearest(column, self.columns)}; found: {found}")
        if self.columns.count(column) > 1:
            raise ItemError(self.name, f"two columns are named {column!r}")
        cells = self.data[column]
        if cells.null_count:
            row = cells.is_null().index(True).as_py() + 1
            raise ItemError(self.name, f"column {column!r}, row {row} is empty or not a number")
        kind = cells.type
        if not (pyarrow.types.is_floating(kind) or pyarrow.types.is_integer(kind) or pyarrow.types.is_decimal(kind)):
            raise ItemError(self.name, _not_numbers(cells, column))
        return cells.cast(pyarrow.float64(), safe=False).to_numpy()


def read_table(item: Item) -> Table:
    """Path, bytes, (S, C) array or (array, rate in Hz) -> Table.

    CSV and TSV (comma, semicolon or tab, names in the first line), Parquet, NumPy's npy; which of them is found out
    from the content. Raises ItemError for whatever is no table.
    """
    rate = None
    if isinstance(item, tuple) and len(item) == 2:
        item, rate = item
    name = name_of(item)
    if isinstance(item, np.ndarray):
        return Table(name, item, rate)
    data = read_bytes(item, ", an array or (array, rate in Hz)", "cut it into recordings")
    if data.startswith(NUMPY):
        return Table(name, from_numpy(data, name), rate)
    return Table(name, _parquet(data, name) if data.startswith(b"PAR1") else _delimited(data, name), rate)


def _parquet(data: bytes, name: str) -> pyarrow.Table:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_table(io.BytesIO(data))
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ItemError(name, f"not a readable Parquet file: {one_line(error)}") from None


def _delimited(data: bytes, name: str) -> pyarrow.Table:
    import pyarrow
    from pyarrow import csv

    data = data.removeprefix(b"\xef\xbb\xbf")
    head = data[: max(data.find(b"\n"), 0) or len(data)]
    delimiter = max(b",;\t", key=lambda sign: head.count(bytes([sign])))
    if b"\0" in data[:4096]:
        raise ItemError(name, "not a table: expected CSV, TSV, Parquet or a NumPy file")
    try:
        return csv.read_csv(
            io.BytesIO(data),
            parse_options=csv.ParseOptions(delimiter=chr(delimiter)),
            convert_options=csv.ConvertOptions(strings_can_be_null=True),
        )
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise ItemError(name, f"not a table that can be read: {one_line(error)}") from None


def _not_numbers(cells: pyarrow.ChunkedArray, column: str) -> str:
    for row, cell in enumerate(cells.to_pylist()[:100_000], start=1):
        try:
            float(str(cell))
        except ValueError:
            return f"column {column!r}, row {row}: expected a number with a decimal point, got {str(cell)[:40]!r}"
    return f"column {column!r}: expected numbers, got {cells.type}"
