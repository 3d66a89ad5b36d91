"""A table in memory, whatever it was read from: columns and the meaning of their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from binder import ItemError
from binder_chart.cells import Column, Decimals, decimals_of, understand
from binder_chart.config import KINDS, Kind

MAX_COLUMNS = 1_000
MAX_CELLS = 1_000_000


@dataclass(frozen=True)
class Table:
    """Columns of equal length; `kind` is the chart type that the table itself sets, if any."""

    columns: tuple[Column, ...]
    kind: Kind | None = None


def from_columns(name: str, columns: Mapping[str, Any], kind: str | None = None) -> Table:
    """Header -> cells (lists or arrays of equal length) -> the table. Raises ItemError."""
    columns = {header: cells.tolist() if hasattr(cells, "tolist") else cells for header, cells in columns.items()}
    for header, cells in columns.items():
        if isinstance(cells, str | bytes | Mapping) or not isinstance(cells, Sequence):
            raise ItemError(
                name,
                f"column {header!r} is {type(cells).__name__}; expected a list of cells "
                "(to embed a list of records as one item, put it in a list)",
            )
    lengths = {len(cells) for cells in columns.values()}
    if len(lengths) > 1:
        raise ItemError(name, f"columns of {min(lengths)} to {max(lengths)} cells; expected the same number in each")
    return build(name, list(columns), list(columns.values()), ".", kind)


def from_records(name: str, records: Sequence[Any], kind: str | None = None) -> Table:
    """A list of mappings -> the table; a missing key is a missing cell. Raises ItemError."""
    headers: dict[str, None] = {}
    for number, record in enumerate(records, start=1):
        if not isinstance(record, Mapping):
            kind_of = type(record).__name__
            raise ItemError(name, f"record {number} is {kind_of}; expected an object with a key per column")
        headers |= dict.fromkeys(map(str, record))
    check_size(name, len(records), len(headers))
    by_name = [{str(key): value for key, value in record.items()} for record in records]
    return build(name, list(headers), [[record.get(header) for record in by_name] for header in headers], ".", kind)


def build(
    name: str, headers: Sequence[str], columns: Sequence[Sequence[Any]], decimals: Decimals, kind: str | None
) -> Table:
    """Headers and the cells of each column -> the table. Raises ItemError where there is nothing to draw."""
    if not headers:
        raise ItemError(name, "an empty table; expected a header and at least one row")
    check_size(name, max(map(len, columns)), len(headers))
    if not any(len(cells) for cells in columns):
        raise ItemError(name, "a table without rows; expected a header and at least one row")
    for header, cells in zip(headers, columns, strict=True):
        nested = next((cell for cell in cells if isinstance(cell, Mapping | list | tuple | set | bytes)), None)
        if nested is not None:
            kind_of = type(nested).__name__
            raise ItemError(name, f"column {header!r} has cells of type {kind_of}; expected a flat table")
    mark = decimals_of([cell for cells in columns for cell in cells if isinstance(cell, str)], decimals)
    found = [
        understand(header, cells, mark, first=i == 0)
        for i, (header, cells) in enumerate(zip(_named(headers), columns, strict=True))
    ]
    return Table(tuple(found), check_kind(name, kind))


def unique_headers(columns: Mapping[int, tuple[str, Sequence[Any]]]) -> dict[str, Sequence[Any]]:
    """Index -> header and cells, where headers may repeat -> a mapping with unique headers."""
    taken: dict[str, Sequence[Any]] = {}
    for i, (header, cells) in columns.items():
        taken[header if header not in taken else f"{header} ({i + 1})"] = cells
    return taken


def check_size(name: str, rows: int, columns: int) -> None:
    """Raises ItemError for a table that is too large for a chart."""
    if columns > MAX_COLUMNS:
        raise ItemError(name, f"{columns:,} columns; at most {MAX_COLUMNS:,} can be drawn: select some of them")
    if rows * columns > MAX_CELLS:
        raise ItemError(name, f"{rows * columns:,} cells; at most {MAX_CELLS:,} can be drawn: aggregate it first")


def check_kind(name: str, kind: str | None) -> Kind | None:
    """A chart type given as text. Raises ItemError for an unknown one."""
    if kind is not None and kind not in KINDS:
        raise ItemError(name, f"chart type {kind!r}: expected {', '.join(KINDS)}")
    return kind


def _named(headers: Sequence[str]) -> list[str]:
    """Headers that may repeat or be blank -> unique ones: a, a (2), column 3."""
    seen: dict[str, int] = {}
    result = []
    for number, header in enumerate(headers, start=1):
        plain = " ".join(str(header).split()) or f"column {number}"
        seen[plain] = seen.get(plain, 0) + 1
        result.append(plain if seen[plain] == 1 else f"{plain} ({seen[plain]})")
    return result
