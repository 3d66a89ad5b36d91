"""Tables of numbers (CSV, TSV, Parquet, NumPy files, data frames, arrays) -> Series of their columns.

Free of torch, and of NumPy until something is read. Shapes: S samples (rows), C channels (columns).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from binder.errors import ItemError, name_of, nearest, one_line
from binder.formats import clock
from binder.formats.arrays import NUMPY, ZIP, array_of, arrays_of, from_numpy
from binder.formats.content import read_bytes
from binder.formats.delimited import MAX_CELLS, read_delimited
from binder.formats.parquet import ENCRYPTED, PARQUET, ParquetColumns
from binder.formats.series import Series
from binder.modality import Item

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

    from binder.formats.series import Floats

AXES = ("x", "y", "z")  # suffixes for the columns of an (S, 3) array in an npz file
RATES = ("rate_hz", "rate", "fs", "sampling_rate", "sample_rate")  # names of a sampling rate in an npz file


def check_count(numbers: float, item: Item) -> None:
    """Raises ItemError for more numbers than one item may have."""
    if numbers > MAX_CELLS:
        raise ItemError(item, f"{numbers:,.0f} numbers, at most {MAX_CELLS:,} are read; cut it into recordings")


@dataclass(frozen=True)
class Table:
    """What `read_table` returns: named columns, or an array whose columns have no names."""

    name: str  # of the item, for messages
    data: Any  # a pyarrow table, the columns of a Parquet file, or a NumPy array
    rate_hz: Any = None  # where the item itself gives it; checked when it is used
    units: Mapping[str, str] = field(default_factory=dict)  # of columns, where the file has a row of units

    @property
    def columns(self) -> list[str]:
        """The names of the columns; [] for an array."""
        return self._columns

    @cached_property
    def _columns(self) -> list[str]:
        return list(getattr(self.data, "column_names", []))

    def series(
        self,
        channels: Sequence[str],
        *,
        time: str | None = None,
        time_unit: str = "s",
        rate_hz: float | None = None,
        usual_hz: tuple[float, float] | None = None,
    ) -> Series:
        """The columns named `channels` -> a Series (S, C); the columns of an array are the channels, in order.

        The times come from the column `time` (in `time_unit`: s, ms, us or ns), else from a column whose name means a
        time ("Time (ms)", seconds_elapsed) or that holds dates, else from `rate_hz`. Where a time column names no unit,
        `usual_hz`, the usual range of sampling rates, decides. Empty cells become NaN. Raises ItemError for a missing
        column, a cell that is not a number, an unknown rate, and times that cannot be in their unit.
        """
        import numpy as np

        rate = rate_hz if self.rate_hz is None else self.rate_hz
        if isinstance(self.data, np.ndarray):
            if rate is None:
                raise ItemError(self.name, "its rate is not known: give (array, rate in Hz), or set a rate")
            return Series(self._array(len(channels)), rate_hz=rate)
        rows = self.data.num_rows
        if rows == 0:
            raise ItemError(self.name, "a table without rows")
        check_count(rows * len(channels), self.name)
        for column in channels:
            self._check_column(column)
        values = np.empty((rows, len(channels)))
        for i, column in enumerate(channels):
            values[:, i] = self.numbers(column)
        times = None if time is None else self._times(time, time_unit, usual_hz)
        if times is not None:
            return Series(values, time_s=times)
        if rate is None:
            found = (
                f"no column {time!r} of times{nearest(time, self.columns)}" if time else "no column of times is named"
            )
            raise ItemError(self.name, f"its rate is not known: {found}, and no rate is set")
        return Series(values, rate_hz=rate)

    def numbers(self, column: str) -> Floats:
        """One column (S,) as float64, NaN for empty cells. Raises ItemError where it is missing or not all numbers."""
        self._check_column(column)
        return self._numbers(self.data[column], column)

    def _numbers(self, cells: pyarrow.ChunkedArray, column: str) -> Floats:
        import pyarrow
        from pyarrow import types

        if types.is_string(cells.type):
            cells = _with_decimal_commas(cells)
        kind = cells.type
        if not (types.is_floating(kind) or types.is_integer(kind) or types.is_decimal(kind) or types.is_null(kind)):
            raise ItemError(self.name, _not_numbers(cells, column))
        try:
            values: Floats = cells.cast(pyarrow.float64(), safe=False).to_numpy()
        except Exception as error:  # Arrow raises many types
            raise ItemError(self.name, f"column {column!r}: not numbers: {one_line(error)}") from None
        return values

    def _array(self, channels: int) -> Floats:
        """The array as (S, C) float64, transposed where it was (C, S)."""
        found: NDArray[Any] = self.data
        if found.dtype.kind not in "iufb":
            raise ItemError(self.name, f"expected numbers, got an array of type {str(found.dtype)[:60]}")
        check_count(found.size, self.name)
        if found.ndim == 1 and channels == 1:
            found = found[:, None]
        if found.ndim == 2 and found.shape[1] != channels == found.shape[0]:
            found = found.T
        if found.ndim != 2 or found.shape[1] != channels:
            raise ItemError(self.name, f"expected an array of shape (samples, {channels}), got {found.shape}")
        return found.astype("float64")

    def _check_column(self, column: str) -> None:
        if column not in self.columns:
            found = ", ".join(self.columns)[:160]
            raise ItemError(self.name, f"no column {column!r}{nearest(column, self.columns)}; found: {found}")
        if self.columns.count(column) > 1:
            raise ItemError(self.name, f"two columns are named {column!r}")

    def _times(self, time: str, unit: str, usual_hz: tuple[float, float] | None) -> Floats | None:
        """When the samples were taken (S,), in s; None where there is no column of times."""
        if time in self.columns:
            self._check_column(time)
            cells = self.data[time]
            dates = _dates(cells)
            return self._counted(self._numbers(cells, time), time, unit, usual_hz) if dates is None else dates
        parsed = ((column, *clock.parse_name(column, self.units.get(column, ""))) for column in self.columns if column)
        clocks = [(column, own_unit) for column, is_clock, own_unit in parsed if is_clock]
        for column, own_unit in sorted(clocks, key=lambda found: found[1] is None):  # those that name their unit first
            self._check_column(column)
            cells = self.data[column]
            dates = _dates(cells)
            if dates is not None:
                return dates
            try:
                raw = self._numbers(cells, column)
            except ItemError:
                continue  # dates in a format that Arrow does not parse, for instance
            known = own_unit or clock.guess_unit(*_beginning(raw), usual_hz)
            if known:
                return self._counted(raw, column, known, usual_hz, f"encoder.time={column!r} and ")
        return None

    def _counted(
        self, raw: Floats, column: str, unit: str, usual_hz: tuple[float, float] | None, also: str = ""
    ) -> Floats:
        """Times in `unit` -> s. Raises ItemError where they cannot be in it; `also` goes in front of its advice."""
        seconds = raw * clock.SECONDS[unit]
        mean = abs(seconds[-1] - seconds[0]) / max(1, len(raw) - 1)
        slow = clock.SLOWEST_S if usual_hz is None else 1 / usual_hz[0]
        if not (abs(seconds[0]) <= clock.LATEST_S and mean < slow / 2):  # rare: only then look closely
            problem = clock.unit_problem(unit, *_beginning(raw), usual_hz)
            if problem:
                problem = problem.replace("set encoder", f"set {also}encoder")
                raise ItemError(self.name, f"column {column!r} {problem}")
        return seconds


def read_table(item: Item) -> Table:
    """A path, bytes, an open file, a pandas or Arrow table, an (S, C) array, or (array, rate in Hz) -> Table.

    Reads delimited text (see `binder.formats.delimited`), Parquet, and NumPy's npy and npz; the format is detected from
    the content. Raises ItemError for anything else, and for a table that is too large for one item.
    """
    rate = None
    if isinstance(item, tuple) and len(item) == 2:
        item, rate = item
    name = name_of(item)
    held = _held(item)
    if held is not None:
        return Table(name, held, rate)
    data = read_bytes(item, ", an array or (array, rate in Hz)", "cut it into recordings")
    if data.startswith(NUMPY):
        return Table(name, _columns_of(from_numpy(data, name)), rate)
    if data.startswith(ZIP):
        return _from_arrays(name, arrays_of(data, name), rate)
    if data.startswith((PARQUET, ENCRYPTED)):
        return Table(name, ParquetColumns(data, name), rate)
    table, layout = read_delimited(data, name)
    if any(table.column_names):
        return Table(name, table, rate, layout.units)
    return Table(name, _nameless(table, name), rate)


def _held(item: Item) -> Any:
    """Data that is in memory already -> a pyarrow table or an array; anything else -> None. Raises ItemError."""
    if hasattr(item, "__arrow_c_stream__") or isinstance(item, Mapping):
        import pyarrow

        try:
            return pyarrow.table(dict(item) if isinstance(item, Mapping) else item)
        except Exception:  # a single column of a table, which `array_of` takes
            if isinstance(item, Mapping):
                raise ItemError(item, "expected a mapping of names to columns of equal length") from None
    array = array_of(item)
    return None if array is None else _columns_of(array)


def _columns_of(array: Any) -> Any:
    """A structured array -> a pyarrow table of its fields; any other array as it is."""
    if array.dtype.names is None or array.ndim != 1:
        return array
    import pyarrow

    plain = [name for name in array.dtype.names if array.dtype[name].kind in "iuf"]
    return pyarrow.table({name: array[name].astype(array.dtype[name].newbyteorder("=")) for name in plain})


def _from_arrays(name: str, arrays: dict[str, Any], rate: Any) -> Table:
    """The arrays of an npz file -> Table: one array, or one column each, an (S, 3) array giving three (x, y, z)."""
    import pyarrow

    rates = [array.item() for key, array in arrays.items() if key.lower() in RATES and not array.ndim]
    arrays = {key: array for key, array in arrays.items() if array.ndim}
    rate = rates[0] if rate is None and rates else rate
    if len(arrays) == 1:
        return Table(name, _columns_of(next(iter(arrays.values()))), rate)
    columns = {key: array for key, array in arrays.items() if array.ndim == 1}
    for key, array in arrays.items():
        if array.ndim == 2 and array.shape[1] == len(AXES):
            columns |= {f"{key}_{axis}": array[:, i] for i, axis in enumerate(AXES)}
    try:
        return Table(name, pyarrow.table(columns), rate)
    except Exception:
        shapes = ", ".join(f"{key} {array.shape}" for key, array in arrays.items())[:160]
        raise ItemError(name, f"expected one array, or columns of equal length; found: {shapes}") from None


def _nameless(table: pyarrow.Table, name: str) -> Any:
    """The columns of a text file without a header -> an array. Raises ItemError where cells are not numbers."""
    import numpy as np

    named = Table(name, table.rename_columns([f"column {i + 1}" for i in range(table.num_columns)]))
    return np.stack([named.numbers(column) for column in named.columns], axis=1)


def _beginning(raw: Floats) -> tuple[float, float]:
    """The first time and the median step of the first thousand; 0 where there is none."""
    import numpy as np

    known = raw[np.isfinite(raw)]
    if len(known) < 2:
        return (float(known[0]) if len(known) else 0.0), 0.0
    return float(known[0]), float(np.median(np.diff(known[:1000])))


def _dates(cells: pyarrow.ChunkedArray) -> Floats | None:
    """A column of dates and times (S,) -> s since the earliest; None where it holds something else."""
    import numpy as np
    import pyarrow
    from pyarrow import compute, types

    if not types.is_timestamp(cells.type):
        return None
    try:
        whole = cells.cast(pyarrow.timestamp("ns", cells.type.tz)).cast(pyarrow.int64())
        since = compute.subtract(whole, compute.min(whole))
        seconds: Floats = since.cast(pyarrow.float64(), safe=False).to_numpy() * 1e-9
        return seconds
    except (pyarrow.ArrowException, ValueError, OverflowError):
        return np.full(len(cells), np.nan)  # years beyond what nanoseconds can hold: reported as missing times


def _with_decimal_commas(cells: pyarrow.ChunkedArray) -> pyarrow.ChunkedArray:
    """Text cells that all hold numbers with a decimal comma (not a thousands separator) -> numbers; else unchanged."""
    import pyarrow
    from pyarrow import compute

    known = compute.drop_null(cells)
    plain = compute.match_substring_regex(known, r"^\s*[-+]?\d*(,\d*)?\s*$")
    decimal = compute.match_substring_regex(known, r",(\d{0,2}|\d{4,})\s*$|^\s*[-+]?0,")
    if not (len(known) and compute.all(plain).as_py() and compute.any(decimal).as_py()):
        return cells
    try:
        return compute.replace_substring(compute.utf8_trim_whitespace(cells), ",", ".").cast(pyarrow.float64())
    except (pyarrow.ArrowException, ValueError):
        return cells


def _not_numbers(cells: pyarrow.ChunkedArray, column: str) -> str:
    """Which cell of a column is not a number, as a message."""
    for row, cell in enumerate(cells.slice(0, 100_000).to_pylist(), start=1):
        try:
            if cell is not None:
                float(str(cell))
        except ValueError:
            return f"column {column!r}, row {row}: expected a number with a decimal point, got {str(cell)[:40]!r}"
    return f"column {column!r}: expected numbers, got {str(cells.type)[:60]}"
